"""What of a target can be learned from: what is no pair of translations, or comes twice, is found and left out.

In this order: pairs whose sides are of the same words (a target with a fifth of such copies made 15 % of what it selected
copies); pairs that another one repeats; pairs of other languages, where an identifier tells; pairs that are no translations.

What is no translation has P(clean) < .05 by the features of the quality model before, with a classifier fitted anew to the
pairs that were likelier clean than not: one that was fitted to all of the target believes what is wrong in it. Of finance and
web with a twentieth of the pairs misaligned that finds 99 and 97 % of these, with a fifth 91 and 89 %, and .4 to .7 % of the
pairs of a clean target; the classifier before at 1/2 finds 94 to 100 %, but 3 to 4 % of a clean target too, which pays for it.
Fewer than one in fifty are no finding.

A target that is mostly copies describes no languages, and one whose sides are swapped not the stream's: both are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import TargetError
from craft_stream.learning.quality import QualityModel, fit_classifier
from craft_stream.learning.reservoir import Sample, TargetPair
from craft_stream.scoring.quality import log_probability
from craft_stream.text.batch import PairBatch, Side
from craft_stream.text.keys import pair_keys, text_keys
from craft_stream.text.ngrams import NGrams
from craft_stream.text.profiles import profile
from craft_stream.text.tokenized import TokenizedPairs

# Regressions within clusters cost the square of a cluster's pairs, and more of them change no figure.
_TRANSLATIONS = 4096
# Of the target; beyond, it is refused.
_MOST_COPIES = 0.5
_LIKELIER = np.log(0.5)
_LEAST_LOG_CLEAN = np.log(0.05)
# How much nearer the other side must be, for both sides.
_SWAPPED = 1.1
# Of the target and of the stream: with fewer nothing tells whether the target's sides are swapped, and a worker's learner
# publishes nothing.
FEWEST = 30
_MOST_PROFILED = 4096
# So many may be found by mistake: of .4 to .7 % found in clean targets most are hard pairs, and leaving three of 502 out cost
# medicine .02 of good.
_MISTAKEN = 0.02
# Pairs that a classifier can be fitted to.
_FEWEST_CLEAN = 20


class Finding(IntEnum):
    """What was found of a pair of the target; all but `FIT` are left out."""

    FIT = 0
    COPY = 1
    DUPLICATE = 2
    OTHER_LANGUAGE = 3
    NO_TRANSLATION = 4

    @property
    def label(self) -> str:
        """The name as written in a Model and in metric labels, such as `no_translation`."""
        return self.name.lower()


@dataclass(frozen=True)
class Examination:
    """A sample of the target and what was found of its pairs.

    Attributes:
        sample: all of it.
        keys: uint64 [pairs], of its pairs; none of texts of one side, whose translations are wanted.
        findings: uint8 [pairs], values of `Finding`.
        stand_ins: pairs of the stream that teach translations in place of texts of one side.
    """

    sample: Sample
    keys: NDArray[np.uint64]
    findings: NDArray[np.uint8]
    stand_ins: Sample = field(default_factory=lambda: Sample(()))

    @cached_property
    def fit(self) -> Sample:
        """The pairs to learn from."""
        if not self.findings.any():
            return self.sample
        return Sample(tuple(self.sample.pairs[row] for row in np.flatnonzero(self.findings == Finding.FIT)))

    @cached_property
    def ngrams(self) -> NGrams:
        """Of the pairs to learn from, which teach the domain."""
        return TokenizedPairs.of(self.fit.batch).ngrams

    @property
    def translations(self) -> Sample:
        """At most 4,096 pairs, which teach regressions and P(clean)."""
        return self.stand_ins if self.sample.side else self.part

    @cached_property
    def part(self) -> Sample:
        """Of the pairs to learn from at most 4,096, which teach clusters."""
        pairs = self.fit.pairs
        if len(pairs) <= _TRANSLATIONS:
            return self.fit
        kept = sorted(pairs, key=lambda pair: (pair.priority, pair.identifier))[:_TRANSLATIONS]
        return Sample(tuple(sorted(kept, key=lambda pair: pair.identifier)))

    @property
    def left_out(self) -> dict[str, int]:
        """Pairs that are left out, by what was found; without what was not."""
        counts = np.bincount(self.findings, minlength=len(Finding)).tolist()
        return {finding.label: counts[finding] for finding in Finding if finding and counts[finding]}


def examine(sample: Sample, known: tuple[QualityModel, TokenizedPairs] | None) -> Examination:
    """Examine a sample of the target.

    Args:
        sample: one pair or more.
        known: what tells translations by now, and corruptions of pairs; None: nothing does yet.

    Raises:
        TargetError: more than half of it are copies, or nothing is left.
    """
    pairs = TokenizedPairs.of(sample.batch)
    rows = np.arange(len(pairs))
    keys = pair_keys(pairs, rows)
    findings = np.zeros(len(pairs), np.uint8)
    sides = text_keys(pairs.source), text_keys(pairs.target)
    findings[(sides[0] == sides[1]) & (sides[0] > 0)] = Finding.COPY
    copies = int((findings == Finding.COPY).sum())
    if copies > _MOST_COPIES * len(pairs):
        raise TargetError(
            f"both sides of the target are the same text in {copies:,} of {len(pairs):,} pairs: it must hold texts and their "
            "translations; is one file, or one column, named for both sides?"
        )
    repeated = np.ones(len(pairs), np.bool_)
    repeated[np.unique(keys, return_index=True)[1]] = False
    findings[repeated & (findings == Finding.FIT)] = Finding.DUPLICATE
    if known is not None:
        quality, corrupted = known
        fit = np.flatnonzero(findings == Finding.FIT)
        foreign = quality.scorer.foreign(pairs, fit)
        findings[fit[foreign]] = Finding.OTHER_LANGUAGE
        fit = fit[~foreign]
        if not sample.side:
            unlikely = _unlikely(quality, pairs, fit, corrupted)
            if unlikely.sum() > _MISTAKEN * len(fit):
                findings[fit[unlikely]] = Finding.NO_TRANSLATION
    if not (findings == Finding.FIT).any():
        raise TargetError(
            f"none of the target's {len(pairs):,} pairs can be learned from: all are copies or of other languages"
        )
    return Examination(sample, keys[:0] if sample.side else keys, findings)


def stand_ins(stream: PairBatch, quality: QualityModel | None) -> Sample:
    """Pairs of the stream to learn translations from where the target has none: those that are clean by what is known.

    Args:
        stream: an even sample, in the order of its keys.
        quality: what tells translations by now; None: nothing does yet, and all but copies are taken.
    """
    pairs = TokenizedPairs.of(stream.slice(0, min(len(stream), 2 * _TRANSLATIONS)))
    rows = np.unique(pair_keys(pairs, np.arange(len(pairs))), return_index=True)[1]
    rows = np.sort(rows[text_keys(pairs.source)[rows] != text_keys(pairs.target)[rows]])
    if quality is not None:
        rows = rows[~quality.scorer.foreign(pairs, rows)]
        rows = rows[quality.of_features(quality.features(pairs)[rows]) >= _LIKELIER]
    batch = pairs.batch.take(rows[:_TRANSLATIONS])
    order = np.argsort(batch.positions)  # pairs of one document stay together
    found = zip(batch.positions.tolist(), batch.source.texts(), batch.target.texts(), strict=True)
    made = [TargetPair(f"{position:020d}", source, target, 0.0) for position, source, target in found]
    return Sample(tuple(made[row] for row in order.tolist()))


def refuse_swapped(target: PairBatch, stream: PairBatch, side: Side | None) -> None:
    """Raise TargetError if the target's sides stand in the other order than the stream's.

    Each side's profile is then nearer to the stream's other side; in order it is nearer to its own, 1.24 times or more (English
    with French, Romanian, Danish, Chinese and Thai, any domain, 30 pairs or more).

    Args:
        target: its pairs.
        stream: an even sample.
        side: the one that the target is texts of; None: it is pairs.
    """
    if min(len(target), len(stream)) < FEWEST:
        return
    stream = stream.slice(0, min(len(stream), _MOST_PROFILED))
    sides = [[profile(side) for side in (pairs.source, pairs.target)] for pairs in (target, stream)]
    alike = np.array([[float(one @ other) for other in sides[1]] for one in sides[0]])
    swapped = alike[0, 1] / max(alike[0, 0], 1e-9), alike[1, 0] / max(alike[1, 1], 1e-9)
    if side:
        if swapped[side == "target"] > _SWAPPED:
            other = "source" if side == "target" else "target"
            raise TargetError(
                f"the target's texts are not like the stream's {side}s but like its {other}s: give them as the {other} side "
                f"(--target-{other} FILE; in Python target_{other}=)"
            )
    elif min(swapped) > _SWAPPED:
        raise TargetError(
            "the target's sides are swapped: its sources are like the stream's targets, its targets like the stream's sources; "
            "give them in the stream's order"
        )


def _unlikely(
    quality: QualityModel, pairs: TokenizedPairs, rows: NDArray[np.int64], corrupted: TokenizedPairs
) -> NDArray[np.bool_]:
    """Which of the pairs at `rows` are no translations, bool [rows]."""
    features = quality.features(pairs)[rows]
    likelier = features[quality.of_features(features) >= _LIKELIER]
    if len(likelier) < _FEWEST_CLEAN:
        return np.zeros(len(rows), np.bool_)
    classifier = fit_classifier(likelier, quality.features(corrupted))
    return np.asarray(log_probability(features, classifier, 0.0) < _LEAST_LOG_CLEAN)
