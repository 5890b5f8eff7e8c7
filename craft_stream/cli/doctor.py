"""`craft-stream doctor`: whether everything around the worker is as it must be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import orjson
import typer

from connectors.kafka import admin as kafka_admin
from connectors.kafka.internals import check_client
from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.options import Config, Json, Overrides, load_settings
from craft_stream.errors import CraftError, DataError
from craft_stream.ports.transport import Reader
from craft_stream.settings import Settings

SHORT_RETENTION_MS = 86_400_000
CLOCK_SECONDS = 60.0

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: what.
        state: "ok", "warning" or "failure".
        message: what was found and, unless ok, what to do.
    """

    check: str
    state: str
    message: str


@app.command(epilog="Example: craft-stream doctor --config craft.toml")
def doctor(config: Config = None, overrides: Overrides = None, as_json: Json = False) -> None:
    """Check brokers, topics and their settings, permissions and clock; exit code 1 if `run` would fail."""
    settings = load_settings(config, overrides)
    failures = 0
    for finding in examine(settings):
        failures += finding.state == "failure"
        if as_json:
            line = {"check": finding.check, "state": finding.state, "message": finding.message}
            print(orjson.dumps(line).decode())
        else:
            print(f"{finding.state:8s} {finding.check}: {finding.message}")
    if failures:
        raise DataError(f"{failures} checks failed")


def examine(settings: Settings) -> Iterator[Finding]:
    """Every check in turn; later ones are left out where an earlier one leaves no ground for them."""
    yield _try("client", check_client, "kafka-python is one that was tried")
    try:
        with kafka_admin.connect(settings.kafka) as admin:
            cluster = admin.cluster()
            yield Finding(
                "brokers", "ok", f"{len(cluster['brokers'])} in cluster {cluster.get('cluster_id')}"
            )
            present = admin.partitions()
            yield from _topics(settings, admin, present)
            yield _try(
                "fit", lambda: kafka_admin.check(admin, settings.kafka, settings.record), "run can start"
            )
    except CraftError as error:
        yield Finding("brokers", "failure", str(error))
        return
    if settings.kafka.input_topic not in present:
        return
    transport = KafkaTransport(settings.kafka)
    with closing(transport.reader()) as reader:
        yield _try("group", lambda: reader.committed(0), f"offsets of {settings.kafka.group_id} may be read")
        yield _try("transactions", lambda: transport.output("doctor").close(), "may be begun")
        yield from _clock(settings, reader)


def _topics(settings: Settings, admin: kafka_admin.Admin, present: dict[str, int]) -> Iterator[Finding]:
    kafka = settings.kafka
    plans = kafka_admin.plans(kafka, settings.record, present.get(kafka.input_topic, 1))
    configs = admin.configs([plan.name for plan in plans if plan.name in present])
    for plan in plans:
        if plan.name not in present:
            yield Finding(
                plan.role, "failure", f"{plan.name} is missing: `craft-stream topics create` makes it"
            )
            continue
        found = configs.get(plan.name, {})
        facts = f"{plan.name}, {present[plan.name]} partitions, {found.get('cleanup.policy', '?')}"
        problems = []
        retention = int(found.get("retention.ms") or -1)
        if plan.role in ("input_topic", "accepted_topic") and 0 <= retention < SHORT_RETENTION_MS:
            problems.append(
                f"keeps records for {retention / 3_600_000:.1f} h only: after a longer stop some are gone undecided"
            )
        reach = settings.ledger.retained_snapshots * settings.ledger.retained_snapshot_hours * 3_600_000
        if plan.role == "input_topic" and retention > reach:
            problems.append(
                f"keeps records for {retention / 3_600_000:.0f} h, snapshots for audits reach back {reach / 3_600_000:.0f} h: "
                "raise ledger.retained_snapshots or ledger.retained_snapshot_hours"
            )
        size = int(found.get("max.message.bytes") or 0)
        if plan.role == "accepted_topic" and 0 < size < settings.record.max_bytes:
            problems.append(
                f"takes {size} bytes a record, less than record.max_bytes = {settings.record.max_bytes}"
            )
        yield Finding(plan.role, "warning" if problems else "ok", "; ".join([facts, *problems]))


def _clock(settings: Settings, reader: Reader) -> Iterator[Finding]:
    """Brokers tell no time; records that seem to come from the future do."""
    topic, ahead = settings.kafka.input_topic, 0.0
    for partition, (first, end) in reader.bounds(topic, reader.partitions(topic)).items():
        for messages in reader.read(topic, partition, max(first, end - 10), end):
            ahead = max([ahead, *(message.timestamp_ms / 1000 - time.time() for message in messages)])
    if ahead > CLOCK_SECONDS:
        yield Finding("clock", "warning", f"records are up to {ahead:.0f} s ahead of this machine's clock")
    else:
        yield Finding("clock", "ok", "no record is ahead of this machine's clock")


def _try(check: str, action: Callable[[], object], message: str) -> Finding:
    try:
        action()
    except CraftError as error:
        return Finding(check, "failure", str(error))
    return Finding(check, "ok", message)
