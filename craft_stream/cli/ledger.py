"""`craft-stream ledger`: what each partition has done, as its topic tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated

import orjson
import typer

from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.engine import load_engine
from craft_stream.cli.options import Config, Json, Overrides, load_settings
from craft_stream.errors import ConfigurationError, DataError, IntegrityError
from craft_stream.ports.transport import Position
from craft_stream.selection.ledger import Ledger
from craft_stream.settings import Settings
from craft_stream.topics.ledger_reader import LedgerRecords, read_ledger
from craft_stream.topics.ownership import check_group

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="List and verify what each partition has done."
)


@dataclass(frozen=True, slots=True)
class _Found:
    partition: int
    position: Position | None
    records: LedgerRecords
    ledger: Ledger | None
    problem: str | None


def _ledgers(settings: Settings, only: int | None = None) -> Iterator[_Found]:
    kafka = settings.kafka
    parameters, _ = load_engine(settings)
    with closing(KafkaTransport(kafka).reader()) as reader:
        partitions = reader.partitions(kafka.input_topic)
        if not partitions:
            raise ConfigurationError(f"there is no topic {kafka.input_topic}")
        check_group(reader, kafka)
        topics = reader.topic_ids(kafka.input_topic, kafka.ledger_topic)
        for partition in partitions if only is None else [only]:
            if partition not in partitions:
                raise ConfigurationError(f"{kafka.input_topic} has no partition {partition}")
            position = reader.committed(partition)
            records = read_ledger(reader, kafka, partition)
            ledger, problem = None, None
            try:
                records.origin.check(topics, kafka.input_topic, kafka.ledger_topic)
                # Without a note somebody has moved the offset, and only the ledger knows where it was.
                upto = position.offset if position and position.note else None
                found = records.restore(parameters, upto)
                ledger = found.ledger if found else None
                if ledger and position and ledger.next_offset != position.offset:
                    problem = f"leads to {ledger.next_offset}, but {position.offset} is committed"
                elif position and not ledger:
                    problem = f"offset {position.offset} is committed, but there is no ledger"
            except IntegrityError as error:
                problem = str(error)
            yield _Found(partition, position, records, ledger, problem)


@app.command(epilog="Example: craft-stream ledger ls --json")
def ls(config: Config = None, overrides: Overrides = None, as_json: Json = False) -> None:
    """One line for each partition: where it is, what it has accepted, which model is in force."""
    for found in _ledgers(load_settings(config, overrides)):
        ledger = found.ledger
        state = {
            "partition": found.partition,
            "committed": found.position.offset if found.position else None,
            "next_offset": ledger.next_offset if ledger else None,
            "seen": ledger.seen if ledger else 0,
            "accepted": ledger.accepted if ledger else 0,
            "model_version": ledger.model_version if ledger else 0,
            "settings_version": ledger.settings_version if ledger else 0,
            "digest": ledger.digest() if ledger else None,
            "problem": found.problem,
        }
        if as_json:
            print(orjson.dumps(state).decode())
        else:
            print("  ".join(f"{name} {value}" for name, value in state.items() if value is not None))


@app.command(epilog="Example: craft-stream ledger show 3")
def show(
    partition: Annotated[
        int, typer.Argument(metavar="PARTITION", min=0, help="Partition of the input topic.")
    ],
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Print a partition's ledger as JSON: decisions by reason, changes of model, its records on the topic."""
    for found in _ledgers(load_settings(config, overrides), partition):
        if found.ledger is None:
            raise DataError(found.problem or f"partition {partition} has no ledger yet")
        summary = found.ledger.summary()
        summary["kl"] = None if found.ledger.model is None else summary["kl"]  # it needs the model
        document = {
            **summary,
            "digest": found.ledger.digest(),
            "models": [{"offset": o, "version": v} for o, v in sorted(found.records.models.items())],
            "settings": [
                {
                    "offset": offset,
                    "version": one.parameters.version,
                    "digest": one.parameters.digest,
                    "release": one.release,
                }
                for offset, one in sorted(found.records.settings.items())
            ],
            "records": {
                "snapshots": len(found.records.snapshots),
                "deltas": len(found.records.deltas),
                "segments": len(found.records.segments),
                "retained_snapshots": len(found.records.retained_list.kept),
                "bytes": found.records.size,
            },
            "damaged": found.records.damaged,
        }
        print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


@app.command(epilog="Example: craft-stream ledger verify --config craft.toml")
def verify(config: Config = None, overrides: Overrides = None) -> None:
    """Read every record of every ledger, check it and restore from it; exit code 1 if anything is wrong."""
    wrong = 0
    for found in _ledgers(load_settings(config, overrides)):
        problems = [*found.records.damaged, *([found.problem] if found.problem else [])]
        wrong += len(problems)
        digest = found.ledger.digest() if found.ledger else "no ledger"
        print(
            f"partition {found.partition}: {digest}, {found.records.size} bytes, {'; '.join(problems) or 'sound'}"
        )
    if wrong:
        raise DataError(f"{wrong} problems in the ledgers")
