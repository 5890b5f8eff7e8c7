"""Many records at once into kafka-python's producer.

The producer makes a future, a lock and some thirty calls for each record: 17-40 us, all under the interpreter's lock, and a
worker at a budget of 10 % writes a record for every fifth pair. Here the records of a run are written down in one pass, as
whole batches of the client's own format, and put where `KafkaProducer.send` would have put them; from there on they are the
client's: sequence numbers, compression, transactions, retries. One result a batch instead of one a record.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaTimeoutError
from kafka.producer.future import FutureRecordMetadata
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecordsBuilder
from kafka.record.util import encode_varint

from connectors.kafka import internals
from craft_stream.ports.transport import Record

_MAGIC = 2
_HEADER = DefaultRecordBatchBuilder.header_size_in_bytes()
_NULL = b"\x01"  # the length of what is not there, -1


def _varint(value: int) -> bytes:
    out = bytearray()
    encode_varint(value, out.append)
    return bytes(out)


# Lengths and places in a batch: nearly all are below.
_VARINTS = [_varint(value) for value in range(8192)]


def _length(value: int) -> bytes:
    return _VARINTS[value] if value < len(_VARINTS) else _varint(value)


def _field(data: bytes | None) -> bytes:
    return _NULL if data is None else _length(len(data)) + data


# A few dozen, unless somebody puts what changes into them.
@lru_cache(maxsize=1024)
def _header_name(name: str) -> bytes:
    return _field(name.encode())


def _headers(headers: Iterable[tuple[str, bytes]]) -> bytes:
    return b"".join([_header_name(name) + _field(value) for name, value in headers])


def _line(place: int, rest: bytes) -> bytes:
    # attributes (none are defined), the time above the batch's, the place in the batch
    line = b"\x00\x00" + _length(place) + rest
    return _length(len(line)) + line


@dataclass(frozen=True, slots=True)
class Body:
    """Records of one batch, written down.

    Attributes:
        data: end to end, as the format has them.
        count: how many.
        largest: bytes of the longest.
    """

    data: bytes
    count: int
    largest: int


def bodies(records: Iterable[Record], limit: int) -> Iterator[Body]:
    """Records in order, as many in each body as fit in a batch of `limit` bytes; one that does not fit is alone."""
    parts: list[bytes] = []
    size, largest = _HEADER, 0
    known: dict[tuple[tuple[str, bytes], ...], bytes] = {}
    for value, key, headers, shared in records:
        before = known.get(shared)
        if before is None:
            before = known[shared] = _headers(shared)
        rest = _field(key) + _field(value) + _length(len(shared) + len(headers)) + before + _headers(headers)
        line = _line(len(parts), rest)
        if parts and size + len(line) > limit:
            yield Body(b"".join(parts), len(parts), largest)
            parts, size, largest = [], _HEADER, 0
            line = _line(0, rest)
        parts.append(line)
        size += len(line)
        largest = max(largest, len(line))
    if parts:
        yield Body(b"".join(parts), len(parts), largest)


class SentBatch(Sequence[FutureRecordMetadata]):
    """A batch on its way.

    Where the broker finds a batch too large, the client splits it and hangs the records' futures onto the parts: it finds
    them here, where they are made only then.
    """

    def __init__(self, batch: Any, count: int) -> None:
        self._batch, self._count = batch, count
        self._moved: list[FutureRecordMetadata] = []

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> FutureRecordMetadata:
        """Future of one record, to be moved to another batch."""
        future = FutureRecordMetadata(self._batch.produce_future, index, None, None, -1, -1, -1)
        self._moved.append(future)
        return future

    @property
    def exception(self) -> BaseException | None:
        """Why a record was not written; None when all were. After a flush."""
        whole = self._batch.produce_future
        causes: list[BaseException] = []
        if not self._moved and whole.is_done:
            _, _, failures = whole.value
            causes += [] if failures is None else [failures(0)]
        elif len(self._moved) < self._count or not all(future.is_done for future in self._moved):
            causes.append(KafkaTimeoutError("a batch, or a part of one, was not acknowledged"))
        else:
            causes += [future.exception for future in self._moved if future.exception]
        return causes[0] if causes else None


def send(producer: Any, topic: str, partition: int, records: Sequence[Record]) -> list[SentBatch]:
    """Hand records to a producer; they may not be written yet.

    Raises:
        KafkaError: as `KafkaProducer.send`.
    """
    if not records:
        return []
    limit, compression = internals.batch_limits(producer)
    producer.partitions_for(topic)  # waits for metadata, as `send` does
    where, now_ms = TopicPartition(topic, partition), int(1000 * time.time())
    sent = []
    for body in bodies(records, limit):
        made = MemoryRecordsBuilder(_MAGIC, compression, limit)
        internals.fill(made, body.data, body.count, now_ms)
        batch = ProducerBatch(where, made)
        sent.append(SentBatch(batch, body.count))
        internals.append(producer, where, batch, sent[-1], body.largest)
    internals.wake(producer)
    return sent
