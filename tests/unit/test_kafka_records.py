"""Reading batches: the same records as the client's own reader makes, and nothing of a damaged batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from connectors.kafka.bulk import bodies
from connectors.kafka.fetched import FetchedMessages, messages
from connectors.kafka.internals import fill
from craft_stream.ports.messages import Message
from craft_stream.ports.transport import Record

WHERE = TopicPartition("crawl", 3)
MAYBE = st.none() | st.binary(max_size=200)
HEADERS = st.lists(
    st.tuples(st.text(st.characters(codec="utf-8"), max_size=80), st.binary(max_size=80)), max_size=3
)
RECORDS = st.lists(st.tuples(st.integers(0, 1 << 45), MAYBE, MAYBE, HEADERS), min_size=1, max_size=80)


def batch(
    records: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]],
    compression: int = 0,
    producer: int = -1,
) -> bytes:
    """A batch as a broker stores it."""
    builder = DefaultRecordBatchBuilder(
        2, compression, producer >= 0, producer, max(producer, -1), max(producer, -1), 1 << 20
    )
    for number, (stamp, key, value, headers) in enumerate(records):
        builder.append(number, stamp, key, value, headers)
    return bytes(builder.build())


@given(RECORDS, st.sampled_from([0, 1, 3]))
def test_same_records_as_the_client(
    records: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]], compression: int
) -> None:
    """Whatever is in a batch, each record is what kafka-python reads of it."""
    data = batch(records, compression)
    expected = [
        Message(r.value, r.offset, *WHERE, r.key, tuple(r.headers), r.timestamp)
        for r in DefaultRecordBatch(data)
    ]
    assert messages(DefaultRecordBatch(data), WHERE) == expected


@given(RECORDS, st.sampled_from([200, 2_000, 1 << 20]), st.sampled_from([0, 3]), st.integers(0, 3))
def test_written_as_by_the_client(
    records: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]],
    limit: int,
    compression: int,
    shared: int,
) -> None:
    """Batches that are written in one pass hold byte by byte what the client writes record by record, and as many each."""
    given_ = [
        Record(value, key, headers[shared:], tuple(headers[:shared])) for _, key, value, headers in records
    ]
    made = []
    for body in bodies(given_, limit):
        builder = MemoryRecordsBuilder(2, compression, limit)
        fill(builder, body.data, body.count, 5)
        builder.close()
        made.append(bytes(builder.buffer()))
    expected, builder = [], None
    for record in given_:
        headers = [*record.shared, *record.headers]
        if builder is None or builder.append(5, record.key, record.value, headers) is None:
            if builder is not None:
                builder.close()
                expected.append(bytes(builder.buffer()))
            builder = MemoryRecordsBuilder(2, compression, limit)
            builder.append(5, record.key, record.value, headers)
    builder.close()
    assert made == [*expected, bytes(builder.buffer())]


@given(st.binary(max_size=120), st.integers(0, 40))
def test_no_bytes_are_read_beyond_the_end(data: bytes, count: int) -> None:
    """Of any bytes the reader makes records or refuses them; it never fails otherwise."""
    whole = DefaultRecordBatch(batch([(1, None, b"", [])]))
    whole._buffer, whole._pos = data, 0
    whole._header_data = (*whole._header_data[:-1], count)
    try:
        found = messages(whole, WHERE)
    except CorruptRecordError:
        return
    assert len(found) == count


@given(st.data())
def test_a_damaged_batch_is_refused(data: st.DataObject) -> None:
    """A batch with a byte changed behind its checksum never passes: the fetcher's iterator raises."""
    whole = bytearray(batch([(1, b"k", b"value" * 9, [("h", b"x")])] * 5))
    place = data.draw(st.integers(21, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    part = FetchedMessages(0, WHERE, MemoryRecords(bytes(whole)))
    with pytest.raises(CorruptRecordError):
        part.take(10)


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_lengths_that_do_not_add_up(cut: int) -> None:
    """A batch whose records are cut off inside is refused, checksums or not."""
    whole = DefaultRecordBatch(batch([(1, b"k", b"value" * 9, [("h", b"x")])] * 2))
    whole._buffer = whole._buffer[:-cut]
    with pytest.raises(CorruptRecordError):
        messages(whole, WHERE)


def test_taking_in_pieces_and_from_the_middle() -> None:
    """Records come in pieces of any size, from the offset that was asked for, and the next offset follows them."""
    data = batch([(n, None, b"%d" % n, []) for n in range(10)])
    part = FetchedMessages(4, WHERE, MemoryRecords(data))
    assert [m.offset for m in part.take(2)] == [4, 5]
    assert part.next_fetch_offset == 6
    assert [m.offset for m in part.take(100)] == [6, 7, 8, 9]
    assert part.next_fetch_offset == 10
    assert not part


def test_what_is_dropped_is_gone() -> None:
    """After a seek, or when its partition is gone, the client drops the rest of a batch and asks until nothing is left."""
    part = FetchedMessages(0, WHERE, MemoryRecords(batch([(n, None, b"", []) for n in range(10)])))
    assert len(part.take(2)) == 2
    part.drain()
    assert not part
    assert part.take(100) == []


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 20), st.integers(1, 12))
def test_batches_are_taken_in_pieces(sizes: list[int], start: int, pieces: int) -> None:
    """Over several batches, from any offset and in pieces of any size, every record comes once and the next offset follows."""
    data, first = b"", 0
    for size in sizes:
        whole = batch([(n, None, b"%d" % n, []) for n in range(size)])
        data += first.to_bytes(8, "big") + whole[8:]
        first += size + 1  # compaction took the last one
    held = [m.offset for m in FetchedMessages(0, WHERE, MemoryRecords(data)).take()]
    part, taken = FetchedMessages(start, WHERE, MemoryRecords(data)), []
    while part:
        found = [m.offset for m in part.take(pieces)]
        assert len(found) <= pieces
        taken += found
        assert not found or part.next_fetch_offset in (found[-1] + 1, found[-1] + 2)
    assert len(held) == sum(sizes)
    assert taken == [offset for offset in held if offset >= start]
