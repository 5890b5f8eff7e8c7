"""What a method compares with the gate and with the threshold: the paper's, and `craft-plus` with either kind of encoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import ConfigurationError
from craft_stream.parameters import SelectionParameters
from craft_stream.scoring.calibration import Calibration
from craft_stream.scoring.model import Model

Scores = NDArray[np.float32]


class Method(Protocol):
    """Two scores of pairs, and the sample of the stream that says how they lie before any pair has come.

    Arrays are float32 [n] but for clusters, int16 [n]. `domain` is the standardised domain score, `distance` CRAFT's
    conditional expected distance, negated, `dual` that of the cluster, `quality` log P(clean).
    """

    def gate_scores(
        self, domain: Scores, distance: Scores, cluster: NDArray[np.int16], dual: Scores
    ) -> Scores:
        """What the gate looks at."""

    def scores(self, gate_scores: Scores, quality: Scores, dual: Scores) -> Scores:
        """What is compared with the threshold."""

    def expected(self) -> tuple[Calibration, Scores]:
        """The Model's sample of the stream, and the weight of each of its pairs at the gate."""


class Craft:
    """The paper, online: the distance in deviations of the stream, plus the dual. There is no gate."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def gate_scores(
        self, domain: Scores, distance: Scores, cluster: NDArray[np.int16], dual: Scores
    ) -> Scores:
        """The whole score."""
        return self._model.calibration.standardised(distance, cluster, self._model.clusters) + dual

    def scores(self, gate_scores: Scores, quality: Scores, dual: Scores) -> Scores:
        """The same."""
        return gate_scores

    def expected(self) -> tuple[Calibration, Scores]:
        """What is embedded: it looks at nothing else, and asks no pair for its quality."""
        sample = self._model.calibration.embedded
        return replace(sample, quality=np.zeros_like(sample.domain)), sample.weight


class CraftPlus:
    """The domain score plus the dual at the gate, and behind it plus weighted log P(clean)."""

    def __init__(self, selection: SelectionParameters, model: Model) -> None:
        self._domain_weight = np.float32(selection.domain_weight)
        self._quality_weight = np.float32(selection.quality_weight)
        self._model = model

    def gate_scores(
        self, domain: Scores, distance: Scores, cluster: NDArray[np.int16], dual: Scores
    ) -> Scores:
        """Domain and dual."""
        return self._domain_weight * domain + dual

    def scores(self, gate_scores: Scores, quality: Scores, dual: Scores) -> Scores:
        """Domain, dual and quality."""
        return gate_scores + self._quality_weight * quality

    def expected(self) -> tuple[Calibration, Scores]:
        """All of it, each pair for itself."""
        sample = self._model.calibration
        return sample, np.ones_like(sample.weight)


class Cascade(CraftPlus):
    """The same with an expensive encoder: the cluster is not known at the gate, so its dual counts behind it."""

    def gate_scores(
        self, domain: Scores, distance: Scores, cluster: NDArray[np.int16], dual: Scores
    ) -> Scores:
        """The domain alone."""
        return self._domain_weight * domain

    def scores(self, gate_scores: Scores, quality: Scores, dual: Scores) -> Scores:
        """Domain, dual and quality."""
        return gate_scores + dual + self._quality_weight * quality


def method_of(selection: SelectionParameters, model: Model) -> Method:
    """The method that the parameters name, with a Model in force."""
    if selection.method == "craft":
        if model.of_texts:
            raise ConfigurationError(
                f'model {model.version} was learned from texts of one side, and method "craft" compares pairs with the '
                "translations of the target: leave selection.method as it is"
            )
        return Craft(model)
    return Cascade(selection, model) if model.translation.cascade else CraftPlus(selection, model)


def known_to(selection: SelectionParameters) -> SelectionParameters:
    """The parameters with all turned off that their method does not know, so that nobody need ask for the method."""
    if selection.method == "craft-plus":
        return selection
    return replace(
        selection,
        relaxation=0.0,  # quotas are proportional
        domain_weight=0.0,  # so that there is no gate
        quality_floor=-np.inf,
        duplicates=False,
        near_duplicate=np.inf,
        abstain=False,
        page_weight=0.0,
        host_weight=0.0,
    )
