"""The first step of a transaction: what is decided, and what happens to a batch that the engine fails on."""

from __future__ import annotations

import itertools
import json
import time
import types
from dataclasses import replace
from typing import Any, cast

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_concurrency import threads, wait_until
from test_runtime_worker import VALUES, configuration, model

from craft_stream.encoders import load_encoder
from craft_stream.errors import DataError
from craft_stream.events import Observer, Stage
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import TransactionError
from craft_stream.scoring.embedding import EmbeddingError
from craft_stream.scoring.model import Model
from craft_stream.selection.blocklist import Blocklist
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.topics.ledger_entries import Kind
from craft_stream.topics.ledger_index import LedgerIndex
from craft_stream.topics.ledger_writer import LedgerWriter
from craft_stream.topics.partition_ledger import PartitionLedger
from craft_stream.worker.decider import Batch, Decider, failed_stage, model_changes, sampled

__all__ = ["model"]  # a fixture

BAD = 130  # the offset of a pair that the engine fails on
MESSAGES = [
    Message(value, offset, "crawl.pairs")
    for offset, value in enumerate(value for value in VALUES if value != b"broken")
]


@pytest.fixture
def decider(monkeypatch: pytest.MonkeyPatch) -> Decider:
    """Its selector fails on one pair, once the ledger has seen a hundred: a pair may fail in some states only."""
    original = Selector.decide
    bad = json.loads(MESSAGES[BAD].value or b"")["src"]

    def brittle(self: Selector, texts: TokenizedPairs, ledger: Ledger, *rest: Any, **named: Any) -> Any:
        if bad in texts.batch.source.texts() and ledger.seen >= 100:
            raise RuntimeError("cannot")
        return original(self, texts, ledger, *rest, **named)

    monkeypatch.setattr(Selector, "decide", brittle)
    configured = configuration(errors__policies={"decide": "dead-letter"})
    return Decider(configured, Selector(configured.parameters(), load_encoder()), Observer())


def partition() -> PartitionLedger:
    """As it is restored when nothing is committed."""
    return PartitionLedger(Ledger(configuration().parameters()), LedgerWriter("g/t/0"), LedgerIndex())


def test_a_batch_behind_the_failed_one_does_not_end_the_care(decider: Decider, model: Model) -> None:
    """The next batch is decided before the failed one is read again: then that one is sifted all the same."""
    first, second, third = (MESSAGES[start : start + 100] for start in (0, 100, 200))
    held = partition()
    decider.decide({0: (held, first)}, model)
    with pytest.raises(TransactionError, match="cannot"):
        decider.decide({0: (held, second)}, model)
    decider.decide({0: (held, third)}, model)
    again = partition()
    batches: list[Batch] = [(again, first), (again, second), (again, third)]
    decided = [decider.decide({0: batch}, model) for batch in batches]
    dead = [letter for one in decided for letter in one.outcomes[0].dead]
    assert [(letter.message.offset, letter.stage) for letter in dead] == [(BAD, Stage.DECIDE)]
    assert sum(len(one.outcomes[0].decisions) for one in decided) == 299


@pytest.mark.parametrize("part", [7, 100, 299])
def test_reading_ahead_changes_nothing(model: Model, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions, dead letters and ledger of a transaction are the same however many messages are read at a time."""
    configured = configuration(errors__policies={"decode": "dead-letter"})
    messages = [m._replace(value=b"broken") if m.offset in (5, 6, 298) else m for m in MESSAGES[:300]]
    found = []
    for size in (1000, part):
        monkeypatch.setattr("craft_stream.worker.decider._PART", size)
        held = partition()
        decider = Decider(configured, Selector(configured.parameters(), load_encoder()), Observer())
        outcome = decider.decide({0: (held, messages)}, model).outcomes[0]
        decisions = outcome.decisions
        found.append(
            (
                held.ledger.digest(),
                outcome.next_offset,
                [letter.message.offset for letter in outcome.dead],
                [message.offset for part in outcome.parts for message in part.chunk.messages],
                [text for part in outcome.parts for text in part.chunk.pairs.batch.target.texts()],
                decisions.positions.tolist(),
                decisions.reason.tolist(),
                decisions.score.tolist(),
            )
        )
    assert found[0] == found[1]
    assert found[0][2] == [5, 6, 298]
    wait_until(lambda: not threads("prefetch"))


def test_a_failure_in_a_later_part_is_the_whole_batch(
    decider: Decider, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read again with care to its end, and nobody goes on reading ahead."""
    monkeypatch.setattr("craft_stream.worker.decider._PART", 20)
    with pytest.raises(TransactionError, match="cannot"):
        decider.decide({0: (partition(), MESSAGES[:300])}, model)
    assert decider.careful == {0: 299}
    again = decider.decide({0: (partition(), MESSAGES[:300])}, model)
    assert [letter.message.offset for letter in again.outcomes[0].dead] == [BAD]
    wait_until(lambda: not threads("prefetch"))


def test_sifting_changes_nothing_of_the_ledger(decider: Decider, model: Model) -> None:
    """With a pair sifted out the ledger is what it would be if that record had held no pair."""
    held, whole = partition(), partition()
    decider.careful[0] = 299
    sifted = (
        decider.decide({0: (held, MESSAGES[:100])}, model),
        decider.decide({0: (held, MESSAGES[100:300])}, model),
    )
    without = [m._replace(value=b"broken") if m.offset == BAD else m for m in MESSAGES[:300]]
    decided = decider.decide({1: (whole, without)}, model)
    assert held.ledger.digest() == whole.ledger.digest()
    assert sum(one.dead for one in sifted) == decided.dead == 1


def test_a_copy_goes_another_way(model: Model) -> None:
    """It begins in the same state and changes nothing of the other."""
    parameters = configuration().parameters()
    selector, ledger = Selector(parameters, load_encoder()), Ledger(parameters)
    texts = [json.loads(message.value or b"") for message in MESSAGES[:300]]
    batch = PairBatch.pack([text["src"] for text in texts], [text["tgt"] for text in texts], range(300))
    selector.decide(TokenizedPairs.of(batch.slice(0, 200)), ledger, model)
    before, copy = ledger.digest(), ledger.copy()
    assert copy.digest() == before
    assert copy.model is ledger.model
    selector.decide(TokenizedPairs.of(batch.slice(200, 300)), copy, model)
    assert copy.digest() != before == ledger.digest()
    selector.decide(TokenizedPairs.of(batch.slice(200, 300)), ledger, model)
    assert copy.digest() == ledger.digest()


def plain(**changes: Any) -> Decider:
    """One whose selector works."""
    configured = configuration(**changes)
    return Decider(configured, Selector(configured.parameters(), load_encoder()), Observer())


def test_the_outcome_of_a_batch_is_what_the_log_says(model: Model) -> None:
    """Decisions at their offsets, what is written of the rejected, the change of model, the ledger's records and its end."""
    held = partition()
    decided = plain(decisions__rejected_sample=0.3).decide({0: (held, MESSAGES[:300])}, model)
    assert (decided.records, decided.dead) == (300, 0)
    assert 0 < decided.seconds < 10
    outcome = decided.outcomes[0]
    assert outcome.decisions.positions.tolist() == list(range(300))
    assert outcome.next_offset == held.ledger.next_offset == 300
    assert outcome.changes == [(0, model.version)]
    assert outcome.ledger is held
    assert outcome.summary == held.ledger.summary()
    assert outcome.pending.snapshot is not None
    assert held.writer.sequence == 1
    (part,) = outcome.parts
    rejected = ~outcome.decisions.accepted
    assert not (part.kept & outcome.decisions.accepted).any()
    assert part.kept.tolist() == (rejected & sampled(outcome.decisions.positions, 0, 0.3)).tolist()
    assert 0 < part.kept.sum() < rejected.sum()
    later = plain().decide({0: (held, MESSAGES[300:310])}, model).outcomes[0]
    assert later.changes == []


def test_an_end_of_dead_letters_moves_the_offset(model: Model) -> None:
    """The next offset is behind what was no pair, also where nothing else was there."""
    held = partition()
    broken = [message._replace(value=b"broken") for message in MESSAGES[:3]]
    outcome = plain().decide({0: (held, broken)}, model).outcomes[0]
    assert (outcome.next_offset, len(outcome.decisions), len(outcome.dead)) == (3, 0, 3)
    assert outcome.changes == []
    assert [letter.message.offset for letter in outcome.dead] == [0, 1, 2]


@pytest.mark.parametrize(
    ("policy", "message"), [("decode", r"crawl\.pairs/0/1: .*JSON"), ("decide", "offsets 100 to 299")]
)
def test_the_policy_fail_names_the_place(policy: str, message: str, decider: Decider, model: Model) -> None:
    """And which setting says to stop."""
    bad = [MESSAGES[0], MESSAGES[1]._replace(value=b"broken")] if policy == "decode" else MESSAGES[100:300]
    decider._settings = configuration(errors__policies={policy: "fail"})
    held = partition()
    if policy == "decide":
        decider.decide({0: (held, MESSAGES[:100])}, model)
    with pytest.raises(DataError, match=rf"{message}.*errors\.policies\.{policy} says to stop"):
        decider.decide({0: (held, bad)}, model)
    assert decider.careful == {}


def test_listed_pairs_are_rejected(model: Model) -> None:
    """The lists are asked of every pair."""
    listed = Blocklist()
    source = json.loads(MESSAGES[4].value or b"")["src"]
    listed.add_test_set([source])
    listed.seal()
    configured = configuration()
    decider = Decider(configured, Selector(configured.parameters(), load_encoder()), Observer(), listed)
    outcome = decider.decide({0: (partition(), MESSAGES[:20])}, model).outcomes[0]
    assert Reason(outcome.decisions.reason[4]) is Reason.LISTED


def test_stages_are_told_with_what_they_took(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part's reading with its messages, its deciding with its pairs."""
    monkeypatch.setattr("craft_stream.worker.decider._PART", 40)
    told: list[tuple[Stage, int]] = []

    class Stages(Observer):
        def stage(self, stage: Stage, seconds: float, records: int, /) -> None:
            assert 0 < seconds < 10
            told.append((stage, records))

    configured = configuration()
    decider = Decider(configured, Selector(configured.parameters(), load_encoder()), Stages())
    messages = [MESSAGES[0]._replace(value=b"broken"), *MESSAGES[1:100]]
    decider.decide({0: (partition(), messages)}, model)
    assert sorted(told) == sorted(
        (stage, records)
        for stage, least in ((Stage.DECODE, 40), (Stage.DECIDE, 39))
        for records in (least, 40, 20)
    )


def test_warming_up_leaves_nothing_and_survives_a_selector_that_fails(
    model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A pair that counts for nothing; an error of the selector is a warning here."""
    decider = plain()
    decider.warm_up(model)
    assert not caplog.records

    def fail(*_: Any) -> Any:
        raise RuntimeError("cannot")

    monkeypatch.setattr(Selector, "decide", fail)
    decider.warm_up(model)
    assert "RuntimeError: cannot" in caplog.text


def test_where_an_error_belongs() -> None:
    """What the encoder raises to its stage, all else to deciding."""
    assert failed_stage(EmbeddingError("x")) is Stage.EMBED
    assert failed_stage(ValueError("x")) is Stage.DECIDE


def test_changes_of_the_model_are_found() -> None:
    """Each place where another version begins, the first one too, there and back."""
    decisions = Decisions.concatenate([Decisions.none()])
    assert model_changes(decisions, 3) == []
    positions, versions = np.array([5, 6, 8, 9, 12]), np.array([3, 4, 4, 3, 3])
    some = types.SimpleNamespace(positions=positions, model_version=versions)
    assert model_changes(cast(Decisions, some), 3) == [(6, 4), (9, 3)]
    assert model_changes(cast(Decisions, some), 0) == [(5, 3), (6, 4), (9, 3)]


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=30), st.integers(0, 500), st.floats(0, 0.999))
def test_the_sample_is_splitmix64(positions: list[int], partition: int, share: float) -> None:
    """The 53 upper bits of the published generator at offset + (partition + 1) * 2^48, on any offset, as numbers of Python."""

    def drawn(offset: int) -> int:
        z = (offset + ((partition + 1) << 48) + 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return (z ^ z >> 31) >> 11

    found = sampled(np.array(positions), partition, share)
    assert found.tolist() == [drawn(offset) < int(share * 2**53) for offset in positions]


def test_a_ledger_is_written_with_the_time(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """In milliseconds: by it snapshots are retained."""
    monkeypatch.setattr(
        "craft_stream.worker.decider.time",
        types.SimpleNamespace(time=lambda: 1234.5, monotonic=time.monotonic),
    )
    held = partition()
    told: list[int] = []
    write = LedgerWriter.write

    def remembered(self: LedgerWriter, *arguments: Any) -> Any:
        told.append(arguments[3])
        return write(self, *arguments)

    monkeypatch.setattr(LedgerWriter, "write", remembered)
    plain().decide({0: (held, MESSAGES[:5])}, model)
    assert told == [1_234_500]


def test_other_parameters_take_force_at_an_epoch_and_are_written(model: Model) -> None:
    """Offered within an epoch they wait for its end; older ones than a ledger has are not taken; each is written once."""
    held, decider = partition(), plain()
    one, two = (replace(plain()._selector.parameters, version=version) for version in (1, 2))
    two = replace(two, selection=replace(two.selection, rate=0.5))
    written = []
    for start, offered in ((0, one), (1000, two), (2000, one), (3000, two)):
        messages = [
            m._replace(offset=start + n)
            for n, m in enumerate(itertools.islice(itertools.cycle(MESSAGES), 1000))
        ]
        outcome = decider.decide({0: (held, messages)}, model, offered).outcomes[0]
        written += [
            (entry.sequence, entry.next_offset)
            for _, entry in outcome.pending.records
            if entry is not None and entry.kind is Kind.SETTINGS
        ]
        assert (
            outcome.decisions.settings_version == np.where(outcome.decisions.positions < 1024, 1, 2)
        ).all()
    assert written == [(0, 1), (1024, 2)]
    assert held.ledger.parameters == two


def test_unknown_signals_are_told(model: Model) -> None:
    """Of how many pairs of a batch a signal was not known, by its name."""
    told: dict[str, int] = {}

    class Told(Observer):
        def signal_unknown(self, signal: str, pairs: int, /) -> None:
            told[signal] = told.get(signal, 0) + pairs

    configured = configuration(record__signals=("bicleaner",))
    values = [orjson.loads(message.value or b"") for message in MESSAGES[:5]]
    values[2]["bicleaner"] = 0.5
    messages = [m._replace(value=orjson.dumps(v)) for m, v in zip(MESSAGES[:5], values, strict=True)]
    decider = Decider(configured, Selector(configured.parameters(), load_encoder()), Told())
    decider.decide({0: (partition(), messages)}, model)
    assert told == {"bicleaner": 4}


def test_the_sample_never_changes() -> None:
    """Which offsets are written down is the same in every release, and another choice in every partition."""
    positions = np.arange(40)
    assert np.flatnonzero(sampled(positions, 0, 0.2)).tolist() == [1, 2, 8, 12, 14, 20, 22, 31, 35, 36, 38]
    assert np.flatnonzero(sampled(positions, 1, 0.2)).tolist() == [19, 26, 27, 28, 29]
    assert sampled(positions, 0, 1.0).all()
    assert not sampled(positions, 0, 0.0).any()
