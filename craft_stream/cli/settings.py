"""`craft-stream settings`: the settings of a consumer group, which change while it runs."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Annotated

import orjson
import typer

from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.config import toml
from craft_stream.cli.engine import load_engine
from craft_stream.cli.lists import list_digests
from craft_stream.cli.options import Config, Json, Overrides, load_settings
from craft_stream.errors import ConfigurationError, UnavailableError
from craft_stream.ports.transport import TransactionError
from craft_stream.settings import Settings
from craft_stream.settings.versioned import SECTIONS
from craft_stream.topics.models import ModelStore
from craft_stream.topics.ownership import check_owner
from craft_stream.topics.settings_versions import SettingsVersion
from craft_stream.topics.settings_writer import publish_next
from craft_stream.topics.signatures import Signatures
from craft_stream.worker.group_settings import check_fixed, in_effect

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Show and change the settings of a group while it runs: budget.rate, selection.*, learner.*, encoder.*.",
)

Number = Annotated[
    int | None, typer.Argument(metavar="VERSION", min=1, help="Its number; the newest if not given.")
]


@contextmanager
def _store(settings: Settings, publish: bool = False) -> Iterator[ModelStore]:
    topic = settings.kafka.model_topic
    with closing(KafkaTransport(settings.kafka).reader()) as reader:
        if not reader.partitions(topic):
            raise ConfigurationError(f"there is no topic {topic}: type `craft-stream topics create`")
        store = ModelStore(reader, topic, Signatures.of(settings))
        store.refresh()
        if publish:
            check_owner(reader, settings.kafka, store if settings.learner.mode != "off" else None)
        yield store


def _known(store: ModelStore, group: str, number: int | None) -> SettingsVersion:
    version = store.settings_version(group, number) if number else store.newest_settings(group)
    if version is None:
        numbers = [str(one) for one in store.settings_numbers(group)]
        others = f" (others have: group {', '.join(sorted(store.groups))})" if store.groups else ""
        there = (
            f"there are {', '.join(numbers)}"
            if numbers
            else f"a first worker or `settings apply` publishes one{others}"
        )
        named = f"settings {number}" if number else "settings"
        raise ConfigurationError(f"group {group} has no {named}: {there}")
    return version


@app.command(epilog="Example: craft-stream settings ls --config craft.toml")
def ls(config: Config = None, overrides: Overrides = None, as_json: Json = False) -> None:
    """List every version, the oldest first, with what it changed; partitions take the newest at their next epoch."""
    settings = load_settings(config, overrides)
    with _store(settings) as store:
        _known(store, settings.kafka.group_id, None)
        before: SettingsVersion | None = None
        for version in store.all_settings(settings.kafka.group_id):
            changes = [] if before is None else list(version.changes(before))
            newest = version.number == store.settings_number(settings.kafka.group_id)
            if as_json:
                line = {
                    "version": version.number, "published_at_ms": version.published_at_ms, "release": version.release,
                    "digest": version.parameters.digest, "changes": changes, "newest": newest,
                    "restores": version.restores or None,
                }  # fmt: skip
                print(orjson.dumps(line).decode())
            else:
                when = datetime.datetime.fromtimestamp(version.published_at_ms / 1000, datetime.UTC)
                told = "; ".join(changes) or ("the first" if before is None else "as before")
                print(
                    f"{version.number:6d}  {when:%Y-%m-%d %H:%M:%S}Z  {version.parameters.digest}  {told}"
                    + (f"  (those of {version.restores} again)" if version.restores else "")
                    + ("  (newest)" if newest else "")
                )
            before = version


@app.command(epilog="Example: craft-stream settings show 3 --config craft.toml")
def show(
    number: Number = None, config: Config = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Print the settings of a version as TOML."""
    settings = load_settings(config, overrides)
    with _store(settings) as store:
        version = _known(store, settings.kafka.group_id, number)
    if as_json:
        print(version.encode().decode())
        return
    print(
        f"# settings {version.number} of group {settings.kafka.group_id}, digest {version.parameters.digest}"
    )
    print(toml(in_effect(settings, version), SECTIONS), end="")


@app.command(epilog="Example: craft-stream settings diff 2 3 --config craft.toml")
def diff(
    number: Annotated[
        int | None, typer.Argument(metavar="VERSION", min=1, help="Its number; the newest if not given.")
    ] = None,
    other: Annotated[
        int | None,
        typer.Argument(metavar="OTHER", min=1, help="Another one; what `apply` would publish if not given."),
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Say what is different between two versions, or between one and what `settings apply` would publish."""
    settings = load_settings(config, overrides)
    group = settings.kafka.group_id
    with _store(settings) as store:
        before = _known(store, group, number)
        after = _known(store, group, other) if other else _made(settings, 0)
    lines = list(after.changes(before))
    print("\n".join(lines) or "nothing is different")


@app.command(epilog="Example: craft-stream settings apply --config craft.toml --set budget.rate=0.02")
def apply(config: Config = None, overrides: Overrides = None) -> None:
    """Publish what the file, the environment and `--set` say; each partition takes it at its next epoch (1,024 records).

    All of [budget] rate, [selection], [learner] and [encoder], what is not said at its default: put a change into the file as
    well, or the next `apply` takes it back. `craft-stream replay --set` says beforehand what a change would do. Signals and the
    lists' files are only named: restart the workers with them.
    """
    settings = load_settings(config, overrides)
    ours = _made(settings, 1)
    told: list[str] = []

    def make(before: SettingsVersion | None) -> SettingsVersion | None:
        told.clear()
        if before is not None:
            check_fixed(before, settings)
        if before is None:
            return ours
        told.extend(ours.changes(before))
        return replace(ours, parameters=ours.parameters.numbered(before.number + 1)) if told else None

    _publish(settings, make, told)


@app.command(epilog="Example: craft-stream settings rollback --config craft.toml")
def rollback(
    number: Annotated[
        int | None,
        typer.Argument(metavar="VERSION", min=1, help="Back to this one; if not given, one step back."),
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Publish the settings of an earlier version again, under a new number.

    Without VERSION one step back: to the last version before the newest that says something else. Called again it goes one
    step further back, not forth: what a roll-back published counts as the version that it brought back.
    """
    settings = load_settings(config, overrides)
    group = settings.kafka.group_id
    told: list[str] = []
    with _store(settings, publish=True) as store:

        def make(before: SettingsVersion | None) -> SettingsVersion | None:
            told.clear()
            if before is None:
                raise ConfigurationError(f"group {group} has no settings yet")
            back = _known(store, group, number) if number else _before(store, group, before)
            told.extend(back.changes(before))
            if not told:
                return None
            told.append(f"back from {_named(before)} to {_named(back)}")
            return replace(
                back,
                parameters=back.parameters.numbered(before.number + 1),
                published_at_ms=int(1000 * time.time()),
                restores=back.origin,
            )

        _publish(settings, make, told, store)


def _before(store: ModelStore, group: str, newest: SettingsVersion) -> SettingsVersion:
    """The last version before what the newest says, that says something else."""
    for number in sorted(store.settings_numbers(group), reverse=True):
        if number < newest.origin:
            found = _known(store, group, number)
            if any(found.changes(newest)):
                return found
    raise ConfigurationError(f"there are no other settings before {_named(newest)}, the newest")


def _named(version: SettingsVersion) -> str:
    return f"settings {version.number}" + (f" (those of {version.restores})" if version.restores else "")


def _made(settings: Settings, number: int) -> SettingsVersion:
    """What this process's settings say, as a version."""
    parameters, _ = load_engine(settings)
    return SettingsVersion.of(
        settings, parameters.encoder, number, int(1000 * time.time()), list_digests(settings)
    )


def _publish(
    settings: Settings,
    make: Callable[[SettingsVersion | None], SettingsVersion | None],
    told: list[str],
    store: ModelStore | None = None,
) -> None:
    kafka = settings.kafka
    if store is None:
        with _store(settings, publish=True) as opened:
            return _publish(settings, make, told, opened)
    before = store.settings_number(kafka.group_id)
    try:
        version = publish_next(KafkaTransport(kafka), store, kafka.model_topic, kafka.group_id, make)
    except TransactionError as error:
        raise UnavailableError(f"the settings could not be published: {error}") from error
    assert version is not None  # noqa: S101  # there is one, or one was made
    if version.number == before and not told:
        print(f"nothing is different from settings {version.number}; nothing was published")
        return None
    for line in told:
        print(line)
    print(
        f"published settings {version.number} of group {kafka.group_id}, digest {version.parameters.digest}"
    )
    return None
