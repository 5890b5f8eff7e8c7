"""What of a target is fit to learn from, what is said of the rest, and that what it holds is not accepted again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import Run, run
from test_encoders import Counting
from toy import Toy, stream, target

import craft_stream as cs
from craft_stream.encoders import load_encoder
from craft_stream.encoders.dense import DenseEncoder
from craft_stream.errors import TargetError
from craft_stream.events import FINDINGS
from craft_stream.learning.examination import Finding, examine
from craft_stream.learning.learner import Learner
from craft_stream.learning.reservoir import Reservoir, Sample
from craft_stream.observe.recorder import Recorder
from craft_stream.parameters import Parameters
from craft_stream.scoring.embedding import Embedder
from craft_stream.scoring.model import Model
from craft_stream.selection.decisions import Reason
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

__all__ = ["run"]  # a fixture


def sample_of(pairs: Sequence[tuple[str, str]]) -> Sample:
    reservoir = Reservoir(len(pairs))
    for number, (source, text) in enumerate(pairs):
        reservoir.insert(f"{number:06d}", source, text)
    return reservoir.sample()


word = st.sampled_from(["red", "house", "Maison", "rouge", "12", "été"])
side = st.lists(word, min_size=1, max_size=3).map(" ".join)


@given(st.lists(st.tuples(side, side), min_size=1, max_size=20))
def test_what_is_fit_is_no_copy_and_comes_once(pairs: list[tuple[str, str]]) -> None:
    """Of equal pairs the first is kept, of copies none; counts and what is kept add up to the sample."""
    clean = [(f"one {n}", f"un {n}") for n in range(len(pairs))]
    found = examine(sample_of(clean + pairs), None)
    kept = [(pair.source.lower(), pair.target.lower()) for pair in found.fit.pairs]
    assert len(kept) == len(set(kept))
    assert set(kept) == {
        (one.lower(), other.lower())
        for one, other in clean + pairs
        if one.lower() != other.lower() or not any(map(str.isalpha, one))
    }
    assert len(kept) + sum(found.left_out.values()) == 2 * len(pairs)


def test_a_copy_is_told_by_its_words() -> None:
    """Case, spaces and marks make no difference; numbers alone are no copy."""
    pairs = [("The end.", "the  END"), ("12.5", "12.5"), ("a", "b"), ("c", "d")]
    assert examine(sample_of(pairs), None).findings.tolist() == [
        Finding.COPY,
        Finding.FIT,
        Finding.FIT,
        Finding.FIT,
    ]


def test_a_target_of_copies_is_refused_by_name() -> None:
    """A file that is named for both sides describes no translations."""
    with pytest.raises(TargetError, match="both sides of the target are the same text in 3 of 4 pairs"):
        examine(sample_of([("a", "a"), ("b", "B"), ("c", "c."), ("d", "e")]), None)


@pytest.fixture(scope="module")
def spoilt() -> tuple[Learner, Model]:
    """A learner whose target has 60 misaligned pairs, 20 copies and 20 repeated ones among 400."""
    toy = Toy()
    names, batch = target(toy, 400)
    sources, targets = batch.source.texts(), batch.target.texts()
    targets[:60] = targets[1:60] + targets[:1]
    targets[60:80] = sources[60:80]
    sources[80:100], targets[80:100] = sources[100:120], targets[100:120]
    learner = Learner(Parameters.of(), load_encoder())
    learner.observe_target(names, PairBatch.pack(sources, targets))
    known = stream(toy, 9_000, seed=5).batch
    for start in range(0, len(known), 1000):
        learner.observe(known.slice(start, start + 1000))
    return learner, learner.publish()


def test_misaligned_pairs_are_found_by_what_the_stream_teaches(spoilt: tuple[Learner, Model]) -> None:
    """Most of what is no translation is left out, and hardly anything else."""
    learner, model = spoilt
    left_out = model.target_left_out
    assert left_out["copy"] == left_out["duplicate"] == 20
    assert 45 <= left_out["no_translation"] <= 65
    assert model.target_pairs == 400 - sum(left_out.values())
    assert learner.check_target() == left_out
    assert Model.decode(model.encode()).target_left_out == left_out


def test_a_large_target_teaches_the_domain_whole_and_translations_by_a_sample() -> None:
    """All n-grams count, and the sample is of the smallest priorities, in the order of the identifiers."""
    found = examine(sample_of([(f"one {n}", f"un {n}") for n in range(5000)]), None)
    taught = found.translations
    assert (len(found.ngrams), len(found.fit), len(taught)) == (5000, 5000, 4096)
    others = set(found.fit.pairs) - set(taught.pairs)
    assert max(pair.priority for pair in taught.pairs) < min(pair.priority for pair in others)
    assert [pair.identifier for pair in taught.pairs] == sorted(pair.identifier for pair in taught.pairs)


def test_a_target_with_swapped_sides_is_refused() -> None:
    """As soon as the stream has shown what its sides are like; in order it is taken."""
    names, batch = target(toy := Toy())
    swapped = PairBatch.pack(batch.target.texts(), batch.source.texts())
    for pairs in (batch, swapped):
        learner = Learner(Parameters.of(), load_encoder())
        learner.observe_target(names, pairs)
        learner.observe(stream(toy, 1024).batch)
        if pairs is batch:
            assert learner.publish().target_pairs == len(batch)
        else:
            with pytest.raises(TargetError, match="sides are swapped"):
                learner.publish()


def test_a_metric_tells_what_was_left_out(spoilt: tuple[Learner, Model]) -> None:
    """By finding; its labels are the findings."""
    assert tuple(finding.label for finding in Finding if finding) == FINDINGS
    recorder = Recorder()
    recorder.model(spoilt[1].header, 1)
    value = recorder.registry.get_sample_value("craft_target_left_out_pairs", {"reason": "copy"})
    assert value == 20


@pytest.mark.parametrize(
    "encoder", [load_encoder(), DenseEncoder(Counting(), "counting")], ids=["cheap", "expensive"]
)
@pytest.mark.parametrize("duplicates", [True, False])
def test_what_the_target_holds_is_not_accepted(encoder: Embedder, duplicates: bool) -> None:
    """A pair of the target that comes in the stream is rejected for that, unless duplicates are accepted."""
    toy, (names, batch) = Toy(), target(Toy())
    parameters = Parameters.of(encoder.digest, rate=0.5, duplicates=duplicates, near_duplicate=1.1)
    learner = Learner(parameters, encoder)
    learner.observe_target(names, batch)
    learner.observe(stream(toy, 2048).batch)
    fresh = stream(toy, 1024, share=0.5, seed=7).batch
    mixed = PairBatch.pack(
        [*fresh.source.texts(), *(text.upper() for text in batch.source.texts())],
        [*fresh.target.texts(), *batch.target.texts()],
    )
    decisions = Selector(parameters, encoder).decide(
        TokenizedPairs.of(mixed), Ledger(parameters), learner.publish()
    )
    held, own = decisions.reason[:1024], decisions.reason[1024:]
    assert not (held == Reason.IN_TARGET).any()
    if duplicates:
        assert not (own == Reason.ACCEPTED).any()
        assert (own == Reason.IN_TARGET).mean() > 0.8
    else:
        assert (own == Reason.ACCEPTED).any()
        assert not (own == Reason.IN_TARGET).any()


def test_the_command_line_and_python_refuse_a_target_of_copies(run: Run, tmp_path: Path) -> None:
    """Before anything is written; a few copies are said, counted and left out."""
    toy, rng = Toy(), random.Random(1)
    pairs = [toy.pair(rng, True) for _ in range(60)]

    def write(name: str, copies: int) -> str:
        path = tmp_path / name
        rows = [{"src": one, "tgt": one if n < copies else two} for n, (one, two) in enumerate(pairs)]
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        return str(path)

    crawl = write("crawl.jsonl", 0)
    out = tmp_path / "out.jsonl"
    code, _, err = run("select", "--input", crawl, "--target", write("copies.jsonl", 60), "--output", out)
    assert code == 1
    assert "both sides of the target are the same text in 60 of 60 pairs" in err
    assert not out.exists()
    code, told, err = run(
        "select", "--input", crawl, "--target", write("few.jsonl", 6), "--output", out, "--json"
    )
    assert code == 0
    assert "target, 6 of 60 pairs left out: copy" in err
    assert orjson.loads(told)["target"] == {"pairs": 54, "left_out": {"copy": 6}}
    with pytest.raises(cs.TargetError, match="same text"):
        list(cs.select(pairs, target=[(one, one) for one, _ in pairs]))
    selection = cs.select(pairs, target=[*pairs[:50], *((one, one) for one, _ in pairs[50:])], rate=0.5)
    reasons = [decision.reason for _, decision in selection]
    assert selection.summary()["target_left_out"] == {"copy": 10}
    assert reasons.count("in_target") > 30
