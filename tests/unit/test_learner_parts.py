"""What each part of the learner does to what it is given, on data small enough to know the answer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_encoders import Counting
from threadpoolctl import threadpool_limits
from toy import Toy, stream, target

from craft_stream.encoders import load_encoder
from craft_stream.encoders.dense import DenseEncoder
from craft_stream.learning.calibration import calibrate
from craft_stream.learning.centroids import Centroids
from craft_stream.learning.characters import CharacterCounts
from craft_stream.learning.corruption import (
    KINDS,
    change_number,
    cipher,
    corrupt,
    cut,
    mojibake,
    other_script,
    salad,
)
from craft_stream.learning.density import MIXTURE, PRIOR, NGramCounts
from craft_stream.learning.domain import DomainLearner
from craft_stream.learning.even_sample import EvenSample
from craft_stream.learning.executor import IN_TURN
from craft_stream.learning.learner import Learner
from craft_stream.learning.lexicon import learn_lexicon
from craft_stream.learning.quality import QualityModel, clean_share, fit_classifier
from craft_stream.learning.regression import OnlineRegression
from craft_stream.learning.reservoir import Reservoir
from craft_stream.learning.sampling import sampled
from craft_stream.learning.training_set import TrainingSet
from craft_stream.learning.translation import TranslationLearner
from craft_stream.parameters import LearningParameters, Parameters
from craft_stream.scoring.alignment import word_features
from craft_stream.scoring.domain import TAIL_QUANTILE, DomainModel, domain_scores
from craft_stream.scoring.lexicon import JOINT_UNIT, SMOOTHING, Lexicon
from craft_stream.scoring.model import Model
from craft_stream.scoring.prediction import ROW_BITS
from craft_stream.scoring.quality import FEATURES, log_probability
from craft_stream.text.bags import STEM_BITS
from craft_stream.text.batch import PairBatch
from craft_stream.text.languages import load_identifier
from craft_stream.text.ngrams import NGRAM_BITS, NGrams
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.text.tokens import tokenize

TOY = Toy()


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As in the learner: threads of small matrices wait for one another."""
    with threadpool_limits(1):
        yield


def ngrams(rows: list[list[int]]) -> NGrams:
    flat = np.array([index for row in rows for index in row], np.uint32)
    offsets = np.r_[0, np.cumsum([len(row) for row in rows])].astype(np.int64)
    return NGrams(flat, offsets, offsets[1:])


def read(pairs: list[tuple[str, str]]) -> TokenizedPairs:
    return TokenizedPairs.of(PairBatch.pack([s for s, _ in pairs], [t for _, t in pairs]))


def sample(size: int = 60) -> TrainingSet:
    reservoir = Reservoir(1000)
    identifiers, batch = target(TOY, size)
    for name, source, translation in zip(
        identifiers, batch.source.texts(), batch.target.texts(), strict=True
    ):
        reservoir.insert(name, source, translation)
    return TrainingSet.of(reservoir.sample(), reservoir.sample(), 0, expensive=False)


@pytest.fixture(scope="module")
def quality() -> QualityModel:
    """Taught 1,500 pairs of the toy language."""
    learner = TranslationLearner(LearningParameters(clusters=8), load_encoder())
    pairs = TokenizedPairs.of(stream(TOY, 1500, noise=0).batch)
    learner.learn_words(pairs, np.ones(1500, np.float32))
    learner.learn_vectors(pairs, np.ones(1500, np.float32))
    return learner.quality_model(sample(200), IN_TURN)


# Which pairs


@given(st.lists(st.integers(0, 10**12), max_size=200, unique=True), st.floats(0.001, 1), st.floats(0.001, 1))
def test_a_smaller_share_is_within_a_larger(positions: list[int], one: float, other: float) -> None:
    """The pairs sampled at a rate are sampled at any higher one, wherever they stand in a batch."""
    where = np.array(positions, np.int64)
    less, more = sorted((one, other))
    assert set(sampled(where, less)) <= set(sampled(where, more))
    assert np.array_equal(where[sampled(where, more)], where[::-1][sampled(where[::-1], more)][::-1])


def test_a_share_is_a_share() -> None:
    """Of consecutive positions as many as the rate says; of all, all."""
    positions = np.arange(100_000)
    assert abs(len(sampled(positions, 0.03125)) / 100_000 - 0.03125) < 0.002
    assert len(sampled(positions, 1.0)) == 100_000


def test_what_is_old_fades_from_the_sample() -> None:
    """Of pairs that are a half-life older, half as many are held; without one the sample is even."""
    for half_life, share in ((20_000.0, 2.0), (np.inf, 1.0)):
        sample = EvenSample(4000, half_life)
        for start in range(0, 80_000, 1000):
            at = np.arange(start, start + 1000)
            sample.add(PairBatch.pack(["a"] * 1000, ["b"] * 1000, at))
        held = np.bincount(sample.batch().positions // 20_000, minlength=4)
        assert held.sum() == 4000
        assert held[1:] / held[:-1] == pytest.approx([share] * 3, rel=0.15)


@given(st.floats(0.05, 0.95), st.integers(0, 1 << 32))
def test_the_share_of_clean_pairs_is_found(share: float, seed: int) -> None:
    """From probabilities of a classifier that takes both for equally many, whose log-odds are normal around 2 and -2."""
    rng = np.random.default_rng(seed)
    clean = rng.random(4000) < share
    odds = rng.normal(np.where(clean, 2.0, -2.0), 2.0)  # of two such normals the log-odds are their own value
    assert clean_share(1 / (1 + np.exp(-odds))) == pytest.approx(clean.mean(), abs=0.05)
    assert clean_share(np.zeros(0)) == 0.5


def test_p_clean_is_stricter_where_most_is_noise() -> None:
    """By the log-odds of the share of clean pairs; as it is where most are clean, and where nothing is known."""
    learner = Learner(Parameters(), load_encoder())
    learner.observe_target(*target(TOY))
    learner.observe(stream(TOY, 3000).batch)
    learner.publish()
    quality = learner._quality
    assert quality is not None
    for noise, least, most in ((0.1, 0.0, 0.0), (0.8, -2.5, -0.7)):
        pairs = TokenizedPairs.of(stream(TOY, 2000, noise=noise, seed=8).batch)
        there = quality.in_stream(pairs).classifier
        assert least <= there.weights[-1] - quality.classifier.weights[-1] <= most
        assert np.array_equal(there.weights[:-1], quality.classifier.weights[:-1])
    nothing = TokenizedPairs.of(PairBatch.pack([], []))
    assert np.array_equal(quality.in_stream(nothing).classifier.weights, quality.classifier.weights)


def test_the_training_set_knows_its_parents() -> None:
    """Each corruption shares a side with the pair that it was made from; an expensive encoder gets few."""
    training = sample(60)
    assert training.clean.tolist() == list(range(60))
    assert len(training.parents) == len(training.corrupted) > 300
    whole = training.target.batch
    sources, targets = whole.source.texts(), whole.target.texts()
    made = training.corrupted.batch
    same = [
        source == sources[parent] or translation == targets[parent]
        for source, translation, parent in zip(
            made.source.texts(), made.target.texts(), training.parents.tolist(), strict=True
        )
    ]
    assert all(same)
    reservoir = Reservoir(4096)
    for k in range(1600):
        reservoir.insert(str(k), *TOY.pair(random.Random(k), True))
    for expensive, clean, parents in ((False, 1500, 500), (True, 300, 180)):
        found = TrainingSet.of(reservoir.sample(), reservoir.sample(), 0, expensive)
        assert len(found.clean) == clean == len(set(found.clean.tolist()))
        assert len(set(found.parents.tolist())) == parents
        assert set(found.parents.tolist()) <= set(found.clean.tolist())


def test_corruptions_are_of_every_kind() -> None:
    """Each is the fault that its name says."""
    rng = np.random.default_rng(0)
    text = "the café of the old town opens at nine today and never closes"
    assert mojibake("café") == "cafÃ©"
    assert other_script("abc é") == "абв é"
    words = text.split(" ")
    for _ in range(50):
        part = cut(text, rng).split(" ")
        assert part in (words[: len(part)], words[-len(part) :])
        assert 0.2 * len(words) - 1 <= len(part) <= 0.75 * len(words)
        mixed = salad(text, rng).split(" ")
        assert set(mixed) == set(words)
        assert len(words) <= len(mixed) <= 2 * len(words)
        other = change_number("page 12 of 345", rng).split(" ")
        assert [len(word) for word in other] == [4, 2, 2, 3]
        changed = [other[1] != "12", other[3] != "345"]
        assert sum(changed) == 1
    assert change_number("no number", rng) == "no number"
    secret = cipher(text, rng)
    assert [len(word) for word in secret.split(" ")] == [len(word) for word in words]
    assert secret != text
    assert cipher("aa", rng) == "aa"
    sources = [f"source {k} alpha beta gamma delta epsilon" for k in range(30)]
    targets = [f"target {k} alpha béta gamma delta epsilon" for k in range(30)]
    made = corrupt(sources, targets, rng)
    pairs: dict[str, list[tuple[int, str, str]]] = {}
    for kind, parent, one, two in zip(made.kinds, made.parents, made.sources, made.targets, strict=True):
        pairs.setdefault(kind, []).append((parent, one, two))
    assert set(pairs) == set(KINDS)
    assert min(map(len, pairs.values())) >= 20
    for kind in ("random", "next", "length", "lookalike"):
        assert all(one == sources[k] and two in targets and two != targets[k] for k, one, two in pairs[kind])
    assert all(two == targets[(k + 1) % 30] for k, _, two in pairs["next"])
    assert all(two in targets[k] for k, _, two in pairs["cut"])
    assert all(one in sources[k] for k, one, _ in pairs["cut_source"])
    assert all((one, two) == (sources[k],) * 2 for k, one, two in pairs["copy"])
    assert all((one, two) == (targets[k],) * 2 for k, one, two in pairs["copy_target"])
    assert all(one == sources[k] != two and two in sources for k, one, two in pairs["one_language"])
    assert all(two == targets[k] != one and one in targets for k, one, two in pairs["target_language"])


# How much a pair is believed


def test_what_is_no_translation_teaches_nothing(quality: QualityModel) -> None:
    """P(clean) is the weight of a pair, and 0 below a quarter; the two halves of a batch are weighed alike."""
    made = stream(TOY, 600, seed=4)
    pairs = TokenizedPairs.of(made.batch)
    weights = quality.sample_weights(pairs, IN_TURN)
    assert np.median(weights[made.clean]) > 0.9
    assert (weights[~made.clean] == 0).mean() > 0.7
    assert not ((weights > 0) & (weights <= 0.25)).any()
    scorer, rows = quality.scorer, np.arange(600)
    features = scorer.features(pairs, rows, scorer.embed(pairs, rows, scorer.clusters(pairs)))
    probability = np.exp(log_probability(features, quality.classifier))
    assert np.array_equal(weights, np.where(probability > 0.25, probability, np.float32(0)))
    one = quality.sample_weights(pairs.slice(3, 4), IN_TURN)
    assert one.tolist() == weights[3:4].tolist()


def test_the_learner_weighs_what_it_learns() -> None:
    """Words that come in copies only are counted while nothing is known, and not once there is a quality model."""
    learner = Learner(Parameters(LearningParameters(clusters=8)), load_encoder())
    learner.observe_target(*target(TOY))
    words = ["wqwqwq", "jyjyjy"]
    for seed, word in enumerate(words):
        pairs = stream(TOY, 2100, noise=0, seed=seed).batch
        sources, targets = pairs.source.texts(), pairs.target.texts()
        for k in range(0, 2100, 20):
            sources[k] = targets[k] = f"{word} {k} {word} page {word}."
        learner.observe(PairBatch.pack(sources, targets))
    model = learner.publish()
    counts = []
    for word in words:
        stems = tokenize(PairBatch.pack([word], [word]).source).stems
        counts.append(float(model.translation.lexicon.source_count[int(stems[0]) >> (64 - STEM_BITS)]))
    assert counts[0] >= 300
    assert counts[1] < 0.1 * counts[0]


def test_a_model_of_a_hostile_stream_can_be_read_again() -> None:
    """Pairs of one word, known or not, a thousand times: all of the model is within the bounds that readers ask for."""
    learner = Learner(Parameters(LearningParameters(clusters=8)), load_encoder())
    learner.observe_target(*target(TOY))
    pairs = stream(TOY, 2100, noise=0, seed=1).batch
    sources, targets = pairs.source.texts(), pairs.target.texts()
    words = ["wqwqwq", sources[0].split()[0], targets[1].split()[0]]
    for k in range(0, 2100, 100):
        sources[k], targets[k] = (f"{words[(k // 100 + side) % 3]} " * 1_000 for side in (0, 1))
    learner.observe(PairBatch.pack(sources, targets))
    model = learner.publish()
    assert Model.decode(model.encode()).digest == model.digest
    assert max(float(np.abs(scales).max()) for scales in (
        model.translation.forward.scales, model.translation.backward.scales)) < 1  # fmt: skip


def test_a_version_weighs_what_comes_after_it() -> None:
    """Also before enough pairs have come for a quality model between versions; stem weights stay as the first one has them."""
    learner = Learner(Parameters(LearningParameters(clusters=8)), load_encoder())
    learner.observe_target(*target(TOY))
    learner.observe(stream(TOY, 1500, noise=0).batch)
    first = learner.publish()
    learner.observe(
        PairBatch.pack(
            [f"jyjyjy {k} jyjyjy." for k in range(300)], [f"jyjyjy {k} jyjyjy." for k in range(300)]
        )
    )
    second = learner.publish()
    stem = int(tokenize(PairBatch.pack(["jyjyjy"], ["x"]).source).stems[0]) >> (64 - STEM_BITS)
    assert second.translation.lexicon.source_count[stem] == 0
    assert second.pairs_seen == 1800
    for side in ("source_weights", "target_weights"):
        assert np.array_equal(getattr(first.translation, side), getattr(second.translation, side))
    assert not np.array_equal(first.translation.source_weights, first.translation.target_weights)
    assert first.clustering == second.clustering
    for part in ("lexicon.source_count", "characters.source", "characters.target", "forward.rows"):
        name = f"translation.{part}"
        assert np.array_equal(first.arrays[name], second.arrays[name]), part
    # log((N + 1) / (count + 1)) + .1 of a word that never came
    assert first.translation.source_weights.max() == pytest.approx(np.log(1501) + 0.1)
    learner.observe(stream(TOY, 300, noise=0, seed=9).batch)
    learner.publish()
    assert not np.array_equal(
        second.translation.lexicon.source_count, learner.publish().translation.lexicon.source_count
    )


def test_quality_models_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after 2,048 pairs, the next after four times as many: each costs as much as half a version."""
    made: list[int] = []
    learner = Learner(Parameters(LearningParameters(clusters=2)), load_encoder())
    learner.observe_target(*target(TOY, 20))
    make = learner._translation.quality_model

    def count(*arguments: Any) -> QualityModel:
        made.append(learner.pairs_seen)
        return make(*arguments)

    monkeypatch.setattr(learner._translation, "quality_model", count)
    pairs = stream(TOY, 500).batch
    for _ in range(20):
        learner.observe(pairs)
    assert made == [2500, 10_000]


def test_after_the_first_pairs_a_share_is_learned_from() -> None:
    """All of the first `full_until`, then a sampled share; all count as seen, and may stand in the even sample."""
    learner = Learner(Parameters(LearningParameters(full_until=500, sample_rate=0.1)), load_encoder())
    pairs = stream(TOY, 3000).batch
    for start in range(0, 3000, 500):
        learner.observe(pairs.slice(start, start + 500))
    learner._learn_waiting()
    kept = [*range(500), *(sampled(np.arange(500, 3000), 0.1) + 500).tolist()]
    assert sorted(learner._sample.batch().positions.tolist()) == list(range(3000))
    assert learner.pairs_seen == 3000
    head, rest = (
        TokenizedPairs.of(pairs.take(np.array(rows))).ngrams.indices for rows in (kept[:500], kept[500:])
    )
    counts = [np.bincount(counted, minlength=1 << NGRAM_BITS) for counted in (head, rest)]
    assert np.array_equal(learner._domain.counts.stream, counts[0] + 10 * counts[1])


def test_an_expensive_encoder_is_spared() -> None:
    """It embeds only the sampled share of what the quality model lets pass; weights come from words alone."""
    encoder = DenseEncoder(Counting(), "counting")
    learner = TranslationLearner(LearningParameters(embedded_rate=0.2, clusters=2), encoder)
    pairs = TokenizedPairs.of(stream(TOY, 500, noise=0).batch)
    weights = np.where(np.arange(500) % 2, 1, 0).astype(np.float32)
    before = encoder.encoded
    learner.learn_vectors(pairs, weights)
    rows = sampled(pairs.batch.positions, 0.2)
    chosen = [k for k in rows.tolist() if k % 2]
    texts = pairs.batch.take(np.array(chosen))
    assert encoder.encoded - before == len({*texts.source.texts(), *texts.target.texts()})
    quality = learner.quality_model(sample(40), IN_TURN)
    before = encoder.encoded
    assert len(quality.sample_weights(pairs, IN_TURN)) == 500
    assert encoder.encoded == before
    assert quality.scorer.translation.cascade


# Regressions of classes


def test_no_evidence_is_one_half() -> None:
    """However many more corrupted pairs there are: both classes weigh alike."""
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (3000, len(FEATURES))).astype(np.float32)
    classifier = fit_classifier(features[:300], features[300:])
    assert np.median(np.exp(log_probability(features, classifier))) == pytest.approx(0.5, abs=0.05)


def test_a_feature_may_be_wrong_at_both_ends() -> None:
    """What lies far on either side of the clean pairs is not clean."""
    rng = np.random.default_rng(1)
    clean = rng.normal(0, 1, (800, len(FEATURES))).astype(np.float32)
    other = (clean + rng.choice([-4, 4], (800, 1))).astype(np.float32)
    classifier = fit_classifier(clean, other)
    assert (log_probability(clean, classifier) > np.log(0.5)).mean() > 0.9
    assert (log_probability(other, classifier) < np.log(0.5)).mean() > 0.9


# Domain


def test_domain_weights_are_their_formula() -> None:
    """The ratio of rates mixed with 1, less the correction for what was accepted, as the module says."""
    counts = NGramCounts()
    counts.set_target(ngrams([[1, 2, 3], [1, 4]]))
    counts.add_stream(ngrams([[1, 5, 6]] * 7))
    counts.add_selected(ngrams([[1, 1, 5], [5]]))
    weights, size = counts.weights(2.0), 1 << NGRAM_BITS
    for index, in_target, in_stream, selected in ((1, 2, 7, 2), (5, 0, 7, 2), (2, 1, 0, 0), (9, 0, 0, 0)):
        expected = (in_stream + 0.5) * 5 / (21 + size / 2)
        ratio = np.log(MIXTURE + (1 - MIXTURE) * (in_target + PRIOR) / (expected + PRIOR))
        strength = 2.0 * 4 / (4 + 5)
        excess = (selected * 5 / 4 + 1) / (in_target + 1)
        corrected = ratio - strength * np.log(MIXTURE + (1 - MIXTURE) * excess)
        assert weights[index] == pytest.approx([ratio, corrected], rel=1e-5)
    counts.forget_selected()
    assert np.array_equal(*counts.weights(2.0).T)
    assert not counts.selected.any()


def _domain(**learning: float) -> tuple[DomainModel, NGrams, NGrams]:
    rng = np.random.default_rng(3)
    wanted = ngrams([rng.integers(0, 60, 8).tolist() for _ in range(300)])
    others = [
        [*rng.integers(0, 60, 8).tolist()] if k % 5 == 0 else [*rng.integers(50, 3000, 8).tolist()]
        for k in range(900)
    ]
    taught, recent = ngrams(others[:400]), ngrams(others[400:])
    learner = DomainLearner(LearningParameters(**learning))  # type: ignore[arg-type]
    learner.counts.add_stream(ngrams(others))
    return learner.model(wanted, taught, recent), wanted, recent


def test_a_domain_model_is_standardised_by_the_stream() -> None:
    """Scores of recent pairs have mean 0 and deviation 1; as large a share as is like the target lies above the tail."""
    model, wanted, recent = _domain()
    scores, ratio = model.score(recent)
    assert scores.mean() == pytest.approx(0, abs=1e-4)
    assert scores.std() == pytest.approx(1, abs=1e-4)
    assert np.array_equal(ratio, domain_scores(recent, model.weights)[:, 0])
    above = (ratio >= model.tail).sum()
    assert model.tail_share == pytest.approx((above + 0.5) / 501 / (1 - TAIL_QUANTILE))
    assert np.array_equal(model.weights * 512, np.round(model.weights * 512))
    assert (model.score(wanted)[1] >= model.tail).mean() > 0.15


def test_the_discriminant_weighs_more_the_larger_the_target() -> None:
    """None at 0; of 300 target pairs in 2,000 it has .15 of its weight, in deviations of the score by the ratio."""
    plain, _, recent = _domain(discriminant=0.0)
    assert np.array_equal(*plain.weights.T)
    found = [_domain(discriminant=strength)[0].weights[:, 1] - plain.weights[:, 1] for strength in (1.0, 2.0)]
    share = domain_scores(recent, np.stack([plain.weights[:, 0], found[0]], axis=1)).std(0)
    assert share[1] / share[0] == pytest.approx(300 / 2000, rel=0.02)
    assert np.abs(found[1] - 2 * found[0]).max() <= 2 / 512


def test_a_wholly_other_target_forgets_what_was_selected() -> None:
    """While one pair stays nothing is forgotten."""
    learner = Learner(Parameters(LearningParameters(clusters=4)), load_encoder())
    identifiers, batch = target(TOY, 80)
    learner.observe_target(identifiers[:40], batch.slice(0, 40))
    learner.observe(stream(TOY, 300).batch)
    learner.observe_accepted(batch.slice(0, 9))
    learner.publish()
    learner.withdraw_target(identifiers[1:40])
    learner.observe_target(identifiers[40:60], batch.slice(40, 60))
    learner.publish()
    assert learner._domain.counts.selected.any()
    learner.withdraw_target([identifiers[0], *identifiers[40:60]])
    learner.observe_target(identifiers[60:], batch.slice(60, 80))
    learner.publish()
    assert not learner._domain.counts.selected.any()


# Translations


def stepped(pairs: TokenizedPairs, weights: list[float]) -> tuple[dict[tuple[int, int], float], Lexicon]:
    """The formulas of `learning.lexicon` word by word, in double precision: joint counts by stems, all else as a Lexicon."""
    joint: dict[tuple[int, int], float] = {}
    found = Lexicon.empty(1)
    source, target, shift = pairs.source, pairs.target, 64 - STEM_BITS
    for k, weight in enumerate(weights):
        ours, theirs = (
            [int(stem) for stem in side.stems[side.offsets[k] : side.offsets[k + 1]]]
            for side in (source, target)
        )
        prior = [(float(found.source_count[e >> shift]) + 0.5) / (found.totals[0] + 1001) for e in ours]
        other = [(float(found.target_count[f >> shift]) + 0.5) / (found.totals[1] + 1001) for f in theirs]
        t, r = (np.zeros((len(theirs), len(ours))) for _ in range(2))
        for j, f in enumerate(theirs):
            for i, e in enumerate(ours):
                damp = 1 / (1 + 10 * (i / len(ours) - j / len(theirs)) ** 2)
                count = joint.get((e, f), 0.0)
                t[j, i] = (count + SMOOTHING * other[j]) / (found.source_mass[e >> shift] + SMOOTHING) * damp
                r[j, i] = (count + SMOOTHING * prior[i]) / (found.target_mass[f >> shift] + SMOOTHING) * damp
        t /= t.sum(axis=1, keepdims=True) + np.array(other)[:, None]
        r /= r.sum(axis=0, keepdims=True) + np.array(prior)[None]
        found.totals[:] += len(ours), len(theirs)
        for e in ours:
            found.source_count[e >> shift] += 1
        for j, f in enumerate(theirs):
            found.target_count[f >> shift] += 1
            for i, e in enumerate(ours):
                posterior = np.sqrt(t[j, i] * r[j, i]) * weight
                if t[j, i] * r[j, i] >= 2e-4 and posterior >= JOINT_UNIT:
                    joint[e, f] = joint.get((e, f), 0.0) + posterior // JOINT_UNIT * JOINT_UNIT
                    found.source_mass[e >> shift] += posterior
                    found.target_mass[f >> shift] += posterior
    return joint, found


def test_a_lexicon_is_learned_by_its_formulas() -> None:
    """Joint counts, masses and occurrences after some dozens of pairs are those of the formulas, to a few units of 1/1024."""
    rng = np.random.default_rng(3)
    words = [f"{a}{b}" for a in ("ba", "ko", "ri", "tu") for b in ("me", "sa", "lo")]
    rows = [rng.choice(12, rng.integers(2, 7), replace=False) for _ in range(60)]
    sides = (
        [" ".join(words[k] for k in row) for row in rows],
        [" ".join(words[k][::-1] for k in row) for row in rows],
    )
    pairs = TokenizedPairs.of(PairBatch.pack(*sides))
    weights = [float(w) for w in rng.choice([0.5, 1.0], 60)]
    lexicon = Lexicon.empty(12)
    learn_lexicon(lexicon, pairs.source, pairs.target, np.array(weights, np.float32))
    joint, expected = stepped(pairs, weights)
    for name in ("source_count", "target_count", "totals"):
        assert np.array_equal(getattr(lexicon, name), getattr(expected, name))
    for name in ("source_mass", "target_mass"):
        assert np.allclose(getattr(lexicon, name), getattr(expected, name), rtol=0.02, atol=0.01), name
    counts = lexicon.joint.reshape(-1, 2)
    assert np.allclose(
        np.sort(counts[counts[:, 0] > 0, 1]) * JOINT_UNIT, sorted(joint.values()), rtol=0.03, atol=0.03
    )


def test_a_reservoir_holds_four_samples_at_most() -> None:
    """However many pairs the target has."""
    reservoir = Reservoir(3)
    held = []
    for number in range(200):
        reservoir.insert(f"{number}", "a", "b")
        held.append(len(reservoir._pairs))
    assert max(held) == 12
    assert min(held[12:]) == 6


def test_few_pairs_are_one_cluster() -> None:
    """There is a centroid for each eight pairs, and at least one."""
    rng = np.random.default_rng(0)
    for pairs, clusters in ((1, 1), (7, 1), (15, 1), (16, 2), (80, 4)):
        centroids = Centroids(8, 4)
        centroids.update(
            {str(k): row for k, row in enumerate(rng.normal(size=(pairs, 8)).astype(np.float32))}
        )
        assert centroids.columns.shape == (8, clusters)


def test_a_cut_takes_a_fifth_or_is_none() -> None:
    """Of a short word and a long one only the short one is left alone: a pair that lacks three letters is no fault."""
    texts = [f"{k:02d} abcdefghijklmnopqrstuvwxyz{k:02d}" for k in range(60)]
    made = corrupt([f"source of number {k}" for k in range(60)], texts, np.random.default_rng(0))
    rest = [
        t
        for t, parent in zip(made.targets, made.parents, strict=True)
        if t != texts[parent] and t in texts[parent]
    ]
    assert 20 < len(rest) < 60
    assert max(map(len, rest)) == 2


def test_a_cipher_keeps_some_letters() -> None:
    """From none to 60 %, .3 on average, and one in 26 by chance."""
    rng, text = np.random.default_rng(0), "abcdefghijklmnopqrstuvwxyz"
    kept = [np.mean([a == b for a, b in zip(cipher(text, rng), text, strict=True)]) for _ in range(400)]
    assert abs(np.mean(kept) - (0.3 + 0.7 / 26)) < 0.03
    assert max(kept) < 0.9


def test_a_lookalike_shares_words_and_has_the_length() -> None:
    """A pair with half of the words and the length is taken before one that has all of them, and thirty more."""
    sources = ["one two three four", "one two five six", "one two three four" + " and more of it" * 8]
    targets = ["a", "b", "c"]
    for seed in range(5):
        made = corrupt(sources, targets, np.random.default_rng(seed), ["lookalike"])
        assert made.targets[made.parents.index(0)] == "b"
    # of one length the ratio is none at all, and of half the length it costs more than a word in five
    sources = ["aa bb cc dd ee ff gg hh ii jjj", "aa bb pp qq rr ss tt uu vv www", "aa bb cc xx yy"]
    made = corrupt(sources, targets, np.random.default_rng(0), ["lookalike"])
    assert made.targets[made.parents.index(0)] == "b"
    same = corrupt([sources[0]] * 2, ["a", "b"], np.random.default_rng(0), ["lookalike"])
    assert not same.targets


def test_a_lexicon_learns_what_comes_together() -> None:
    """A word's translation is the one it always comes with; weight 0 leaves a pair out, half a weight teaches half as much."""
    pairs = read([("ba ko", "x1 x2"), ("ba ri", "x1 x3"), ("tu ko", "x4 x2"), ("tu ri", "x4 x3")] * 30)
    learned = []
    for weight in (1.0, 0.5, 0.0):
        lexicon = Lexicon.empty(10)
        learn_lexicon(lexicon, pairs.source, pairs.target, np.full(120, weight, np.float32))
        learned.append(lexicon)
    right, wrong = read([("ba ri", "x1 x3")]), read([("ba ri", "x4 x2")])
    one = np.zeros(1, np.int64)
    scores = [word_features(p.source, p.target, one, learned[0])[0][0] for p in (right, wrong)]
    assert scores[0][0] > scores[1][0] + 0.5
    assert scores[0][1] > scores[1][1] + 0.5
    assert learned[0].totals.tolist() == [240, 240]
    assert learned[0].source_count.sum() == 240
    assert learned[1].source_mass.sum() == pytest.approx(0.5 * learned[0].source_mass.sum(), rel=0.1)
    assert not learned[2].joint.any()
    assert not learned[2].totals.any()


def test_one_step_of_the_regression_is_its_formula() -> None:
    """Rows move by eta w (y - yhat) s_r / sum s, s_r = 1 / sqrt(steps + 1); weight 0 moves nothing."""
    regression = OnlineRegression(3)
    tokens = tokenize(PairBatch.pack(["ba ko"], ["x"]).source)
    rows = (tokens.stems >> np.uint64(64 - ROW_BITS)).astype(int)
    regression.rows[rows[0]], regression.steps[rows[0]] = [1, 0, 0], 3
    y = np.array([[0, 2, 1]], np.float32)
    regression.learn(tokens, y, np.zeros(1, np.float32))
    assert regression.steps.sum() == 3
    regression.learn(tokens, y, np.full(1, 0.5, np.float32))
    moved = np.array([-1, 2, 1]) * 0.5 * 0.2
    s = np.array([1 / np.sqrt(4), 1])
    assert regression.rows[rows[0]] == pytest.approx([1, 0, 0] + moved * s[0] / s.sum(), abs=1e-6)
    assert regression.rows[rows[1]] == pytest.approx(moved * s[1] / s.sum(), abs=1e-6)
    assert regression.steps[rows].tolist() == [4, 1]


@given(
    st.lists(st.lists(st.sampled_from(["ba", "ko", "ri"]), min_size=1, max_size=250), min_size=1, max_size=6)
)
def test_no_step_of_the_regression_leads_beyond_what_it_should_predict(texts: list[list[str]]) -> None:
    """However often a text repeats a word: what is predicted for it comes nearer, and no row grows without bound."""
    regression, y = OnlineRegression(1), np.ones((1, 1), np.float32)
    for text in texts:
        tokens = tokenize(PairBatch.pack([" ".join(text)], ["x"]).source)
        rows = (tokens.stems >> np.uint64(64 - ROW_BITS)).astype(int)[: regression.TOKENS]
        before = 1 - regression.rows[rows].sum(dtype=float)
        regression.learn(tokens, y, np.ones(1, np.float32))
        after = 1 - regression.rows[rows].sum(dtype=float)
        assert abs(after) <= abs(before) + 1e-5
        assert after * before >= -1e-4


def test_characters_are_counted_of_what_is_believed() -> None:
    """Each 4-gram of either side once, of pairs whose weight is above 0."""
    counts = CharacterCounts()
    counts.add(PairBatch.pack(["abcdef", "zzzz"], ["wxyz", "yyyy"]), np.array([0.3, 0], np.float32))
    assert (counts.source.sum(), counts.target.sum()) == (3, 1)
    frozen = counts.freeze()
    assert np.exp(frozen.source.astype(np.float64)).sum() == pytest.approx(1, abs=1e-3)
    assert np.unique(frozen.target).size == 2


def test_either_side_is_predicted_from_the_other(quality: QualityModel) -> None:
    """Of pairs that taught nothing: predictions are near where a pair is a translation, and not where it is another's."""
    pairs, rows = TokenizedPairs.of(stream(TOY, 300, noise=0, seed=7).batch), np.arange(299)
    batch = pairs.batch
    shifted = TokenizedPairs.of(PairBatch.pack(batch.source.texts()[:-1], batch.target.texts()[1:]))
    found = []
    for some in (pairs.slice(0, 299), shifted):
        features = quality.scorer.features(
            some, rows, quality.scorer.embed(some, rows, quality.scorer.clusters(some))
        )
        found.append(np.median(features, axis=0))
    for name in ("cosine", "back_cosine", "cluster_cosine"):
        place = FEATURES.index(name)
        assert found[0][place] > found[1][place] + 0.15, name


def test_the_classifier_is_taught_without_the_pair_itself(quality: QualityModel) -> None:
    """Residuals of reservoir pairs that the correction was fitted to would be smaller than any of the stream."""
    training, scorer = sample(200), quality.scorer
    rows = np.arange(200)
    embeddings = scorer.embed(training.target, rows, scorer.clusters(training.target))
    own = scorer.features(training.target, rows, embeddings).mean(axis=0)
    cosine, residual = FEATURES.index("cluster_cosine"), FEATURES.index("cluster_residual")
    assert quality.classifier.mean[cosine] < own[cosine] - 0.02
    assert quality.classifier.mean[residual] > own[residual] + 0.05
    other = FEATURES.index("cosine")
    assert quality.classifier.mean[other] == pytest.approx(own[other], abs=1e-5)
    for correction in (scorer.translation.correction, scorer.translation.conditional):
        assert np.array_equal(correction.weights * 16384, np.round(correction.weights * 16384))


def test_stem_weights_are_kept_once_they_are_frozen(quality: QualityModel) -> None:
    """Until then they follow the counts; the clusters' shares are those of the target's pairs."""
    learner = TranslationLearner(LearningParameters(clusters=8), load_encoder())
    training, weights = sample(200), []
    for seed in range(3):
        pairs = TokenizedPairs.of(stream(TOY, 1000, seed=seed).batch)
        learner.learn_vectors(pairs, np.ones(1000, np.float32))
        weights.append(learner.quality_model(training, IN_TURN).scorer.translation.source_weights)
        if seed == 1:
            learner.freeze_weights()
    assert not np.array_equal(weights[0], weights[1])
    assert np.array_equal(weights[1], weights[2])
    model = quality.scorer.translation
    assert model.shares.sum() == pytest.approx(1)
    assert model.centroids.shape[1] == len(model.shares) == 8
    clusters = quality.scorer.clusters(training.target)
    assert np.array_equal(np.bincount(clusters, minlength=8) / 200, model.shares)


# Calibration


def test_a_calibration_stands_for_all_recent_pairs(quality: QualityModel) -> None:
    """The nearest to the domain for themselves, the others one for several; what is not embedded has no quality."""
    model, _, _ = _domain()
    recent = TokenizedPairs.of(stream(TOY, 3000, seed=5).batch)
    found, signals = calibrate(quality, model, recent)
    scores, _ = model.score(recent.ngrams)
    assert np.array_equal(found.domain, scores)
    assert signals.names == ()
    assert found.weight.sum() == pytest.approx(3000)
    order = np.argsort(-scores, kind="stable")
    assert (found.weight[order[:2048]] == 1).all()
    assert np.count_nonzero(found.weight[order[2048:]]) == -(-(3000 - 2048) // 4)
    embedded = found.weight > 0
    assert np.isnan(found.quality[~embedded]).all()
    assert not found.distance[~embedded].any()
    rows = np.flatnonzero(embedded)
    embeddings = quality.scorer.embed(recent, rows, quality.scorer.clusters(recent))
    assert np.array_equal(
        found.quality[rows], quality.of_features(quality.scorer.features(recent, rows, embeddings))
    )
    assert np.array_equal(found.distance[rows], quality.scorer.distance(embeddings))
    assert np.array_equal(found.cluster, quality.scorer.clusters(recent))
    nothing, _ = calibrate(quality, model, recent.slice(0, 0))
    assert len(nothing.domain) == 0


def test_foreign_pairs_have_no_quality_in_a_calibration(quality: QualityModel) -> None:
    """A selector cannot accept them, so it must not expect them."""
    pytest.importorskip("eldc")  # has no wheels for Python 3.14
    identifier = load_identifier("eldc")
    assert identifier is not None
    translation = replace(quality.scorer.translation, identifier=identifier.name, languages="en-fr")
    told = replace(quality, scorer=type(quality.scorer)(translation, load_encoder()))
    german = (
        "The house is at the end of the long street.",
        "Das Haus steht am Ende der langen Straße dort drüben.",
    )
    french = (
        "The house is at the end of the long street.",
        "La maison est au bout de la longue rue, là-bas.",
    )
    model, _, _ = _domain()
    found, _ = calibrate(told, model, read([german, french]))
    assert np.isnan(found.quality).tolist() == [True, False]
