"""`craft-stream export`: the accepted topic as files that a trainer reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from craft_stream.cli.choices import check_choice
from craft_stream.cli.options import Config, Json, Overrides, load_settings
from craft_stream.ports.transport import Reader
from craft_stream.topics.models import ModelStore

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: craft-stream export --output shards/ --format jsonl.zst --whole-shards")
def export(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the shards and their manifest.")],
    topic: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Topic to export; kafka.accepted_topic unless given.")
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORMAT", help="tsv, tsv.gz, jsonl, jsonl.gz, jsonl.zst or parquet."
        ),
    ] = "tsv",
    shard_size: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=10_000_000, help="Records of a shard.")
    ] = 100_000,
    columns: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="Fields of a TSV line, by commas; unset: the source and the target."
        ),
    ] = "",
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Seed of the order inside a shard.")] = 0,
    whole_shards: Annotated[
        bool, typer.Option("--whole-shards", help="Leave what does not fill a shard for the next run.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare the shards with the manifest; export nothing.")
    ] = False,
    config: Config = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Write what the topic holds, and the last run did not have, as shuffled shards.

    Exactly once: `manifest.json` names each shard with its offsets, counts and digests, and says where the next run
    goes on. Marian and OpusTrainer read the TSV, Hugging Face datasets the JSONL and Parquet.
    """
    from connectors.kafka.reader import KafkaReader
    from connectors.shards import Layout, ShardedExport, ShardPlan
    from connectors.shards import verify as compare

    if verify:
        records = compare(output)
        typer.echo(
            json.dumps({"records": records}) if as_json else f"{records} records, all as the manifest says"
        )
        return
    check_choice("--format", layout, get_args(Layout))
    settings = load_settings(config, overrides)
    if not columns and layout.startswith("tsv"):
        columns = f"{settings.record.source_field},{settings.record.target_field}"
    plan = ShardPlan(cast(Layout, layout), shard_size, seed, columns if layout.startswith("tsv") else "")
    reader = KafkaReader(settings.kafka)
    try:
        job = ShardedExport(
            reader,
            topic or settings.kafka.accepted_topic,
            output,
            plan,
            lambda: _targets(reader, settings.kafka.model_topic),
        )
        written = job.run(partial=not whole_shards, told=lambda shard: _tell(shard, as_json))
    finally:
        reader.close()
    total = job.manifest["records"]
    typer.echo(
        json.dumps({"written": written, "records": total})
        if as_json
        else f"{written} records written, {total} in all"
    )


def _targets(reader: Reader, topic: str) -> dict[int, str]:
    """The target's version by the Model's, as far as the model topic holds them."""
    if not reader.partitions(topic):
        return {}
    store = ModelStore(reader, topic)
    store.refresh()
    return {
        version: str(manifest.header["target_version"])
        for version, manifest in store.manifests.items()
        if "target_version" in manifest.header
    }


def _tell(shard: dict[str, Any], as_json: bool) -> None:
    if not as_json:
        typer.echo(f"{shard['file']}: {shard['records']} records, {shard['bytes']} bytes", err=True)
