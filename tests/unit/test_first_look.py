"""What is said of a selection while its first records are read: what is wrong, and what to type."""

from __future__ import annotations

import random
import shlex
from pathlib import Path

import orjson
import pytest

from connectors.files.fields import likely_sides
from craft_stream.cli.files import read_chunks
from craft_stream.cli.first_look import FirstLook
from craft_stream.errors import DataError
from craft_stream.settings import Settings
from craft_stream.text.batch import PairBatch, Side
from craft_stream.text.tokenized import TokenizedPairs

WORDS = {
    "en": ("The", "old", "house near the river", "has been built", "of stone", "by my father", "and it is still there"),
    "fr": ("La", "vieille", "maison près de la rivière", "a été construite", "en pierre", "par mon père", "et y est encore"),
    "de": ("Das", "alte", "Haus am Fluss", "wurde gebaut", "aus Stein", "von meinem Vater", "und es steht noch heute da"),
}  # fmt: skip


def texts(language: str, count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    words = WORDS[language]
    return [" ".join(rng.sample(words, len(words))) + f" {rng.random():.9f}." for _ in range(count)]


def write(path: Path, count: int, seed: int, source: str = "en", target: str = "fr") -> str:
    """A file whose sides stand in the fields `src` and `tgt`."""
    rows = zip(texts(source, count, seed), texts(target, count, seed), strict=True)
    path.write_bytes(b"".join(orjson.dumps({"src": one, "tgt": two}) + b"\n" for one, two in rows))
    return str(path)


def look(stream: list[str], target: list[str], **settings: str) -> int:
    """How many records of the stream came through."""
    chosen = Settings.load(None, [f"{name.replace('__', '.')}={value}" for name, value in settings.items()])
    first = FirstLook(chosen, stream, target)
    for chunk in read_chunks(target, chosen.record):
        first.target(chunk.pairs)
    return sum(len(chunk.messages) for chunk in first.over(read_chunks(stream, chosen.record)))


def test_nothing_is_said_of_what_is_as_it_should_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stream of the target's languages, in their order, with records enough."""
    target = write(tmp_path / "t.jsonl", 100, 1)
    assert look([write(tmp_path / "s.jsonl", 5_000, 2)], [target]) == 5_000
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("s.jsonl", "s.jsonl?src=tgt&tgt=src'"),
        ("s.tsv", "s.tsv?src=2&tgt=1'"),
        ("s.tmx", "s.tmx?langs=en,fr'"),
    ],
)
def test_swapped_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, typed: str) -> None:
    """They are told once, with what swaps them back in that format, and the stream goes on."""
    rows = list(zip(texts("fr", 200, 2), texts("en", 200, 2), strict=True))
    stream = tmp_path / name
    if name == "s.jsonl":
        write(stream, 200, 2, "fr", "en")
    elif name == "s.tsv":
        stream.write_text("".join(f"{one}\t{two}\n" for one, two in rows))
    else:
        units = "".join(
            f'<tu><tuv xml:lang="fr"><seg>{one}</seg></tuv><tuv xml:lang="en"><seg>{two}</seg></tuv></tu>'
            for one, two in rows
        )
        stream.write_text(f'<tmx version="1.4"><header srclang="fr"/><body>{units}</body></tmx>')
    assert look([str(stream)], [write(tmp_path / "t.jsonl", 100, 1)]) == 200
    told = capsys.readouterr().err
    assert "the stream seems to be in fr and en, the target in en and fr" in told
    assert typed in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (("id", "en", "fr"), "sources are no texts, they begin with 0 | 1 | 2: name the sides, as --input 'PATH?src=2&tgt=3'"),
        (("url", "en", "fr"), "PATH?src=2&tgt=3'"), (("doc", "en", "fr"), "PATH?src=2&tgt=3'"),
        (("en", "id", "fr"), "targets are no texts, they begin with 0 | 1 | 2: name the sides, as --input 'PATH?src=1&tgt=3'"),
        (("en", "fr", "id"), ""),
    ],
)  # fmt: skip
def test_columns_that_hold_no_texts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: tuple[str, ...], said: str
) -> None:
    """Numbers, addresses and identifiers where a side should be: what to type is said, with a target and without."""
    made = {"en": texts("en", 200, 2), "fr": texts("fr", 200, 2), "id": [str(k) for k in range(200)]}
    made |= {
        "url": [f"https://s.example/{k}?q" for k in range(200)],
        "doc": [f"doc-{k}.xml" for k in range(200)],
    }
    path = tmp_path / "s.tsv"
    path.write_text(
        "".join("\t".join(row) + "\n" for row in zip(*(made[name] for name in columns), strict=True))
    )
    for target in ([write(tmp_path / "t.jsonl", 100, 1)], []):
        look([str(path)], target)
        told = capsys.readouterr().err
        assert said.replace("PATH", str(path)) in told if said else not told


@pytest.mark.parametrize(
    ("name", "options", "typed"),
    [
        ("s.csv", "?encoding=utf-8&src=1&tgt=2", "?encoding=utf-8&src=2&tgt=3"),
        ("s.csv", "?src=1&tgt=3&delimiter=,", "?src=3&tgt=4&delimiter=,"),
        ("s.csv", "?columns=src,tgt,more", "?src=2&tgt=3"),
        ("it's.dump", "?format=csv", "?format=csv&src=2&tgt=3"),
        ("s.jsonl", "?encoding=utf-8", "?encoding=utf-8&src=NAME&tgt=NAME"),
        ("s.tmx", "", None),
        ("s.po", "", None),
        ("s.en-fr", "", None),
        ("s.en-fr.en", "?with=PATH.fr", None),
    ],
)
def test_what_is_said_of_columns_that_hold_no_texts_can_be_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, options: str, typed: str | None
) -> None:
    """Options that were given stay, the word is quoted for the shell, and formats without other columns are told none."""
    path = tmp_path / name
    rows = list(zip(map(str, range(200)), texts("en", 200, 2), texts("fr", 200, 2), strict=True))
    if name.endswith((".csv", ".dump")):
        path.write_text("".join(f"{one},{two},{three}\n" for one, two, three in rows))
    elif name.endswith(".jsonl"):
        path.write_text("".join(f'{{"src": "{one}", "tgt": "{two}"}}\n' for one, two, _ in rows))
    elif name.endswith(".po"):
        path.write_text("".join(f'msgid "{one}"\nmsgstr "{two}"\n\n' for one, two, _ in rows))
    elif name.endswith(".tmx"):
        units = "".join(
            f'<tu><tuv xml:lang="en"><seg>{one}</seg></tuv><tuv xml:lang="fr"><seg>{two}</seg></tuv></tu>'
            for one, two, _ in rows
        )
        path.write_text(f'<tmx version="1.4"><header srclang="en"/><body>{units}</body></tmx>')
    else:
        for number, language in enumerate(("en", "fr")):
            other = tmp_path / f"s.en-fr.{language}"
            other.write_text("".join(f"{row[number]}\n" for row in rows))
    look([str(path) + options.replace("PATH", str(path)[: -len(".en")])], [])
    told = capsys.readouterr().err
    assert "sources are no texts" in told
    if typed is None:
        assert "--input" not in told
        assert told.endswith("is it the right file?\n")
    else:
        assert shlex.split(told.partition("as --input ")[2]) == [f"{path}{typed}"]


def test_sides_that_were_named_are_swapped_as_they_were_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Columns 2 and 3 become 3 and 2, and what else stands in the options stays."""
    path = tmp_path / "s.tsv"
    rows = zip(texts("fr", 200, 2), texts("en", 200, 2), strict=True)
    path.write_text("".join(f"x\t{one}\t{two}\n" for one, two in rows))
    look([f"{path}?encoding=utf-8&src=2&tgt=3"], [write(tmp_path / "t.jsonl", 100, 1)])
    assert f"Type --input '{path}?encoding=utf-8&src=3&tgt=2'" in capsys.readouterr().err


def test_other_languages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Named, with the beginning of the stream to look at."""
    stream = write(tmp_path / "s.jsonl", 200, 2, "en", "de")
    look([stream], [write(tmp_path / "t.jsonl", 100, 1)])
    told = capsys.readouterr().err
    assert "in en and de, the target in en and fr" in told
    assert texts("de", 1, 2)[0][:30] in told


@pytest.mark.parametrize(
    ("language", "side", "said"),
    [
        ("en", "source", ""),
        ("fr", "target", ""),
        ("fr", "source", "seem to be in fr, the stream in en and fr: give them by --target-target"),
        ("de", "target", "seem to be in de, the stream in en and fr: nothing can be selected by them"),
    ],
)
def test_texts_of_one_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], language: str, side: Side, said: str
) -> None:
    """Texts of the other side's language, or of neither, are told when the stream begins; those of their own are not."""
    stream = write(tmp_path / "s.jsonl", 200, 2)
    described = PairBatch.of_side(texts(language, 100, 1), side)
    first = FirstLook(Settings(), [stream], [])
    first.target(TokenizedPairs.of(described), side)
    assert sum(len(chunk.messages) for chunk in first.over(read_chunks([stream], Settings().record))) == 200
    told = capsys.readouterr().err
    assert said in told if said else not told


def test_fields_of_other_names(tmp_path: Path) -> None:
    """A long stream whose records have not the sides is not read to its end; what to type is said."""
    stream = tmp_path / "s.jsonl"
    stream.write_bytes(b'{"id": 1, "en": "a house", "fr": "une maison"}\n' * 20_000)
    with pytest.raises(DataError, match=r"first 4,096 .*\?src=en&tgt=fr, or by --set record.source_field=en"):
        look([str(stream)], [write(tmp_path / "t.jsonl", 100, 1)])


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"id": 1, "fr": "une maison", "en": "a house"}, ("fr", "en")),
        ({"Source": "a", "Target": "b", "en": 1}, ("Source", "Target")),
        ({"translation": {"en-GB": "a", "pt_BR": "b"}, "id": "x"}, ("en-GB", "pt_BR")),
        ({"en": "a", "fr": "b", "de": "c"}, None),
        ({"text": "a"}, None),
    ],
)
def test_sides_by_their_names(record: dict[str, object], expected: tuple[str, str] | None) -> None:
    """Those that tools use, else the two that are language tags; three are no pair."""
    assert likely_sides(record) == expected


def test_what_is_no_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stream that is the target by a link, or holds mostly its pairs; one that is empty; a budget of nothing; few pairs."""
    target = write(tmp_path / "t.jsonl", 100, 1)
    (tmp_path / "link.jsonl").symlink_to(target)
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(Path(target).read_bytes() + Path(write(tmp_path / "x.jsonl", 50, 2)).read_bytes())
    (tmp_path / "none.jsonl").write_bytes(b"")
    for stream, settings, said in (
        ("link.jsonl", {}, "is the target and the stream"),
        ("copy.jsonl", {}, "of the stream's first 150 pairs 100 are the target's own"),
        ("none.jsonl", {}, "the stream is empty"),
        ("x.jsonl", {"budget__rate": "0"}, "give --budget-rate"),
    ):
        look([str(tmp_path / stream)], [target], **settings)
        told = capsys.readouterr().err
        assert said in told, stream
        assert told.count("\n") == 1, stream
    look([str(copy)], [write(tmp_path / "few.jsonl", 3, 4)])
    assert "the target is 3 pairs" in capsys.readouterr().err
