"""From what a broker sent to Messages, in one step for each record.

kafka-python makes a record of bytes, then another of that, with ten calls for each: 6.7 us a record to
consume, all under the interpreter's lock. Here one loop reads a whole batch: 3.5 us. The client's own
checks stay: checksums, aborted transactions, control batches, truncated records.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher, IsolationLevel
from kafka.errors import CorruptRecordError

from craft_stream.runtime.ports import Message

_MAGIC = 2  # the batch format since Kafka 0.11; brokers convert older ones only for older clients


def deliver_messages(consumer: Any) -> Any:
    """Make a consumer's `poll` return Messages in place of the client's own records."""
    consumer._fetcher.PartitionRecords = FetchedMessages
    return consumer


class FetchedMessages(Fetcher.PartitionRecords):  # type: ignore[misc]
    """One partition's part of an answer, as the fetcher takes it apart."""

    def _unpack_records(self, tp: TopicPartition, records: Any, *_: Any) -> Iterator[Message]:
        last = None
        while (batch := records.next_batch()) is not None:
            last = batch
            if batch.magic != _MAGIC:
                raise CorruptRecordError(
                    f"{tp}: a batch of format {batch.magic} where {_MAGIC} was asked for"
                )
            if self.check_crcs and not batch.validate_crc():
                raise CorruptRecordError(f"{tp}: the batch at offset {batch.base_offset} fails its checksum")
            self.leader_epoch = batch.leader_epoch
            if self._is_void(batch):
                self.next_fetch_offset = batch.next_offset
                continue
            for message in messages(batch, tp):
                self.records_read += 1
                self.next_fetch_offset = message.offset + 1
                yield message
            self.bytes_read += batch.size_in_bytes
        if last is not None:
            # compaction may have taken the last record of a batch, never its last offset
            self.next_fetch_offset = last.next_offset
        self.drain()

    def _is_void(self, batch: Any) -> bool:
        """Whether no record of a batch counts: it was aborted, or is the mark that ends a transaction."""
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return bool(batch.is_control_batch)


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The zigzag varint at `at`, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return (value >> 1) ^ -(value & 1), at
        shift += 7


def messages(batch: Any, tp: TopicPartition) -> list[Message]:
    """All records of a batch.

    Raises:
        CorruptRecordError: lengths do not add up.
    """
    batch._maybe_uncompress()
    data, at = bytes(batch._buffer), batch._pos
    try:
        found = _read(data, at, batch, tp)
    except (IndexError, ValueError, UnicodeDecodeError) as error:
        raise CorruptRecordError(f"{tp}: a record of the batch at {batch.base_offset} is cut off") from error
    return found


def _read(data: bytes, at: int, batch: Any, tp: TopicPartition) -> list[Message]:
    topic, partition = tp
    base, first, count = batch.base_offset, batch.first_timestamp, batch.records_count
    appended = batch.max_timestamp if batch.timestamp_type else None
    found: list[Message] = []
    add, make, number = found.append, tuple.__new__, _number
    for _ in range(count):
        # Most numbers are a byte or two: read in place, since a call costs more than all of them.
        size = data[at]
        if size < 128:
            at += 1
        elif data[at + 1] < 128:
            size = (size & 127) | (data[at + 1] << 7)
            at += 2
        else:
            size, at = number(data, at)
            size <<= 1
        end = at + (size >> 1)
        at += 1  # attributes: none are defined
        value = data[at]
        if value < 128:
            at += 1
            stamp = first + ((value >> 1) ^ -(value & 1))
        else:
            value, at = number(data, at)
            stamp = first + value
        value = data[at]
        if value < 128:
            at += 1
            offset = base + (value >> 1)
        else:
            value, at = number(data, at)
            offset = base + value
        length = data[at]
        if length < 128:
            at += 1
            length = (length >> 1) ^ -(length & 1)
        else:
            length, at = number(data, at)
        key = None
        if length >= 0:
            key = data[at : at + length]
            at += length
        length, at = number(data, at)
        body = None
        if length >= 0:
            body = data[at : at + length]
            at += length
        headers: tuple[tuple[str, bytes], ...] = ()
        if data[at] == 0:
            at += 1
        else:
            headers, at = _headers(data, at)
        if at != end or at > len(data):
            raise ValueError("lengths do not add up")
        stamp = stamp if appended is None else appended
        add(make(Message, (body, offset, topic, partition, key, headers, stamp, None)))
    if at != len(data):
        raise ValueError("bytes are left over")
    return found


def _headers(data: bytes, at: int) -> tuple[tuple[tuple[str, bytes], ...], int]:
    """The headers at `at`, and the place behind them."""
    count, at = _number(data, at)
    if count < 0:
        raise ValueError("a negative number of headers")
    found: list[tuple[str, Any]] = []  # a value may be None, as in the client's own records
    for _ in range(count):
        length = data[at]
        if length < 128 and not length & 1:
            at += 1
            length >>= 1
        else:
            length, at = _number(data, at)
        if length < 0:
            raise ValueError("a header without name")
        name = data[at : at + length].decode()
        at += length
        length = data[at]
        if length < 128 and not length & 1:
            at += 1
            length >>= 1
        else:
            length, at = _number(data, at)
        value = None
        if length >= 0:
            value = data[at : at + length]
            at += length
        found.append((name, value))
    return tuple(found), at
