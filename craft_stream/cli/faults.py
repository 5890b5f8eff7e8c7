"""Records that are no pairs, told together: a line for each kind of fault, with three places."""

from __future__ import annotations

import re

import orjson

from connectors.files.fields import likely_sides
from craft_stream.cli.tell import counted
from craft_stream.ports.messages import Message
from craft_stream.reading.chunk import Chunk
from craft_stream.reading.records import DecodeReason, Refusal

_SHOWN = 3
_MOST_KINDS = 20  # told one by one; more are counted together
_NUMBER = re.compile(r"\d+")


def _hint(value: bytes | None) -> str:
    """What to type for a record that has not the two sides."""
    record = orjson.loads(value or b"{}")
    source, target = likely_sides(record) or ("NAME", "NAME")
    path = f": name the sides by FILE?src={source}&tgt={target}"
    if (
        source != "NAME" and not {source, target} <= record.keys()
    ):  # parts of a field, which settings do not name
        return path
    return f"{path}, or by --set record.source_field={source} --set record.target_field={target}"


class Faults:
    """Why records are no pairs, counted by kind: what is said of them, numbers apart.

    Attributes:
        total: how many there are.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, tuple[str, list[str]]] = {}
        self._others = 0
        self.total = 0

    def add(self, chunk: Chunk) -> None:
        """Count what a chunk refuses."""
        for row, refusal in chunk.refused:
            self.count(chunk.messages[row], refusal)

    def count(self, message: Message, refusal: Refusal) -> None:
        """Count one record."""
        self.total += 1
        kind = _NUMBER.sub("0", refusal.text)
        if kind not in self._examples:
            if len(self._examples) >= _MOST_KINDS:
                self._others += 1
                return
            told = refusal.text
            if refusal.reason is DecodeReason.MISSING_SIDE:
                told += _hint(message.value)
            self._examples[kind] = told, []
        places = self._examples[kind][1]
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if len(places) < _SHOWN:
            places.append(message.location)

    def lines(self) -> list[str]:
        """What to tell, the most frequent first."""
        told = []
        for kind, (text, places) in sorted(self._examples.items(), key=lambda item: -self._counts[item[0]]):
            count = self._counts[kind]
            more = ", ..." if count > len(places) else ""
            told.append(f"{counted(count, 'records')}: {text} ({', '.join(places)}{more})")
        return [*told, f"{self._others:,} records: for other reasons"] if self._others else told
