"""The selector: decides pairs of a partition, in log order, with the Model in force and the partition's Ledger."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import ConfigurationError, IntegrityError
from craft_stream.parameters import Parameters
from craft_stream.scoring.embedding import Embedder
from craft_stream.scoring.model import Model
from craft_stream.scoring.quality import FEATURES
from craft_stream.scoring.scorer import Scorer
from craft_stream.selection.cascade import Cascade
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.duplicates import Fingerprint
from craft_stream.selection.faults import MOJIBAKE, faults
from craft_stream.selection.ledger import EPOCH, Ledger
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs

# Models whose scorers are kept: the one in force, the next, and one more for a partition that lags.
_SCORERS = 3


class Selector:
    """Decides.

    Attributes:
        parameters: of both halves and of the encoder; a Ledger of others is refused.
    """

    def __init__(self, parameters: Parameters, encoder: Embedder) -> None:
        if parameters.encoder != encoder.digest:
            raise ConfigurationError(
                f"the parameters name the encoder {parameters.encoder}, this is {encoder.digest}: give "
                "Parameters(encoder=encoder.digest)"
            )
        self.parameters = parameters
        self._encoder = encoder
        self._scorers: dict[str, Scorer] = {}

    def decide(
        self, texts: TokenizedPairs, ledger: Ledger, model: Model, listed: NDArray[np.bool_] | None = None
    ) -> Decisions:
        """Decide consecutive pairs of one partition and note it in its ledger.

        Args:
            texts: the pairs, in log order, from `ledger.next_offset` on; cut anywhere.
            ledger: of the partition; changed.
            model: to be put in force at the next epoch's start.
            listed: bool [pairs], those on a decontamination or takedown list: rejected whatever their score.

        Raises:
            IntegrityError: the ledger was restored and has not been given its model, or ledger or model are of another
                encoder or other parameters.
        """
        if ledger.model is None and ledger.model_version:
            raise IntegrityError(
                f"the ledger has model {ledger.model_version} in force: bind it before deciding"
            )
        if ledger.parameters != self.parameters:
            raise IntegrityError(
                f"the ledger is of parameters {ledger.parameters.digest}, the selector of {self.parameters.digest}"
            )
        positions = texts.batch.positions
        if len(texts) and positions[0] < ledger.next_offset:
            raise ValueError(f"offset {positions[0]} has been decided; the next is {ledger.next_offset}")
        listed = np.zeros(len(texts), np.bool_) if listed is None else listed
        epochs = positions // EPOCH
        bounds = [0, *(np.flatnonzero(np.diff(epochs)) + 1).tolist(), len(texts)]
        parts = []
        for start, stop in pairwise(bounds):
            if start == stop:
                continue
            if epochs[start] != ledger.epoch:
                ledger.begin_epoch(int(epochs[start]), model)
            parts.append(
                self._decide(texts.slice(start, stop), ledger, ledger.model or model, listed[start:stop])
            )
        return Decisions.concatenate(parts) if parts else Decisions.none()

    def _decide(
        self, texts: TokenizedPairs, ledger: Ledger, model: Model, listed: NDArray[np.bool_]
    ) -> Decisions:
        selection = self.parameters.selection
        scorer = self._scorer(model)
        n, positions = len(texts), texts.batch.positions
        domain = scorer.score_domain(texts)
        cluster, distance = domain.cluster.copy(), np.zeros(n, np.float32)
        if selection.method == "craft":
            embeddings = scorer.embed(texts, np.arange(n), cluster)
            cluster, distance = embeddings.cluster, scorer.distance(embeddings)
        gate_scores = ledger.gate_scores(domain.domain, distance, cluster, model)
        reasons = np.full(n, Reason.OFF_DOMAIN, np.uint8)
        scores = gate_scores.copy()
        quality = np.full(n, np.nan, np.float32)
        candidates = np.flatnonzero((gate_scores >= ledger.gate) & ~listed)
        reasons[listed] = Reason.LISTED
        if selection.method == "craft-plus":
            foreign = scorer.foreign(texts, candidates)
            reasons[candidates[foreign]] = Reason.LANGUAGE
            candidates = candidates[~foreign]
        if model.translation.cascade and selection.method == "craft-plus":
            cascade = Cascade(scorer, texts, cluster, ledger, scores, quality, reasons)
            able, accepted = cascade.judge(candidates)
        else:
            passed = np.ones(len(candidates), np.bool_)
            if selection.method == "craft-plus" and len(candidates):
                features = scorer.features(texts, candidates, scorer.embed(texts, candidates, cluster))
                quality[candidates] = scorer.quality(features)
                scores[candidates] = ledger.scores(
                    gate_scores[candidates], quality[candidates], cluster[candidates], model
                )
                passed = (quality[candidates] >= selection.quality_floor) & (features[:, MOJIBAKE] == 0)
                reasons[candidates[~passed]] = faults(features[~passed])
            able = candidates[passed]
            reasons[able] = Reason.OVER_BUDGET
            accepted = self._admit(texts, able[scores[able] >= ledger.threshold], reasons, ledger)
            # duplicates could not be accepted: with them the threshold was too high, and .94-.99 of the budget spent
            able = able[(reasons[able] == Reason.ACCEPTED) | (reasons[able] == Reason.OVER_BUDGET)]
        ledger.record(
            gate_scores,
            scores[able],
            int((domain.ratio >= model.domain.tail).sum()),
            reasons,
            cluster[accepted],
            int(positions[-1]),
        )
        return Decisions(
            positions=positions,
            reason=reasons,
            score=scores,
            threshold=np.full(n, ledger.threshold, np.float32),
            cluster=cluster,
            domain=domain.domain,
            quality=quality,
            quota=ledger.help(cluster),
            model_version=np.full(n, model.version, np.int64),
        )

    def _admit(
        self, texts: TokenizedPairs, rows: NDArray[np.int64], reasons: NDArray[np.uint8], ledger: Ledger
    ) -> NDArray[np.int64]:
        """Accept those of `rows`, in order, that are new and for which there is room; the accepted rows."""
        selection = self.parameters.selection
        plus = selection.method == "craft-plus"
        found = ledger.seen_pairs.admit(
            texts.source,
            texts.target,
            rows,
            ledger.rooms(rows + 1),
            exact=plus and selection.duplicates,
            near=selection.near_duplicate if plus else np.inf,
        )
        reasons[rows] = found
        return np.compress(found == Reason.ACCEPTED, rows)

    def _scorer(self, model: Model) -> Scorer:
        scorer = self._scorers.get(model.digest)
        if scorer is None:
            scorer = Scorer(model, self._encoder)
            self._scorers[model.digest] = scorer
            while len(self._scorers) > _SCORERS:
                self._scorers.pop(next(iter(self._scorers)))
        return scorer

    def margin(self, source: str, target: str, ledger: Ledger) -> float:
        """By how much a pair passes if it came now, in the score's units; changes nothing.

        The smallest of what is left of gate, floor and threshold, so that it is below 0 where the pair fails any of them.
        Minus infinity where it would be rejected whatever its score: garbled, accepted before, no room in the budget.

        Raises:
            IntegrityError: the ledger has no model in force.
        """
        model = ledger.model
        if model is None:
            raise IntegrityError("the ledger has no model in force: bind it, or begin an epoch")
        selection = self.parameters.selection
        plus = selection.method == "craft-plus"
        scorer, rows = self._scorer(model), np.zeros(1, np.int64)
        pairs = TokenizedPairs.of(PairBatch.pack([source], [target]))
        reading = scorer.score_domain(pairs)
        embeddings = scorer.embed(pairs, rows, reading.cluster)
        distance = scorer.distance(embeddings)
        score = ledger.gate_scores(reading.domain, distance, embeddings.cluster, model)
        left = [float(score[0]) - ledger.gate]
        if plus:
            features = scorer.features(pairs, rows, embeddings)
            quality = scorer.quality(features)
            left += [float(quality[0]) - selection.quality_floor]
            score = ledger.scores(score, quality, embeddings.cluster, model)
            if features[0, MOJIBAKE] > 0:
                return -np.inf
        left += [float(score[0]) - ledger.threshold]
        if ledger.room(1) < 1 or Fingerprint(ledger.seen_pairs, pairs, 0).twin(selection) is not None:
            return -np.inf
        return min(left)

    def explain(self, source: str, target: str, model: Model, ledger: Ledger | None = None) -> dict[str, Any]:
        """Every part of a pair's score under a Model, and with a Ledger the threshold and reason that it would meet.

        Decides nothing.
        """
        scorer = self._scorer(model)
        pairs, rows = TokenizedPairs.of(PairBatch.pack([source], [target])), np.zeros(1, np.int64)
        reading = scorer.score_domain(pairs)
        embeddings = scorer.embed(pairs, rows, reading.cluster)
        features = scorer.features(pairs, rows, embeddings)
        quality = float(scorer.quality(features)[0])
        parts: dict[str, Any] = {
            "domain": float(reading.domain[0]),
            "cluster": int(embeddings.cluster[0]),
            "quality": quality,
            "distance": float(-scorer.distance(embeddings)[0]),
            "features": dict(zip(FEATURES, features[0].astype(float).tolist(), strict=True)),
            "model_version": model.version,
        }
        if scorer.foreign(pairs, rows)[0]:
            parts["fault"] = Reason.LANGUAGE.label
        elif quality < self.parameters.selection.quality_floor:
            parts["fault"] = Reason(int(faults(features)[0])).label
        if ledger is not None:
            gate_scores = ledger.gate_scores(
                reading.domain, scorer.distance(embeddings), embeddings.cluster, model
            )
            score = ledger.scores(gate_scores, np.array([quality], np.float32), embeddings.cluster, model)
            parts |= {
                "quota": float(ledger.duals[embeddings.cluster[0]]),
                "score": float(score[0]),
                "gate": ledger.gate,
                "threshold": ledger.threshold,
            }
            parts["reason"] = self._reason(pairs, features, quality, gate_scores, score, ledger).label
        return parts

    def _reason(
        self,
        pairs: TokenizedPairs,
        features: NDArray[np.float32],
        quality: float,
        gate_scores: NDArray[np.float32],
        score: NDArray[np.float32],
        ledger: Ledger,
    ) -> Reason:
        """What a single pair would be decided for if it came now."""
        selection = self.parameters.selection
        if gate_scores[0] < ledger.gate:
            return Reason.OFF_DOMAIN
        if selection.method == "craft-plus" and (
            quality < selection.quality_floor or features[0, MOJIBAKE] > 0
        ):
            return Reason(int(faults(features)[0]))
        if score[0] < ledger.threshold or ledger.room(1) < 1:
            return Reason.OVER_BUDGET
        return Fingerprint(ledger.seen_pairs, pairs, 0).twin(selection) or Reason.ACCEPTED
