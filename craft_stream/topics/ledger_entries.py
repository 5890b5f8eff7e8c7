"""Records of the ledger topic: what a partition has done, written in every transaction and read when it is restored.

The ledger of input partition i is in partition i of a compacted topic. Keys form rings, so that compaction bounds it however
long the stream is. Every value names its kind, its place in the sequence of snapshots and deltas and the offset that it leads
to, and carries a checksum: a value that does not fit is found out, whatever its key says.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

from craft_stream.errors import IntegrityError, NewerReleaseError
from craft_stream.schema import Number, Schema, check, is_number

MAGIC = b"CRAFTLOG"
FORMAT = 2
_HEADER = struct.Struct("<8sHBQQI")
_CHECKSUM = 4  # bytes
_SCHEMA: Schema = {"sequence": Number(), "next_offset": Number()}


class Kind(IntEnum):
    """What a record of the topic is."""

    SNAPSHOT = 0
    DELTA = 1
    SEGMENT = 2
    MODEL = 3
    RETAINED_SNAPSHOT = 4
    RETAINED_SNAPSHOTS = 5
    SETTINGS = 6
    ORIGIN = 7


# How keys name them: other words than ours, so that what version 0.1.0 has written is still read.
KEY_WORDS = {
    Kind.SNAPSHOT: "whole",  # 0 or 1: the two newest
    Kind.DELTA: "delta",  # a ring: what changed, one in every transaction, also in those that write a snapshot
    Kind.SEGMENT: "page",  # its index: seen pairs that will not change any more; a tombstone when nobody needs them
    Kind.MODEL: "model",  # an offset, from which on a version of the Model was in force; kept, so that a log can be audited
    Kind.RETAINED_SNAPSHOT: "anchor",  # the offset that it leads to; a tombstone when there are enough newer ones
    Kind.RETAINED_SNAPSHOTS: "anchors",  # 0: which of them there are; written with every snapshot
    Kind.SETTINGS: "settings",  # an offset, from which on settings were in force or a release decided; kept, too
    Kind.ORIGIN: "origin",  # 0: the ids of the topics that all this is about; written with every snapshot
}
_KINDS = {word: kind for kind, word in KEY_WORDS.items()}


def entry_key(prefix: str, kind: Kind, number: int) -> bytes:
    """Key of a record; `prefix` is group/topic/partition."""
    return f"{prefix}/{KEY_WORDS[kind]}/{number}".encode()


def parse_key(name: str) -> tuple[Kind, int]:
    """Kind and number that a key names behind its prefix.

    Raises:
        IntegrityError: it names none.
    """
    word, _, number = name.partition("/")
    if word not in _KINDS or not is_number(number):
        raise IntegrityError("the key names no record of a ledger")
    return _KINDS[word], int(number)


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the topic, checked.

    Attributes:
        kind: what it is.
        sequence: number of a delta, or of the delta that a snapshot, a retained one or their list goes with; a segment's
            index; the offset of a change of model or of settings.
        next_offset: offset of the input that it leads to; of a change of model or of settings the version.
        payload: what the engine made.
        at: its own offset in the ledger topic.
        written_ms: when, by the brokers' clock.
    """

    kind: Kind
    sequence: int
    next_offset: int
    payload: bytes
    at: int = -1
    written_ms: int = 0

    @property
    def size(self) -> int:
        """Bytes of it, encoded."""
        return _HEADER.size + len(self.payload) + _CHECKSUM

    def encode(self) -> bytes:
        """As bytes."""
        size = len(self.payload)
        head = _HEADER.pack(MAGIC, FORMAT, self.kind, self.sequence, self.next_offset, size)
        return head + self.payload + zlib.crc32(head + self.payload).to_bytes(_CHECKSUM, "little")

    @classmethod
    def decode(cls, data: bytes, at: int, written_ms: int = 0) -> Entry:
        """From bytes.

        Raises:
            IntegrityError: damaged, or of another format.
        """
        if len(data) < _HEADER.size + _CHECKSUM or data[:8] != MAGIC:
            raise IntegrityError("no record of a ledger")
        _, version, kind, sequence, next_offset, size = _HEADER.unpack_from(data)
        if version > FORMAT:
            raise NewerReleaseError(f"this record is of format {version} of the ledger topic", FORMAT)
        if version < FORMAT:
            raise IntegrityError(f"this record is of format {version}; there is none before {FORMAT}")
        body, checksum = data[:-_CHECKSUM], int.from_bytes(data[-_CHECKSUM:], "little")
        if len(body) != _HEADER.size + size or zlib.crc32(body) != checksum:
            raise IntegrityError("the checksum does not fit")
        if kind not in set(Kind):
            raise IntegrityError(f"a record of the unknown kind {kind}")
        check("a record of the ledger", {"sequence": sequence, "next_offset": next_offset}, _SCHEMA)
        return cls(Kind(kind), sequence, next_offset, body[_HEADER.size :], at, written_ms)
