"""`craft-stream model`: the versions of the Model on their topic."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import orjson
import typer

from connectors.files.open import OutputFile
from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.files import protect_inputs
from craft_stream.cli.options import Config, Json, Overrides, load_settings
from craft_stream.cli.presence import require
from craft_stream.cli.tell import counted
from craft_stream.errors import ConfigurationError
from craft_stream.settings import LEAST_VERSIONS, Settings
from craft_stream.topics import model_writer
from craft_stream.topics.models import Manifest, ModelStore
from craft_stream.topics.settings_writer import sign_settings
from craft_stream.topics.signatures import Signatures
from craft_stream.topics.unused_models import unused

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="List, pin and inspect the versions of the model."
)

Version = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="Its number.")]


@contextmanager
def _store(settings: Settings) -> Iterator[ModelStore]:
    with closing(KafkaTransport(settings.kafka).reader()) as reader:
        require(reader, settings.kafka.model_topic)
        store = ModelStore(reader, settings.kafka.model_topic, Signatures.of(settings))
        store.refresh()
        yield store


def _known(store: ModelStore, version: int) -> Manifest:
    if version not in store.manifests:
        raise ConfigurationError(
            f"there is no model {version}; there are {', '.join(map(str, sorted(store.manifests))) or 'none'}"
        )
    return store.manifests[version]


@app.command(epilog="Example: craft-stream model ls --json")
def ls(config: Config = None, overrides: Overrides = None, as_json: Json = False) -> None:
    """List every version, the oldest first."""
    with _store(load_settings(config, overrides)) as store:
        for version in sorted({*store.manifests, *store.refused}):
            if (problem := store.refused.get(version)) is not None:
                told = orjson.dumps({"version": version, "passed_over": problem}).decode()
                print(told if as_json else f"{version:6d}  passed over: {problem}")
                continue
            manifest = store.manifests[version]
            header = manifest.header
            wanted = version == store.newest
            if as_json:
                print(orjson.dumps({**header, "size": manifest.size, "wanted": wanted}).decode())
                continue
            when = datetime.datetime.fromtimestamp(manifest.published_at_ms / 1000, datetime.UTC)
            mark = ("pinned" if store.pinned == version else "newest") if wanted else ""
            print(
                f"{version:6d}  {when:%Y-%m-%d %H:%M:%S}Z  {manifest.digest}  {manifest.size / 1e6:6.1f} MB  "
                f"{header.get('pairs_seen', 0):>10,d} pairs  target {header.get('target_version')} "
                f"({header.get('target_pairs')})  {mark}"
            )


@app.command(epilog="Example: craft-stream model show 12")
def show(version: Version, config: Config = None, overrides: Overrides = None) -> None:
    """Print the header of a version and the size of each of its arrays, as JSON; checks its checksum."""
    with _store(load_settings(config, overrides)) as store:
        manifest = _known(store, version)
        model = store.load(version)
        arrays = {name: list(array.shape) for name, array in model.arrays.items()}
        document = {**model.header, "digest": model.digest, "size": manifest.size, "arrays": arrays}
        print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


@app.command(epilog="Example: craft-stream model save 12 model.bin")
def save(
    version: Version,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.", dir_okay=False)],
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Write a version to a file, for `craft-stream select --model` and `run --model`."""
    settings = load_settings(config, overrides)
    protect_inputs([str(file)], [], settings, config)
    with _store(settings) as store:
        _known(store, version)
        with OutputFile(str(file)) as output:
            output.write(store.load(version).encode())
    print(f"wrote model {version} to {file}")


@app.command(epilog="Example: craft-stream model pin 12")
def pin(
    version: Annotated[int, typer.Argument(metavar="VERSION", min=0, help="Its number; 0 lifts the pin.")],
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Make every worker use a version from its next epoch on; the learner goes on publishing."""
    settings = load_settings(config, overrides)
    with _store(settings) as store:
        if version:
            _known(store, version)
    _change(settings, version or None)
    print(f"pinned model {version}" if version else "no version is pinned; the newest is used")


@app.command(epilog="Example: craft-stream model sign")
def sign(
    versions: Annotated[
        list[int] | None,
        typer.Argument(metavar="VERSION", min=1, help="Numbers of versions; without any all that is there."),
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Sign what was published without `models.key`, so that workers which have it take it.

    Without numbers: every version, the pin, and the versions of the group's settings. For a group that comes to sign: whoever
    signs answers for what is on the topic by now.
    """
    settings = load_settings(config, overrides)
    kafka, signatures = settings.kafka, Signatures.of(settings)
    if settings.models.signing_key() is None:
        raise ConfigurationError("set models.key or models.key_file: versions are signed with it")
    transport = KafkaTransport(kafka)
    with closing(transport.reader()) as reader:
        if not reader.partitions(kafka.model_topic):
            raise ConfigurationError(
                f"there is no topic {kafka.model_topic}: type `craft-stream topics create`"
            )
        store = ModelStore(reader, kafka.model_topic)  # takes what is not signed, too
        store.refresh()
        for version in versions or ():
            _known(store, version)
        numbers = sorted(versions or store.manifests)
        for version in numbers:
            store.load(version)  # what is damaged is not signed
        manifests = [store.manifests[version] for version in numbers]
        chosen = [] if versions else list(store.all_settings(kafka.group_id))
        with closing(transport.output("admin")) as output:
            model_writer.sign(output, kafka.model_topic, manifests, signatures)
            if not versions and store.pinned is not None:
                model_writer.pin(output, kafka.model_topic, store.pinned, signatures)
        if chosen:
            with closing(transport.output("settings")) as output:
                sign_settings(output, kafka.model_topic, kafka.group_id, chosen, signatures)
    print(f"signed {counted(len(manifests), 'versions')} of the model, {len(chosen)} of the settings")


@app.command(epilog="Example: craft-stream model rollback --config craft.toml")
def rollback(config: Config = None, overrides: Overrides = None) -> None:
    """Pin the version before the one in use: the pinned one, else the newest that this group decides with."""
    settings = load_settings(config, overrides)
    with _store(settings) as store:
        decided = store.in_use(f"{settings.kafka.group_id}/{settings.kafka.input_topic}")
        used = store.newest if store.pinned is not None else max(decided, default=store.newest)
        before = [version for version in store.manifests if version < used]
    if not before:
        raise ConfigurationError(f"there is no version before {used}, the one in use")
    _change(settings, max(before))
    print(f"pinned model {max(before)} in place of {used}; `craft-stream model pin 0` lifts it")


@app.command(epilog="Example: craft-stream model prune --keep 20")
def prune(
    keep: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            min=LEAST_VERSIONS,
            help="How many of the newest to keep; learner.keep_versions if not given.",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what audits of the retained log need; never what is in force.")
    ] = False,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Withdraw old versions that no ledger, pin or audit can need; the learner does so by itself.

    With --all, decisions of the retained log that they made can be audited no more.
    """
    settings = load_settings(config, overrides)
    kept = keep or settings.learner.keep_versions or LEAST_VERSIONS
    transport = KafkaTransport(settings.kafka)
    with closing(transport.reader()) as reader, _store(settings) as store:
        versions = unused(store, reader, kept, retained=not everything)
        if versions:
            with closing(transport.output("admin")) as output:
                model_writer.prune(output, settings.kafka.model_topic, store, versions)
    print(f"withdrew {counted(len(versions), 'versions')}")


def _change(settings: Settings, version: int | None) -> None:
    with closing(KafkaTransport(settings.kafka).output("admin")) as output:
        model_writer.pin(output, settings.kafka.model_topic, version, Signatures.of(settings))
