"""The ledger alone: what an epoch changes, what a run of decisions adds, and when its bytes are refused."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import versions

from craft_stream import codec
from craft_stream.errors import IntegrityError
from craft_stream.parameters import MOST_CLUSTERS, LearningParameters, Parameters, SelectionParameters
from craft_stream.scoring.calibration import Calibration
from craft_stream.scoring.model import Model
from craft_stream.scoring.quality import FEATURES
from craft_stream.selection.contexts import NUMBERS, TABLE
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.divergence import divergence
from craft_stream.selection.faults import faults, fitness
from craft_stream.selection.histogram import upper_quantile
from craft_stream.selection.ledger import EPOCH, Ledger
from craft_stream.selection.ledger_format import FORMAT, MAGIC, decode
from craft_stream.selection.ledger_schema import MASSES
from craft_stream.selection.methods import Cascade, Craft, CraftPlus, known_to, method_of
from craft_stream.selection.older_ledgers import OLDEST
from craft_stream.selection.pacing import duals, tail_forgetting

RATE, WINDOW = 0.05, 4096


def parameters(**selection: object) -> Parameters:
    rules = {"rate": RATE, "window": WINDOW, **selection}
    return Parameters(selection=SelectionParameters(**rules))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model() -> Model:
    return versions()[0]


def without_calibration(model: Model, pairs: int = 0) -> Model:
    sample = model.calibration
    cut = Calibration(**{item.name: getattr(sample, item.name)[:pairs] for item in fields(sample)})
    return replace(model, calibration=cut, version=model.version + 7)


def decisions(reasons: list[Reason], clusters: list[int] | None = None, first: int = 0) -> Decisions:
    n = len(reasons)
    single = np.arange(n, dtype=np.float32)
    return Decisions.of(
        np.arange(first, first + n), reason=np.array(reasons, np.uint8), score=single, threshold=single,
        cluster=np.array(clusters or [0] * n, np.int16), domain=single, quality=single, dual=single, model_version=1,
    )  # fmt: skip


# Epochs.


def test_old_debt_of_the_budget_is_given_up(model: Model) -> None:
    """A credit beyond two windows is cut to that, and the rest is not spendable; a smaller one stays."""
    ledger = Ledger(parameters(abstain=False))
    ledger.begin_epoch(0, model)
    ledger.accepted, most = 30, 30 + 2 * RATE * WINDOW
    ledger.epoch_allowance = most + 100
    ledger.begin_epoch(1, model)
    assert ledger.epoch_allowance == most
    assert ledger.unspendable == pytest.approx(100)
    ledger.epoch_allowance = most - 1
    ledger.begin_epoch(2, model)
    assert ledger.epoch_allowance == most - 1
    assert ledger.unspendable == pytest.approx(100)


def test_the_allowance_grows_by_what_the_stream_can_bear(model: Model) -> None:
    """Rate times spending for each pair; the rest is not spendable, and the next epoch begins with the sum."""
    ledger = Ledger(parameters(abstain=True))
    ledger.begin_epoch(0, model)
    ledger.spending = 0.25
    ledger.record(decisions([Reason.OFF_DOMAIN] * 400), np.zeros(400, np.float32), 0)
    assert ledger.allowance() == pytest.approx(RATE * 0.25 * 400)
    assert ledger.summary()["unspendable"] == pytest.approx(RATE * 0.75 * 400)
    ledger.begin_epoch(1, model)
    assert (ledger.epoch_seen, ledger.seen, ledger.epoch) == (0, 400, 1)
    assert ledger.epoch_allowance == pytest.approx(RATE * 0.25 * 400)
    assert ledger.unspendable == pytest.approx(RATE * 0.75 * 400)


def test_room_is_the_allowance_and_what_may_be_ahead_less_what_was_accepted(model: Model) -> None:
    """Rounded down, for each number of arrivals; a pair that is not able finds none. Ahead are 7 of the 4,096 pairs' 204.8."""
    ledger = Ledger(parameters(abstain=False, ahead=7 / 204.8))
    ledger.begin_epoch(0, model)
    ledger.epoch_allowance, ledger.accepted = 10.5, 3
    ledger.epoch_seen = ledger.seen = 10
    assert ledger.rooms(np.array([0, 9, 10, 30])).tolist() == [15, 15, 15, 16]
    query = ledger.query(np.array([0, 18, 19]), np.array([True, True, False]), True)
    assert query.rooms.tolist() == [15, 15, 0]
    assert ledger.query(np.array([19]), np.array([True]), False).rooms.tolist() == [16]
    assert (query.exact, query.near, query.duplicates_first) == (True, 0.55, True)


def test_an_epoch_forgets_its_share_of_the_window(model: Model) -> None:
    """Histograms and masses keep 1 - 1024 / window, at least a half; the share like the target is kept over its own horizon."""
    for window, keep in ((WINDOW, 0.75), (1024, 0.5)):
        ledger = Ledger(parameters(window=window, abstain=True))
        ledger.begin_epoch(0, model)
        ledger.gate_histogram[:] = ledger.score_histogram[:] = 0
        ledger.gate_histogram[700] = ledger.score_histogram[600] = 64
        ledger.gate_mass, ledger.score_mass, ledger.tail, ledger.tail_mass = 640.0, 320.0, 4.0, 16384.0
        ledger.largest_share = 0.9
        ledger.begin_epoch(1, model)
        assert ledger.gate_histogram.sum() == ledger.gate_histogram[700] == 64 * keep
        assert ledger.score_histogram.sum() == ledger.score_histogram[600] == 64 * keep
        assert (ledger.gate_mass, ledger.score_mass) == (640 * keep, 320 * keep)
        assert ledger.tail == 4 * (1 - EPOCH / 16384)
        assert ledger.tail_mass == 16384 - EPOCH
        assert ledger.largest_share == pytest.approx(0.9 * tail_forgetting(RATE) ** EPOCH)
        assert ledger.domain_share == pytest.approx(4 / 16384 / 0.2)
        assert ledger.spending == pytest.approx(2 * ledger.domain_share / ledger.largest_share)


def test_thresholds_follow_from_the_histograms(model: Model) -> None:
    """The gate lets `gate` times the budget through; the threshold the share that pays a credit back over the horizon."""
    ledger = Ledger(parameters(abstain=False, gate=3.0))
    ledger.begin_epoch(0, model)
    ledger.seen, ledger.accepted, ledger.epoch_allowance = 40_000, 10, 110.0
    ledger.begin_epoch(1, model)
    assert ledger.gate == upper_quantile(ledger.gate_histogram, 3 * RATE * ledger.gate_mass)
    wanted = RATE + (110 - 10) / 160_000
    assert ledger.threshold == upper_quantile(ledger.score_histogram, wanted * ledger.score_mass)
    for free in ({"gate": 20.0}, {"domain_weight": 0.0}, {"method": "craft"}):
        open_ = Ledger(parameters(**free))
        open_.begin_epoch(0, model)
        assert open_.gate == -np.inf
    assert ledger.gate > -np.inf


# Models.


def test_counts_of_clusters_begin_anew_with_a_clustering(model: Model) -> None:
    """What was accepted, and the allowance, count since the clustering began; another version of the same one goes on."""
    ledger = Ledger(parameters(abstain=False))
    ledger.begin_epoch(0, model)
    ledger.accepted_by_cluster[:3] = [5, 6, 7]
    ledger.epoch_allowance = 80.0
    ledger.begin_epoch(1, replace(model, version=2))
    assert ledger.accepted_by_cluster[:3].tolist() == [5, 6, 7]
    assert ledger.clustering_allowance == 0
    since = duals(ledger.selection, model.shares, ledger.accepted_by_cluster[: model.clusters], 80.0)
    assert ledger.duals[: model.clusters].tolist() == since.tolist()
    ledger.begin_epoch(2, replace(model, version=3, clustering=model.clustering + 1))
    assert not ledger.accepted_by_cluster.any()
    assert (ledger.clustering, ledger.clustering_allowance) == (model.clustering + 1, 80.0)
    assert not ledger.duals.any()
    assert ledger.model_version == 3


def test_a_first_clustering_of_any_number_begins_one(model: Model) -> None:
    """Also where its number is that of a ledger that has seen none."""
    ledger = Ledger(parameters())
    ledger.accepted_by_cluster[0] = 9
    ledger.begin_epoch(0, replace(model, clustering=0))
    assert not ledger.accepted_by_cluster.any()


def test_a_model_brings_its_sample_of_the_stream(model: Model) -> None:
    """Histograms become those of its calibration with the mass that was there, or of 8,192 pairs, or of those it has seen."""
    ledger = Ledger(parameters())
    ledger.begin_epoch(0, model)
    assert ledger.gate_mass == ledger.score_mass == 8192
    sample = model.calibration
    each = 8192 / len(sample.domain)
    assert ledger.gate_histogram.sum() == pytest.approx(8192, rel=0.01)
    able = (sample.quality >= -0.5) & (sample.weight > 0)
    gate_scores = sample.domain + ledger.dual(sample.cluster)
    expected = (sample.weight * each)[able & (gate_scores >= ledger.gate)].sum()
    assert ledger.score_histogram.sum() == pytest.approx(expected, rel=0.02)
    before = ledger.gate_histogram.copy()
    ledger.begin_epoch(1, model)
    assert ledger.gate_histogram.sum() < before.sum()
    ledger.gate_mass = 90_000.0
    ledger.begin_epoch(2, replace(model, version=2))
    assert ledger.gate_mass == ledger.score_mass == pytest.approx(90_000 * 0.75)
    assert ledger.gate_histogram.sum() == pytest.approx(ledger.gate_mass, rel=0.01), (
        "nothing of before is left"
    )
    for seen, mass in ((100_000, 100_000), (10**9, parameters().selection.horizon)):
        young = Ledger(parameters())
        young.begin_epoch(0, replace(model, pairs_seen=seen))
        assert young.gate_mass == young.score_mass == mass


def test_the_share_like_the_target_waits_for_a_calibrated_model(model: Model) -> None:
    """Models that have seen fewer than 512 pairs say nothing of it and spend all; the first that knows sets it."""
    ledger = Ledger(parameters(abstain=True))
    ledger.begin_epoch(0, without_calibration(model, 511))
    assert (ledger.tail_mass, ledger.domain_share, ledger.largest_share, ledger.spending) == (0, None, 0, 1)
    known = without_calibration(model, 512)
    ledger.begin_epoch(1, replace(known, version=2))
    share = model.domain.tail_share
    assert ledger.tail_mass == 16384
    assert ledger.domain_share == ledger.largest_share == pytest.approx(share)
    ledger.tail /= 4
    ledger.begin_epoch(2, replace(known, version=3))
    assert ledger.domain_share == pytest.approx(share / 4)
    assert ledger.spending == pytest.approx(0.5, rel=0.01)
    ledger.begin_epoch(3, replace(known, version=4, target_version="another"))
    assert ledger.domain_share == ledger.largest_share == pytest.approx(share)


def test_a_model_of_more_clusters_than_the_setting_takes_force(model: Model) -> None:
    """After `learner.clusters` was lowered, until the learner has made another; more than there are places for are refused."""
    fewer = Parameters(LearningParameters(clusters=model.clusters - 1))
    Ledger(fewer).begin_epoch(0, model)
    shares = np.full(MOST_CLUSTERS + 1, 1 / (MOST_CLUSTERS + 1))
    many = replace(model, translation=replace(model.translation, shares=shares))
    with pytest.raises(IntegrityError, match=f"more than {MOST_CLUSTERS}"):
        Ledger(fewer).begin_epoch(0, many)


def test_a_preview_is_the_next_epoch_and_changes_nothing(model: Model) -> None:
    """At a border it is what the ledger becomes; within an epoch it is the ledger."""
    ledger = Ledger(parameters())
    ledger.begin_epoch(0, model)
    assert ledger.preview(model) is ledger
    ledger.skip(EPOCH - 1)
    state, second = ledger.digest(), replace(model, version=2)
    ahead = ledger.preview(second)
    assert ledger.digest() == state
    assert ledger.model is model
    ledger.begin_epoch(1, second)
    assert ahead.digest() == ledger.digest()
    assert (ahead.epoch, ahead.model_version) == (1, 2)


# Runs of decisions.


def test_a_run_is_counted(model: Model) -> None:
    """By reason and cluster; the threshold's histogram holds those that could be accepted, the gate's all."""
    ledger = Ledger(parameters())
    ledger.begin_epoch(0, model)
    gate, score = ledger.gate_histogram.sum(), ledger.score_histogram.sum()
    masses = ledger.gate_mass, ledger.score_mass, ledger.tail_mass, ledger.tail
    run = decisions(
        [Reason.ACCEPTED, Reason.OVER_BUDGET, Reason.DUPLICATE, Reason.ACCEPTED, Reason.OFF_DOMAIN],
        [3, 3, 3, 1, 2],
        first=100,
    )
    ledger.record(run, np.zeros(5, np.float32), 2)
    assert ledger.gate_histogram.sum() == gate + 5
    assert ledger.score_histogram.sum() == score + 3
    assert (ledger.gate_mass, ledger.score_mass) == (masses[0] + 5, masses[1] + 5)
    assert (ledger.tail_mass, ledger.tail) == (masses[2] + 5, masses[3] + 2)
    assert ledger.accepted_by_cluster[:4].tolist() == [0, 1, 0, 1]
    assert (ledger.seen, ledger.accepted, ledger.epoch_seen, ledger.next_offset) == (5, 2, 5, 105)
    ledger.record(run, np.zeros(5, np.float32), 0)
    assert (ledger.seen, ledger.accepted, ledger.epoch_seen) == (10, 4, 10)
    assert ledger.summary()["by_reason"] == {
        **{reason.label: 0 for reason in Reason}, "accepted": 4, "over_budget": 2, "duplicate": 2, "off_domain": 2
    }  # fmt: skip


def test_a_cluster_that_is_not_known_has_no_dual(model: Model) -> None:
    """-1 gives 0, the others their own."""
    ledger = Ledger(parameters())
    ledger.duals[:3] = [1.5, -2, 3]
    assert ledger.dual(np.array([2, -1, 0, 1], np.int16)).tolist() == [3, 0, 1.5, -2]


def test_what_is_far_from_the_target_diverges(model: Model) -> None:
    """Nothing accepted is infinitely far; the summary says what the function says of the counts."""
    ledger = Ledger(parameters())
    assert ledger.divergence() == np.inf
    ledger.begin_epoch(0, model)
    assert ledger.divergence() == np.inf
    ledger.accepted_by_cluster[0] = 20
    found = divergence(model.shares, ledger.accepted_by_cluster[: model.clusters])
    assert ledger.summary()["kl"] == ledger.divergence() == found > 0.5
    assert ledger.summary()["kl_bound"] == pytest.approx(np.log(2))
    assert (
        len(ledger.summary()["accepted_by_cluster"])
        == len(ledger.summary()["target_shares"])
        == model.clusters
    )


@given(st.lists(st.integers(0, 100), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_the_divergence_is_that_of_counts_with_half_a_pair_more(accepted: list[int], seed: int) -> None:
    """By its definition, never negative, and 0 where counts and halves divide as the target does."""
    shares = np.random.default_rng(seed).dirichlet(np.ones(len(accepted)))
    shares[0] = 0
    shares = shares / shares.sum() if shares.sum() else np.ones(1)
    q = [(x + 0.5) / (sum(accepted) + len(accepted) / 2) for x in accepted]
    truth = sum(p * np.log(p / r) for p, r in zip(shares, q, strict=True) if p)
    assert divergence(shares, np.array(accepted, float)) == pytest.approx(max(truth, 0), abs=1e-12)
    assert divergence(np.array([2.0, 6.0]), np.array([0.5, 2.5])) == pytest.approx(0, abs=1e-12)


# Methods.


def test_scores_are_made_of_what_the_method_knows(model: Model) -> None:
    """Domain, dual and quality with their weights; where the cluster comes late its dual counts behind the gate."""
    selection = SelectionParameters(domain_weight=2.0, quality_weight=3.0)
    domain, distance, dual, quality = (np.array([x], np.float32) for x in (1.5, 7.0, 0.25, -0.5))
    cluster = np.zeros(1, np.int16)
    found = []
    for method in (CraftPlus(selection, model), Cascade(selection, model)):
        gate = method.gate_scores(domain, distance, cluster, dual)
        found += [float(gate[0]), float(method.scores(gate, quality, dual)[0])]
    assert found == [3.25, 1.75, 3.0, 1.75]
    craft = Craft(model)
    gate = craft.gate_scores(domain, distance, cluster, dual)
    assert gate == model.calibration.standardised(distance, cluster, model.clusters) + dual
    assert craft.scores(gate, quality, dual) is gate


def test_the_paper_is_the_rest_turned_off(model: Model) -> None:
    """Its parameters say that it knows no gate, floor, duplicates, abstaining, contexts; quotas are proportional."""
    paper = known_to(SelectionParameters(method="craft", ahead=0.7))
    assert paper == SelectionParameters(
        method="craft", ahead=0.7, relaxation=0.0, domain_weight=0.0, quality_floor=-np.inf, duplicates=False,
        near_duplicate=np.inf, abstain=False, page_weight=0.0, host_weight=0.0,
    )  # fmt: skip
    assert known_to(SelectionParameters()) == SelectionParameters()
    late = replace(model, translation=replace(model.translation, cascade=True))
    plus = SelectionParameters()
    kinds = [type(method_of(s, m)) for s in (plus, paper) for m in (model, late)]
    assert kinds == [CraftPlus, Cascade, Craft, Craft]


@pytest.mark.parametrize(
    ("feature", "value", "reason"),
    [("copied_target", 0.81, Reason.COPY), ("copied_target", 0.8, Reason.MISALIGNED),
     ("unknown", 0.41, Reason.UNFAMILIAR_TEXT), ("unknown", 0.4, Reason.MISALIGNED),
     ("target_characters", 1.49, Reason.UNFAMILIAR_TEXT), ("target_characters", 1.5, Reason.MISALIGNED),
     ("mojibake", 1.0, Reason.GARBLED)],
)  # fmt: skip
def test_a_fault_is_named_by_what_stands_out(feature: str, value: float, reason: Reason) -> None:
    """At the limits of each feature; a copy before garbled, garbled before unfamiliar text."""
    row = np.zeros((1, len(FEATURES)), np.float32)
    row[0, FEATURES.index("target_characters")] = 2
    row[0, FEATURES.index(feature)] = value
    assert faults(row)[0] == reason
    row[0, FEATURES.index("unknown")] = 1
    row[0, FEATURES.index("mojibake")] = 1
    assert faults(row)[0] == (Reason.COPY if reason is Reason.COPY else Reason.GARBLED)


def test_double_encoded_text_is_fit_for_nothing() -> None:
    """Otherwise what is left is the distance from the floor, 0 at the floor itself."""
    rows = np.zeros((3, len(FEATURES)), np.float32)
    rows[2, FEATURES.index("mojibake")] = 1
    assert fitness(rows, np.array([-0.1, -0.6, 0], np.float32), -0.1).tolist() == [
        0,
        pytest.approx(-0.5),
        -np.inf,
    ]


# Its bytes.


CHANGES = [
    {"rate": 0.2}, {"method": "craft"}, {"relaxation": 0.0}, {"domain_weight": 2.0}, {"gate": 2.0}, {"quality_weight": 1.0},
    {"quality_floor": -np.inf}, {"horizon": 2048, "window": 2048}, {"duplicates": False}, {"near_duplicate": np.inf},
    {"seen_pairs": 8192}, {"abstain": True}, {"ahead": 0.0}, {"page_weight": 0.0, "host_weight": 0.0},
]  # fmt: skip


@pytest.mark.parametrize("changes", CHANGES)
def test_parameters_change_at_an_epochs_start(changes: dict[str, object], model: Model) -> None:
    """The old rate fixes what was earned, the new one what comes; scores are expected anew; deltas and snapshots carry it."""
    before, after = parameters(), replace(parameters(**changes), version=2)
    ledger, follower = Ledger(before), Ledger(Parameters())
    ledger.begin_epoch(0, model)
    ledger.record(decisions([Reason.OFF_DOMAIN] * 1000), np.zeros(1000, np.float32), 0)
    follower.apply(ledger.delta())
    assert follower.parameters == before
    earned, histogram = ledger.allowance(), ledger.score_histogram.copy()
    ledger.begin_epoch(1, model, after)
    assert ledger.allowance() == pytest.approx(earned)
    assert (ledger.parameters, ledger.settings_version) == (after, 2)
    assert ledger.selection == known_to(after.selection)
    assert not np.array_equal(ledger.score_histogram, histogram)
    ledger.record(decisions([Reason.ACCEPTED] * 100, first=EPOCH), np.ones(100, np.float32), 0)
    if not ledger.spending < 1:
        assert ledger.allowance() == pytest.approx(earned + 100 * after.selection.rate)
    follower.apply(ledger.delta())
    restored = Ledger.restore(Parameters(), ledger.snapshot())
    for again in (follower, restored):
        assert again.parameters == after
        assert again.selection == ledger.selection
        assert again.seen_pairs.size == ledger.seen_pairs.size
        assert again.digest() == ledger.digest()
        again.bind(model)
        again.begin_epoch(2, model)
    ledger.begin_epoch(2, model, after)
    assert restored.digest() == follower.digest() == ledger.digest()


def test_parameters_that_are_the_same_change_nothing(model: Model) -> None:
    """Nothing is expected anew, and a delta has none of them; another version of the same is noted."""
    one, other = Ledger(parameters()), Ledger(parameters())
    for ledger in (one, other):
        ledger.begin_epoch(0, model)
        ledger.delta()
    one.begin_epoch(1, model)
    other.begin_epoch(1, model, parameters())
    assert one.digest() == other.digest()
    assert "parameters" not in codec.decode(MAGIC, other.delta())[0]
    other.begin_epoch(2, model, replace(parameters(), version=4))
    one.begin_epoch(2, model)
    assert np.array_equal(one.floats, other.floats)
    assert codec.decode(MAGIC, other.delta())[0]["parameters"]["version"] == 4


def test_a_format_has_its_numbers() -> None:
    """A state of other sizes is another format: what was written could not be read."""
    ledger = Ledger(parameters())
    assert (FORMAT, len(ledger.integers), len(ledger.floats)) == (8, 26, 23_454)


def test_a_ledger_of_a_revision_that_was_no_release_is_refused() -> None:
    """Its numbers stand at other places; neither a snapshot nor a delta of it is taken for one of this release."""
    for kind in ("whole", "delta"):
        data = codec.encode(MAGIC, {"format": FORMAT - 1, "kind": kind}, {})
        with pytest.raises(IntegrityError, match=r"no release has written, .* --rebuild"):
            decode(data, kind, Parameters(), 0)


@given(st.sampled_from([OLDEST - 1, FORMAT + 1]))
def test_another_format_says_what_to_do(written: int) -> None:
    """One older than those that are read is not to be upgraded, and a newer one is."""
    with pytest.raises(
        IntegrityError, match="an older release wrote" if written < FORMAT else "upgrade"
    ) as error:
        Ledger.restore(parameters(), codec.encode(MAGIC, {"format": written, "kind": "whole"}, {}))
    assert ("begin a new" in str(error.value)) == (written < FORMAT)
    with pytest.raises(IntegrityError, match="this is a ledger's delta, not a whole"):
        Ledger.restore(parameters(), Ledger(parameters()).delta())


def test_parameters_of_a_newer_release_are_refused(model: Model) -> None:
    """A name that is not known here, or a value of another kind, in a ledger that is sound in itself."""
    header, arrays = codec.decode(MAGIC, Ledger(parameters()).snapshot())
    for half, name, value in (
        ("selection", "haste", 1),
        ("selection", "rate", "x"),
        ("learning", "clusters", 0),
    ):
        values = {**header["parameters"], half: {**header["parameters"][half], name: value}}
        with pytest.raises(IntegrityError, match="newer release"):
            Ledger.restore(parameters(), codec.encode(MAGIC, {**header, "parameters": values}, arrays))


@given(st.integers(0, 2**16 - 1))
def test_a_delta_changes_only_numbers_that_are_no_masses(place: int) -> None:
    """Masses change by what is added to them: one that sets a mass, or what there is not, is refused as damaged."""
    ledger = Ledger(parameters())
    header, arrays = codec.decode(MAGIC, Ledger(parameters()).delta())
    changed = {
        **arrays,
        "places": np.array([place], np.uint16),
        "numbers": codec.planes(np.zeros(1)),
    }
    delta = codec.encode(MAGIC, header, changed)
    if place < len(ledger.floats) - MASSES:
        ledger.apply(delta)
        return
    with pytest.raises(IntegrityError, match="changes numbers that there are not"):
        ledger.apply(delta)


def test_numbers_have_names_and_places() -> None:
    """What is set by a name is read by it, in no other's place, and keeps its kind."""
    ledger = Ledger(parameters())
    names = [
        "next_offset", "epoch", "seen", "accepted", "epoch_seen", "model_version", "clustering", "epoch_allowance",
        "spending", "unspendable", "clustering_allowance", "gate", "threshold", "gate_mass", "score_mass", "tail",
        "tail_mass", "largest_share", "passed", "unlisted", "reached", "new",
        "widening", "expected_mass",
    ]  # fmt: skip
    for number, name in enumerate(names):
        setattr(ledger, name, number)
    assert [getattr(ledger, name) for name in names] == list(range(len(names)))
    assert [type(getattr(ledger, name)) for name in names] == [int] * 7 + [float] * 17
    assert not ledger.reasons.any()
    assert not ledger.accepted_by_cluster.any()
    parts = [ledger.accepted_by_cluster, ledger.duals, ledger.gate_histogram, ledger.score_histogram]
    for number, part in enumerate(parts):
        part[:] = number + 100
    assert [getattr(ledger, name) for name in names] == list(range(len(names)))
    assert [part[0] for part in parts] == [part[-1] for part in parts] == [100, 101, 102, 103]
    assert sum(map(len, parts)) + 17 + NUMBERS + 2 * TABLE == len(ledger.floats)
