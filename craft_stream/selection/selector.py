"""The selector: decides pairs of a partition, in log order, with the Model in force and the partition's Ledger."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import ConfigurationError, IntegrityError
from craft_stream.parameters import Parameters
from craft_stream.scoring.embedding import Embedder
from craft_stream.scoring.model import Model
from craft_stream.scoring.scorer import Scorer
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.faults import all_faults
from craft_stream.selection.ledger import EPOCH, Ledger
from craft_stream.selection.rule import Judgement, judge
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

# Models whose scorers are kept: the one in force, the next, and one more for a partition that lags.
_SCORERS = 3
_NO_SIGNALS: Mapping[str, float] = {}


class Selector:
    """Decides.

    Args:
        parameters: of the encoder, and of ledgers that are begun with it; a ledger's own rule its decisions.
        encoder: that turns texts into vectors.
        load: gives another encoder that a Model is of, by its digest; None: there is no other.

    Attributes:
        parameters: as given.
    """

    def __init__(
        self, parameters: Parameters, encoder: Embedder, load: Callable[[str], Embedder] | None = None
    ) -> None:
        if parameters.encoder != encoder.digest:
            raise ConfigurationError(
                f"the parameters name the encoder {parameters.encoder}, this is {encoder.digest}: give "
                "Parameters(encoder=encoder.digest)"
            )
        self.parameters = parameters
        self._encoder, self._load = encoder, load
        self._digests: dict[Parameters, int] = {}
        self._scorers: dict[str, Scorer] = {}

    def decide(
        self,
        pairs: TokenizedPairs,
        ledger: Ledger,
        model: Model,
        blocked: NDArray[np.bool_] | None = None,
        parameters: Parameters | None = None,
    ) -> Decisions:
        """Decide consecutive pairs of one partition and note it in its ledger.

        Args:
            pairs: in log order, from `ledger.next_offset` on; cut anywhere.
            ledger: of the partition; changed.
            model: to be put in force at the next epoch's start.
            blocked: bool [pairs], those on a decontamination or takedown list: rejected whatever their score.
            parameters: to be put in force at the next epoch's start, too; None: the ledger's stay.

        Raises:
            IntegrityError: the ledger was restored and has not been given its model, or the model is of another encoder.
        """
        self._check(ledger)
        positions = pairs.batch.positions
        if len(pairs) and positions[0] < ledger.next_offset:
            raise ValueError(f"offset {positions[0]} has been decided; the next is {ledger.next_offset}")
        blocked = np.zeros(len(pairs), np.bool_) if blocked is None else blocked
        epochs = positions // EPOCH
        bounds = [0, *(np.flatnonzero(np.diff(epochs)) + 1).tolist(), len(pairs)]
        parts = []
        for start, stop in pairwise(bounds):
            if start == stop:
                continue
            if epochs[start] != ledger.epoch:
                ledger.begin_epoch(int(epochs[start]), model, parameters)
            parts.append(
                self._decide(pairs.slice(start, stop), ledger, ledger.model or model, blocked[start:stop])
            )
        return Decisions.concatenate(parts) if parts else Decisions.none()

    def _decide(
        self, pairs: TokenizedPairs, ledger: Ledger, model: Model, blocked: NDArray[np.bool_]
    ) -> Decisions:
        found = judge(pairs, blocked, self._scorer(model), ledger, ledger.seen_pairs.admit)
        decisions = Decisions.of(
            pairs.batch.positions,
            reason=found.reason,
            score=found.scores,
            threshold=ledger.threshold,
            cluster=found.cluster,
            domain=found.domain.domain,
            quality=found.quality,
            dual=ledger.dual(found.cluster),
            context=found.context,
            model_version=model.version,
            settings_version=ledger.settings_version,
            parameters=self._digest(ledger.parameters),
        )
        like_target = int((found.domain.ratio >= model.domain.tail).sum())
        ledger.record(decisions, found.gate_scores - found.context, like_target, pairs.batch.contexts)
        return decisions

    def margin(
        self,
        source: str,
        target: str,
        ledger: Ledger,
        model: Model,
        *,
        blocked: bool = False,
        signals: Mapping[str, float] = _NO_SIGNALS,
    ) -> float:
        """By how much a pair passes if it came now, in the score's units; changes nothing.

        What is left at the bar that it misses, or the least that is left: at or above 0 exactly where `decide` would
        accept it. Minus infinity where no score would help: garbled, of another language, accepted before, no room.

        Args:
            source, target: the pair.
            ledger: of the partition.
            model: offered; in force if the pair begins an epoch.
            blocked: it is on a list.
            signals: of those that the Model weighs, what is known of the pair.

        Raises:
            IntegrityError: as in `decide`.
        """
        return float(self._ask(source, target, ledger, model, blocked, signals).margin[0])

    def explain(
        self,
        source: str,
        target: str,
        ledger: Ledger,
        model: Model,
        *,
        blocked: bool = False,
        signals: Mapping[str, float] = _NO_SIGNALS,
    ) -> dict[str, Any]:
        """Every part of a pair's score, and the reason that `decide` would give if it came now; changes nothing.

        Args:
            source, target: the pair.
            ledger: of the partition.
            model: offered; in force if the pair begins an epoch.
            blocked: it is on a list.
            signals: of those that the Model weighs, what is known of the pair.

        Returns:
            `reason`, `margin`, `gate`, `threshold`, `model_version`, and of the pair, whether or not the rule came to ask for
            them, `domain`, `context` (after the ledger's last pair), `cluster`, `dual`, `quality`, `distance`, `score`,
            `features` by name, `contributions` of these to the log-odds of a clean translation, and `fault` if it has one that
            makes it no good translation.

        Raises:
            IntegrityError: as in `decide`.
        """
        found = self._ask(source, target, ledger, model, blocked, signals)
        pairs, scorer, rows, ahead = found.pairs, found.scorer, np.zeros(1, np.int64), found.ledger
        embeddings = scorer.embed(pairs, rows, found.domain.cluster)
        features = scorer.features(pairs, rows, embeddings)
        quality, dual = scorer.quality(features), ahead.dual(embeddings.cluster)
        parts: dict[str, Any] = {
            "reason": Reason(int(found.reason[0])).label,
            "margin": float(found.margin[0]),
            "gate": ahead.gate,
            "threshold": ahead.threshold,
            "model_version": scorer.model.version,
            "domain": float(found.domain.domain[0]),
            "context": float(found.context[0]),
            "cluster": int(embeddings.cluster[0]),
            "dual": float(dual[0]),
            "quality": float(quality[0]),
            "distance": float(-scorer.distance(embeddings)[0]),
            "score": float(ahead.method.scores(found.gate_scores, quality, dual)[0]),
            "features": dict(zip(scorer.feature_names, features[0].astype(float).tolist(), strict=True)),
            "contributions": dict(
                zip(
                    scorer.own_features, scorer.contributions(features)[0].astype(float).tolist(), strict=True
                )
            ),
        }
        floor = ahead.parameters.selection.quality_floor
        fault = Reason(int(all_faults(features, quality, floor, scorer.foreign(pairs, rows))[0]))
        if fault is not Reason.ACCEPTED:
            parts["fault"] = fault.label
        return parts

    def _ask(
        self,
        source: str,
        target: str,
        ledger: Ledger,
        model: Model,
        blocked: bool,
        signals: Mapping[str, float],
    ) -> Judgement:
        """The judgement of a pair if it came now."""
        self._check(ledger)
        ahead = ledger.preview(model)
        scorer = self._scorer(ahead.model or model)
        batch = PairBatch.pack([source], [target], signals=scorer.model.signals.of_one(signals))
        return judge(TokenizedPairs.of(batch), np.array([blocked]), scorer, ahead, ahead.seen_pairs.ask)

    def _check(self, ledger: Ledger) -> None:
        if ledger.model is None and ledger.model_version:
            raise IntegrityError(
                f"the ledger has model {ledger.model_version} in force: bind it before deciding"
            )

    def beside(self, listed: str) -> Selector:
        """The same beside other lists, of which only the digest is known here; it shares what scores with this one."""
        other = copy.copy(self)
        other.parameters, other._digests = replace(self.parameters, listed=listed), {}
        return other

    def _digest(self, parameters: Parameters) -> int:
        """Of a ledger's parameters with the lists that are in use here."""
        if parameters not in self._digests:
            whole = replace(parameters, listed=self.parameters.listed)
            self._digests = {parameters: int(whole.digest, 16)}
        return self._digests[parameters]

    def _scorer(self, model: Model) -> Scorer:
        scorer = self._scorers.get(model.digest)
        if scorer is None:
            encoder, wanted = self._encoder, model.translation.encoder
            if wanted != encoder.digest and self._load is not None:
                encoder = self._load(wanted)
            scorer = Scorer(model, encoder)
            self._scorers[model.digest] = scorer
            while len(self._scorers) > _SCORERS:
                self._scorers.pop(next(iter(self._scorers)))
        return scorer
