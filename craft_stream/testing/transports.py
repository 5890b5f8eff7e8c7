"""The contract of a message system: what `craft_stream.ports.transport` promises, asked of clients of one configuration."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from craft_stream.ports.messages import Message
from craft_stream.ports.transport import (
    ChangeKind,
    Group,
    Output,
    Position,
    Reader,
    Record,
    TransactionError,
    Transport,
)
from craft_stream.testing.contracts import hold

# Polls in which nothing must come.
_QUIET_POLLS = 5
_POLL_SECONDS = 0.2
# A broker answers a commit before it shows it.
_VISIBLE_SECONDS = 10.0
_RECORDS = (
    Record(b"one", b"key", [("h", b"1"), ("h", b"2")]),
    Record(b"two", None, [("own", b"x")], (("shared", b"y"),)),
    Record(None, b"gone"),
    Record("deux – 日本".encode(), b"\x00\xff"),
    Record(b"", b"empty"),
)


def check_transport(opened: Callable[[], Transport], topic: str, seconds: float = 60.0) -> None:
    """Check a transport whose guarantee is exactly once.

    What is committed is read, in order and as it was sent, and nothing else: not what is under way, not what a client left
    unfinished, not what one wrote whose name another has taken over. A group's new partitions wait for `start`, deliver from
    there, rest while they are paused; offsets are committed with records or not at all, by a claim that only an owner gets.

    Args:
        opened: makes the transport; called once.
        topic: its input topic: empty, with two partitions or more, and nobody else in the group.
        seconds: longest wait for a group.

    Raises:
        ContractError: it breaks its contract.
    """
    transport = opened()
    reader = transport.reader()
    partitions = list(reader.partitions(topic))
    hold(
        partitions == list(range(len(partitions))) and len(partitions) > 1,
        f"{topic} has partitions {partitions}",
    )
    hold(list(reader.partitions(f"{topic}-of-none")) == [], "a topic that does not exist has partitions")
    hold(reader.committed(0) is None, "an offset is committed where nothing was")
    written = _check_records(transport, reader, topic)
    _check_unfinished(transport, reader, topic)
    group = transport.group()
    _assigned(group, partitions, seconds)
    _check_delivery(group, written, seconds)
    _check_offsets(transport, group, reader, topic, written)
    hold(group.reachable(), "a message system that answers is said to be out of reach")
    group.leave()
    group.leave()
    _refused(lambda: group.claim([0]), "who has left the group still gets a claim")
    reader.close()
    reader.close()


def _check_records(transport: Transport, reader: Reader, topic: str) -> list[Message]:
    """What was written to partition 0."""
    (first, end) = reader.bounds(topic, [0])[0]
    hold(first == end, f"{topic}/0 is not empty: it holds offsets {first} to {end}")
    output = transport.output("contract")
    output.begin()
    sent = _RECORDS[0]
    receipts = [output.send(topic, 0, sent.value, sent.key, sent.headers) for _ in range(2)]
    output.send_all(topic, 0, _RECORDS)
    output.send(topic, 1, b"elsewhere")
    output.flush()
    hold(not _messages(reader, topic, 0), "what is written, but not committed, is read")
    output.commit({}, None)
    expected = [sent, sent, *_RECORDS]
    found = _messages(reader, topic, 0, len(expected))
    hold(
        [(m.value, m.key) for m in found] == [(r.value, r.key) for r in expected],
        f"{len(expected)} records were committed, {len(found)} are read, or they differ",
    )
    hold(
        [list(m.headers) for m in found] == [[*r.shared, *r.headers] for r in expected],
        "headers are not those sent: shared ones first, in order, doubled names kept",
    )
    offsets = [message.offset for message in found]
    hold(sorted(set(offsets)) == offsets, "offsets do not increase strictly")
    hold(
        [receipt.offset() for receipt in receipts] == offsets[:2],
        "receipts name other offsets than records have",
    )
    hold({(m.topic, m.partition) for m in found} == {(topic, 0)}, "messages name another topic or partition")
    low, high = offsets[1], offsets[3]
    part = [m.offset for chunk in reader.read(topic, 0, low, high) for m in chunk]
    hold(part == offsets[1:3], f"reading [{low}, {high}) gives offsets {part}")
    output.close()
    output.close()
    return found


def _check_unfinished(transport: Transport, reader: Reader, topic: str) -> None:
    before = len(_messages(reader, topic, 0))
    # Of another name than what comes after: nobody takes it over, and nothing may stay open for whoever reads.
    left = transport.output("abandoned")
    left.begin()
    left.send(topic, 0, b"left behind")
    left.flush()
    left.close()
    older = transport.output("contract")
    _commit(older, topic, b"the older one's")
    older.begin()
    older.send(topic, 0, b"fenced")
    newer = transport.output("contract")
    _refused(lambda: older.commit({}, None), "an output whose name another has taken over can commit")
    older.close()
    _commit(newer, topic, b"the newer one's")
    newer.close()
    found = [message.value for message in _messages(reader, topic, 0, before + 2)[before:]]
    hold(found == [b"the older one's", b"the newer one's"], f"unfinished or fenced records are read: {found}")


def _assigned(group: Group, partitions: Sequence[int], seconds: float) -> None:
    held: set[int] = set()
    deadline = time.monotonic() + seconds
    while held != set(partitions):
        hold(
            time.monotonic() < deadline,
            f"after {seconds:.0f} s the only member has partitions {sorted(held)}",
        )
        hold(not group.poll(10, _POLL_SECONDS), "records of a partition come before its start")
        for change in group.changes():
            held = (
                held | change.partitions if change.kind is ChangeKind.ASSIGNED else held - change.partitions
            )


def _check_delivery(group: Group, written: Sequence[Message], seconds: float) -> None:
    group.start(0, written[0].offset)
    found = _polled(group, 1, 1, seconds)
    group.pause([0])
    for _ in range(_QUIET_POLLS):
        hold(not group.poll(10, _POLL_SECONDS), "records of a paused partition come")
    group.resume([0])
    found += _polled(group, len(written) - 1, 2, seconds)
    own = [(m.partition, m.offset, m.value) for m in found]
    hold(
        own == [(0, m.offset, m.value) for m in written],
        "a group delivers other records than a reader, or in another order",
    )
    group.start(0, written[2].offset)
    again = _polled(group, 1, 1, seconds)
    hold(again[0].offset == written[2].offset, "`start` does not go to its offset")
    group.pause([0])
    hold(group.ends().get(0, -1) > written[-1].offset, "`ends` knows no end behind what was delivered")


def _check_offsets(
    transport: Transport, group: Group, reader: Reader, topic: str, written: Sequence[Message]
) -> None:
    _refused(lambda: group.claim([0, 1]), "a claim is given for a partition that was not started")
    output = transport.output("worker")
    at = Position(written[2].offset, "a note")
    _commit(output, topic, b"with an offset", {0: at}, group)
    hold(reader.committed(0) == at, f"{at} was committed, {reader.committed(0)} is found")
    output.begin()
    output.send(topic, 1, b"never")
    claim = group.claim([0])
    output.close()
    hold(reader.committed(0) == at, "an offset moves without a commit")
    later, newer = Position(written[3].offset), transport.output("worker")
    newer.begin()
    newer.commit({0: later}, claim)
    newer.close()
    hold(reader.committed(0) == later, "an offset without records is not committed")
    found = [message.value for message in _messages(reader, topic, 1, 2)]
    hold(found == [b"elsewhere", b"with an offset"], f"{topic}/1 holds {found}")


def _commit(
    output: Output,
    topic: str,
    value: bytes,
    offsets: Mapping[int, Position] | None = None,
    group: Group | None = None,
) -> None:
    output.begin()
    output.send(topic, 0 if group is None else 1, value)
    output.flush()
    output.commit(offsets or {}, None if group is None else group.claim(list(offsets or {})))


def _messages(reader: Reader, topic: str, partition: int, least: int = 0) -> list[Message]:
    """All of a partition; what is committed may show a moment later, so at least so many are waited for."""
    deadline = time.monotonic() + _VISIBLE_SECONDS
    while True:
        first, end = reader.bounds(topic, [partition])[partition]
        found = [message for chunk in reader.read(topic, partition, first, end) for message in chunk]
        if len(found) >= least or time.monotonic() > deadline:
            return found
        time.sleep(_POLL_SECONDS / 10)


def _polled(group: Group, count: int, limit: int, seconds: float) -> list[Message]:
    found: list[Message] = []
    deadline = time.monotonic() + seconds
    while len(found) < count:
        hold(time.monotonic() < deadline, f"after {seconds:.0f} s {len(found)} records of {count} have come")
        more = group.poll(limit, _POLL_SECONDS)
        hold(len(more) <= limit, f"{len(more)} records came where at most {limit} were asked for")
        found += more
    return found


def _refused(action: Callable[[], object], message: str) -> None:
    try:
        action()
    except TransactionError:
        return
    hold(False, message)
