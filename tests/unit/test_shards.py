"""Shards of a topic, and the publisher of a crawl, when things go wrong between their steps."""

# ruff: noqa: D102

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from connectors.shards import MANIFEST, ShardedExport, ShardPlan, verify
from craft_stream.errors import (
    ConfigurationError,
    DataError,
    IntegrityError,
    LogTruncatedError,
    UnavailableError,
)
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import TransactionError
from craft_stream.settings import KafkaSettings


class Topic:
    """A topic of two partitions with gaps between its offsets, as transactions leave them."""

    def __init__(self, records: int, first: int = 0) -> None:
        header = (("craft-model-version", b"3"),)
        self.first, self.end = first, 2 * records
        self.log = {
            partition: [
                Message(json.dumps({"src": f"s{partition}-{n}", "tgt": "t"}).encode(), 2 * n, headers=header)
                for n in range(records)
            ]
            for partition in (0, 1)
        }

    def partitions(self, topic: str) -> Sequence[int]:
        return [0, 1]

    def bounds(self, topic: str, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
        return dict.fromkeys(partitions, (self.first, self.end))

    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[list[Message]]:
        found = [message for message in self.log[partition] if start <= message.offset < stop]
        yield from (found[at : at + 7] for at in range(0, len(found), 7))

    def close(self) -> None: ...

    def committed(self, partition: int) -> None: ...


def test_shards_hold_each_record_once(tmp_path: Path) -> None:
    """Run after run, what is new goes into new shards; a shard that no manifest names is written anew."""
    plan = ShardPlan("tsv", size=40)
    assert ShardedExport(Topic(75), "t", tmp_path, plan).run(partial=False) == 120
    (tmp_path / "shard-000003.tsv").write_text("left by a process that died\n")
    assert ShardedExport(Topic(90), "t", tmp_path, plan).run() == 60
    lines = [line for path in sorted(tmp_path.glob("*.tsv")) for line in path.read_text().splitlines()]
    assert sorted(lines) == sorted(f"s{partition}-{n}\tt" for partition in (0, 1) for n in range(90))
    assert verify(tmp_path) == 180
    manifest = json.loads((tmp_path / MANIFEST).read_bytes())
    assert manifest["next"] == {"0": 180, "1": 180}
    assert [shard["model_versions"] for shard in manifest["shards"]] == [[3]] * 5
    first = manifest["shards"][0]
    assert first["records"] == 40
    assert first["offsets"] == {"0": [0, 39], "1": [0, 39]}


def test_order_is_shuffled_and_repeatable(tmp_path: Path) -> None:
    """The same records give the same files, in an order that is not the topic's."""
    for name in ("a", "b"):
        ShardedExport(Topic(50), "t", tmp_path / name, ShardPlan(size=100, seed=4)).run()
    text = (tmp_path / "a" / "shard-000000.tsv").read_text()
    assert text == (tmp_path / "b" / "shard-000000.tsv").read_text()
    assert text.splitlines() != [f"s{p}-{n}\tt" for p in (0, 1) for n in range(50)]


def test_what_cannot_go_on(tmp_path: Path) -> None:
    """Another plan, a damaged manifest, and a topic that has dropped what comes next are refused."""
    ShardedExport(Topic(5), "t", tmp_path, ShardPlan()).run()
    with pytest.raises(ConfigurationError, match="another folder"):
        ShardedExport(Topic(5), "t", tmp_path, ShardPlan(seed=1))
    with pytest.raises(LogTruncatedError, match="begins at 16"):
        ShardedExport(Topic(10, first=16), "t", tmp_path, ShardPlan()).run()
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(IntegrityError, match="damaged"):
        ShardedExport(Topic(5), "t", tmp_path, ShardPlan())


def test_files_of_others_stay(tmp_path: Path) -> None:
    """A folder that holds shards and no manifest is not ours: nothing in it is removed or written over."""
    (tmp_path / "shard-000000.tsv").write_text("of another\n")
    with pytest.raises(ConfigurationError, match="no manifest"):
        ShardedExport(Topic(5), "t", tmp_path, ShardPlan())
    assert (tmp_path / "shard-000000.tsv").read_text() == "of another\n"
    with pytest.raises(DataError, match="cannot read"):
        verify(tmp_path)


class Broker:
    """What a crawl's publisher sees of a broker; each commit goes as the script says."""

    def __init__(self, script: list[str]) -> None:
        self.script, self.records, self.batches, self.open = script, [], [], []  # type: ignore[var-annotated]

    def output(self, *_: object) -> "Broker":
        return self

    def begin(self) -> None:
        self.open = []

    def send(self, topic: str, partition: int, value: bytes, key: bytes) -> None:
        self.open.append((topic, value))

    def send_all(self, topic: str, partition: int, records: list[Any]) -> None:
        self.open += [(topic, record.value) for record in records]

    def commit(self, *_: object) -> None:
        fate = self.script.pop(0) if self.script else "held"
        if fate in ("held", "held, answer lost"):
            self.records += [value for topic, value in self.open if topic == "t"]
            self.batches += [value for topic, value in self.open if topic != "t"]
        if fate != "held":
            raise TransactionError(fate, fenced=fate == "fenced")

    def close(self) -> None: ...

    def reader(self, *_: object) -> "Broker":
        return self

    def bounds(self, *_: object) -> dict[int, tuple[int, int]]:
        return {0: (0, len(self.batches))}

    def read(self, *_: object) -> Iterator[list[Message]]:
        yield [Message(value, n, key=b"crawl") for n, value in enumerate(self.batches)]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (["held"], None),
        (["aborted"], None),
        (["held, answer lost"], None),
        (["aborted", "held, answer lost"], None),
        (["aborted"] * 3, UnavailableError),
        (["fenced"], ConfigurationError),
    ],
)
def test_batches_are_published_once(
    script: list[str], error: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes of a commit and of its answer, the topic holds each record once, or the publisher says so."""
    from connectors.crawl import publish
    from connectors.kafka import publisher as marked

    broker: Any = Broker(list(script))
    monkeypatch.setattr(marked, "TransactionalOutput", broker.output)
    monkeypatch.setattr(marked, "KafkaReader", broker.reader)
    monkeypatch.setattr(marked.MarkedPublisher, "_ensure_topics", lambda self, make: 4)
    publisher = publish.KafkaPublisher(KafkaSettings(), "t", "crawl", "store-1")
    records = [b'{"src":"a"}', b'{"src":"b"}']
    if error is not None:
        with pytest.raises(error):
            publisher.publish(1, records)
        assert broker.records == []
        return
    publisher.publish(1, records)
    assert sorted(broker.records) == records
    assert publisher.committed() == 1
    with pytest.raises(ConfigurationError, match="another store"):
        publish.KafkaPublisher(KafkaSettings(), "t", "crawl", "store-2")


def test_the_manifest_names_the_target(tmp_path: Path) -> None:
    """Each shard says which target the versions that accepted its records were made for; None where nobody knows."""
    export = ShardedExport(Topic(5), "t", tmp_path / "a", ShardPlan(), lambda: {2: "old", 3: "ab12"})
    export.run()
    assert json.loads((tmp_path / "a" / MANIFEST).read_bytes())["shards"][0]["target_versions"] == {
        "3": "ab12"
    }
    ShardedExport(Topic(5), "t", tmp_path / "b", ShardPlan()).run()
    assert json.loads((tmp_path / "b" / MANIFEST).read_bytes())["shards"][0]["target_versions"] == {"3": None}


def test_targets_are_those_of_the_model_topic() -> None:
    """The target of a version comes from the version's manifest on the model topic; without the topic there is none."""
    from craft_stream.cli.export import _targets
    from craft_stream.testing.memory import MemoryBroker, MemoryTransport
    from craft_stream.topics.models import MANIFESTS

    settings = KafkaSettings()
    broker = MemoryBroker({settings.input_topic: 1, settings.model_topic: 2})
    for version, target in ((1, "aa"), (2, "bb")):
        manifest = {
            "version": version, "digest": "d", "sha256": "s", "size": 1, "chunks": 1, "first": 0, "last": 0,
            "published_at_ms": 0, "header": {"target_version": target}, "format": 1,
        }  # fmt: skip
        broker.append(
            settings.model_topic, MANIFESTS, json.dumps(manifest).encode(), f"version/{version}".encode()
        )
    reader = MemoryTransport(broker, settings).reader()
    assert _targets(reader, settings.model_topic) == {1: "aa", 2: "bb"}
    assert _targets(reader, "other") == {}


LINES = [
    json.dumps({"src": f"a tab\t{n} “é”", "tgt": f"ein\u2028Wort {n}\r\n", "score": n / 4, "id": f"r{n}"})
    for n in range(9)
]


class Lines(Topic):
    """A topic of records that hold what breaks lines."""

    def __init__(self) -> None:
        super().__init__(9)
        self.log = {0: [Message(line.encode(), 2 * n) for n, line in enumerate(LINES)], 1: []}


def test_trainers_read_the_shards(tmp_path: Path) -> None:
    """TSV as OpusTrainer reads it (text lines, two fields split at tabs), Parquet and JSON lines as `datasets` do (pyarrow)."""
    pq = pytest.importorskip("pyarrow.parquet")
    pj = pytest.importorskip("pyarrow.json")
    for layout in ("tsv", "parquet", "jsonl"):
        ShardedExport(Lines(), "t", tmp_path / layout, ShardPlan(layout)).run()
    with (tmp_path / "tsv" / "shard-000000.tsv").open(
        "rt", encoding="utf-8", errors="surrogateescape"
    ) as file:
        rows = [line.rstrip("\r\n").split("\t") for line in file]
    assert sorted(rows) == sorted([f"a tab {n} “é”", f"ein\u2028Wort {n}"] for n in range(9))
    expected = sorted((row["src"], row["tgt"], row["score"], row["id"]) for row in map(json.loads, LINES))
    parquet = pq.read_table(tmp_path / "parquet" / "shard-000000.parquet").to_pylist()
    lines = pj.read_json(tmp_path / "jsonl" / "shard-000000.jsonl").to_pylist()
    for table in (parquet, lines):
        assert sorted((row["src"], row["tgt"], row["score"], row["id"]) for row in table) == expected
