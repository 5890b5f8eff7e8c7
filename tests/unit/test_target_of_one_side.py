"""Targets that are texts of one side: what is learned of the domain and of translations, and what is refused."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import Run, run
from test_runtime_worker import configuration
from toy import Toy, stream, target

import craft_stream as cs
from connectors.files.texts import open_texts
from craft_stream.encoders import load_encoder
from craft_stream.errors import ConfigurationError, TargetError
from craft_stream.learning.domain import DomainLearner
from craft_stream.learning.learner import Learner
from craft_stream.parameters import LearningParameters, Parameters
from craft_stream.scoring.model import Model
from craft_stream.settings import Settings
from craft_stream.testing.memory import MemoryBroker, MemoryTransport
from craft_stream.text.batch import PairBatch, Side
from craft_stream.text.ngrams import word_ngrams
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.text.tokens import tokenize
from craft_stream.topics.target import TargetFollower
from craft_stream.topics.target_contents import TargetContents

__all__ = ["run"]  # a fixture

SIDES: tuple[Side, ...] = ("source", "target")
FIELDS = Settings().record


def one_sided(pairs: PairBatch, side: Side) -> PairBatch:
    none = [""] * len(pairs)
    if side == "source":
        return PairBatch.pack(pairs.source.texts(), none)
    return PairBatch.pack(none, pairs.target.texts())


@cache
def learned(side: Side, late: bool = False) -> Model:
    """Of the toy, from one side of its target, which comes before the stream or after it."""
    learner = Learner(Parameters(), load_encoder())
    names, pairs = target(Toy())
    if not late:
        learner.observe_target(names, one_sided(pairs, side))
        learner.check_target()
    learner.observe(stream(Toy(), 2000, seed=5).batch)
    if late:
        learner.observe_target(names, one_sided(pairs, side))
    return learner.publish()


words = st.lists(st.sampled_from(["red", "house", "rouge", "12", "."]), max_size=6).map(" ".join)


@given(st.lists(st.tuples(words, words), max_size=6), st.sampled_from(SIDES))
def test_ngrams_of_a_side(pairs: list[tuple[str, str]], side: Side) -> None:
    """They are those of the pairs without the other side, in any slice."""
    batch = PairBatch.pack([one for one, _ in pairs], [other for _, other in pairs])
    alone = one_sided(batch, side)
    expected = word_ngrams(tokenize(alone.source), tokenize(alone.target))
    found = TokenizedPairs.of(batch).ngrams
    assert found.of_side(None) is found
    for low in range(len(pairs)):
        part, own = found.slice(low, len(pairs)).of_side(side), expected.slice(low, len(pairs))
        for name in ("indices", "offsets", "middles"):
            assert np.array_equal(getattr(part, name), getattr(own, name))


@pytest.mark.parametrize("side", SIDES)
def test_the_domain_and_translations_are_told(side: Side) -> None:
    """A Model of one side tells the domain, though of words of the other nothing is known, and finds what is no translation."""
    model = cs.Model(learned(side), load_encoder())
    held = stream(Toy(), 1000, seed=9)
    table = model.score(zip(held.batch.source.texts(), held.batch.target.texts(), strict=True))
    domain, quality = table["domain"].to_numpy(), table["quality"].to_numpy()
    clean = held.clean
    assert (domain[clean & held.in_domain][:, None] > domain[clean & ~held.in_domain]).mean() > 0.97
    assert (quality[clean][:, None] > quality[~clean]).mean() > 0.97


@pytest.mark.parametrize("side", SIDES)
def test_the_target_may_come_after_the_stream(side: Side) -> None:
    """What was counted of both sides is counted anew from the even sample, here of all pairs: the weights are equal."""
    early, late = learned(side), learned(side, late=True)
    assert np.array_equal(early.domain.weights, late.domain.weights)
    assert early.of_texts
    assert early.target_pairs == 100


def test_another_side_counts_anew() -> None:
    """Counts of the other side are gone, and of the sample each pair stands for as many as are said."""
    pairs = stream(Toy(), 100).batch
    domain = DomainLearner(LearningParameters())
    ngrams = TokenizedPairs.of(pairs).ngrams
    domain.counts.add_stream(ngrams)
    domain.tell_from("source", ngrams, 2.0)
    assert domain.counts.stream.sum() == 2 * len(ngrams.of_side("source").indices)


def test_what_the_texts_translate_to_is_wanted() -> None:
    """A pair of the stream whose source is a text of the target is not refused as the target's own."""
    _, pairs = target(Toy())
    crawl = stream(Toy(), 2000, seed=5).batch
    items = list(zip(crawl.source.texts(), crawl.target.texts(), strict=True))
    items[100:1100:10] = zip(pairs.source.texts(), pairs.target.texts(), strict=True)
    decided = list(cs.select(items, target_source=pairs.source.texts(), rate=0.1, prime_pairs=1000))
    own = [decision.reason for _, decision in decided[100:1100:10]]
    assert own.count("accepted") > 60
    assert "in_target" not in own


def test_what_is_refused() -> None:
    """Pairs beside texts, no stream, the paper's method, sides that are swapped, two targets: each by name."""
    texts = [f"some text of the domain {n}" for n in range(40)]
    crawl = [(f"the price of share {n} rose", f"le cours de l’action {n} monte") for n in range(200)]
    learner = Learner(Parameters(), load_encoder())
    learner.observe_target(["a", "b"], PairBatch.pack(["one", "two"], ["un", ""]))
    with pytest.raises(TargetError, match="a part of the target is texts of one side"):
        learner.check_target()
    with pytest.raises(TargetError, match="needs a stream to learn translations from"):
        cs.learn(target_source=texts)
    with pytest.raises(ConfigurationError, match='method "craft" compares pairs with the translations'):
        list(cs.select(crawl, target_source=texts, method="craft"))
    model = cs.learn(sample=crawl, target_source=texts)
    with pytest.raises(ConfigurationError, match="learned from texts of one side"):
        list(cs.select(crawl, model=model, method="craft"))
    french = [f"le cours de l’action de la société {n} baisse" for n in range(40)]
    with pytest.raises(
        TargetError, match=r"not like the stream's sources but like its targets: .*--target-target"
    ):
        cs.learn(sample=crawl, target_source=french)
    with pytest.raises(ConfigurationError, match="give one of target"):
        cs.learn(crawl, crawl, target_source=texts)
    with pytest.raises(TypeError, match="not one str"):
        cs.learn(sample=crawl, target_source="domain.txt")
    with (
        pytest.warns(UserWarning, match="2 items are no texts"),
        pytest.raises(TargetError, match="target is empty"),
    ):
        cs.learn(sample=crawl, target_source=["", None])  # type: ignore[list-item]


def test_texts_on_the_target_topic() -> None:
    """A record without the field of one side is a text of the other; one whose field is empty is still no pair."""
    configured = configuration()
    kafka = configured.kafka
    broker = MemoryBroker({kafka.target_topic: 1})
    for number, record in enumerate(
        (
            {"src": "a house"},
            {"src": "a house", "tgt": ""},
            {"src": " "},
            {"text": "a house"},
            {"src": "two houses"},
        )
    ):
        broker.append(kafka.target_topic, 0, orjson.dumps(record), b"t%d" % number)
    learner = Learner(configured.parameters(), load_encoder())
    follower = TargetFollower(MemoryTransport(broker, kafka).reader(), kafka.target_topic, configured.record)
    follower.refresh(learner)
    sample = learner._reservoir.sample()
    assert [(pair.identifier, pair.source, pair.target) for pair in sample.pairs] == [
        ("t0", "a house", ""), ("t4", "two houses", ""),
    ]  # fmt: skip
    assert (sample.side, follower.bad) == ("source", 3)
    broker.append(kafka.target_topic, 0, orjson.dumps({"src": "one", "tgt": "un"}), b"p")
    follower.refresh(learner)
    with pytest.raises(TargetError, match="a part of the target is texts"):
        learner.check_target()
    broker.append(kafka.target_topic, 0, None, b"p")
    follower.refresh(learner)
    assert learner.check_target() == {}


def test_what_stands_is_withdrawn_where_it_stands() -> None:
    """Whichever client wrote it, and however wide the topic was: a tombstone elsewhere leaves it."""
    kafka = configuration().kafka
    broker = MemoryBroker({kafka.target_topic: 3})
    for partition, key, text in (
        (2, b"a", "x"), (0, b"b", "x"), (1, b"b", "y"),
        (1, b"gone", "x"), (1, b"gone", None), (2, b"\xff", "x"), (0, b"a", None),
    ):  # fmt: skip
        value = None if text is None else orjson.dumps({"src": text})
        broker.append(kafka.target_topic, partition, value, key)
    reader = MemoryTransport(broker, kafka).reader()
    found = TargetContents.read(reader, kafka.target_topic, FIELDS)
    standing = {identifier: found.places(identifier) for identifier in found}
    assert standing == {"a": [(b"a", 2)], "b": [(b"b", 0), (b"b", 1)], "\ufffd": [(b"\xff", 2)]}
    assert str(found) == "3 texts of the source side"
    assert found.places("gone") == [(b"gone", None)]
    for key, partition in (place for places in standing.values() for place in places):
        assert partition is not None
        broker.append(kafka.target_topic, partition, None, key)
    assert not TargetContents.read(reader, kafka.target_topic, FIELDS)


def test_texts_of_files(tmp_path: Path) -> None:
    """Plain lines, compressed or not, JSON lines with the side's field or `text`, one side of pairs: the same texts."""
    lines = ["a house", "", "two  houses "]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    (tmp_path / "a.en.gz").write_bytes(gzip.compress("\r\n".join(lines).encode()))
    rows = [{"text": "a house"}, {"src": "two  houses"}]
    (tmp_path / "a.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    (tmp_path / "a.tsv").write_text("a house\tune maison\ntwo  houses\tdeux maisons\n")
    for name in ("a.txt", "a.en.gz", "a.jsonl", "a.tsv"):
        source = open_texts(str(tmp_path / name), "src", FIELDS)
        records = [orjson.loads(message.value or b"") for message in source.read(10)]
        source.close()
        assert [record.get("src", record.get("text")) for record in records] == ["a house", "two  houses"]
    (tmp_path / "b.txt").write_bytes(b"good\n\xff\n")
    source = open_texts(str(tmp_path / "b.txt"), "src", FIELDS)
    good, bad = source.read(10)
    source.close()
    assert (good.problem, bad.problem, bad.offset) == (None, "byte 0 is not valid UTF-8", 1)


def test_select_by_texts(run: Run, tmp_path: Path) -> None:
    """`--target-source` selects by texts alone; with `--target-target` the two files are pairs, as `--target` reads them."""
    toy = Toy()
    pairs, crawl = target(toy)[1], stream(toy, 1100)
    sides = pairs.source.texts(), pairs.target.texts()
    for name, texts in zip(("d.en", "d.fr"), sides, strict=True):
        (tmp_path / name).write_text("".join(f"{text}\n" for text in texts))
    (tmp_path / "d.tsv").write_text("".join(f"{one}\t{two}\n" for one, two in zip(*sides, strict=True)))
    rows = zip(crawl.batch.source.texts(), crawl.batch.target.texts(), strict=True)
    (tmp_path / "s.tsv").write_text("".join(f"{one}\t{two}\n" for one, two in rows))
    good = int((crawl.in_domain & crawl.clean).sum())

    def select(*named: str) -> list[str]:
        found = (f"{part}" if part.startswith("--") else str(tmp_path / part) for part in named)
        code, out, err = run(
            "select", "--input", tmp_path / "s.tsv", "--output", tmp_path / "o.tsv",
            "--budget-count", good // 2, "--json", *found,
        )  # fmt: skip
        assert code == 0, err
        assert json.loads(out)["accepted"] == good // 2
        return (tmp_path / "o.tsv").read_text().splitlines()

    taken = select("--target-source", "d.en")
    inside = {f"{one}\t{two}" for (one, two), held in zip(
        zip(crawl.batch.source.texts(), crawl.batch.target.texts(), strict=True),
        crawl.in_domain & crawl.clean, strict=True) if held}  # fmt: skip
    assert len(taken) == good // 2
    assert sum(line in inside for line in taken) > 0.9 * len(taken)
    assert select("--target-source", "d.en", "--target-target", "d.fr") == select("--target", "d.tsv")
    code, _, err = run(
        "select", "--input", tmp_path / "s.tsv", "--output", tmp_path / "o.tsv", "--target", tmp_path / "d.tsv",
        "--target-source", tmp_path / "d.en",
    )  # fmt: skip
    assert code == 2
    assert "not both" in err
