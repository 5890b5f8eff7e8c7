"""The recorder and its HTTP endpoints, fed with events by hand."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from craft_stream.errors import ConfigurationError
from craft_stream.events import DRIFTS, SPENDING, Observer, PartitionState, Stage, TransactionResult
from craft_stream.observe.crawl import CrawlRecorder
from craft_stream.observe.families import MOST_LABEL_VALUES
from craft_stream.observe.http import Server
from craft_stream.observe.metrics import DELTA, SNAPSHOT, WORKER
from craft_stream.observe.recorder import STALL_SECONDS, START_SECONDS, Recorder
from craft_stream.parameters import Parameters
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.divergence import divergence
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.monitor import SIGNALS


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """The time that was set."""
        return self.now


def decisions(*reasons: Reason) -> Decisions:
    positions, reason = np.arange(len(reasons)), np.array(reasons, np.uint8)
    return Decisions.of(positions, reason=reason, threshold=1.5, model_version=1)


def value(recorder: Recorder, name: str, **labels: str) -> float | None:
    return recorder.registry.get_sample_value(name, labels)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(clock: Clock) -> Recorder:
    return Recorder(clock=clock)


@pytest.fixture
def server(recorder: Recorder) -> Iterator[Server]:
    served = Server(recorder, "127.0.0.1", 0)
    yield served
    served.close()


def get(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"] or "", answer.read()
    finally:
        connection.close()


BATCHES = st.lists(st.lists(st.sampled_from(Reason), max_size=5), max_size=10)


@given(st.lists(BATCHES, min_size=20, max_size=20))
@settings(max_examples=5)  # a recorder makes 60 metrics
def test_decisions_are_counted_by_reason(several: list[list[list[Reason]]]) -> None:
    """For every sequence of batches the counters equal a recount, and outcome agrees with reason."""
    recorder = Recorder()
    for batches in several:
        for batch in batches:
            recorder.decided(0, decisions(*batch), len(batch))
    everything = [reason for batches in several for batch in batches for reason in batch]
    for reason in Reason:
        outcome = "accepted" if reason is Reason.ACCEPTED else "rejected"
        counted = value(recorder, "craft_decisions_total", outcome=outcome, reason=reason.label)
        assert counted == everything.count(reason)
    assert (
        value(recorder, "craft_judged_total")
        == value(recorder, "craft_rejected_kept_total")
        == value(recorder, "craft_embedded_total")
        == len(everything)
    )


def test_the_age_of_a_snapshot_is_its_own(recorder: Recorder, clock: Clock) -> None:
    """A restore takes over the time of the record and the deltas since; a new snapshot begins both anew."""
    recorder.partition_state(3, PartitionState.ASSIGNED)
    assert value(recorder, "craft_restore_progress_ratio", partition="3") == 0
    recorder.restoring(3, 0.4)
    assert value(recorder, "craft_restore_progress_ratio", partition="3") == 0.4
    recorder.restored(3, 0.2, 1000, 2, 17, 600_000)
    assert value(recorder, "craft_restore_progress_ratio", partition="3") == 1
    assert value(recorder, "craft_ledger_snapshot_timestamp_seconds", partition="3") == 600
    recorder.ledger_written(3, DELTA, 10)
    assert value(recorder, "craft_ledger_pending_deltas", partition="3") == 18
    recorder.snapshot(3, 0.3, 5000)
    recorder.ledger_written(3, SNAPSHOT, 5000)
    assert value(recorder, "craft_ledger_pending_deltas", partition="3") == 0
    assert value(recorder, "craft_ledger_snapshot_timestamp_seconds", partition="3") == clock.now
    assert value(recorder, "craft_ledger_snapshot_bytes") == 5000
    assert value(recorder, "craft_ledger_snapshot_duration_seconds_sum") == 0.3
    recorder.restoring(9, 0.5)
    assert 'partition="9"' not in get_text(recorder), "a partition that is not held"


def test_what_alerts_count_is_counted(recorder: Recorder) -> None:
    """Failures of snapshots, damage by outcome, targets read again, versions withdrawn."""
    recorder.snapshot_failed(0)
    recorder.ledger_damaged(0, "fell_back")
    recorder.target_reread(100)
    recorder.pruned(3)
    assert value(recorder, "craft_ledger_snapshot_failures_total") == 1
    assert value(recorder, "craft_ledger_damaged_total", outcome="fell_back") == 1
    assert value(recorder, "craft_ledger_damaged_total", outcome="refused") == 0
    assert value(recorder, "craft_target_rereads_total") == 1
    assert value(recorder, "craft_models_pruned_total") == 3


def test_a_crawl_is_watched(clock: Clock) -> None:
    """Counts go on from where the store was; a crawl that takes no step is reported."""
    crawl = CrawlRecorder({"responses": 100, "paired": 10}, clock=clock)
    served = Server(crawl, "127.0.0.1", 0)
    try:
        crawl.step({"responses": 150, "paired": 14, "pairs": 40}, waiting=6)
        crawl.step({"responses": 151, "paired": 14, "pairs": 40}, waiting=5)
        sample = crawl.registry.get_sample_value
        assert sample("craft_crawl_responses_total") == 51
        assert sample("craft_crawl_pages_total", {"outcome": "paired"}) == 4
        assert sample("craft_crawl_pairs_total") == 40
        assert sample("craft_crawl_waiting_pages") == 5
        assert get(served, "/livez")[0] == 200
        clock.now += 1_000
        assert b"1000 s" in get(served, "/livez")[2]
        assert json.loads(get(served, "/state")[2])["waiting"] == 5
    finally:
        served.close()


def test_only_a_commit_is_progress(recorder: Recorder, clock: Clock) -> None:
    """The time of the last commit, on which the alert for a stalled worker rests, moves with commits alone."""
    for result in TransactionResult:
        clock.now += 10
        recorder.transaction(result, 0.1, 3)
        assert value(recorder, "craft_transactions_total", result=result) == 1
    assert value(recorder, "craft_last_commit_timestamp_seconds") == 1_010
    recorder.dead_letters(0, Stage.DECODE, "not_json", 1)
    assert value(recorder, "craft_dead_letters_total", stage="decode", reason="not_json") == 1


def test_liveness_follows_the_loop(recorder: Recorder, clock: Clock) -> None:
    """A worker may take its time to start; afterwards a loop that stands still is reported."""
    assert recorder.alive() is None
    clock.now += START_SECONDS + 1
    assert "not begun" in str(recorder.alive())
    recorder.beat()
    assert recorder.alive() is None
    clock.now += STALL_SECONDS + 1
    assert f"{STALL_SECONDS + 1:.0f} s" in str(recorder.alive())
    recorder.stopped()
    assert recorder.alive() is None


def test_readiness_needs_the_group_and_the_restores(recorder: Recorder) -> None:
    """Not ready before the join, while a partition restores, with an open breaker, and after the end."""
    assert "joined" in str(recorder.ready())
    recorder.partition_state(3, PartitionState.RESTORING)
    recorder.joined(frozenset({3}))
    assert recorder.ready() == "restoring partitions 3"
    recorder.partition_state(3, PartitionState.ACTIVE)
    assert recorder.ready() is None
    recorder.breaker(True, 0.2)
    assert "breaker" in str(recorder.ready())
    recorder.breaker(False, 0.0)
    recorder.joined(frozenset())
    assert recorder.ready() is None, "a member without partitions stands by"
    recorder.stopped()
    assert "stopped" in str(recorder.ready())


def test_the_model_in_force_is_that_of_the_partitions_held(recorder: Recorder) -> None:
    """A batch that ends after its partition was revoked leaves no old version behind."""
    for partition in (0, 1):
        recorder.partition_state(partition, PartitionState.ACTIVE)
        recorder.model_in_force(partition, 1)
    recorder.partition_state(1, PartitionState.RELEASED)
    recorder.model_in_force(1, 1)
    recorder.model_in_force(0, 2)
    assert value(recorder, "craft_model_version") == 2


def test_times_begin_with_the_process(recorder: Recorder, clock: Clock) -> None:
    """Before the first turn or step an age is that of the process, not that of the epoch."""
    crawl = CrawlRecorder({}, clock=clock)
    for registry in (recorder.registry, crawl.registry):
        assert registry.get_sample_value("craft_last_beat_timestamp_seconds") == clock.now


def test_a_partition_that_left_leaves_no_series(recorder: Recorder) -> None:
    """Another worker reports a lost partition; a stale series here would count its lag twice."""
    recorder.partition_state(7, PartitionState.ACTIVE)
    recorder.lag(7, 10, 2.0)
    recorder.decided(7, decisions(Reason.ACCEPTED), 0)
    recorder.ledger_written(7, SNAPSHOT, 100)
    assert value(recorder, "craft_lag_records", partition="7") == 10
    recorder.partition_state(7, PartitionState.LOST)
    recorder.lag(7, 11, 2.0)
    text = get_text(recorder)
    assert 'partition="7"' not in text
    assert value(recorder, "craft_partitions", state="active") == 0


def get_text(recorder: Recorder) -> str:
    from prometheus_client import generate_latest

    recorder.refresh()
    return generate_latest(recorder.registry).decode()


def summary(accepted: list[int], **more: Any) -> dict[str, Any]:
    """What a ledger says of itself, with the keys that `Ledger.summary` has (a test below compares them)."""
    return {
        "next_offset": 1000, "seen": 1000, "accepted": sum(accepted), "by_reason": {"accepted": sum(accepted)},
        "accepted_by_cluster": accepted, "clustering": 1, "target_shares": [0.5, 0.25, 0.25], "kl": 0.1,
        "kl_bound": 0.7, "allowance": 1.0, "spending": 1.0, "unspendable": 0.0, "threshold": 1.0, "gate": 0.5,
        "domain_share": None, "model_version": 2, "settings_version": 0, "epoch": 0, **more,
    }  # fmt: skip


def test_the_ledger_says_what_is_read_here() -> None:
    """The hand-made summary of these tests has the keys of the real one."""
    assert set(Ledger(Parameters()).summary()) == set(summary([]))


def test_partitions_are_put_together(recorder: Recorder) -> None:
    """Two partitions that are skewed in opposite ways match the target together, and are reported so."""
    for partition, accepted in ((0, [40, 0, 10]), (1, [10, 25, 15])):
        recorder.partition_state(partition, PartitionState.ACTIVE)
        recorder.ledger(partition, summary(accepted))
    recorder.refresh()
    assert value(recorder, "craft_cluster_accepted_pairs", cluster="0") == 50
    assert value(recorder, "craft_budget_realised_ratio") == pytest.approx(100 / 2000)
    together = value(recorder, "craft_divergence_nats")
    assert together is not None
    assert together < 1e-4
    assert together < divergence(np.array([0.5, 0.25, 0.25]), np.array([40.0, 0, 10]))


def test_partitions_of_an_older_clustering_do_not_count(recorder: Recorder) -> None:
    """Cluster numbers mean something else after a new clustering, so counts of two are never added."""
    for partition, clustering in ((0, 1), (1, 2)):
        recorder.partition_state(partition, PartitionState.ACTIVE)
        recorder.ledger(partition, summary([1 + partition] * 3, clustering=clustering))
    recorder.refresh()
    assert value(recorder, "craft_cluster_accepted_pairs", cluster="0") == 2


def test_drift_is_counted_when_spending_falls(recorder: Recorder) -> None:
    """The budget withheld shows as a share; its beginning counts as one detection."""
    recorder.partition_state(0, PartitionState.ACTIVE)
    for spending in (1.0, 0.95, 0.5, 0.4, 1.0, 0.5):
        recorder.ledger(0, summary([1, 1, 1], spending=spending))
    recorder.refresh()
    assert value(recorder, "craft_drift_detections_total", signal=SPENDING) == 2
    assert value(recorder, "craft_budget_unspendable_ratio") == pytest.approx(0.5)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=64))
def test_divergence_is_never_negative(counts: list[int]) -> None:
    """KL is 0 or more, and finite although clusters are empty."""
    target = np.arange(1.0, len(counts) + 1)
    result = divergence(target, np.array(counts, float))
    assert -1e-12 <= result < np.inf


def test_error_classes_are_bounded(recorder: Recorder) -> None:
    """However many names of errors come, the label has at most so many values and loses no count."""
    for k in range(2 * MOST_LABEL_VALUES):
        recorder.error(f"Error{k}")
    family = next(f for f in recorder.registry.collect() if f.name == "craft_errors")
    samples = [s for s in family.samples if s.name == "craft_errors_total"]
    assert len(samples) == MOST_LABEL_VALUES + 1
    assert sum(s.value for s in samples) == 2 * MOST_LABEL_VALUES


def test_target_versions_compare_as_numbers(recorder: Recorder) -> None:
    """Equal targets give equal numbers, different ones different numbers, each exact in a float64."""
    seen = []
    for target in ("a1b2", "a1b2", "c3d4"):
        recorder.model({"version": 1, "target_version": target, "published_at_ms": 5_000}, 10)
        seen.append(value(recorder, "craft_target_version"))
    assert seen[0] == seen[1] != seen[2]
    assert all(v is not None and v < 2**48 and v == int(v) for v in seen)
    assert value(recorder, "craft_model_published_timestamp_seconds") == 5


def test_every_event_is_recorded() -> None:
    """No event is dropped: each changes a metric of the table or is a method of the recorder, or is shown."""
    events = {name for name in vars(Observer) if not name.startswith("_")}
    tabulated = {event for row in WORKER for event in row.on}
    assert tabulated <= events
    assert events - tabulated - set(vars(Recorder)) == {"target", "primed"}
    recorder = Recorder()
    recorder.target("a1b2", 7)
    recorder.primed(20, 1.5)
    assert recorder.state()["target"] == {"version": "a1b2", "pairs": 7}
    assert recorder.state()["learner"]["primed"] == {"pairs": 20, "seconds": 1.5}


def test_drifts_are_told_by_signal(recorder: Recorder) -> None:
    """The monitor's signals are in the closed list, and each has a count of its own."""
    assert set(SIGNALS) | {SPENDING} == set(DRIFTS)
    recorder.drifted(0, "clean")
    counts = [value(recorder, "craft_drift_detections_total", signal=signal) for signal in DRIFTS]
    assert counts == [float(signal == "clean") for signal in DRIFTS]


def test_endpoints(recorder: Recorder, server: Server) -> None:
    """Metrics parse as Prometheus reads them; probes answer 200 or 503 with the reason; state is JSON."""
    recorder.started("craft", "crawl.pairs", "abcd", 0.05)
    recorder.partition_state(0, PartitionState.ACTIVE)
    recorder.ledger(0, summary([5, 5, 5]))
    recorder.model({"version": 4, "target_version": "a1b2"}, 10)
    recorder.model_in_force(0, 4)
    status, kind, body = get(server, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain")
    families = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {"craft_decisions", "craft_divergence_nats", "process_resident_memory_bytes"} <= families
    assert get(server, "/readyz")[0] == 503
    assert b"joined" in get(server, "/readyz")[2]
    recorder.joined(frozenset({0}))
    assert get(server, "/readyz")[0] == 200
    assert get(server, "/livez")[0] == 200
    state = json.loads(get(server, "/state")[2])
    partition = state["partitions"][0]
    assert (partition["partition"], partition["state"], partition["accepted"]) == (0, "active", 15)
    assert state["worker"]["group"] == "craft"
    assert state["model"] == {"version": 4, "target_version": "a1b2", "bytes": 10}
    assert state["certificate"]["accepted_by_cluster"] == [5, 5, 5]


def test_openmetrics_for_those_who_ask(server: Server) -> None:
    """A scraper that prefers OpenMetrics gets it."""
    _, kind, body = get(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(server: Server, method: str) -> None:
    """Only GET and HEAD are served, which a line says."""
    status, kind, body = get(server, "/state", method)
    assert (status, kind, body) == (501, "text/plain; charset=utf-8", b"only GET and HEAD are answered\n")


def test_an_address_that_is_too_long_is_answered_in_a_line(server: Server) -> None:
    """As all that the base class refuses by itself, in HTML."""
    assert get(server, f"/{'x' * 70_000}") == (414, "text/plain; charset=utf-8", b"the address is too long\n")


def test_unknown_paths_and_head(server: Server) -> None:
    """An unknown path is 404; HEAD answers without a body."""
    assert get(server, "/../etc/passwd")[0] == 404
    status, _, body = get(server, "/livez", "HEAD")
    assert (status, body) == (200, b"")


def test_a_silent_client_does_not_block_the_probes(server: Server) -> None:
    """A connection that sends nothing leaves the other requests alone."""
    with socket.create_connection(("127.0.0.1", server.port)):
        assert get(server, "/livez")[0] == 200


def test_a_taken_port_is_a_configuration_error(recorder: Recorder, server: Server) -> None:
    """The message names the address that cannot be bound."""
    with pytest.raises(ConfigurationError, match=f"127.0.0.1:{server.port}"):
        Server(recorder, "127.0.0.1", server.port)
