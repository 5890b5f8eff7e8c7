"""The report: what is gathered, how it is shown, and that hostile text is shown as text."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_cli import Run, folder, run

from craft_stream.report.about import About, Target
from craft_stream.report.gathered import Gathered
from craft_stream.report.page import MOST, page
from craft_stream.report.rows import Rows
from craft_stream.report.samples import Samples, priorities
from craft_stream.report.shown import SHOWN, parts, visible
from craft_stream.report.stretches import STRETCHES, Stretches
from craft_stream.report.threshold import _bars
from craft_stream.report.view import _findings, view
from craft_stream.report.vocabulary import Vocabulary
from craft_stream.selection.decisions import Reason
from craft_stream.settings import RecordSettings

__all__ = ["folder", "run"]  # fixtures

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7 * 7 }}</style>\u202egnp.exe\u2066"


def rows(count: int, start: int = 0, text: str = "a word number", **record: Any) -> Rows:
    """Pairs of which one in ten is accepted, from a position on, in 64 clusters."""
    rng = np.random.default_rng(start)
    score = rng.normal(0, 1, count).astype(np.float32)
    reason = np.where(score >= 1.28, Reason.ACCEPTED, rng.integers(1, 12, count)).astype(np.uint8)
    reason[(reason == Reason.OVER_BUDGET) & (score >= 1.28)] = Reason.ACCEPTED
    return Rows(
        records=count + 1,
        refused=["not_json"],
        positions=np.arange(start, start + count),
        reason=reason,
        score=score,
        threshold=np.full(count, 1.28, np.float32),
        domain=score,
        quality=np.full(count, -0.1, np.float32),
        cluster=(np.arange(count) % 64).astype(np.int16),
        record=lambda row: {"src": f"{text} {row}", "tgt": f"{text} {row + 1}", **record},
        place=lambda row: f"file/0/{start + row}",
    )


def about(**values: Any) -> About:
    shares = np.full(64, 1 / 64)
    centroids = np.random.default_rng(1).normal(size=(8, 64)).astype(np.float32)
    return About(
        **{"title": "T", "command": "craft-stream", "target": Target(9, {}, shares, centroids), **values}
    )


class Elements(HTMLParser):
    """Names of all elements, attributes' names and the text between."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: set[str] = set()
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def hostile() -> str:
    """A page of which every text that a stream brings is hostile."""
    gathered = Gathered(RecordSettings())
    gathered.add(rows(3000, text=HOSTILE, id=HOSTILE, url=f"https://{HOSTILE}/{HOSTILE}", src_lang=HOSTILE))
    return page(
        gathered, about(title=HOSTILE, command=HOSTILE, settings=HOSTILE, facts={"x": HOSTILE})
    ).decode()


def test_hostile_text_is_text(hostile: str) -> None:
    """No element, no attribute and no mark of direction comes from it: a page of plain text has the same ones."""
    gathered = Gathered(RecordSettings())
    gathered.add(rows(3000, id="i", url="https://a.example/b", src_lang="en"))
    plain = Elements(page(gathered, about(settings="x", facts={"x": "y"})).decode())
    found = Elements(hostile)
    assert {*found.names} - {"mark"} == {*plain.names} - {"mark"}
    assert found.names.count("script") == 2
    assert found.attributes == plain.attributes
    assert "[U+202E]" in hostile
    assert "\u202e" not in hostile.partition("<pre>")[0]
    assert "{{ 7 * 7 }}" in "".join(found.text)


def test_the_page_asks_for_nothing(hostile: str) -> None:
    """Its policy lets no request through, and names the digests of its own script and style."""
    assert "default-src &#39;none&#39;" in hostile
    assert hostile.count("sha256-") == 2
    found = Elements(hostile)
    assert {"iframe", "object", "form", "img", "base"} & {*found.names} == set()
    assert "style" not in found.attributes


def test_what_is_looked_at_stands_for_all() -> None:
    """Hosts and lengths of a long stream are estimated from a part of it, of the few accepted pairs as of the others."""
    gathered = Gathered(RecordSettings())
    for start in range(0, 120_000, 4_000):
        gathered.add(rows(4_000, start, text="one two three", url="https://a.example/b"))
    (_, host), *others = gathered.hosts.best(2)
    assert not others
    assert host.read == pytest.approx(120_000, rel=0.1)
    assert host.accepted == pytest.approx(gathered.accepted, rel=0.1)
    rejected, accepted = gathered.lengths
    assert {*np.flatnonzero(gathered.lengths.sum((0, 1)))} == {4}  # and a number
    assert rejected[0, 4] == rejected[1, 4] == pytest.approx(120_000 - gathered.accepted, rel=0.1)
    assert accepted[0, 4] == pytest.approx(gathered.accepted, rel=0.1)


def test_a_page_is_below_its_limit_whatever_comes() -> None:
    """Texts of 100,000 characters that each take five bytes and marks: still below 5 MB."""
    gathered = Gathered(RecordSettings())
    for start in range(0, 4_000, 2_000):
        gathered.add(
            rows(
                2_000,
                start,
                text="&1 2\U0001f600" * 15_000,
                id="&" * 9_000,
                url=f"https://{'&' * 900}/{start}",
            )
        )
    made = page(gathered, about())
    assert 500_000 < len(made) < MOST < 5_000_000


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_page_of_next_to_nothing(count: int) -> None:
    """No pair, one, three; with and without a target."""
    for target in (about().target, None):
        gathered = Gathered(RecordSettings())
        if count:
            gathered.add(rows(count))
        assert b"What came in" in page(gathered, about(target=target))


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=60))
def test_stretches_hold_every_pair_once(positions: list[int]) -> None:
    """However long the stream turns out to be, and in whatever order its parts come."""
    stretches = Stretches()
    for at in positions:
        stretches.add(np.array([at]), np.array([at % 12], np.uint8), np.array([1.0], np.float32))
    assert stretches.reasons.sum() == len(positions) == stretches.known.sum()
    assert stretches.used <= STRETCHES
    expected = np.bincount([at // stretches.width for at in positions], minlength=STRETCHES)
    assert (stretches.reasons.sum(axis=1) == expected).all()


@given(st.integers(1, 400), st.integers(1, 50), st.integers(1, 9))
def test_samples_do_not_depend_on_cuts(count: int, cut: int, size: int) -> None:
    """Those of least priority in each group, as sorting everything gives them."""
    positions, group = np.arange(count), np.arange(count) % 3 - 1
    even = priorities(positions)
    samples: Samples[int] = Samples(2, size)
    for start in range(0, count, cut):
        part = slice(start, start + cut)
        samples.offer(group[part], even[part], positions[part], lambda row, start=start: start + row)  # type: ignore[misc]
    for number in (0, 1):
        own = np.flatnonzero(group == number)
        assert samples.of(number) == own[np.argsort(even[own])][:size].tolist()


@given(st.text(max_size=600), st.text(max_size=60), st.sampled_from(list(Reason)))
def test_nothing_unseen_is_shown_and_nothing_seen_is_lost(text: str, other: str, reason: Reason) -> None:
    """Pieces give the visible text, at most 240 characters, with no control and no mark of direction."""
    shown = visible(text)
    assert "".join(part.text for part in parts(text, other, reason)) == shown
    assert len(shown) <= SHOWN
    assert not {*"\x00\x1b\u202a\u202e\u2066\u2069\u200e\u200f\ufeff"} & {*shown}


def test_what_speaks_against_a_pair_is_marked() -> None:
    """A number that the other side has not, a copied word, text that was encoded twice."""
    assert [p for p in parts("take 25 or 7", "prenez 7", Reason.MISALIGNED) if p.mark] == [
        ("25", "not on the other side")
    ]
    assert [p.text for p in parts("Firefox rocks", "firefox roule", Reason.COPY) if p.mark] == ["Firefox"]
    assert [p.mark for p in parts("dÃ©jà", "x", Reason.GARBLED) if p.mark] == ["encoded twice"]
    assert not [p for p in parts("take 25", "prenez", Reason.ACCEPTED) if p.mark]


def test_select_writes_a_report(run: Run, folder: Path, tmp_path: Path) -> None:
    """With the figures of the summary; an output that is an input is refused."""
    files = (
        "--target",
        folder / "target.jsonl",
        "--input",
        folder / "stream.jsonl",
        "--output",
        tmp_path / "o.jsonl",
    )
    code, _, err = run("select", *files, "--report", tmp_path / "report.html")
    assert code == 0, err
    html = (tmp_path / "report.html").read_text("utf-8")
    accepted = len((tmp_path / "o.jsonl").read_bytes().splitlines())
    assert f"<dt>accepted</dt><dd>{accepted:,}</dd>" in html
    for part in ("funnel", "stream", "threshold", "scores", "clusters", "examples", "texts", "made"):
        assert f'id="{part}"' in html, part
    assert "not_json" in html
    assert run("select", *files, "--report", folder / "stream.jsonl")[0] == 2


def test_repetitions_are_told_as_numbers_of_pairs() -> None:
    """Above a fiftieth of what was accepted, each number in words of its own; below it nothing is said."""
    gathered = Gathered(RecordSettings())
    gathered.reasons[Reason.ACCEPTED] = 50
    gathered.reasons[[Reason.DUPLICATE, Reason.NEAR_DUPLICATE]] = 30, 1
    assert "31 pairs repeat accepted ones and were rejected, beside the 50 that were accepted." in _findings(
        gathered, 0
    )
    gathered.reasons[[Reason.DUPLICATE, Reason.NEAR_DUPLICATE]] = 1, 0
    assert not any("repeat" in line for line in _findings(gathered, 0))


def test_faults_are_told_of_the_pairs_that_were_checked() -> None:
    """Pairs that are off the domain were not asked for a translation: they count neither as good nor as bad."""
    gathered = Gathered(RecordSettings())
    gathered.reasons[[Reason.OFF_DOMAIN, Reason.ACCEPTED, Reason.MISALIGNED, Reason.COPY]] = 900, 75, 20, 5
    assert any(
        line.startswith("25% of the 100 pairs that were near enough") for line in _findings(gathered, 0)
    )
    gathered.reasons[[Reason.MISALIGNED, Reason.COPY]] = 0
    assert not any("no good" in line for line in _findings(gathered, 0))


def shares_in(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every share that a view holds, by name, and every percentage in its sentences."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from shares_in(part, key)
    elif isinstance(value, list):
        for part in value:
            yield from shares_in(part, name)
    elif isinstance(value, str):
        yield from ((value, float(found) / 100) for found in re.findall(r"([\d.]+)%", value))
    elif isinstance(value, float) and name in {
        "share",
        "all",
        "most",
        "most_faulty",
        "faulty",
        "accepted",
        "stream",
    }:
        yield name, value


@given(
    st.dictionaries(st.sampled_from(list(Reason)), st.integers(1, 300)),
    st.integers(0, 40),
    st.randoms(use_true_random=False),
)
@example({Reason.OFF_DOMAIN: 30, Reason.OTHER_LANGUAGE: 30}, 0, Random(0))
@example({Reason.OTHER_LANGUAGE: 300, Reason.MISALIGNED: 60}, 0, Random(0))
@settings(max_examples=25, deadline=None)
def test_shares_are_shares_whatever_the_reasons(
    counts: dict[Reason, int], refused: int, order: Random
) -> None:
    """Any reasons, alone or mixed: nothing is divided by zero, and no share is below 0 or above 1."""
    reason = [reason for reason, count in counts.items() for _ in range(count)]
    order.shuffle(reason)
    made = rows(len(reason), url="https://a.example/b")
    made = replace(
        made,
        records=len(reason) + refused,
        refused=["not_json"] * refused,
        reason=np.array(reason, np.uint8),
        cluster=(np.arange(len(reason)) % 3).astype(np.int16),
    )
    gathered = Gathered(RecordSettings())
    gathered.add(made)
    assert [found for found in shares_in(view(gathered, about(target=None))) if not 0 <= found[1] <= 1] == []
    page(gathered, about(target=None))


def test_clusters_are_named_by_words_that_few_of_them_have() -> None:
    """An article that is frequent everywhere, and in one cluster more so, names none."""
    vocabulary = Vocabulary()
    for cluster, word in enumerate(["invoice", "patient", "engine", "harvest"]):
        for at in range(100):
            vocabulary.add(
                cluster, f"{word} {'the' if at % 2 or not cluster else ''} {'of that' if at % 3 else ''}"
            )
    found = vocabulary.telling(3)
    assert [found[cluster][0] for cluster in range(4)] == ["invoice", "patient", "engine", "harvest"]
    assert not {"the", "that"} & {word for words in found.values() for word in words}
    alone = Vocabulary()
    alone.add(0, "one cluster alone has words too")
    assert alone.telling(3)[0]


def test_words_of_many_clusters_take_time_in_proportion_to_them() -> None:
    """Of 1,024 clusters with 400 words each: below 10 s, where asking each cluster for each word takes minutes."""
    vocabulary, letters = Vocabulary(), "abcdefghij"
    words = ["".join(letters[int(digit)] for digit in f"{number:05d}") for number in range(20_000)]
    for cluster in range(1_024):
        start = cluster * 17 % 18_000
        for place in range(start, start + 400, 50):
            for _ in range(2):
                vocabulary.add(cluster, " ".join([*words[place : place + 50], "the", "and"]))
    vocabulary.add(1_024, "1 2 3")
    began = time.process_time()
    found = vocabulary.telling(7)
    assert time.process_time() - began < 10
    assert len(found) == 1_024
    assert all(len(own) == 7 and not {"the", "and"} & set(own) for own in found.values())


def test_a_report_is_made_of_what_was_written(run: Run, folder: Path, tmp_path: Path) -> None:
    """Of decisions the figures of `select`; of scored pairs none is accepted yet; of what has no scores nothing."""
    files = (
        "--target",
        folder / "target.jsonl",
        "--input",
        folder / "stream.jsonl",
        "--output",
        tmp_path / "o.jsonl",
    )
    kept = ("--save-model", tmp_path / "model", "--decisions", tmp_path / "d.jsonl", "--texts")
    assert run("select", *files, *kept)[0] == 0
    model = ("--model", tmp_path / "model", "--output")
    assert run("score", folder / "stream.jsonl", *model, tmp_path / "s.jsonl")[0] == 0
    accepted = len((tmp_path / "o.jsonl").read_bytes().splitlines())
    for name, count in (("d.jsonl", accepted), ("s.jsonl", 0)):
        code, _, err = run("report", tmp_path / name, *model, tmp_path / "r.html")
        assert code == 0, err
        html = (tmp_path / "r.html").read_text("utf-8")
        assert f"<dt>accepted</dt><dd>{count:,}</dd>" in html
        assert ("Selected from d.jsonl" in html, "Scores of s.jsonl" in html) == (bool(count), not count)
        assert ("Budget spent" in html) == bool(count)
        assert 'id="clusters"' in html
        assert 'id="slider"' in html
    for sources in ((), (tmp_path / "scored.jsonl", "--group"), ("--group", "--topic")):
        assert run("report", *sources, "--output", tmp_path / "none.html")[0] == 2
    code, _, err = run("report", folder / "target.jsonl", "--output", tmp_path / "none.html")
    assert (code, 'has a "score"' in err) == (1, True)
    assert not (tmp_path / "none.html").exists()


def test_bars_of_clusters_are_where_their_pairs_were_cut() -> None:
    """A cluster whose pairs were left out up to .5 above the threshold has its bar there; others have it at the threshold."""
    gathered = Gathered(RecordSettings())
    some = rows(64)
    score = np.where(some.cluster < 32, np.where(np.arange(64) % 2, 2.0, 1.75), 1.5).astype(np.float32)
    reason = np.where((some.cluster < 32) & (score < 1.9), Reason.OVER_BUDGET, Reason.ACCEPTED).astype(
        np.uint8
    )
    cluster = (some.cluster >= 32).astype(np.int16)
    gathered.add(
        replace(some, score=score, reason=reason, cluster=cluster, threshold=np.full(64, 1.5, np.float32))
    )
    bars = _bars(gathered)
    assert bars[:2].tolist() == [6, 0]
