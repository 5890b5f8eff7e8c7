"""`craft-stream doctor`: whether everything around the worker is as it must be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated

import orjson
import typer

from connectors.kafka import admin as kafka_admin
from connectors.kafka.diagnosis import advertised, diagnose, named_by_brokers, servers
from connectors.kafka.internals import check_client
from connectors.kafka.rights import GROUP, NEEDS, Rights
from connectors.kafka.transport import KafkaTransport
from connectors.kafka.wire import Brokers
from craft_stream.cli.choices import check_choice
from craft_stream.cli.options import Config, Json, Overrides, load_settings
from craft_stream.cli.tell import counted
from craft_stream.errors import CraftError, DataError
from craft_stream.learning.examination import FEWEST
from craft_stream.ports.transport import Reader
from craft_stream.settings import Settings
from craft_stream.topics.models import ModelStore
from craft_stream.topics.ownership import check_owner
from craft_stream.topics.signatures import Signatures
from craft_stream.topics.target_contents import TargetContents

SHORT_RETENTION_MS = 86_400_000
CLOCK_SECONDS = 60.0
# Commands that run on: of the others only rights and topics can be told beforehand.
SERVICES = ("run", "learn")

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
def doctor(
    config: Config = None,
    overrides: Overrides = None,
    command: Annotated[
        str, typer.Option("--for", metavar="COMMAND", help=f"Which command is to work: {', '.join(NEEDS)}.")
    ] = "run",
    as_json: Json = False,
) -> None:
    """Check brokers, topics and their settings, rights and clock; exit code 1 if `run`, or what `--for` names, would fail.

    Every address is tried step by step (name, port, TLS, login), and each fault is one line with what to do.
    """
    check_choice("--for", command, NEEDS)
    settings = load_settings(config, overrides)
    failures = 0
    for finding in examine(settings, command):
        failures += finding.state == "failure"
        if as_json:
            line = {"check": finding.check, "state": finding.state, "message": finding.message}
            print(orjson.dumps(line).decode())
        else:
            print(f"{finding.state:8s} {finding.check}: {finding.message}")
    if failures:
        raise DataError("one check failed" if failures == 1 else f"{failures} checks failed")


def examine(settings: Settings, command: str = "run") -> Iterator[Finding]:
    """Every check in turn; later ones are left out where an earlier one leaves no ground for them."""
    yield _try("client", check_client, "kafka-python is one that was tried")
    try:
        asked = servers(settings.kafka)
        found = diagnose(settings.kafka, asked)
        yield from _addresses(asked, found)
        named = advertised(found)
        if not named:
            if not all(isinstance(cause, CraftError) for cause in found):
                yield Finding("brokers", "failure", "they know of no broker yet: are they just starting?")
            return
        others = sorted(named - set(asked))
        found = named_by_brokers(diagnose(settings.kafka, others))
        yield from _addresses(others, found)
        if len(others) == len(named) and not advertised(found):
            return
        with kafka_admin.connect(settings.kafka) as admin:
            cluster = admin.cluster()
            yield Finding(
                "brokers", "ok", f"{len(cluster['brokers'])} in cluster {cluster.get('cluster_id')}"
            )
            present = admin.partitions()
            rights = Rights(admin, settings.kafka)
            yield from _rights(rights, command)
            yield from _topics(settings, admin, present, rights, command)
            if command not in SERVICES:
                return
            yield _try(
                "fit",
                lambda: kafka_admin.check(admin, settings.kafka, settings.record, NEEDS[command]),
                f"{command} can start",
            )
    except CraftError as error:
        yield Finding("brokers", "failure", str(error))
        return
    if settings.kafka.input_topic not in present:
        return
    transport = KafkaTransport(settings.kafka)
    with closing(transport.reader()) as reader:
        if GROUP in NEEDS[command]:
            yield _try(
                "group", lambda: reader.committed(0), f"offsets of {settings.kafka.group_id} may be read"
            )
        yield _try("transactions", lambda: transport.output("doctor").close(), "may be begun")
        yield from _clock(settings, reader)
        store = ModelStore(reader, settings.kafka.model_topic, Signatures.of(settings))
        yield _target(settings, reader, store)
        yield _try(
            "owner", lambda: _owner(settings, reader, store), "the topics are this group's, or nobody's"
        )


def _addresses(addresses: Sequence[str], found: Sequence[Brokers | CraftError]) -> Iterator[Finding]:
    for address, cause in zip(addresses, found, strict=True):
        if isinstance(cause, CraftError):
            yield Finding("broker", "failure", str(cause))
        else:
            yield Finding("broker", "ok", f"{address} lets this user in")


def _rights(rights: Rights, command: str) -> Iterator[Finding]:
    if missing := rights.missing(command):
        yield Finding("rights", "failure", f"for `{command}` this user lacks {', '.join(missing)}")
    else:
        yield Finding("rights", "ok", f"all that `{command}` needs")
    others = {name: rights.missing(name) for name in NEEDS if name != command}
    if not_for := [f"`{name}` ({', '.join(lacks)})" for name, lacks in others.items() if lacks]:
        yield Finding("rights", "ok", f"not for {'; '.join(not_for)}")


def _topics(
    settings: Settings, admin: kafka_admin.Admin, present: dict[str, int], rights: Rights, command: str
) -> Iterator[Finding]:
    kafka = settings.kafka
    plans = kafka_admin.plans(kafka, settings.record, present.get(kafka.input_topic, 1))
    configs = admin.configs([plan.name for plan in plans if plan.name in present])
    for plan in plans:
        if plan.name not in present:
            needed = plan.role in NEEDS[command]
            if rights.hides(plan.name):
                problem = "is missing, or this user has no right on it"
            else:
                problem = "is missing: `craft-stream topics create` makes it"
            unless = "" if needed else f"; `{command}` does without"
            yield Finding(plan.role, "failure" if needed else "ok", f"{plan.name} {problem}{unless}")
            continue
        found = configs.get(plan.name, {})
        facts = (
            f"{plan.name}, {counted(present[plan.name], 'partitions')}, {found.get('cleanup.policy', '?')}"
        )
        problems = []
        retention = int(found.get("retention.ms") or -1)
        if plan.role in ("input_topic", "accepted_topic") and 0 <= retention < SHORT_RETENTION_MS:
            problems.append(
                f"keeps records for {retention / 3_600_000:.1f} h only: after a longer stop some are gone undecided"
            )
        kept = int(found.get("retention.bytes") or -1)
        if plan.role in ("input_topic", "accepted_topic") and kept >= 0:
            problems.append(
                f"keeps {kept / 1e6:,.1f} MB of each partition (retention.bytes): what is beyond goes, however new, "
                "undecided after a stop: set it to -1, or to more than a stop and an audit need"
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


def _read_versions(settings: Settings, reader: Reader, store: ModelStore) -> None:
    """What the model topic holds, if it is there, and what of it was not read yet."""
    if reader.partitions(settings.kafka.model_topic):
        store.refresh()


def _target(settings: Settings, reader: Reader, store: ModelStore) -> Finding:
    """Without a target to learn from, and without a version made of one, nothing can be decided."""
    kafka = settings.kafka
    try:
        found = TargetContents.read(reader, kafka.target_topic, settings.record)
        _read_versions(settings, reader, store)
    except CraftError as error:
        return Finding("target", "failure", str(error))
    if found.mixed:
        problem = (
            f"holds {found}, of which nothing can be learned together: `craft-stream target clear`, then publish one kind "
            "again"
        )
    elif not found:
        problem = "is empty: `craft-stream target publish FILE` gives the domain"
    elif len(found) < FEWEST:
        problem = f"holds {found}, and a version needs {FEWEST} at least: `craft-stream target publish FILE` adds some"
    else:
        return Finding("target", "ok", f"{kafka.target_topic} holds {found}")
    state = "warning" if store.newest else "failure"
    return Finding("target", state, f"{kafka.target_topic} {problem}")


def _owner(settings: Settings, reader: Reader, store: ModelStore) -> None:
    """As `run` and `learn` check it; whoever learns publishes versions."""
    learns = settings.learner.mode != "off"
    if learns:
        _read_versions(settings, reader, store)
    check_owner(reader, settings.kafka, store if learns else None)


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
