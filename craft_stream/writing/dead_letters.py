"""Dead letters as they are written to their topic."""

from __future__ import annotations

from collections.abc import Iterable

from craft_stream.ports.transport import Record
from craft_stream.reading.dead_letter import DeadLetter


def dead_letter_records(letters: Iterable[DeadLetter]) -> list[Record]:
    """Dead letters of one partition as they are written: key and bytes as they came, what happened in the headers.

    All but the offset is made once for those that failed alike: a stream that is all poison is written in half the time.
    """
    known: dict[object, tuple[tuple[str, bytes], ...]] = {}
    records = []
    for letter in letters:
        message, stage, reason, error = letter
        kind = (message.headers, stage, reason, error)
        shared = known.get(kind) or known.setdefault(kind, letter.shared())
        key = message.key
        if key is None and message.value is None:
            key = b""  # a record without value needs one
        records.append(Record(message.value, key, (("craft-error-offset", b"%d" % message.offset),), shared))
    return records
