"""Decontamination and takedown: what is listed is rejected with its reason, and nothing else is."""

from __future__ import annotations

import json
import sys
import threading
import unicodedata
from pathlib import Path

import numpy as np
import orjson
import pytest
import test_runtime_worker as worker
from hypothesis import given
from hypothesis import strategies as st
from toy import Toy, stream, target

from craft_stream.cli import lists as cli_lists
from craft_stream.cli import main
from craft_stream.cli.lists import known_lists, list_digests, read_lists
from craft_stream.encoders import load_encoder
from craft_stream.errors import ConfigurationError
from craft_stream.events import Observer
from craft_stream.learning.learner import Learner
from craft_stream.parameters import Parameters, lists_digest
from craft_stream.ports.messages import Message
from craft_stream.reading.chunk import Chunk
from craft_stream.recomputation import Recomputation, look
from craft_stream.selection import blocklist as module
from craft_stream.selection.blocklist import WORDS, Blocklist, hosts_of
from craft_stream.selection.decisions import Reason
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings
from craft_stream.testing.memory import MemoryTransport
from craft_stream.text.batch import PairBatch, TextBatch
from craft_stream.text.keys import pair_keys
from craft_stream.text.plain import hidden, plain
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.text.tokens import tokenize
from craft_stream.topics.models import ModelStore
from craft_stream.worker.model_follower import FixedModel
from craft_stream.worker.worker import Worker

WORD = st.text("abcdefghij", min_size=1, max_size=4)
TEXT = st.lists(WORD, min_size=0, max_size=30)


def mask(
    listed: Blocklist, pairs: list[tuple[str, str]], ids: list[str] | None = None, urls=None
) -> list[bool]:
    batch = TokenizedPairs.of(PairBatch.pack([a for a, _ in pairs], [b for _, b in pairs]))
    found = listed.matches(
        batch, lambda: zip(ids or [""] * len(pairs), urls or [()] * len(pairs), strict=True)
    )
    return found.tolist()


def sealed(**what: list[str]) -> Blocklist:
    listed = Blocklist()
    for kind, entries in what.items():
        getattr(listed, f"add_{kind}")(entries)
    listed.seal()
    return listed


def overlaps(text: list[str], lines: list[list[str]]) -> bool:
    """What the rule says, word by word."""
    runs = {tuple(line[k : k + WORDS]) for line in lines for k in range(len(line) - WORDS + 1)}
    own = {tuple(text[k : k + WORDS]) for k in range(len(text) - WORDS + 1)}
    return bool(text) and (text in lines or bool(runs & own))


@given(
    st.lists(TEXT, min_size=1, max_size=5), st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8), st.data()
)
def test_a_test_set_lists_what_the_rule_says(
    lines: list[list[str]], pairs: list[tuple[list[str], list[str]]], data: st.DataObject
) -> None:
    """Over random texts, some cut from the list's own lines, the mask is that of a search word by word."""
    for line in lines:
        start = data.draw(st.integers(0, len(line)))
        stop = data.draw(st.integers(start, len(line)))
        before, after = data.draw(TEXT), data.draw(TEXT)
        pairs = [*pairs, (before + line[start:stop] + after, ["zz"]), (["zz"], list(line))]
    listed = sealed(test_set=[" ".join(line) for line in lines])
    expected = [overlaps(a, lines) or overlaps(b, lines) for a, b in pairs]
    assert mask(listed, [(" ".join(a), " ".join(b)) for a, b in pairs]) == expected


@given(st.lists(TEXT, max_size=6), st.lists(TEXT, max_size=6), st.lists(TEXT, max_size=6))
def test_lists_add_up(one: list[list[str]], other: list[list[str]], texts: list[list[str]]) -> None:
    """What two lists reject together is what either rejects, in whatever pieces and order they were added."""
    left, right, pairs = (
        [" ".join(t) for t in one], [" ".join(t) for t in other], [(" ".join(t), "zz") for t in texts]
    )  # fmt: skip
    together = Blocklist()
    together.add_test_set(right)
    together.add_test_set(left)
    together.seal()
    apart = [
        a or b
        for a, b in zip(mask(sealed(test_set=left), pairs), mask(sealed(test_set=right), pairs), strict=True)
    ]
    assert mask(together, pairs) == apart


def test_case_spaces_and_marks_make_no_difference() -> None:
    """A line is found in capitals, with other marks and spaces, and not with another word."""
    listed = sealed(test_set=["Where is the book?"])
    texts = [
        "WHERE  is the «book» !",
        "where is the book",
        "Where is a book?",
        "where is",
        "book the is where",
    ]
    assert mask(listed, [(text, "x") for text in texts]) == [True, True, False, False, False]
    assert mask(listed, [("x", text) for text in texts]) == [True, True, False, False, False]


HIDDEN = {
    "soft hyphens": lambda text: text.replace("ou", "o\u00adu"),
    "zero-width spaces": lambda text: "\u200b".join(text),
    "joiners": lambda text: text.replace("e", "e\u200d\u2060"),
    "a byte order mark": lambda text: "\ufeff" + text,
    "selectors of variants": lambda text: text.replace("i", "i\ufe0f\U000e0101"),
    "joiners of graphemes": lambda text: text.replace("o", "o\u034f"),
    "fillers": lambda text: text.replace("n", "n\u3164\uffa0"),
    "controls": lambda text: text.replace("l", "l\x01\x7f"),
    "marks of direction": lambda text: f"\u202a{text}\u202c\u200e",
    "ideographic spaces": lambda text: text.replace(" ", "\u3000"),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0\u202f"),
    "line ends of mainframes": lambda text: text.replace(" ", "\u0085"),
    "decomposed accents": lambda text: unicodedata.normalize("NFD", text),
    "wide letters": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "typographic marks": lambda text: text.replace("'", "\u2019").replace(" ", " \u2014 ") + "\u2026",
    "ligatures": lambda text: text.replace("fi", "\ufb01"),
    "capitals": str.upper,
}


@pytest.mark.parametrize("kind", HIDDEN)
@pytest.mark.parametrize("text", ["L'élève finit où la rivière coule", "the fish would finish early"])
def test_what_the_eye_does_not_tell_apart_makes_no_difference(kind: str, text: str) -> None:
    """Invisible characters, widths, composed letters and marks: in the pair or in the list, as a side or within one."""
    changed = HIDDEN[kind](text)
    for listed, pair in ((text, changed), (changed, text), (changed, changed)):
        pairs = [(pair, "x"), ("x", pair), ("something else", "quite")]
        assert mask(sealed(texts=[listed]), pairs) == [True, True, False]
    words = " ".join(f"mot{number} été" for number in range(WORDS))
    assert mask(sealed(test_set=[words]), [(f"avant {HIDDEN[kind](words)} après", "x"), ("avant", "x")]) == [
        True,
        False,
    ]


@pytest.mark.parametrize("kind", sorted(HIDDEN.keys() - {"typographic marks"}))
@pytest.mark.parametrize("text", ["L'élève finit où la rivière coule", "the fish would finish early"])
def test_duplicates_see_through_what_the_eye_does_not_tell_apart(kind: str, text: str) -> None:
    """Pairs are one to `duplicate` and `in_target` too; but for marks, which are words of theirs."""
    pairs = TokenizedPairs.of(PairBatch.pack([text, HIDDEN[kind](text), text + " not"], ["x"] * 3))
    same, changed, other = pair_keys(pairs, np.arange(3))
    assert same == changed != other


def test_a_space_of_no_width_marks_words_where_none_are_written() -> None:
    """Of Thai it ends words, of Latin it does not, in one text too."""
    marked = tokenize(TextBatch.pack(["ab\u200bcd ไทย\u200bลาว", "abcd ไทย ลาว", "ab\u200bไทย\u200bลาว"]))
    assert np.diff(marked.offsets)[0] == 3
    assert marked.words[0] == tokenize(TextBatch.pack(["abcd"])).words[0]
    assert np.diff(marked.offsets)[2] == 3


@given(st.text(max_size=12), st.text(max_size=12))
def test_plain_forms_are_their_own(text: str, other: str) -> None:
    """Made plain twice is made plain once, and what `hidden` passes over differs in case and marks of ASCII alone."""
    assert plain(plain(text)) == plain(text)
    batch = TextBatch.pack(
        [text.encode("utf-8", "ignore").decode(), other.encode("utf-8", "ignore").decode()]
    )
    for row in set(range(2)) - set(hidden(batch).tolist()):
        assert all(ord(character) < 0x800 for character in batch.text(row))


def test_thirteen_words_in_a_row_are_enough_and_twelve_are_not() -> None:
    """A run inside of another sentence is found from 13 words on; a takedown of a text asks for the whole."""
    words = [f"word{k}" for k in range(40)]
    inside = " ".join(["before", *words[9 : 9 + WORDS], "after"])
    shorter = " ".join(["before", *words[9 : 9 + WORDS - 1], "after"])
    line = " ".join(words)
    assert mask(sealed(test_set=[line]), [(inside, "x"), (shorter, "x")]) == [True, False]
    assert mask(sealed(texts=[line]), [(inside, "x"), (line.upper(), "x")]) == [False, True]


def test_identifiers_and_hosts() -> None:
    """An id is listed as it is; a host with all beneath it, by any URL of the record, and not hosts that end alike."""
    listed = sealed(identifiers=["a1"], hosts=["Example.org"])
    pairs = [("x", "y")] * 7
    urls = [
        (), (), ("https://example.org/p",), ("http://b.org", "https://www.EXAMPLE.org:8080/p"), ("https://badexample.org",),
        ("https://[half", "no url"), ("https://org/",),
    ]  # fmt: skip
    assert mask(listed, pairs, ["a1", "A1", "", "", "", "", ""], urls) == [
        True,
        False,
        True,
        True,
        False,
        False,
        False,
    ]
    assert hosts_of("https://a.b.org./x") == ["a.b.org", "b.org", "org"]
    assert hosts_of("mailto:x") == []


def test_a_text_is_no_identifier_and_no_host() -> None:
    """The kinds are apart: a listed id is not found as a text, nor a text as an id."""
    assert mask(sealed(identifiers=["hello"]), [("hello", "hello")]) == [False]
    assert mask(sealed(texts=["hello"]), [("x", "y")], ["hello"], [("https://hello/",)]) == [False]


def test_an_empty_list_and_texts_without_words_list_nothing() -> None:
    """Marks alone are no text that could be listed."""
    assert mask(sealed(), [("a", "b"), ("", "")]) == [False, False]
    assert mask(sealed(test_set=["?!", "", " "]), [("?!", "..."), ("", " ")]) == [False, False]


def test_strangers_pass_and_the_table_is_half_empty() -> None:
    """Of 20,000 texts that are not among 20,000 listed ones none is rejected, all that are; 32 bytes an entry at most."""
    lines = [f"line {k} of a test set" for k in range(20_000)]
    listed = sealed(test_set=lines)
    assert listed._table.nbytes <= 32 * listed.hashes
    assert not any(mask(listed, [(f"line {k} of a test", "x") for k in range(20_000)]))
    assert all(mask(listed, [("x", line) for line in lines]))


def test_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of more entries than there is room for is an error that says which settings."""
    monkeypatch.setattr(module, "MOST_HASHES", 10)
    with pytest.raises(ConfigurationError, match=r"selection\.decontaminate"):
        sealed(identifiers=[str(k) for k in range(11)])


# Files.


def settings(**selection: object) -> Settings:
    return Settings.load(None, [f"selection.{k}={v}" for k, v in selection.items()])


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = {
        "text": (tmp_path / "newstest.txt", "# a comment\nWhere is the book?\n\nIt is on the table.\n"),
        "pairs": (tmp_path / "test.jsonl", '{"src": "Good morning", "tgt": "Bonjour"}\n{"tgt": "Merci"}\n'),
        "tsv": (tmp_path / "test.tsv", "Good night\tBonne nuit\n"),
        "takedown": (
            tmp_path / "takedown.jsonl",
            '{"id": "s7"}\n{"host": "example.org"}\n{"id": 12, "src": "Take me down"}\n',
        ),
        "lines": (tmp_path / "takedown.txt", "s9\nexample.net\nThis text must go\n"),
    }
    for path, text in found.values():
        path.write_text(text, "utf-8")
    return {name: path for name, (path, _) in found.items()}


def test_lists_are_read_in_every_format(files: dict[str, Path]) -> None:
    """Lines, JSON records with one side or both, tab-separated values; ids, hosts and texts of a takedown list."""
    chosen = settings(
        decontaminate=f"{files['text']},{files['pairs']},{files['tsv']}",
        takedown=f"{files['takedown']},{files['lines']}",
    )
    listed = read_lists(chosen)
    assert listed is not None
    records = [
        {"src": "where is the book", "tgt": "x"}, {"src": "x", "tgt": "bonjour!"}, {"src": "x", "tgt": "MERCI"},
        {"src": "x", "tgt": "bonne nuit"}, {"id": "s7", "src": "a", "tgt": "b"}, {"id": 12, "src": "a", "tgt": "b"},
        {"src": "a", "tgt": "b", "src_url": "https://www.example.org/1"}, {"src": "take me down", "tgt": "b"},
        {"id": "s9", "src": "a", "tgt": "b"}, {"src": "a", "tgt": "b", "url": "http://example.net"},
        {"src": "this text must go.", "tgt": "b"},
        {"id": "s8", "src": "a", "tgt": "b", "url": "https://example.com"}, {"src": "Good evening", "tgt": "Bonsoir"},
    ]  # fmt: skip
    messages = [Message(orjson.dumps(record), k) for k, record in enumerate(records)]
    chunk = Chunk.read(messages, chosen.record)
    found = listed.matches(chunk.pairs, chunk.origins)
    assert found.tolist() == [True] * 11 + [False] * 2


@pytest.mark.parametrize("name", ["gone.txt", "gone.jsonl"])
@pytest.mark.parametrize(
    ("line", "url", "listed"),
    [
        ("*.example.org", "https://www.example.org/1", True),
        ("https://example.org/", "http://example.org/2", True),
        ("HTTP://Example.org:8080", "https://a.example.org/", True),
        (".example.org", "https://www.example.org/1", True),
        ("||example.org^", "https://www.example.org/1", True),
        ("bücher.example", "https://www.xn--bcher-kva.example/1", True),
        ("xn--bcher-kva.example", "https://bücher.example/1", True),
        ("ex\u00adample.org", "https://example.org/1", True),
        ("https://example.org/", "https://example.net/", False),
        ("*.example.org", "https://anexample.org/", False),
    ],
)
def test_a_host_is_told_however_it_is_spelt(
    tmp_path: Path, name: str, line: str, url: str, listed: bool
) -> None:
    """With all that is beneath it, or as the address of its site; in lines and in records."""
    text = line if name.endswith(".txt") else orjson.dumps({"host": line}).decode()
    assert _taken_down(tmp_path / name, text, url) is listed


def test_a_page_is_told_by_its_url(tmp_path: Path) -> None:
    """A line with the URL of a page lists the pairs of that page, and of no other."""
    for url, listed in (("https://example.org/a?b=1", True), ("https://example.org/a", False)):
        assert _taken_down(tmp_path / "gone.txt", "https://example.org/a?b=1", url) is listed


def _taken_down(path: Path, text: str, url: str) -> bool:
    path.write_text(text + "\n", "utf-8")
    chosen = settings(takedown=path)
    listed = read_lists(chosen)
    assert listed is not None
    chunk = Chunk.read([Message(orjson.dumps({"src": "a", "tgt": "b", "url": url}), 0)], chosen.record)
    return bool(listed.matches(chunk.pairs, chunk.origins)[0])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", "not json\n", "record 0"),
        ("a.jsonl", '{"url": "https://example.org"}\n', "a record has"),
        ("a.tsv", "only one column\n", "record 0"),
        ("a.txt", "\xff", "UTF-8"),
        ("none.txt", None, "cannot read"),
        ("a.xyz", "text\n", "unknown format"),
    ],
)
def test_a_list_that_cannot_be_read_whole_is_refused(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    """Nothing of a list is passed over: what it may have named could be accepted."""
    if text is not None:
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    for key in ("decontaminate", "takedown"):
        with pytest.raises(ConfigurationError, match=f"selection.{key}.*{message}"):
            read_lists(settings(**{key: tmp_path / name}))


def test_of_many_older_lists_each_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 of one setting and two of the other, in every combination that may have been."""
    opened: list[str] = []

    def counted(path: str, digest=cli_lists._digest) -> bytes:
        opened.append(path)
        return digest(path)

    monkeypatch.setattr(cli_lists, "_digest", counted)
    paths = [tmp_path / f"{number}.txt" for number in range(20)]
    for path in paths:
        path.write_text(f"{path.name}.example\n")
    chosen = settings(takedown=paths[0], decontaminate=paths[17])
    older = [f"selection.takedown={path}" for path in paths[1:17]]
    older += [f"selection.decontaminate={path}" for path in paths[18:]]
    known = known_lists(chosen, older)
    assert sorted(opened) == sorted(map(str, paths))
    assert len(known.older) == 17 * 3 - 1
    for takedown, decontaminate in ((paths[5], paths[17]), (paths[0], paths[19]), (paths[16], paths[18])):
        then = settings(takedown=takedown, decontaminate=decontaminate)
        digest = lists_digest(list_digests(then))
        assert known.older[digest]().digest == digest


def test_the_digest_tells_lists_apart(files: dict[str, Path]) -> None:
    """Other bytes, or the same file as the other list, are other parameters; a ledger goes on under another list."""

    def parameters(**lists: Path) -> Parameters:
        chosen = settings(**lists)
        return chosen.parameters(listed=lists_digest(list_digests(chosen)))

    plain, first = parameters(), parameters(takedown=files["lines"])
    moved = parameters(decontaminate=files["lines"])
    files["lines"].write_text("s9\ns10\n")
    changed = parameters(takedown=files["lines"])
    assert plain == Parameters()
    assert len({plain.digest, first.digest, moved.digest, changed.digest}) == 4
    assert Ledger.restore(changed, Ledger(first).snapshot()).digest() == Ledger(plain).digest()


def test_select_rejects_what_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Through the command line: pairs accepted before are all rejected as `listed` once they are, and none of them is kept."""
    toy = Toy()
    batch = stream(toy, 1500).batch
    pairs = list(zip(batch.source.texts(), batch.target.texts(), strict=True))
    records = [{"id": f"s{k}", "src": a, "tgt": b} for k, (a, b) in enumerate(pairs)]
    _, wanted = target(toy)
    (tmp_path / "stream.jsonl").write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    (tmp_path / "target.jsonl").write_bytes(
        b"".join(
            orjson.dumps({"src": a, "tgt": b}) + b"\n"
            for a, b in zip(wanted.source.texts(), wanted.target.texts(), strict=True)
        )
    )

    def run(*more: object) -> tuple[dict[str, object], list[dict[str, str]]]:
        arguments = ["--target", "target.jsonl", "--input", "stream.jsonl", "--output", "out.jsonl", "--json"]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["craft-stream", "select", *arguments, *map(str, more)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        assert not end.value.code, err
        return json.loads(out), [
            json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()
        ]

    _, before = run()
    half = len(before) // 2
    (tmp_path / "test.jsonl").write_text("".join(json.dumps({"tgt": r["tgt"]}) + "\n" for r in before[:half]))
    (tmp_path / "gone.txt").write_text("".join(f"{r['id']}\n" for r in before[half:]))
    summary, after = run(
        "--set", "selection.decontaminate=test.jsonl", "--set", "selection.takedown=gone.txt"
    )
    assert before
    assert not {r["id"] for r in before} & {r["id"] for r in after}
    assert summary["rejected_by_reason"]["listed"] >= len(before)
    assert len(after) > 0.5 * len(before)


def test_the_worker_and_its_audit_know_the_lists(tmp_path: Path) -> None:
    """A worker rejects every listed record as `listed`, and no other; its log recomputed with the list gives the same."""
    (tmp_path / "gone.txt").write_text("".join(f"r{k}\n" for k in range(0, worker.RECORDS, 3)))
    configured = worker.configuration(selection__takedown=(str(tmp_path / "gone.txt"),))
    listed = read_lists(configured)
    assert listed is not None
    parameters = configured.parameters(listed=listed.digest)
    learner = Learner(parameters, load_encoder())
    learner.observe_target(*target(worker.TOY))
    learner.observe(stream(worker.TOY, 2500).batch)
    model = learner.publish()
    broker, stop = worker.filled(configured), threading.Event()
    transport = MemoryTransport(broker, configured.kafka, {}, stop.set)
    store = ModelStore(transport.reader(), configured.kafka.model_topic)
    models = FixedModel(store, Observer(), model, 1)
    guard = threading.Timer(60, stop.set)
    guard.start()
    Worker(configured, transport, load_encoder(), models, Observer(), stop, listed=listed).run()
    guard.cancel()
    decisions = {
        row["id"]: row for row in map(orjson.loads, (v for v, _, _ in worker.seen(broker, configured)[1]))
    }
    assert len(decisions) > 0.9 * worker.RECORDS
    for identifier, row in decisions.items():
        assert (row["reason"] == "listed") == (int(identifier[1:]) % 3 == 0)
        assert row["parameters"] == parameters.digest

    selector = Selector(parameters, load_encoder())
    for partition in range(worker.PARTITIONS):
        reader = transport.reader()
        stretch = look(transport.reader(), configured, partition)
        again = Recomputation(reader, configured, selector, store, stretch, model, listed)
        begun = again.begin(0)
        assert begun is not None
        for chunk, found in again.run(begun, stretch.committed):
            for row, name in enumerate(chunk.identifiers()):
                assert decisions[name]["reason"] == Reason(int(found.reason[row])).label
                assert decisions[name]["score"] == pytest.approx(float(found.score[row]))
