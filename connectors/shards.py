"""A topic as finite files: shuffled shards with a manifest that says what is in them, exactly once.

A shard counts when the manifest names it. The manifest is replaced as a whole after each shard, together with the
offsets at which the next one begins; a shard that it does not name, left by a process that died, is written anew.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import orjson

from connectors.files import open_sink
from craft_stream.errors import ConfigurationError, DataError, IntegrityError, LogTruncatedError
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Reader

FORMAT = 1
MANIFEST = "manifest.json"
Layout = Literal["tsv", "tsv.gz", "jsonl", "jsonl.gz", "jsonl.zst", "parquet"]


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """How shards are made; it may not change in a folder.

    Attributes:
        layout: ending of the files.
        size: records of a shard.
        seed: of the order inside a shard.
        columns: fields of a TSV line, by commas; empty: source and target.
    """

    layout: Layout = "tsv"
    size: int = 100_000
    seed: int = 0
    columns: str = ""

    def described(self) -> dict[str, object]:
        """As the manifest has it."""
        return {"layout": self.layout, "size": self.size, "seed": self.seed, "columns": self.columns}


class ShardedExport:
    """Writes what a topic holds beyond the manifest.

    Args:
        reader: of the topic.
        topic: to export.
        folder: of shards and manifest; made when it is missing.
        plan: how shards are made.
        targets: digests of the targets by Model version; asked when a shard is written.

    Raises:
        ConfigurationError: the folder holds an export of another topic or plan, or shards without a manifest.
        IntegrityError: the manifest cannot be read.
    """

    def __init__(
        self,
        reader: Reader,
        topic: str,
        folder: Path,
        plan: ShardPlan,
        targets: Callable[[], Mapping[int, str]] = dict,
    ) -> None:
        self._reader, self._topic, self._folder, self._plan = reader, topic, folder, plan
        self._targets = targets
        folder.mkdir(parents=True, exist_ok=True)
        self.manifest = self._load()
        named = {shard["file"] for shard in self.manifest["shards"]}
        strays = [
            path for path in folder.glob(f"shard-{'[0-9]' * 6}.{plan.layout}") if path.name not in named
        ]
        if strays and not (folder / MANIFEST).exists():
            raise ConfigurationError(
                f"{strays[0]} is no shard of an export: {folder} has no {MANIFEST}; take another folder"
            )
        self._save()  # so that shards which it does not name are known to be ours
        for path in strays:
            path.unlink()

    def _load(self) -> dict[str, Any]:
        fresh = {
            "format": FORMAT,
            "topic": self._topic,
            "plan": self._plan.described(),
            "records": 0,
            "next": {},
            "shards": [],
        }
        try:
            found = orjson.loads((self._folder / MANIFEST).read_bytes())
        except FileNotFoundError:
            return fresh
        except orjson.JSONDecodeError as error:
            raise IntegrityError(f"{self._folder / MANIFEST} is damaged: {error}") from None
        for name in ("format", "topic", "plan"):
            if found.get(name) != fresh[name]:
                raise ConfigurationError(
                    f"{self._folder} holds an export with {name} {found.get(name)}, not {fresh[name]}: take another folder"
                )
        return dict(found)

    def run(self, partial: bool = True, told: Callable[[dict[str, Any]], None] = lambda shard: None) -> int:
        """Write shards up to the topic's present end.

        Args:
            partial: also write a last shard of fewer records; otherwise they wait for the next run.
            told: called with each shard's entry in the manifest.

        Returns:
            How many records were written.

        Raises:
            LogTruncatedError: the topic no longer holds what comes next.
        """
        bounds = self._reader.bounds(self._topic, self._reader.partitions(self._topic))
        at = {
            partition: self.manifest["next"].get(str(partition), first)
            for partition, (first, _) in bounds.items()
        }
        for partition, (first, _) in bounds.items():
            if at[partition] < first:
                raise LogTruncatedError(
                    f"{self._topic}/{partition} begins at {first}, the export ended at {at[partition]}: "
                    "what lay between is gone; take another folder to export what is left"
                )
        ends = {partition: end for partition, (_, end) in bounds.items()}
        written = 0
        while True:
            records, after = self._gather(at, ends)
            if not records or (len(records) < self._plan.size and not partial):
                return written
            shard = self._write(records, at, after)
            at = after
            written += len(records)
            told(shard)

    def _gather(self, at: dict[int, int], ends: dict[int, int]) -> tuple[list[Message], dict[int, int]]:
        """Records of the next shard, as evenly from the partitions as they have them, and where they end."""
        after = dict(at)
        records: list[Message] = []
        while len(records) < self._plan.size:
            left = [partition for partition in sorted(after) if after[partition] < ends[partition]]
            if not left:
                break
            share = -(-(self._plan.size - len(records)) // len(left))
            for partition in left:
                wanted = min(share, self._plan.size - len(records))
                taken, after[partition] = self._take(partition, after[partition], ends[partition], wanted)
                records.extend(taken)
        return records, after

    def _take(self, partition: int, start: int, end: int, wanted: int) -> tuple[list[Message], int]:
        taken: list[Message] = []
        if not wanted:
            return taken, start
        for messages in self._reader.read(self._topic, partition, start, end):
            taken.extend(messages[: wanted - len(taken)])
            if len(taken) == wanted:
                return taken, taken[-1].offset + 1
        return taken, end

    def _write(self, records: list[Message], at: dict[int, int], after: dict[int, int]) -> dict[str, Any]:
        number = len(self.manifest["shards"])
        path = self._folder / f"shard-{number:06}.{self._plan.layout}"
        random.Random(f"{self._plan.seed}/{number}").shuffle(records)
        sink = open_sink(f"{path}?columns={self._plan.columns}" if self._plan.columns else str(path))
        try:
            sink.write(record.value for record in records if record.value is not None)
        except BaseException:
            discard = getattr(sink, "discard", sink.close)
            discard()
            raise
        sink.close()
        versions, targets = _versions(records), self._targets()
        shard = {
            "file": path.name,
            "records": len(records),
            "bytes": path.stat().st_size,
            "sha256": _sha256(path),
            "offsets": {str(p): [at[p], after[p]] for p in sorted(after) if after[p] > at[p]},
            "model_versions": versions,
            "target_versions": {str(version): targets.get(version) for version in versions},
        }
        self.manifest["shards"].append(shard)
        self.manifest["records"] += len(records)
        self.manifest["next"] = {str(partition): offset for partition, offset in sorted(after.items())}
        self._save()
        return shard

    def _save(self) -> None:
        written = self._folder / f".{MANIFEST}.new"
        with written.open("wb") as file:
            file.write(orjson.dumps(self.manifest, option=orjson.OPT_INDENT_2))
            file.flush()
            os.fsync(file.fileno())
        written.replace(self._folder / MANIFEST)


def verify(folder: Path) -> int:
    """Compare every shard with the manifest; the number of records.

    Raises:
        DataError: a shard is missing or differs, or there is no manifest.
    """
    try:
        manifest = orjson.loads((folder / MANIFEST).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise DataError(f"cannot read {folder / MANIFEST}: {error}") from None
    for shard in manifest["shards"]:
        path = folder / shard["file"]
        if not path.is_file() or _sha256(path) != shard["sha256"]:
            raise DataError(f"{path} is missing or not what the manifest says")
    return int(manifest["records"])


def _sha256(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _versions(records: Sequence[Message]) -> list[int]:
    """Versions of the Model that accepted these records, as their headers say."""
    found = set()
    for record in records:
        for name, value in record.headers:
            if name == "craft-model-version":
                with suppress(ValueError):
                    found.add(int(value))
    return sorted(found)
