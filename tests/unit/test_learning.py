"""The learner's parts: what adds up adds up, what is taken back is gone, what is left out is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_encoders import Counting
from toy import Toy, stream, target

from craft_stream.cli.engine import load_model
from craft_stream.concurrency import SerialExecutor
from craft_stream.encoders import load_encoder
from craft_stream.encoders.dense import DenseEncoder
from craft_stream.errors import ConfigurationError, IntegrityError, TargetError
from craft_stream.learning.centroids import Centroids
from craft_stream.learning.correction import fit_correction
from craft_stream.learning.corruption import corrupt
from craft_stream.learning.density import NGramCounts
from craft_stream.learning.domain import DomainLearner, _rounded
from craft_stream.learning.learner import Learner, pairs_to_next_version
from craft_stream.learning.quality import fit_classifier
from craft_stream.learning.reservoir import Reservoir
from craft_stream.parameters import LearningParameters, Parameters
from craft_stream.scoring.domain import LENGTH_POWER
from craft_stream.scoring.model import Model
from craft_stream.scoring.quality import FEATURES, QualityClassifier, log_probability
from craft_stream.scoring.scorer import Scorer
from craft_stream.text.batch import PairBatch
from craft_stream.text.ngrams import NGrams, word_ngrams
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.text.tokens import tokenize

identifiers = st.lists(st.text("abcdef", min_size=1, max_size=3), max_size=40, unique=True)


@given(identifiers, st.randoms(use_true_random=False), st.integers(1, 12))
def test_the_reservoir_does_not_depend_on_order(names: list[str], random: object, size: int) -> None:
    """The same target log in any order gives the same sample and version."""
    one, two = Reservoir(size), Reservoir(size)
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for name in names:
        one.insert(name, f"s {name}", f"t {name}")
    for name in shuffled:
        two.insert(name, f"s {name}", f"t {name}")
    assert one.sample().pairs == two.sample().pairs
    assert one.sample().version == two.sample().version
    assert len(one.sample()) == min(size, len(names))


@given(identifiers, identifiers, st.integers(4, 12))
def test_deleting_undoes_inserting(kept: list[str], gone: list[str], size: int) -> None:
    """delete(insert(R)) is R, while fewer are withdrawn than there are spares."""
    gone = [name for name in gone if name not in kept][:size]
    plain, changed = Reservoir(size), Reservoir(size)
    for name in kept:
        plain.insert(name, name, name)
    for name in kept + gone:
        changed.insert(name, name, name)
    for name in gone:
        changed.delete(name)
    assert changed.incomplete or plain.sample().version == changed.sample().version


def test_withdrawals_beyond_the_spares_are_told() -> None:
    """Of nine pairs a reservoir of two keeps four; it is incomplete when fewer than two are left, and never if it holds all."""
    small, whole = Reservoir(2), Reservoir(9)
    for reservoir in (small, whole):
        for number in range(9):
            reservoir.insert(str(number), "a", "b")
    kept = sorted(map(str, range(9)), key=small.priority)[:4]
    told = []
    for name in kept:
        small.delete(name)
        whole.delete(name)
        told.append(small.incomplete)
    assert told == [False, False, True, True]
    assert not whole.incomplete


def _ngrams(indices: list[list[int]]) -> NGrams:
    flat = np.array([i for row in indices for i in row], np.uint32)
    offsets = np.r_[0, np.cumsum([len(row) for row in indices])].astype(np.int64)
    return NGrams(flat, offsets, offsets[1:])


def test_block_scores_are_the_scores_without_the_block() -> None:
    """Each target pair's block-out score equals a recount of the target without its block."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 200, 8).tolist() for _ in range(30)]
    counts = NGramCounts()
    counts.set_target(_ngrams(rows))
    counts.add_stream(_ngrams([rng.integers(0, 400, 2000).tolist()]))
    scores = counts.block_scores(_ngrams(rows))
    without = NGramCounts()
    without.stream, without._totals["stream"] = counts.stream, counts._totals["stream"]
    without.set_target(_ngrams(rows[3:]))  # the first of ten blocks holds three pairs
    weights = without.weights(0)[:, 0].astype(np.float64)
    expected = [weights[row].sum() / 8**LENGTH_POWER for row in rows[:3]]
    assert np.allclose(scores[:3], expected, rtol=1e-5)


def test_a_correction_of_what_changed_is_that_of_all() -> None:
    """After every portion of accepted pairs the weights are those made anew of all counts, to the bit."""
    pairs, (_, own) = stream(Toy(), 300, seed=5).batch, target(Toy())
    stream_ngrams = TokenizedPairs.of(pairs).ngrams
    learner = DomainLearner(LearningParameters())
    learner.counts.add_stream(stream_ngrams)
    model = learner.model(TokenizedPairs.of(own).ngrams, stream_ngrams, stream_ngrams)
    for start in range(0, 60, 20):
        learner.counts.add_selected(stream_ngrams.slice(start, start + 20))
        model = learner.corrected(model)
        weights = learner.counts.weights(LearningParameters().balance)
        weights[:, 1] += learner._discriminant
        assert np.array_equal(model.weights, _rounded(weights))


def _vectors(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    x = rng.standard_normal((count, 16)).astype(np.float32)
    return {f"v{i}": row / np.linalg.norm(row) for i, row in enumerate(x)}


def test_centroids_forget_exactly() -> None:
    """After pairs came and went the sums are, to the bit, those of the pairs that stayed."""
    rng = np.random.default_rng(0)
    first = _vectors(rng, 200)
    centroids = Centroids(16, 8)
    centroids.update(first)
    sums, columns = centroids._sums.copy(), centroids.columns.copy()
    more = {f"w{i}": v for i, v in enumerate(_vectors(rng, 10).values())}
    centroids.update(first | more)
    assert not np.array_equal(sums, centroids._sums)
    centroids.update(first)
    assert centroids.clustering == 1
    assert np.array_equal(sums, centroids._sums)
    assert np.allclose(columns, centroids.columns, atol=1e-7)


def test_centroids_are_refitted_when_the_target_changes() -> None:
    """A quarter of new pairs makes a new clustering."""
    rng = np.random.default_rng(1)
    first, second = _vectors(rng, 80), {f"x{k}": v for k, v in _vectors(rng, 80).items()}
    centroids = Centroids(16, 64)
    centroids.update(first)
    assert centroids.columns.shape[1] == 10
    centroids.update(second)
    assert centroids.clustering == 2
    assert np.allclose(np.linalg.norm(centroids.columns, axis=0), 1, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 12))
def test_leaving_a_pair_out_is_refitting_without_it(seed: int, size: int) -> None:
    """The leave-one-out correction equals the correction fitted without that pair."""
    rng = np.random.default_rng(seed)
    x, y, predicted = rng.standard_normal((3, size + 1, 6)).astype(np.float32)
    clusters = np.zeros(size + 1, np.int16)
    fit = fit_correction(x, y, predicted, clusters, 1, intercept=1.0, slope=5.0)
    out = fit.without(x[:1], clusters[:1], np.zeros(1, np.int64))
    # The refit must use the same mean for z; a constant shift of z is absorbed only without a ridge.
    mean = fit.correction.means[0].astype(np.float64)
    z = np.c_[np.ones(size + 1), x - mean]
    ridge = np.diag(np.r_[1.0, np.full(6, 5.0)])
    e = (y - predicted).astype(np.float64)
    theta = np.linalg.solve(z[1:].T @ z[1:] + ridge, z[1:].T @ e[1:])
    assert np.allclose(out[0], z[0] @ theta, atol=1e-4)


def test_corruptions_are_no_clean_pairs() -> None:
    """No corruption equals a pair of the target, every one has a parent, every kind occurs."""
    toy = Toy()
    _, batch = target(toy, 60)
    sources, targets = batch.source.texts(), batch.target.texts()
    made = corrupt(sources, targets, np.random.default_rng(0))
    clean = set(zip(sources, targets, strict=True))
    assert not clean & set(zip(made.sources, made.targets, strict=True))
    assert len(made.parents) == len(made.sources) > 5 * len(sources)
    assert set(made.parents) == set(range(60))
    assert any(s == t for s, t in zip(made.sources, made.targets, strict=True))


def test_the_classifier_tells_the_classes_apart() -> None:
    """Fitted on two shifted normal classes, P(clean) is above a half for most of one and below for most of the other."""
    rng = np.random.default_rng(0)
    clean = rng.normal(1, 1, (500, len(FEATURES))).astype(np.float32)
    bad = rng.normal(0, 1, (2000, len(FEATURES))).astype(np.float32)
    classifier = fit_classifier(clean, bad)
    assert (log_probability(clean, classifier) > np.log(0.5)).mean() > 0.95
    assert (log_probability(bad, classifier) < np.log(0.5)).mean() > 0.95


def test_one_constant_feature_and_one_pair_do_not_break_the_classifier() -> None:
    """A single clean pair and constant features give finite probabilities."""
    count = len(FEATURES)
    classifier = fit_classifier(np.ones((1, count), np.float32), np.zeros((3, count), np.float32))
    assert np.isfinite(log_probability(np.ones((2, count), np.float32), classifier)).all()


@pytest.fixture(scope="module")
def learner() -> Learner:
    toy = Toy()
    made = Learner(Parameters(LearningParameters(publish_pairs=4096)), load_encoder())
    made.observe_target(*target(toy))
    made.observe(stream(toy, 3000).batch)
    return made


@pytest.fixture(scope="module")
def model(learner: Learner) -> Model:
    return learner.publish()


def test_an_empty_target_is_refused() -> None:
    """Publishing without a target says what to do."""
    with pytest.raises(TargetError, match="publish"):
        Learner(Parameters(), load_encoder()).publish()


def test_a_model_travels_bit_for_bit(model: Model) -> None:
    """Encode and decode keep every array and number, and the digest."""
    again = Model.decode(model.encode())
    assert again.header == model.header
    assert again.digest == model.digest
    assert model.learning == LearningParameters()  # made with other publish_pairs, which are in no Model
    assert all(np.array_equal(again.arrays[name], array) for name, array in model.arrays.items())


def test_a_damaged_model_is_refused(model: Model) -> None:
    """One flipped bit anywhere is noticed."""
    sound = model.encode()
    for place in (0, 9, 200, -1):
        data = bytearray(sound)
        data[place] ^= 1
        with pytest.raises(IntegrityError):
            Model.decode(bytes(data))


def test_a_model_of_other_features_is_refused(model: Model) -> None:
    """A model made when pairs had fewer features is named as such, never read past its arrays' ends."""
    own = model.classifier
    classifier = QualityClassifier(own.mean[1:], own.deviation[1:], own.weights[2:])
    with pytest.raises(IntegrityError, match="features"):
        Model.decode(replace(model, classifier=classifier).encode())


def test_equal_learners_publish_equal_models() -> None:
    """The same log through two learners gives the same digest."""
    toy, models = Toy(), []
    for _ in range(2):
        made = Learner(Parameters(), load_encoder())
        made.observe_target(*target(toy, 100))
        made.observe(stream(toy, 2100).batch)
        models.append(made.publish())
    assert models[0].digest == models[1].digest


@pytest.mark.parametrize(
    ("seen", "usual", "pairs"),
    [(0, 4096, 2048), (1024, 4096, 2048), (3000, 4096, 3000), (6000, 4096, 4096), (40_000, 4096, 5000),
     (10**6, 4096, 16_384), (50_000, 204_800, 50_000)],
)  # fmt: skip
def test_versions_come_at_doublings_then_at_intervals(seen: int, usual: int, pairs: int) -> None:
    """As many pairs again, at least 2,048; then the usual number; in a long stream an eighth, up to four times that."""
    assert pairs_to_next_version(seen, usual) == pairs


def test_a_model_scores_the_domain_and_the_noise(model: Model) -> None:
    """In-domain pairs score above others, clean pairs above noise."""
    toy = Toy()
    fresh = stream(toy, 1500, seed=9)
    scorer = Scorer(model, load_encoder())
    pairs = TokenizedPairs.of(fresh.batch)
    scores, rows = scorer.score_domain(pairs), np.arange(len(fresh.batch))
    quality = scorer.quality(scorer.features(pairs, rows, scorer.embed(pairs, rows, scores.cluster)))
    inside = fresh.in_domain & fresh.clean
    assert np.median(scores.domain[inside]) > np.quantile(scores.domain[~fresh.in_domain], 0.95)
    assert np.median(quality[fresh.clean]) > -0.5 > np.quantile(quality[~fresh.clean], 0.8)


def test_withdrawing_the_target_changes_its_version(learner: Learner) -> None:
    """Target pairs that are withdrawn and published again leave the model's target version as it was."""
    toy = Toy()
    before = learner.publish().target_version
    names, batch = target(toy)
    learner.withdraw_target(names[:5])
    assert learner.publish().target_version != before
    learner.observe_target(names[:5], batch.slice(0, 5))
    assert learner.publish().target_version == before


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40)), min_size=1, max_size=30))
def test_no_text_breaks_the_learner(pairs: list[tuple[str, str]]) -> None:
    """Any text is learned from without a NaN in what is kept."""
    batch = PairBatch.pack([s for s, _ in pairs], [t for _, t in pairs])
    source, target_tokens = tokenize(batch.source), tokenize(batch.target)
    counts = NGramCounts()
    counts.set_target(word_ngrams(source, target_tokens))
    counts.add_stream(word_ngrams(source, target_tokens))
    assert np.isfinite(counts.weights(1.6)).all()


@pytest.mark.parametrize("expensive", [False, True])
def test_a_small_sample_is_learned_together(expensive: bool) -> None:
    """After `full_until`, batches of any size teach the same, to the bit, also where only some pairs are embedded."""
    learning = LearningParameters(full_until=1100, sample_rate=0.25, embedded_rate=0.1, clusters=8)
    encoder = DenseEncoder(Counting(), "counting") if expensive else load_encoder()
    toy = Toy()
    pairs = stream(toy, 2600).batch
    digests = set()
    for step in (1500, 512, 100):
        learner = Learner(Parameters(learning), encoder)
        learner.observe_target(*target(toy, 100))
        learner.observe(pairs.slice(0, 1100))
        for start in range(1100, len(pairs), step):
            learner.observe(pairs.slice(start, min(start + step, len(pairs))))
        digests.add(learner.publish().digest)
    assert len(digests) == 1


def test_what_is_learned_at_once_is_what_is_learned_in_turn() -> None:
    """The same versions, bit for bit, with a quality model at work and without."""
    toy = Toy()
    digests = []
    for learner in (
        Learner(Parameters(), load_encoder()),
        Learner(Parameters(), load_encoder(), SerialExecutor("beside")),
    ):
        learner.observe_target(*target(toy, 100))
        for seed in range(2):
            learner.observe(stream(toy, 1100, seed=seed).batch)
        first = learner.publish()
        learner.observe_accepted(stream(toy, 300, seed=8).batch)
        learner.observe(stream(toy, 500, seed=9).batch)
        digests.append((first.digest, learner.publish().digest))
    assert digests[0] == digests[1]


def test_a_learner_that_goes_on_is_no_other() -> None:
    """After a restart the next version and clustering have new numbers, and embeddings are weighed as in the first version."""
    toy = Toy()
    first, second = (Learner(Parameters(), load_encoder()) for _ in range(2))
    second.continue_from(7)
    second.continue_from(3)
    models = []
    for learner in (first, second):
        learner.observe_target(*target(toy, 100))
        learner.observe(stream(toy, 1100).batch)
        models.append(learner.publish())
    assert [model.version for model in models] == [1, 8]
    assert models[1].clustering > models[0].clustering
    assert np.array_equal(*(model.translation.source_weights for model in models))
    assert np.unique(models[1].translation.source_weights).size > 10


def test_a_kept_model_of_other_learning_parameters_is_named(model: Model, tmp_path: Path) -> None:
    """What is set to other than the Model's is an error by name; defaults, and when versions come, contradict nothing."""
    own = replace(model, learning=LearningParameters(clusters=32, balance=1.0).lasting)
    (tmp_path / "model.bin").write_bytes(own.encode())
    for fine in (
        LearningParameters(),
        LearningParameters(clusters=32, prime_seconds=1.0, publish_pairs=2048),
    ):
        assert load_model(tmp_path / "model.bin", fine).learning.clusters == 32
    with pytest.raises(
        ConfigurationError, match=r"model\.bin.*learner\.clusters = 16 \(the model: 32\)\. "
    ) as error:
        load_model(tmp_path / "model.bin", LearningParameters(clusters=16))
    assert "balance" not in str(error.value)
