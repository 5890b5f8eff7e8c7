"""Moses: two files of which each line is a sentence, and equal line numbers belong together.

The path is the common part with both languages: `Europarl.en-fr` stands for `Europarl.en-fr.en` and
`Europarl.en-fr.fr` (as OPUS names them), or `Europarl.en` and `Europarl.fr`; with `.gz` or `.zst` behind for
compressed ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import orjson

from connectors.files.base import FileSource
from connectors.files.jsonl import JsonlSource
from craft_stream.errors import DataError
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings

LANGUAGES = re.compile(r"([a-z]{2,3}(?:_[a-z]+)?)-([a-z]{2,3}(?:_[a-z]+)?)", re.IGNORECASE)


class MosesSource(FileSource):
    """Lines of two files as messages: offset = line number from 0.

    A line that has none beside it, or is not UTF-8, is a message with a `problem`.
    """

    def __init__(self, path: str, fields: RecordSettings) -> None:
        self._path, self._fields = path, fields
        source, target = twins(path)
        self._source = JsonlSource(source, fields)
        self._target = JsonlSource(target, fields)

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next pairs of lines; empty at the end of both files."""
        source = self._source.read(limit)
        target: list[Message] = []
        while len(target) < (len(source) or limit):
            more = self._target.read((len(source) or limit) - len(target))
            if not more:
                break
            target.extend(more)
        messages = []
        for index in range(max(len(source), len(target))):
            one = source[index] if index < len(source) else None
            other = target[index] if index < len(target) else None
            messages.append(self._pair(one, other))
        return messages

    def _pair(self, source: Message | None, target: Message | None) -> Message:
        if source is None or target is None:
            present = source or target or Message(None, 0)
            problem = f"the {'target' if source else 'source'} file has no such line"
            return Message(present.value, present.offset, self._path, problem=problem)
        one, other = source.value or b"", target.value or b""
        try:
            value = orjson.dumps(
                {
                    self._fields.source_field: one.decode("utf-8").rstrip("\r"),
                    self._fields.target_field: other.decode("utf-8").rstrip("\r"),
                }
            )
        except UnicodeDecodeError as error:
            problem = f"byte {error.start} of a side is not valid UTF-8"
            return Message(one + b"\t" + other, source.offset, self._path, problem=problem)
        return Message(value, source.offset, self._path)

    def close(self) -> None:
        """Close both files."""
        self._source.close()
        self._target.close()


def twins(path: str) -> tuple[str, str]:
    """Names of the two files.

    Raises:
        DataError: neither way of naming them leads to two files.
    """
    bare = Path(path)
    compressed = bare.suffix if bare.suffix in (".gz", ".zst") else ""
    stem = path.removesuffix(compressed)
    prefix, _, languages = stem.rpartition(".")
    match = LANGUAGES.fullmatch(languages)
    if match is None:
        raise DataError(f"{path}: a name that ends in two languages was expected, such as corpus.en-fr")
    for base in (stem, prefix):
        names = tuple(f"{base}.{language}{compressed}" for language in match.groups())
        if all(Path(name).is_file() for name in names):
            return names[0], names[1]
    raise DataError(f"cannot read {path}: there are no two files such as {stem}.{match[1]}{compressed}")
