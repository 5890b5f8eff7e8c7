"""The engine as estimators of River (`river.base`): a selector for a pipeline, and a filter in front of one.

`PairSelector` is a binary classifier that learns from positive and unlabelled examples, as the method does. Its label says
what a pair is to be learned as, not whether it is good:

    learn_one(x, True)     x is a pair of the target: it describes the domain
    learn_one(x, False)    x is a pair of the stream: it is decided, as the budget's next arrival, and learned from
    predict_one(x)         would x be accepted if it came now? Changes nothing
    score_one(x)           by how much its score passes the threshold; negative where it does not

`predict_one` before `learn_one(x, False)`, as River's progressive validation does, therefore says what will be decided.
There is no `predict_proba_one`: what is accepted follows from a budget, not from a probability.

`PairFilter` stands inside a `river.compose.Pipeline`: what its selector rejects is not learned by the steps behind it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from river import base
from river.utils import dataframe

from craft_stream.encoders import load_encoder
from craft_stream.learning.learner import Learner
from craft_stream.parameters import Parameters
from craft_stream.scoring.model import Model
from craft_stream.selection.ledger import EPOCH, Ledger
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

Record = Mapping[Any, Any]


class PairSelector(base.MiniBatchClassifier):
    """Selects sentence pairs that match a target, within a budget.

    Records are dicts; a side that is not text is read as it is written out, and a record that lacks a side is no pair: it is
    not learned, never accepted, and its score is minus infinity. Pairs of the stream are learned from in blocks, so that
    `learn_many` leaves what `learn_one` leaves. The first version of the model comes with the first block after which the
    target is not empty; pairs that came before it are decided by no one and count for no budget.

    Args:
        rate: budget; share of the stream to accept.
        source, target: names of the two sides in a record.
        method: "craft-plus" or "craft".
        block: pairs that are learned from at once.
        seed: of every hash and random number.
        parameters: of the engine, where more than rate, method and seed is to be set; None: its defaults.
    """

    def __init__(
        self,
        rate: float = 0.05,
        source: str = "src",
        target: str = "tgt",
        method: str = "craft-plus",
        block: int = EPOCH,
        seed: int = 0,
        parameters: Parameters | None = None,
    ) -> None:
        self.rate = rate
        self.source = source
        self.target = target
        self.method = method
        self.block = block
        self.seed = seed
        self.parameters = parameters
        # Made with the first pair: a clone that has seen nothing is small.
        self._engine: _Engine | None = None

    def learn_one(self, x: Record, y: Any) -> None:
        """Learn a pair: of the target where `y` is true, else of the stream."""
        pair = self._pair(x)
        if pair is not None:
            self._begun().learn([pair], [bool(y)])

    def learn_many(self, X: Any, y: Any) -> None:  # noqa: N803  # River's name
        """Learn the rows of a data frame, in order; y holds a label for each."""
        rows = [
            (pair, bool(label))
            for x, label in zip(_rows(X), dataframe.into_series(y).to_list(), strict=True)
            if (pair := self._pair(x))
        ]
        if rows:
            self._begun().learn([pair for pair, _ in rows], [label for _, label in rows])

    def predict_one(self, x: Record, **kwargs: Any) -> bool:
        """Whether the pair would be accepted if it came now."""
        return self.score_one(x) >= 0

    def predict_many(self, X: Any) -> Any:  # noqa: N803
        """The same of each row of a data frame, each as if it came next: a series of the frame's library."""
        values = np.array([self.predict_one(x) for x in _rows(X)], np.bool_)
        return dataframe.to_native_series(values, name=None, like=dataframe.into_frame(X))

    def score_one(self, x: Record) -> float:
        """Score less threshold. Minus infinity: rejected whatever the score (no pair, no model, noise, duplicate, no room)."""
        pair = self._pair(x)
        return -math.inf if pair is None or self._engine is None else self._engine.margin(pair)

    @property
    def accepted(self) -> int:
        """Pairs of the stream that were accepted."""
        return 0 if self._engine is None else self._engine.ledger.accepted

    @property
    def summary(self) -> dict[str, Any]:
        """What the ledger says: seen, accepted, by reason, divergence; empty before the first pair."""
        return {} if self._engine is None else self._engine.ledger.summary()

    def decided(self, x: Record) -> bool | None:
        """Whether x was accepted, if it is the pair of the stream that was learned last; else None."""
        last = None if self._engine is None else self._engine.last
        return last[1] if last is not None and last[0] == self._pair(x) else None

    def _pair(self, x: Record) -> tuple[str, str] | None:
        source, target = x.get(self.source), x.get(self.target)
        if source is None or target is None:
            return None
        pair = str(source), str(target)
        return pair if all(side and not side.isspace() for side in pair) else None

    def _begun(self) -> _Engine:
        if self._engine is None:
            chosen = self.parameters or Parameters()
            learning = replace(chosen.learning, seed=self.seed)
            selection = replace(chosen.selection, rate=self.rate, method=self.method)  # type: ignore[arg-type]
            self._engine = _Engine(Parameters(learning, selection), self.block)
        return self._engine

    @property
    def _multiclass(self) -> bool:
        return False

    @classmethod
    def _unit_test_params(cls) -> Any:
        yield {"block": 64}


class _Engine:
    """Learner, selector and ledger of one stream."""

    def __init__(self, parameters: Parameters, block: int) -> None:
        encoder = load_encoder()
        self.last: tuple[tuple[str, str], bool] | None = None
        self._learner = Learner(parameters, encoder)
        self._selector = Selector(parameters, encoder)
        self.ledger = Ledger(self._selector.parameters)
        self._block = block
        self._model: Model | None = None
        self._waiting: list[tuple[str, str]] = []
        self._accepted: list[tuple[str, str]] = []

    def learn(self, pairs: Sequence[tuple[str, str]], of_target: Sequence[bool]) -> None:
        """Learn pairs in order, each of the target or of the stream."""
        start = 0
        while start < len(pairs):
            stop = start + 1
            # As many of one kind as do not pass the end of a block: where a version may change.
            room = self._block - len(self._waiting)
            while (
                stop < len(pairs)
                and of_target[stop] == of_target[start]
                and (of_target[start] or stop - start < room)
            ):
                stop += 1
            run = pairs[start:stop]
            if of_target[start]:
                # A pair that is given twice describes the domain once: its text is its name.
                self._learner.observe_target([f"{a}\n{b}" for a, b in run], _packed(run))
            else:
                self._stream(run)
            start = stop

    def _stream(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.last = pairs[-1], False
        if self._model is not None:
            decisions = self._selector.decide(
                TokenizedPairs.of(_packed(pairs, self.ledger.next_offset)), self.ledger, self._model
            )
            self._accepted += [pairs[row] for row in np.flatnonzero(decisions.accepted).tolist()]
            self.last = pairs[-1], bool(decisions.accepted[-1])
        self._waiting += pairs
        if len(self._waiting) >= self._block:
            self._learner.observe(_packed(self._waiting, self._learner.pairs_seen))
            self._learner.observe_accepted(_packed(self._accepted))
            self._waiting, self._accepted = [], []
            if self._learner.target_size and (self._model is None or self._learner.due):
                self._model = self._learner.publish()
        self._enter()

    def _enter(self) -> None:
        """Enter the epoch of the next pair as soon as the last one is full: asking about a pair must change nothing."""
        epoch = self.ledger.next_offset // EPOCH
        if self._model is not None and epoch != self.ledger.epoch:
            self.ledger.begin_epoch(epoch, self._model)

    def margin(self, pair: tuple[str, str]) -> float:
        """Score less threshold of a pair if it came now; minus infinity where it would be rejected for another reason."""
        if self._model is None:
            return -math.inf
        return self._selector.margin(*pair, self.ledger)


def _packed(pairs: Sequence[tuple[str, str]], first: int = 0) -> PairBatch:
    return PairBatch.pack([a for a, _ in pairs], [b for _, b in pairs], np.arange(first, first + len(pairs)))


def _rows(X: Any) -> list[dict[Any, Any]]:  # noqa: N803
    return list(dataframe.into_frame(X).iter_rows(named=True))


class PairFilter(base.AnomalyFilter):
    """Keeps from the steps behind it in a pipeline what its selector rejects.

    What comes through the pipeline is the stream; the target is given to the selector beforehand, by its
    `learn_one(x, True)`.

    Args:
        selector: decides; a `PairSelector`.
    """

    def __init__(self, selector: PairSelector) -> None:
        # River's filters wrap anomaly detectors; of this one they ask nothing but its tags and its name.
        super().__init__(anomaly_detector=cast(Any, selector), protect_anomaly_detector=False)
        self.selector = selector

    @property
    def _supervised(self) -> bool:
        return False

    def learn_one(self, *args: Any, **kwargs: Any) -> None:
        """Decide a pair of the stream, x, and learn from it."""
        self.selector.learn_one(args[0], False)

    def score_one(self, *args: Any, **kwargs: Any) -> float:
        """By how much x misses: above 0 it is kept from the steps behind.

        River's pipeline lets a filter learn x and then asks it about that x. It has been decided by then, and that is
        the answer: 0 where it was accepted, else infinity.
        """
        decided = self.selector.decided(args[0])
        if decided is None:
            return -self.selector.score_one(args[0])
        return 0.0 if decided else math.inf

    def classify(self, score: float) -> bool:
        """Whether a pair of this score is kept from the steps behind."""
        return score > 0

    @classmethod
    def _unit_test_params(cls) -> Any:
        yield {"selector": PairSelector(block=64)}
