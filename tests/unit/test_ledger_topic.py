"""The ledger topic: what is written of a partition, where it goes, and what is read of it."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_runtime_worker import TOY, configuration, model

from craft_stream import __version__
from craft_stream.encoders import load_encoder
from craft_stream.errors import IntegrityError
from craft_stream.parameters import Parameters
from craft_stream.ports.messages import Message
from craft_stream.scoring.model import Model
from craft_stream.selection import state
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.settings import LedgerSettings
from craft_stream.testing.memory import MemoryBroker, MemoryTransport
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.topics import ledger_writer
from craft_stream.topics.ledger_entries import FORMAT, KEY_WORDS, Entry, Kind, entry_key, parse_key
from craft_stream.topics.ledger_index import (
    LedgerIndex,
    SnapshotReference,
    read_restore_offset,
    restore_note,
)
from craft_stream.topics.ledger_reader import LedgerRecords, ledger_prefix, read_ledger
from craft_stream.topics.ledger_writer import DELTA_BYTES, RING, LedgerWriter, PendingWrites
from craft_stream.topics.origin import Origin
from craft_stream.topics.retained_snapshots import RetainedSnapshots
from craft_stream.topics.settings_in_force import SettingsInForce

__all__ = ["model"]  # a fixture

PREFIX = "g/t/0"
NONE_KEPT = LedgerSettings(retained_snapshots=0)


@dataclass
class Partition:
    """A ledger that is decided on and written, transaction by transaction, to a topic in memory."""

    model: Model
    writer: LedgerWriter = field(default_factory=lambda: LedgerWriter(PREFIX))
    index: LedgerIndex = field(default_factory=LedgerIndex)
    log: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parameters = configuration().parameters()
        self.selector = Selector(self.parameters, load_encoder())
        self.ledger = Ledger(self.parameters)
        self.rng = random.Random(5)

    def transact(
        self,
        pairs: int,
        settings: LedgerSettings = NONE_KEPT,
        now_ms: int = 0,
        in_force: Sequence[tuple[int, SettingsInForce]] = (),
    ) -> PendingWrites:
        """Decide so many pairs and write."""
        texts = [TOY.pair(self.rng, self.rng.random() < 0.2) for _ in range(pairs)]
        start, before = self.ledger.next_offset, self.ledger.model_version
        batch = PairBatch.pack(
            [s for s, _ in texts], [t for _, t in texts], list(range(start, start + pairs))
        )
        self.selector.decide(TokenizedPairs.of(batch), self.ledger, self.model)
        changes = [(start, self.model.version)] if before != self.model.version else []
        first = [] if self.writer.in_force else [(start, SettingsInForce(self.ledger.parameters))]
        pending = self.writer.write(self.ledger, changes, settings, now_ms, in_force or first)
        written = []
        for key, entry in pending.records:
            if entry is not None:
                written.append((entry, len(self.log)))
            self.log.append(
                Message(entry.encode() if entry else None, len(self.log), key=key, timestamp_ms=9)
            )
        self.index.add(written, pending.first_segment)
        return pending

    def read(self, log: Sequence[Message] | None = None) -> LedgerRecords:
        """What a restore reads."""
        records = LedgerRecords(PREFIX)
        records.add(self.log if log is None else log)
        return records


def kinds(pending: PendingWrites) -> list[Kind]:
    """Of what has a value."""
    return [entry.kind for _, entry in pending.records if entry is not None]


def compacted(log: Sequence[Message]) -> list[Message]:
    """The newest record of each key."""
    newest = {message.key: message.offset for message in log}
    return [message for message in log if newest[message.key] == message.offset]


def test_keys_are_those_of_the_first_release() -> None:
    """What 0.1.0 has written is read: its names in keys, numbers of kinds, the format and names in JSON have not changed."""
    assert {kind.value: word for kind, word in KEY_WORDS.items()} == {
        0: "whole", 1: "delta", 2: "page", 3: "model", 4: "anchor", 5: "anchors", 6: "settings", 7: "origin",
    }  # fmt: skip
    assert FORMAT == 2
    assert entry_key(PREFIX, Kind.SEGMENT, 7) == b"g/t/0/page/7"
    assert restore_note(12) == '{"ledger": 12}'
    listed = b'{"kept": [{"next_offset": 5, "first_page": 2, "written_ms": 9}], "pages_from": 1}'
    assert RetainedSnapshots.decode(listed).encode() == listed


def test_the_brokers_have_no_time_of_what_this_worker_wrote() -> None:
    """A snapshot that is noted before it is committed has none, and so none that a restore could be told of."""
    index = LedgerIndex()
    index.add([(Entry(Kind.SNAPSHOT, 0, 5, b""), 17)], 3)
    assert index.snapshots == [SnapshotReference(at=17, first_segment=3, written_ms=0)]


@given(st.sampled_from(Kind), st.integers(0, 1 << 40))
def test_a_key_names_kind_and_number(kind: Kind, number: int) -> None:
    """Of its own partition; a name that is none is refused."""
    key = entry_key(PREFIX, kind, number).decode()
    assert key.startswith(f"{PREFIX}/")
    assert parse_key(key.removeprefix(f"{PREFIX}/")) == (kind, number)


@pytest.mark.parametrize("name", ["", "whole", "whole/", "whole/x", "whole/-1", "strange/1", "/1"])
def test_a_key_that_names_nothing_is_damage(name: str, model: Model) -> None:
    """It is told of, with its place, and changes nothing."""
    with pytest.raises(IntegrityError, match="names no record"):
        parse_key(name)
    partition = Partition(model)
    partition.transact(10)
    value = partition.log[-1].value
    records = partition.read([*partition.log, Message(value, 77, key=f"{PREFIX}/{name}".encode())])
    assert len(records.damaged) == 1
    assert f"{name} at offset 77" in records.damaged[0]
    assert records.snapshots == partition.read().snapshots


def test_an_entry_of_another_format_is_named() -> None:
    """With its number and ours."""
    data = bytearray(Entry(Kind.DELTA, 1, 2, b"x").encode())
    data[8] = 9
    data[-4:] = zlib.crc32(bytes(data[:-4])).to_bytes(4, "little")
    with pytest.raises(IntegrityError, match=r"format 9 .* newer release .* reads 2 at most: upgrade"):
        Entry.decode(bytes(data), 0)
    with pytest.raises(IntegrityError, match="no record"):
        Entry.decode(b"CRAFTLOG", 0)


@given(st.sampled_from(Kind), st.binary(max_size=50))
def test_an_entry_knows_its_size(kind: Kind, payload: bytes) -> None:
    """Without being encoded."""
    entry = Entry(kind, 1, 2, payload)
    assert entry.size == len(entry.encode())


def test_the_first_transaction_writes_a_snapshot_and_later_ones_deltas(model: Model) -> None:
    """Every one a delta with the next number and the offset that it leads to; the change of model once."""
    partition = Partition(model)
    first = partition.transact(10)
    assert kinds(first) == [Kind.MODEL, Kind.DELTA, Kind.SNAPSHOT, Kind.RETAINED_SNAPSHOTS, Kind.SETTINGS]
    assert first.snapshot is not None
    assert first.snapshot_seconds > 0
    assert partition.writer.deltas == 0
    second = partition.transact(10)
    assert kinds(second) == [Kind.DELTA]
    assert second.snapshot is None
    assert second.snapshot_seconds == 0
    (entry,) = [entry for _, entry in second.records if entry]
    assert (entry.sequence, entry.next_offset) == (1, 20)
    assert second.records[0][0] == b"g/t/0/delta/1"
    assert second.sizes == {Kind.DELTA: entry.size}
    assert sum(first.sizes.values()) == sum(entry.size for _, entry in first.records if entry)
    assert (partition.writer.deltas, partition.writer.delta_bytes) == (1, len(entry.payload))
    assert partition.read().models == {0: model.version}
    assert partition.read().settings == {0: SettingsInForce(partition.parameters)}


def test_what_was_in_force_is_told_behind_every_snapshot(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a restore from there knows it; under its own key, and other lists bring a retained snapshot, for audits."""
    monkeypatch.setattr(ledger_writer, "SNAPSHOT_EVERY", 3)
    partition = Partition(model)
    for _ in range(5):
        partition.transact(10)
    start = partition.index.restore_offset
    assert start > 0
    restored = partition.read(partition.log[start:]).restore(partition.parameters)
    assert restored is not None
    assert restored.writer.in_force == SettingsInForce(partition.parameters)
    assert restored.writer.in_force_at == 0
    for listed, snapshot in (("a", False), ("a", False), ("b", True), ("c", True)):
        offset = partition.ledger.next_offset
        pending = partition.transact(
            10, LedgerSettings(), in_force=[(offset, SettingsInForce(partition.parameters, listed=listed))]
        )
        assert (pending.snapshot is not None) == snapshot
        assert (Kind.RETAINED_SNAPSHOT in kinds(pending)) == snapshot
    noted = partition.read().settings
    assert [one.listed for _, one in sorted(noted.items())] == [None, "a", "a", "b", "c"]


def test_what_a_replaced_ledger_has_left_misleads_no_audit(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.1.0 rebuilds a ledger and notes nothing: its stretch is told afterwards, and what was retained before is no start."""
    monkeypatch.setattr(ledger_writer, "SNAPSHOT_EVERY", 0)
    partition = Partition(model)
    for _ in range(5):
        partition.transact(4, LedgerSettings())
    partition.ledger = Ledger(partition.parameters)
    partition.ledger.skip(19)
    partition.writer, partition.index = LedgerWriter(PREFIX), LedgerIndex()
    with monkeypatch.context() as older:
        older.setattr(state, "__version__", "0.1.0")
        partition.transact(10, LedgerSettings())
        partition.transact(10, LedgerSettings())
    partition.log = [message for message in partition.log if message.key != b"g/t/0/settings/20"]
    restore_offset = partition.index.restore_offset  # behind what the replaced ledger has left
    found = partition.read([one for one in partition.log if one.offset >= restore_offset]).restore(
        partition.parameters
    )
    assert found is not None
    partition.ledger, partition.writer = found.ledger, found.writer
    partition.ledger.bind(model)
    own = SettingsInForce(partition.parameters)
    partition.transact(10, LedgerSettings(), in_force=[(40, own)])
    records = partition.read(compacted(partition.log))
    assert {at: one.release for at, one in records.settings.items()} == {
        0: __version__, 30: "0.1.0", 40: __version__
    }  # fmt: skip
    assert records.since(lambda one: one.release == __version__) == 40
    assert sorted(records.retained) == [4, 30, 50]
    assert records.starts() == [30, 40, 50]
    assert records.start(partition.parameters, 50).digest() == partition.ledger.digest()
    for log in (partition.log, compacted(partition.log)):
        whole = partition.read(log).restore(partition.parameters, 50)
        assert whole is not None
        assert whole.ledger.digest() == partition.ledger.digest()
        assert not partition.read(log).damaged


@pytest.mark.parametrize("every", [1, 3])
def test_snapshots_come_after_so_many_deltas_in_two_slots_by_turns(
    every: int, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ring of two, so that the one before the newest is always there; deltas go round a ring of their own."""
    monkeypatch.setattr(ledger_writer, "SNAPSHOT_EVERY", every)
    monkeypatch.setattr(ledger_writer, "RING", 4)
    partition = Partition(model)
    found = [partition.transact(5) for _ in range(3 * (every + 1) + 1)]
    places = [number for number, pending in enumerate(found) if pending.snapshot is not None]
    assert places == [0, every + 1, 2 * (every + 1), 3 * (every + 1)]
    slots = [
        key
        for number in places
        for key, entry in found[number].records
        if entry and entry.kind is Kind.SNAPSHOT
    ]
    assert slots == [b"g/t/0/whole/0", b"g/t/0/whole/1"] * 2
    deltas = [
        key for pending in found for key, entry in pending.records if entry and entry.kind is Kind.DELTA
    ]
    assert deltas == [f"g/t/0/delta/{number % 4}".encode() for number in range(len(found))]


def test_snapshots_come_when_deltas_have_grown(model: Model) -> None:
    """Above sixteen times its size the next transaction writes one, and not before."""
    partition = Partition(model)
    partition.transact(50)
    writer = partition.writer
    assert writer.snapshot_bytes > 0
    writer.delta_bytes = DELTA_BYTES * writer.snapshot_bytes
    assert partition.transact(5).snapshot is None
    assert partition.transact(5).snapshot is not None
    assert writer.delta_bytes == 0


@pytest.mark.parametrize("transactions", [1, 2, 5, 12])
def test_what_was_written_is_restored(
    transactions: int, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ledger, writer and index are those that wrote it, however many deltas and snapshots there are."""
    monkeypatch.setattr(ledger_writer, "SNAPSHOT_EVERY", 3)
    partition = Partition(model)
    for _ in range(transactions):
        partition.transact(150)
    found = partition.read().restore(partition.parameters)
    assert found is not None
    assert found.ledger.digest() == partition.ledger.digest()
    assert found.writer == partition.writer
    assert found.index.restore_offset == partition.index.restore_offset
    assert [s.at for s in found.index.snapshots] == [s.at for s in partition.index.snapshots]
    assert all(snapshot.written_ms == 9 for snapshot in found.index.snapshots)
    # and what is read from the restore offset on is enough
    begun = LedgerRecords(PREFIX)
    begun.add(partition.log[partition.index.restore_offset :])
    again = begun.restore(partition.parameters)
    assert again is not None
    assert again.ledger.digest() == partition.ledger.digest()


def test_a_ledger_is_restored_up_to_the_committed_offset(model: Model) -> None:
    """Deltas beyond it, of a transaction that does not count, are left out; an offset that none leads to is not reached."""
    partition = Partition(model)
    digests = {}
    for _ in range(4):
        partition.transact(20)
        digests[partition.ledger.next_offset] = partition.ledger.digest()
    for offset, digest in digests.items():
        found = partition.read().restore(partition.parameters, offset)
        assert found is not None
        assert (found.ledger.next_offset, found.ledger.digest()) == (offset, digest)
        assert found.writer.sequence == offset // 20
    between = partition.read().restore(partition.parameters, 50)
    assert between is not None
    assert between.ledger.next_offset == 40


def test_a_young_ledger_is_made_from_deltas_alone(model: Model) -> None:
    """Its only snapshot is damaged, its first delta still there."""
    partition = Partition(model)
    for _ in range(3):
        partition.transact(20)
    broken = [
        m._replace(value=b"x") if (m.key or b"").startswith(b"g/t/0/whole/") else m for m in partition.log
    ]
    records = partition.read(broken)
    found = records.restore(partition.parameters)
    assert found is not None
    assert found.ledger.digest() == partition.ledger.digest()
    assert records.damaged
    assert found.writer.first_segment is None, "the next transaction writes a snapshot"
    assert (found.writer.deltas, found.index.snapshots) == (3, [])


def test_nothing_and_nothing_sound_are_told_apart(model: Model) -> None:
    """No record: None; records of which none is sound: an error that names them and the commands that help."""
    parameters = configuration().parameters()
    assert LedgerRecords(PREFIX).restore(parameters) is None
    partition = Partition(model)
    partition.transact(20)
    records = partition.read([message._replace(value=b"x") for message in partition.log])
    with pytest.raises(IntegrityError, match=r"whole/0 at offset .* no record of a ledger.*--rebuild"):
        records.restore(parameters)


def test_a_ledger_is_restored_whatever_the_settings_are(model: Model) -> None:
    """From a snapshot and from the first delta alone: it brings its parameters along."""
    partition = Partition(model)
    partition.transact(20)
    other = configuration(selection__seen_pairs=64_000, budget__rate=0.3, learner__clusters=3).parameters()
    for kind in ("whole", "delta"):
        log = [message for message in partition.log if kind in (message.key or b"").decode()]
        found = partition.read(log).restore(other)
        assert found is not None
        assert found.ledger.parameters == partition.parameters
        assert found.ledger.digest() == partition.ledger.digest()


def test_a_missing_delta_leads_no_further(model: Model) -> None:
    """What stands behind a gap is not applied."""
    partition = Partition(model)
    for _ in range(4):
        partition.transact(20)
    log = [message for message in partition.log if message.key != b"g/t/0/delta/2"]
    found = partition.read(log).restore(partition.parameters)
    assert found is not None
    assert found.ledger.next_offset == 40


@pytest.mark.parametrize("kind", Kind)
def test_tombstones_take_back_what_they_name(kind: Kind) -> None:
    """What was let go is not read, and nothing of other kinds goes with it; what is damaged and let go is not told of."""
    records, sound = LedgerRecords(PREFIX), {
        Kind.RETAINED_SNAPSHOTS: b'{"kept": [], "pages_from": 7}', Kind.ORIGIN: Origin("a", "b").encode(),
        Kind.SETTINGS: SettingsInForce(Parameters()).encode(3),
    }  # fmt: skip
    for one in Kind:
        value = Entry(one, 3, 3, sound.get(one, b"x")).encode()
        records.add([Message(value, 0, key=entry_key(PREFIX, one, 3))])

    def held() -> dict[Kind, bool]:
        return {
            Kind.SNAPSHOT: bool(records.snapshots), Kind.DELTA: bool(records.deltas), Kind.SEGMENT: bool(records.segments),
            Kind.MODEL: bool(records.models), Kind.RETAINED_SNAPSHOT: bool(records.retained),
            Kind.RETAINED_SNAPSHOTS: records.retained_list.segments_from == 7, Kind.ORIGIN: records.origin != Origin(),
            Kind.SETTINGS: bool(records.settings),
        }  # fmt: skip

    assert all(held().values())
    records.add([Message(b"damaged", 1, key=entry_key(PREFIX, kind, 3))])
    assert len(records.damaged) == 1
    records.add([Message(None, 2, key=entry_key(PREFIX, kind, 3))])
    assert not records.damaged
    assert held() == {one: one is not kind for one in Kind}
    assert records.keys == {entry_key(PREFIX, one, 3) for one in Kind if one is not kind}


def test_records_of_others_are_passed_over(model: Model) -> None:
    """Those of other partitions, groups and without a key stand between ours."""
    partition = Partition(model)
    partition.transact(20)
    other = Message(partition.log[-1].value, 0, key=b"g/t/1/delta/0")
    records = partition.read([other, Message(b"x", 0), *partition.log, other])
    assert not records.damaged
    assert records.size == sum(len(message.value or b"") for message in partition.log)
    found = records.restore(partition.parameters)
    assert found is not None
    assert found.ledger.digest() == partition.ledger.digest()


def test_without_its_first_delta_a_ledger_is_not_made_from_nothing(model: Model) -> None:
    """Its snapshots are damaged and the ring has gone round: an error, not an empty ledger."""
    partition = Partition(model)
    for _ in range(3):
        partition.transact(20)
    log = [
        m._replace(value=b"x") if b"/whole/" in (m.key or b"") else m
        for m in partition.log
        if m.key != b"g/t/0/delta/0"
    ]
    with pytest.raises(IntegrityError, match="cannot be read"):
        partition.read(log).restore(partition.parameters)


def test_retained_snapshots_are_written_once_kept_and_let_go(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One an hour, two at most: the third takes the first one's record away; recomputations begin at what is left."""
    monkeypatch.setattr(ledger_writer, "SNAPSHOT_EVERY", 0)
    settings = LedgerSettings(retained_snapshots=2, retained_snapshot_hours=1.0)
    partition = Partition(model)
    hour = 3_600_000
    kept = []
    for minutes in (0, 30, 60, 90, 120):
        pending = partition.transact(10, settings, minutes * hour // 60)
        kept.append([key for key, entry in pending.records if entry and entry.kind is Kind.RETAINED_SNAPSHOT])
    assert kept == [[b"g/t/0/anchor/10"], [], [b"g/t/0/anchor/30"], [], [b"g/t/0/anchor/50"]]
    assert [key for key, entry in pending.records if entry is None] == [b"g/t/0/anchor/10"]
    records = partition.read(compacted(partition.log))
    assert sorted(records.retained) == [30, 50]
    assert records.starts() == [30, 40, 50]
    assert records.start(partition.parameters, 50).digest() == partition.ledger.digest()
    assert records.retained_list == partition.writer.retained


def test_segments_are_kept_while_a_snapshot_needs_them(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many seen pairs the old segments get tombstones, each once; what is left restores both of the two newest snapshots."""
    monkeypatch.setattr(ledger_writer, "SNAPSHOT_EVERY", 2)
    partition = Partition(model)
    partition.parameters = configuration(budget__rate=1.0, selection__seen_pairs=4_096).parameters()
    partition.selector = Selector(partition.parameters, load_encoder())
    partition.ledger = Ledger(partition.parameters)
    gone: list[bytes] = []
    for _ in range(16):
        gone += [key for key, entry in partition.transact(1_500).records if entry is None]
    assert gone == [entry_key(PREFIX, Kind.SEGMENT, number) for number in range(len(gone))]
    assert len(gone) > 2
    assert partition.ledger.seen_pairs.count > 10_000
    records = partition.read(compacted(partition.log))
    assert min(records.segments) == len(gone)
    for number, (_, entry) in sorted(records.snapshots.items())[-2:]:
        assert Ledger.first_segment(entry.payload) >= len(gone), number
        assert records.start(partition.parameters, entry.next_offset).next_offset == entry.next_offset
    assert partition.index.segments == {index: entry.at for index, entry in records.segments.items()}


def test_where_a_restore_begins() -> None:
    """At the older of the two newest snapshots, or at the oldest segment that it needs."""
    index = LedgerIndex()
    assert index.restore_offset == 0
    index.add([(Entry(Kind.SEGMENT, 0, 5, b""), 10), (Entry(Kind.DELTA, 0, 5, b""), 11)], 0)
    assert (index.segments, index.restore_offset) == ({0: 10}, 10)
    index.add([(Entry(Kind.SNAPSHOT, 0, 5, b""), 12)], 0)
    assert index.restore_offset == 10
    index.add([(Entry(Kind.SEGMENT, 1, 6, b""), 13), (Entry(Kind.SNAPSHOT, 1, 6, b""), 14)], 1)
    assert index.restore_offset == 10, "the snapshot before needs the first segment"
    index.add([(Entry(Kind.SNAPSHOT, 2, 7, b""), 20)], 1)
    assert index.segments == {1: 13}
    assert index.snapshots == [SnapshotReference(14, 1), SnapshotReference(20, 1)]
    assert index.restore_offset == 13
    index.add([(Entry(Kind.RETAINED_SNAPSHOT, 2, 7, b""), 21)], 1)
    assert index.restore_offset == 13, "one for audits changes nothing"


@given(st.integers(0, 1 << 60))
def test_a_note_says_where(offset: int) -> None:
    """And a negative place is none."""
    assert read_restore_offset(restore_note(offset)) == offset
    assert read_restore_offset(json.dumps({"ledger": -offset - 1})) == 0


def test_reading_a_topic_tells_how_far_it_is(model: Model) -> None:
    """From a given place on, within what the log holds; the share that is read ends at 1."""
    configured = configuration()
    kafka = configured.kafka
    assert ledger_prefix(kafka, 3) == f"{kafka.group_id}/{kafka.input_topic}/3"
    partition = Partition(model, LedgerWriter(ledger_prefix(kafka, 0)))
    broker = MemoryBroker({kafka.ledger_topic: 1})
    for _ in range(4):
        partition.transact(20)
    for message in partition.log:
        broker.append(kafka.ledger_topic, 0, message.value, message.key)
    reader, shares = MemoryTransport(broker, kafka).reader(), list[float]()
    whole = read_ledger(reader, kafka, 0, progress=shares.append)
    assert shares == [1.0]
    assert sorted(whole.deltas) == [0, 1, 2, 3]
    assert whole.size == sum(len(message.value or b"") for message in partition.log)
    assert sorted(read_ledger(reader, kafka, 0, len(partition.log) - 1).deltas) == [3]
    assert not read_ledger(reader, kafka, 0, 1_000).deltas, "behind the end there is nothing"
    broker.first[kafka.ledger_topic, 0] = 2
    assert sorted(read_ledger(reader, kafka, 0, 0).deltas) == sorted(
        entry.sequence
        for entry in (Entry.decode(m.value or b"", 0) for m in partition.log[2:])
        if entry.kind is Kind.DELTA
    )


def test_ring_holds_what_the_older_snapshot_needs() -> None:
    """Deltas since the snapshot before the newest are still there; a restore replays 128 of them at most."""
    assert RING == 2 * ledger_writer.SNAPSHOT_EVERY == 256
    assert DELTA_BYTES == 16
    assert isinstance(ledger_writer.SNAPSHOT_EVERY, int)
