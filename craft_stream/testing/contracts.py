"""Contracts of connectors, as functions that any test framework can call: each returns, or raises ContractError.

def test_my_source() -> None:
    check_source(lambda: MySource("pairs.my", RecordSettings()), records=3)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import orjson

from craft_stream.ports.files import Sink, Source
from craft_stream.ports.messages import Message

_LIMITS = (1, 7, 10_000)


class ContractError(AssertionError):
    """A connector breaks its contract; the message says which sentence of it."""


def check_source(opened: Callable[[], Source], records: int | None = None) -> list[Message]:
    """Check a source over a log that does not grow.

    Reading gives the same messages whatever the limit, never more than the limit, with strictly increasing offsets,
    and at the end nothing, however often it is asked. What has no `problem` is the bytes of a JSON object. Closing twice
    is safe.

    Args:
        opened: opens the source.
        records: how many messages there are, when that is known.

    Returns:
        All messages.

    Raises:
        ContractError: it breaks its contract.
    """
    whole = _read(opened(), _LIMITS[0])
    hold(records is None or len(whole) == records, f"{records} messages were expected, {len(whole)} came")
    for limit in _LIMITS[1:]:
        again = _read(opened(), limit)
        hold(again == whole, f"reading {limit} at a time gives other messages than reading one at a time")
    hold(all(a.offset < b.offset for a, b in pairwise(whole)), "offsets do not increase strictly")
    for message in whole:
        if message.problem is None and message.value is not None:
            hold(_is_object(message.value), f"the value at offset {message.offset} is no JSON object")
    return whole


def _read(source: Source, limit: int) -> list[Message]:
    hold(isinstance(source, Source), f"{type(source).__name__} has not all methods of Source")
    messages: list[Message] = []
    try:
        while batch := source.read(limit):
            hold(len(batch) <= limit, f"{len(batch)} messages came where at most {limit} were asked for")
            messages.extend(batch)
        hold(not source.read(limit), "after its end it gives messages again")
    finally:
        source.close()
        source.close()
    return messages


def check_sink(
    opened: Callable[[], Sink], read_back: Callable[[], Sequence[bytes]], records: Sequence[bytes]
) -> None:
    """Check a sink: what was written is there after `close`, in order; closing twice is safe.

    Args:
        opened: opens the sink; called once.
        read_back: what it holds, as records of the same form.
        records: what to write; at least three.

    Raises:
        ContractError: it breaks its contract.
    """
    sink = opened()
    hold(isinstance(sink, Sink), f"{type(sink).__name__} has not all methods of Sink")
    sink.write(iter(records[:2]))
    sink.write([])
    sink.write(records[2:])
    sink.close()
    sink.close()
    held = list(read_back())
    hold(
        held == list(records), f"{len(records)} records were written and {len(held)} are held, or they differ"
    )


def _is_object(value: bytes) -> bool:
    try:
        return isinstance(orjson.loads(value), dict)
    except orjson.JSONDecodeError:
        return False


def hold(condition: bool, message: str) -> None:
    """Raise ContractError with the message unless the condition holds."""
    if not condition:
        raise ContractError(message)
