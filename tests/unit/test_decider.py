"""The first half of a transaction: what happens to the batch that the engine fails on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from craft_stream.encoders import load_encoder
from craft_stream.events import Observer, Stage
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import TransactionError
from craft_stream.scoring.model import Model
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.topics.ledger_index import LedgerIndex
from craft_stream.topics.ledger_writer import LedgerWriter
from craft_stream.topics.partition_ledger import PartitionLedger
from craft_stream.worker.decider import Batch, Decider
from tests.unit.test_concurrency import threads, wait_until
from tests.unit.test_runtime_worker import VALUES, configuration, model

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
