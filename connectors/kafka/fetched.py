"""From what a broker sent to Messages, in one step for each record.

kafka-python makes a record of bytes, then another of that, with ten calls for each, all under the interpreter's
lock. Here a kernel finds where the fields of a whole batch are, and one expression cuts them out. The client's own
checks stay: checksums, aborted transactions, control batches, truncated records.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import numba
import numpy as np
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher, IsolationLevel
from kafka.errors import CorruptRecordError
from numpy.typing import NDArray

from connectors.kafka import internals
from craft_stream.ports.messages import Message

_MAGIC = 2  # the batch format since Kafka 0.11; brokers convert older ones only for older clients


def deliver_messages(consumer: Any) -> Any:
    """Make a consumer's `poll` return Messages in place of the client's own records."""
    internals.deliver(consumer, FetchedMessages)
    return consumer


class FetchedMessages(Fetcher.PartitionRecords):  # type: ignore[misc]
    """One partition's part of an answer, as the fetcher takes it apart: batch by batch."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._ready: list[Message] = []  # of a batch, what nobody has taken yet
        super().__init__(*args, **options)

    def __bool__(self) -> bool:
        return bool(self._ready) or super().__bool__()

    def drain(self) -> None:
        """Forget what nobody has taken: the position is elsewhere, or the partition gone; else the fetcher turns for ever."""
        self._ready = []
        super().drain()

    def take(self, n: int | None = None) -> list[Message]:
        """The next `n` messages, or all; fewer at the end. What is wrong behind them the next call raises."""
        self._maybe_raise_next_inline_exception()
        taken: list[Message] = []
        try:
            while n is None or len(taken) < n:
                if not self._ready:
                    if self.record_iterator is None:
                        break
                    self._ready = next(self.record_iterator, [])
                    if not self._ready:
                        break
                wanted = len(self._ready) if n is None else n - len(taken)
                taken += self._ready[:wanted]
                self._ready = self._ready[wanted:]
        except Exception as error:
            if not taken:
                raise
            self._next_inline_exception = error
        if taken:
            self.records_read += len(taken)
            # behind a whole batch stands what its header says: compaction may have taken its last record
            self.next_fetch_offset = taken[-1].offset + 1 if self._ready else self._behind
        return taken

    def _maybe_skip_record(self, record: Any) -> bool:
        return False  # they come by batches here, and a batch is cut below

    def _unpack_records(self, tp: TopicPartition, records: Any, *_: Any) -> Iterator[list[Message]]:
        while (batch := records.next_batch()) is not None:
            if batch.magic != _MAGIC:
                raise CorruptRecordError(
                    f"{tp}: a batch of format {batch.magic} where {_MAGIC} was asked for"
                )
            if self.check_crcs and not batch.validate_crc():
                raise CorruptRecordError(f"{tp}: the batch at offset {batch.base_offset} fails its checksum")
            self.leader_epoch = batch.leader_epoch
            self._behind = batch.next_offset
            found = [] if self._is_void(batch) else messages(batch, tp)
            # an answer begins with the batch that holds the offset asked for
            if found and found[0].offset < self.fetch_offset:
                del found[: bisect_left(found, self.fetch_offset, key=attrgetter("offset"))]
            self.bytes_read += batch.size_in_bytes
            if found:
                yield found
            else:
                self.next_fetch_offset = batch.next_offset
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


# Columns of `_fields`: where key, value and headers begin and end (an end of -1: there is none), offset and time above the
# batch's own.
_KEY, _KEY_END, _VALUE, _VALUE_END, _HEADERS, _HEADERS_END, _OFFSET, _STAMP = range(8)


@numba.njit(cache=True, nogil=True)
def _number(data: NDArray[np.uint8], at: int, end: int) -> tuple[Any, int]:
    """The zigzag varint at `at`, and the place behind it; -1 where it does not end before `end`."""
    value = np.uint64(0)
    shift = np.uint64(0)
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= np.uint64(byte & 127) << shift
        if byte < 128:
            return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1)), at
        shift += np.uint64(7)
    return 0, -1


@numba.njit(cache=True, nogil=True)
def _field(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """Where the field at `at` begins and ends; it ends at -1 where it is null, and begins there where it does not fit."""
    length, at = _number(data, at, end)
    if at < 0 or length > end - at:
        return -1, -1
    return at, at + length if length >= 0 else -1


@numba.njit(cache=True, nogil=True)
def _fields(data: NDArray[np.uint8], at: int, out: NDArray[np.int64]) -> bool:
    """Where the fields of all records are, int64 [records, 8]; False: lengths do not add up."""
    for found in out:
        size, at = _number(data, at, len(data))
        if at < 0 or size < 1 or size > len(data) - at:
            return False
        end = at + size
        at += 1  # attributes: none are defined
        found[_STAMP], at = _number(data, at, end)
        if at < 0:
            return False
        found[_OFFSET], at = _number(data, at, end)
        if at < 0:
            return False
        for first in (_KEY, _VALUE):
            start, stop = _field(data, at, end)
            if start < 0:
                return False
            found[first], found[first + 1] = start, stop
            at = max(start, stop)
        found[_HEADERS], found[_HEADERS_END] = at, end
        count, at = _number(data, at, end)
        if at < 0 or count < 0:
            return False
        for _ in range(count):
            start, stop = _field(data, at, end)
            if start < 0 or stop < 0:
                return False
            start, stop = _field(data, stop, end)
            if start < 0:
                return False
            at = max(start, stop)
        if at != end:
            return False
    return at == len(data)


def messages(batch: Any, tp: TopicPartition) -> list[Message]:
    """All records of a batch.

    Raises:
        CorruptRecordError: lengths do not add up.
    """
    data, start = internals.uncompressed(batch)
    fields = np.empty((batch.records_count, 8), np.int64)
    if not _fields(np.frombuffer(data, np.uint8), start, fields):
        raise CorruptRecordError(f"{tp}: a record of the batch at {batch.base_offset} is cut off")
    fields[:, _OFFSET] += batch.base_offset
    if batch.timestamp_type:
        fields[:, _STAMP] = batch.max_timestamp
    else:
        fields[:, _STAMP] += batch.first_timestamp
    known: dict[bytes, tuple[tuple[str, bytes], ...]] = {}  # most records of a batch carry the same headers
    try:
        return [
            _MAKE(
                Message,
                (
                    data[value:value_end] if value_end >= 0 else None,
                    offset,
                    *tp,
                    data[key:key_end] if key_end >= 0 else None,
                    known.get(headers := data[first:stop]) or known.setdefault(headers, _headers(headers)),
                    stamp,
                    None,
                ),
            )
            for key, key_end, value, value_end, first, stop, offset, stamp in zip(
                *fields.T.tolist(), strict=True
            )
        ]
    except UnicodeDecodeError as error:
        raise CorruptRecordError(f"{tp}: a header of the batch at {batch.base_offset} is no text") from error


# A tuple at once: the class's own constructor takes twice as long.
_MAKE = tuple.__new__


def _headers(data: bytes) -> tuple[tuple[str, bytes], ...]:
    """The headers that `_fields` has found whole."""
    if data == b"\x00":
        return ()
    view = np.frombuffer(data, np.uint8)
    count, at = _number(view, 0, len(view))
    found: list[tuple[str, Any]] = []  # a value may be None, as in the client's own records
    for _ in range(count):
        start, at = _field(view, at, len(view))
        name = data[start:at].decode()
        start, stop = _field(view, at, len(view))
        found.append((name, data[start:stop] if stop >= 0 else None))
        at = max(start, stop)
    return tuple(found)
