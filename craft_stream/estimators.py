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
from itertools import groupby
from operator import itemgetter
from typing import Any, cast

import numpy as np
from river import base
from river.utils import dataframe

from craft_stream.encoders import load_encoder
from craft_stream.parameters import Parameters
from craft_stream.selection.ledger import EPOCH
from craft_stream.session import PairChunk, SelectionSession
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

Record = Mapping[Any, Any]


class PairSelector(base.MiniBatchClassifier):
    """Selects sentence pairs that match a target, within a budget.

    Records are dicts; a side that is not text is read as it is written out, and a record that lacks a side is no pair: it is
    not learned, never accepted, and its score is minus infinity. `learn_many` leaves what `learn_one` leaves, at a fraction
    of the time.

    The first version of the model comes with pair `prime` of the stream, or with the end of the epoch (1,024 pairs) in which
    the first pair of the target came, if that is later. What came before it is decided then: it counts for the budget, and
    `accepted` and `summary` tell of it, but no `PairFilter` has let it through.

    Args:
        rate: budget; share of the stream's pairs to accept.
        source, target: names of the two sides in a record.
        method: "craft-plus" or "craft".
        prime: pairs of the stream that are read before the first is decided.
        seed: of every hash and random number.
        parameters: of the engine, where more than rate, method, prime and seed is to be set; None: its defaults.

    Examples:
        >>> selector = PairSelector(rate=0.5, prime=32)
        >>> for n in range(40):
        ...     selector.learn_one({"src": f"take {n} tablets daily", "tgt": f"prenez {n} comprimés par jour"}, True)
        >>> for n in range(64):
        ...     selector.learn_one({"src": f"the price of {n} shares rose", "tgt": f"le cours de {n} actions monte"}, False)
        >>> selector.summary["seen"]
        64
    """

    def __init__(
        self,
        rate: float = 0.05,
        source: str = "src",
        target: str = "tgt",
        method: str = "craft-plus",
        prime: int = EPOCH,
        seed: int = 0,
        parameters: Parameters | None = None,
    ) -> None:
        self.rate = rate
        self.source = source
        self.target = target
        self.method = method
        self.prime = prime
        self.seed = seed
        self.parameters = parameters
        # Made with the first pair: a clone that has seen nothing is small.
        self._session: SelectionSession[PairChunk] | None = None
        self._pending: list[
            tuple[str, str]
        ] = []  # of the stream: decided when somebody asks, or the epoch ends
        self._last: tuple[tuple[str, str], bool | None] | None = None

    def learn_one(self, x: Record, y: Any) -> None:
        """Learn a pair: of the target where `y` is true, else of the stream."""
        pair = self._pair(x)
        if pair is not None:
            self._learn([pair], bool(y))

    def learn_many(self, X: Any, y: Any) -> None:  # noqa: N803  # River's name
        """Learn the rows of a data frame, in order; y holds a label for each."""
        labels = map(bool, dataframe.into_series(y).to_list())
        rows = zip(labels, map(self._pair, _rows(X)), strict=True)
        for label, run in groupby(rows, itemgetter(0)):
            if pairs := [pair for _, pair in run if pair is not None]:
                self._learn(pairs, label)

    def predict_one(self, x: Record, **kwargs: Any) -> bool:
        """Whether the pair would be accepted if it came now."""
        return self.score_one(x) >= 0

    def predict_many(self, X: Any) -> Any:  # noqa: N803
        """The same of each row of a data frame, each as if it came next: a series of the frame's library."""
        values = np.array([self.predict_one(x) for x in _rows(X)], np.bool_)
        return dataframe.to_native_series(values, name=None, like=dataframe.into_frame(X))

    def score_one(self, x: Record) -> float:
        """Score less threshold. Minus infinity: rejected whatever the score (no pair, no model, noise, duplicate, no room)."""
        pair, session = self._pair(x), self._decide()
        return -math.inf if pair is None or session is None else session.margin(*pair)

    @property
    def accepted(self) -> int:
        """Pairs of the stream that were accepted."""
        session = self._decide()
        return 0 if session is None else session.ledger.accepted

    @property
    def summary(self) -> dict[str, Any]:
        """What the ledger says: seen, accepted, by reason, divergence; empty before the first pair."""
        session = self._decide()
        return {} if session is None else session.summary()

    def decided(self, x: Record) -> bool | None:
        """Whether x was accepted, if it is the pair of the stream that was learned last; else None, also while it waits."""
        self._decide()
        return self._last[1] if self._last is not None and self._last[0] == self._pair(x) else None

    def _pair(self, x: Record) -> tuple[str, str] | None:
        source, target = x.get(self.source), x.get(self.target)
        if source is None or target is None:
            return None
        pair = str(source), str(target)
        return pair if all(side and not side.isspace() for side in pair) else None

    def _learn(self, pairs: Sequence[tuple[str, str]], of_target: bool) -> None:
        """Learn pairs, all of the target or all of the stream."""
        session = self._begun()
        if of_target:
            # A pair that is given twice describes the domain once: its text is its name.
            session.observe_target([f"{source}\n{target}" for source, target in pairs], _packed(pairs, 0))
            return
        while pairs:
            position = session.end + len(self._pending)
            room = EPOCH - position % EPOCH
            if position < self.prime:
                room = min(room, self.prime - position)
            self._pending += pairs[:room]
            if len(pairs) >= room:
                self._decide()
                session.enter_epoch()
            pairs = pairs[room:]

    def _decide(self) -> SelectionSession[PairChunk] | None:
        """The session when it has decided what waits: together it costs a twentieth, and decides the same."""
        session, pairs = self._session, self._pending
        if session is not None and pairs:
            self._pending = []
            accepted: bool | None = None
            for _, decisions in session.push(PairChunk(TokenizedPairs.of(_packed(pairs, session.end)))):
                accepted = bool(decisions.accepted[-1])
            self._last = pairs[-1], accepted
        return session

    def _begun(self) -> SelectionSession[PairChunk]:
        if self._session is None:
            chosen = self.parameters or Parameters()
            learning = replace(chosen.learning, seed=self.seed, prime_pairs=self.prime)
            selection = replace(chosen.selection, rate=self.rate, method=self.method)  # type: ignore[arg-type]
            self._session = SelectionSession(Parameters(learning, selection), load_encoder())
        return self._session

    @property
    def _multiclass(self) -> bool:
        return False

    @classmethod
    def _unit_test_params(cls) -> Any:
        yield {"prime": 64}


def _packed(pairs: Sequence[tuple[str, str]], first: int) -> PairBatch:
    return PairBatch.pack([a for a, _ in pairs], [b for _, b in pairs], np.arange(first, first + len(pairs)))


def _rows(X: Any) -> list[dict[Any, Any]]:  # noqa: N803
    return list(dataframe.into_frame(X).iter_rows(named=True))


class PairFilter(base.AnomalyFilter):
    """Keeps from the steps behind it in a pipeline what its selector rejects.

    What comes through the pipeline is the stream; the target is given to the selector beforehand, by its
    `learn_one(x, True)`.

    Args:
        selector: decides; a `PairSelector`.

    Examples:
        >>> from river import compose, feature_extraction, naive_bayes
        >>> selector = PairSelector(rate=0.5, prime=32)
        >>> for n in range(40):
        ...     selector.learn_one({"src": f"take {n} tablets daily", "tgt": f"prenez {n} comprimés par jour"}, True)
        >>> model = PairFilter(selector) | feature_extraction.BagOfWords(on="src") | naive_bayes.MultinomialNB()
        >>> for n in range(64):
        ...     model.learn_one({"src": f"the price of {n} shares rose", "tgt": f"le cours de {n} actions monte"}, "finance")
        >>> selector.summary["seen"]
        64
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
        yield {"selector": PairSelector(prime=64)}
