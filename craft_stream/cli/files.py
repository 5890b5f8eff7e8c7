"""Files as one log: chunks of records out of many paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from connectors.files import open_source
from craft_stream.ports.messages import Message
from craft_stream.reading.chunk import Chunk
from craft_stream.selection.ledger import EPOCH
from craft_stream.settings import RecordSettings


def read_chunks(paths: Iterable[str], fields: RecordSettings) -> Iterator[Chunk]:
    """The records of files, one after the other: an epoch in each chunk, whatever file its records come from."""
    start = 0
    for messages in read_messages(paths, fields):
        yield Chunk.read(messages, fields, start)
        start += len(messages)


def read_messages(paths: Iterable[str], fields: RecordSettings) -> Iterator[Sequence[Message]]:
    """The same as messages, not read yet."""
    run: list[Message] = []
    for path in paths:
        source = open_source(path, fields)
        try:
            while messages := source.read(EPOCH - len(run)):
                if len(messages) == EPOCH:  # as it came: lines need not become messages
                    yield messages
                    continue
                run.extend(messages)
                if len(run) == EPOCH:
                    yield run
                    run = []
        finally:
            source.close()
    if run:
        yield run
