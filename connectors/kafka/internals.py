"""All that we use of kafka-python beyond what it documents: by class and name, and nowhere else.

A release that changes one of these could break exactly-once silently. So the versions are bounded to those that were tried, a
start looks for every name, and a test holds the table against the installed release and this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.consumer import ConsumerCoordinator
from kafka.errors import FencedInstanceIdError, GroupAuthorizationFailedError, IllegalStateError, KafkaError
from kafka.producer.producer_batch import ProducerBatch
from kafka.producer.record_accumulator import RecordAccumulator
from kafka.producer.transaction_manager import TransactionManager
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecordsBuilder

from craft_stream.errors import ConfigurationError

# At least the first and below the second, as pyproject.toml says; a test compares them.
TRIED = ("3.0.12", "3.1")

USED: dict[type, tuple[str, ...]] = {
    KafkaConsumer: ("_coordinator", "_fetcher", "_subscription"),
    ConsumerCoordinator: ("_assignors", "_handle_heartbeat_response", "need_rejoin", "poll", "rejoining", "reset_generation"),
    CooperativeStickyAssignor: ("member_assignment",),
    Fetcher: ("PartitionRecords", "_next_partition_records"),
    Fetcher.PartitionRecords: (
        "_consume_aborted_transactions_up_to", "_contains_abort_marker", "_is_batch_aborted",
        "_maybe_raise_next_inline_exception", "_maybe_skip_record", "_next_inline_exception", "_unpack_records",
        "aborted_producer_ids", "bytes_read", "check_crcs", "drain", "fetch_offset", "isolation_level", "leader_epoch",
        "next_fetch_offset", "record_iterator", "records_read", "take",
    ),
    DefaultRecordBatch: ("_buffer", "_maybe_uncompress", "_pos"),
    KafkaProducer: (
        "_accumulator", "_closed", "_ensure_valid_record_size", "_sender", "_transaction_manager", "flush",
    ),
    TransactionManager: (
        "_add_partitions_to_transaction_handler", "_enqueue_request", "_lock", "begin_abort", "is_transactional",
        "maybe_add_partition_to_transaction",
    ),
    RecordAccumulator: ("_appends_in_progress", "_batches", "_incomplete", "_tp_lock", "config"),
    ProducerBatch: ("_record_futures", "max_record_size", "produce_future"),
    MemoryRecordsBuilder: ("_builder", "_next_offset"),
    DefaultRecordBatchBuilder: (
        "_buffer", "_first_timestamp", "_last_offset", "_max_timestamp", "_num_records",
    ),
}  # fmt: skip


def check_client() -> None:
    """That the installed client is one that was tried.

    Raises:
        ConfigurationError: it is another, with the command to type.
    """
    first, end = TRIED
    if not _numbers(first) <= _numbers(kafka.__version__) < _numbers(end):
        problem = f"kafka-python {kafka.__version__} is installed, which was not tried with craft_stream"
    elif missing := [
        f"{kind.__name__}.{name}" for kind, names in USED.items() for name in names if not has(kind, name)
    ]:
        problem = f"kafka-python {kafka.__version__} lacks {', '.join(missing)}"
    else:
        return
    raise ConfigurationError(f"{problem}: `pip install 'kafka-python>={first},<{end}'`")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def has(kind: type, name: str) -> bool:
    """Whether a class has an attribute, or one of its functions names it."""
    functions = (getattr(value, "__func__", value) for base in kind.__mro__ for value in vars(base).values())
    return hasattr(kind, name) or any(
        name in function.__code__.co_names for function in functions if hasattr(function, "__code__")
    )


# Consuming.


def deliver(consumer: KafkaConsumer, records: type[Fetcher.PartitionRecords]) -> None:
    """Let a consumer take apart what it fetches by this class."""
    consumer._fetcher.PartitionRecords = records


def join_group(consumer: KafkaConsumer, timeout_ms: int) -> bool:
    """Take part in one round of a rebalance, and no more than one; False where none is due.

    `KafkaConsumer.poll` may run two rounds in one call, and the second takes from a partition that is being drained the
    generation in which it may still be committed. And a round that ends between two calls of poll is forgotten and begun anew
    (kafka-python 3.0.12), so the wait is in here, not in the loop. The client offers both only through its coordinator.
    """
    due = bool(consumer._coordinator.need_rejoin())
    if due:
        consumer._coordinator.poll(timeout_ms=timeout_ms)
    return due


def claim_nothing_when_put_out(consumer: KafkaConsumer) -> None:
    """Let a member that the group has put out join again as one that owns nothing.

    kafka-python 3.0.12 goes on claiming what it had when it was put out, and in a round that had begun before it does not
    even hear of its loss. The leader believes it and gives it the partition at once, in the very generation in which the
    rightful owner may still commit: records decided twice (seen in two of six runs of five SIGSTOPs).
    """
    coordinator = consumer._coordinator
    reset = coordinator.reset_generation

    def put_out(*arguments: object, **options: object) -> None:
        reset(*arguments, **options)
        coordinator.rejoining = False  # so that the next attempt begins with telling the loss
        for assignor in coordinator._assignors.values():
            assignor.member_assignment = None

    coordinator.reset_generation = put_out


def note_fencing(consumer: KafkaConsumer, note: Callable[[KafkaError], None]) -> None:
    """Let it be known that another member has taken this one's `group_instance_id`.

    kafka-python 3.0.12 stops its heartbeats then and tells nobody: the member goes on as if its partitions were its own.
    """
    coordinator = consumer._coordinator
    handle = coordinator._handle_heartbeat_response

    def handled(*arguments: object, **options: object) -> object:
        try:
            return handle(*arguments, **options)
        except (FencedInstanceIdError, GroupAuthorizationFailedError) as error:
            note(error)
            raise

    coordinator._handle_heartbeat_response = handled


def position(consumer: KafkaConsumer, where: TopicPartition) -> int | None:
    """The offset to be fetched next, as far as known; nobody is asked."""
    state = consumer._subscription.assignment.get(where)
    return None if state is None or state.position is None else int(state.position.offset)


def highwater(consumer: KafkaConsumer, where: TopicPartition) -> int | None:
    """The end of the log at the last fetch; None before one, or where the partition is gone."""
    state = consumer._subscription.assignment.get(where)
    return None if state is None else state.highwater


def unpark(consumer: KafkaConsumer) -> None:
    """Let the client find what it fetched of partitions before they were paused.

    kafka-python 3.0.12 parks it, and takes it back after `resume` only while the slot for the partition that is being
    read is None; but a partition that has been read to its end stays in that slot, empty. What is parked would wait
    for ever, and nothing more of that partition would be fetched (seen as a worker with lag and no records).
    """
    fetcher = consumer._fetcher
    if fetcher._next_partition_records is not None and not fetcher._next_partition_records:
        fetcher._next_partition_records = None


def uncompressed(batch: DefaultRecordBatch) -> tuple[bytes, int]:
    """A batch's bytes, and where in them its records begin."""
    batch._maybe_uncompress()
    return bytes(batch._buffer), batch._pos


# Producing.


def batch_limits(producer: KafkaProducer) -> tuple[int, int]:
    """Bytes of a batch at most, and the code of its compression.

    Raises:
        IllegalStateError: the producer is closed.
    """
    if producer._closed:
        raise IllegalStateError("the producer is closed")
    config = producer._accumulator.config
    return config["batch_size"], config["compression_attrs"]


def fill(records: MemoryRecordsBuilder, data: bytes, count: int, now_ms: int) -> None:
    """Make `data` the `count` records of an empty builder, all of one time."""
    builder = records._builder
    builder._buffer += data
    builder._first_timestamp = builder._max_timestamp = now_ms
    builder._num_records, builder._last_offset = count, count - 1
    records._next_offset = count


def append(
    producer: KafkaProducer, where: TopicPartition, batch: ProducerBatch, futures: object, largest: int
) -> None:
    """Put a batch where `KafkaProducer.send` would have put it; it is on its way after `wake`.

    Args:
        futures: of its records, to be moved where the client splits the batch.
        largest: bytes of the longest record.
    """
    producer._ensure_valid_record_size(largest)
    transactions = producer._transaction_manager
    if transactions and transactions.is_transactional():
        transactions.maybe_add_partition_to_transaction(where)
    batch.max_record_size, batch._record_futures = largest, futures
    accumulator = producer._accumulator
    accumulator._appends_in_progress.increment()
    try:
        with accumulator._tp_lock(where):
            accumulator._batches[where].append(batch)
            accumulator._incomplete.add(batch)
    finally:
        accumulator._appends_in_progress.decrement()


def add_partitions(producer: KafkaProducer, places: Iterable[TopicPartition]) -> None:
    """Make partitions part of the transaction that was begun, though nothing is written to them.

    Raises:
        KafkaError: the broker refuses.
    """
    transactions = producer._transaction_manager
    with (
        transactions._lock
    ):  # the client's thread would ask for them by itself, but tell nobody of the answer
        for where in places:
            transactions.maybe_add_partition_to_transaction(where)
        request = transactions._add_partitions_to_transaction_handler()
        transactions._enqueue_request(request)
    wake(producer)
    request.result.wait()


def abort_within(producer: KafkaProducer, seconds: float) -> bool:
    """Abort the transaction that is open, if that can be done within so many seconds; whether it was.

    `KafkaProducer.abort_transaction` waits for ever for a broker that is away.
    """
    try:
        result = producer._transaction_manager.begin_abort()
        wake(producer)
        return bool(result.wait(1000 * seconds))
    except (
        KafkaError
    ):  # fenced, or whether it was committed nobody knows: whoever takes the name over ends it
        return False


def wake(producer: KafkaProducer) -> None:
    """Let the producer's thread look for what was appended."""
    producer._sender.wakeup()


def close_at_once(producer: KafkaProducer) -> None:
    """Give up what is not written.

    kafka-python 3.0.12 flushes first, whatever the time-out, and raises before it has told its thread to end: a worker ended
    so, with records that 75 s without a broker had left.
    """
    producer.flush = lambda timeout=None: None
    producer.close(timeout=0)
