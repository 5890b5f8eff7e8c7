"""Two files of which each line is a sentence, and equal line numbers belong together, in and out.

The path is the common part with both languages, as Moses and OPUS name them: `Europarl.en-fr` stands for `Europarl.en-fr.en`
and `Europarl.en-fr.fr`, or `Europarl.en` and `Europarl.fr`, each compressed or not, or for two members of a zip archive.
Files with other names are `A?with=B`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePath
from urllib.parse import quote

import orjson

from connectors.files.base import FileSink, FileSource
from connectors.files.compression import ENDINGS, Packing, members
from connectors.files.fields import (
    LANGUAGES,
    as_text,
    decoded,
    no_sides,
    one_line,
    side_names,
    split_options,
    tells_language,
    text_options,
)
from connectors.files.lines import LineReader
from connectors.files.open import OutputFile, closed_on_error, open_text
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.language_tags import agree, split_pair
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings

OTHER = "with"  # the option that names the other file


def pair_of(source: str, target: str) -> str:
    """The path of two files that belong together."""
    return f"{source}?{OTHER}={quote(target, safe='/')}"


class MosesSource(FileSource):
    """Lines of two files as messages: offset = line number from 0.

    A line that has none beside it, or is not UTF-8, is a message with a `problem`. Where the names tell languages they become
    the fields `src_lang` and `tgt_lang`.
    """

    def __init__(self, path: str, fields: RecordSettings) -> None:
        self._path, options = split_options(path, (OTHER,))
        (_, dictionary), encoding = text_options(path, options)
        self._fields = fields
        named = OTHER in options
        source, target = ((self._path, None), (options[OTHER], None)) if named else sides_of(self._path)
        tags = [_language(member or name) for name, member in (source, target)]
        self._told = dict(zip(LANGUAGES, tags, strict=True)) if all(tags) else {}
        self._source = LineReader(open_text(source[0], Packing(source[1], dictionary), encoding))
        with closed_on_error(self._source):
            self._target = LineReader(open_text(target[0], Packing(target[1], dictionary), encoding))

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next pairs of lines; empty at the end of both files."""
        number = self._source.number
        source = self._source.read(limit)
        wanted = len(source) or limit
        number = number if source else self._target.number
        target: list[bytes] = []
        while len(target) < wanted and (more := self._target.read(wanted - len(target))):
            target.extend(more)
        lines = zip(source, target, strict=False)
        messages = [self._pair(*both, offset) for offset, both in enumerate(lines, number)]
        paired = len(messages)
        for name, short, alone in (
            ("target", self._target, source[paired:]),
            ("source", self._source, target[paired:]),
        ):
            lines_there = f"{short.number:,} {'line' if short.number == 1 else 'lines'}"
            problem = (
                f"the {name} file has only {lines_there}, the other goes on: do the two belong together?"
            )
            for offset, line in enumerate(alone, number + paired):
                messages.append(Message(line, offset, self._path, problem=problem))
        return messages

    def _pair(self, source: bytes, target: bytes, offset: int) -> Message:
        try:
            value = orjson.dumps(
                {
                    self._fields.source_field: source.decode("utf-8").rstrip("\r"),
                    self._fields.target_field: target.decode("utf-8").rstrip("\r"),
                    **self._told,
                }
            )
        except UnicodeDecodeError as error:
            problem = f"byte {error.start} of a side is not valid UTF-8"
            return Message(source + b"\t" + target, offset, self._path, problem=problem)
        return Message(value, offset, self._path)

    def close(self) -> None:
        """Close both files."""
        self._source.close()
        self._target.close()


def _language(name: str) -> str | None:
    """The language that the end of a file's name tells."""
    bare = PurePath(name)
    suffix = (bare.with_suffix("") if bare.suffix in ENDINGS else bare).suffix.removeprefix(".")
    return suffix if tells_language(suffix) else None


def sides_of(path: str) -> tuple[tuple[str, str | None], tuple[str, str | None]]:
    """The two files that a path with two languages stands for, each with the member of an archive that it is.

    Raises:
        DataError: there are no such files.
    """
    if path.endswith(".zip"):
        found = twins_in(path)
        if found is None:
            raise DataError(f"{path}: no two of its members are named as two languages of one corpus")
        return (path, found[0]), (path, found[1])
    bare = Path(path)
    stem = path.removesuffix(bare.suffix) if bare.suffix in ENDINGS else path
    prefix, _, name = stem.rpartition(".")
    languages = split_pair(name)
    if languages is None:
        raise DataError(f"{path}: a name that ends in two languages was expected, such as corpus.en-fr")
    for base in (stem, prefix):
        files = [_existing(f"{base}.{language}") for language in languages]
        if all(files):
            return (files[0] or "", None), (files[1] or "", None)
    raise DataError(f"cannot read {path}: there are no two files such as {stem}.{languages[0]}")


def _existing(name: str) -> str | None:
    return next((file for ending in ("", *ENDINGS) if Path(file := name + ending).is_file()), None)


def twins_in(archive: str) -> tuple[str, str] | None:
    """The two members of a zip archive that are named as two languages of one corpus, if there are just two."""
    by_stem: dict[str, list[str]] = {}
    for name in members(archive):
        if _language(name):
            by_stem.setdefault(name.removesuffix(PurePath(name).suffix), []).append(name)
    found: list[tuple[str, str]] = []
    for stem, names in by_stem.items():
        order = split_pair(PurePath(stem).suffix.removeprefix("."))
        if order:  # endings may be codes of languages by chance: xml is one
            sides = [[name for name in names if agree(_language(name) or "", tag)] for tag in order]
            names = [side[0] for side in sides if len(side) == 1]
        if len(names) == 2:
            found.append((names[0], names[1]))
    return found[0] if len(found) == 1 else None


def written_sides(path: str) -> list[str]:
    """The two files that are written for a path.

    Raises:
        ConfigurationError: it tells no two languages.
    """
    path, options = split_options(path, (OTHER, "src", "tgt"))
    if OTHER in options:
        return [path, options[OTHER]]
    ending = PurePath(path).suffix if PurePath(path).suffix in ENDINGS else ""
    stem = path.removesuffix(ending)
    languages = split_pair(stem.rpartition(".")[2])
    if languages is None:
        raise ConfigurationError(f"{path}: a name that ends in two languages was expected, such as out.en-fr")
    return [f"{stem}.{language}{ending}" for language in languages]


class MosesSink(FileSink):
    """Writes records as lines of two files: `out.en-fr` makes `out.en-fr.en` and `out.en-fr.fr`, `A?with=B` these two."""

    def __init__(self, path: str) -> None:
        names = written_sides(path)
        super().__init__(names[0])
        self._other = OutputFile(names[1])
        self._names = side_names(split_options(path, (OTHER, "src", "tgt"))[1])
        self.left_out: Collection[str] = set()

    def write(self, values: Iterable[bytes]) -> None:
        """Append records, each as two lines.

        Raises:
            DataError: a record has not both sides.
        """
        for value in values:
            record = decoded(value, self._path)
            self.left_out = {*self.left_out, *(record.keys() - {*self._names, *LANGUAGES})}
            sides = [one_line(as_text(record.get(name))) for name in self._names]
            if not all(sides):
                raise no_sides(self._path, self._names, record)
            for file, text in zip((self._file, self._other), sides, strict=True):
                file.write(text.encode("utf-8", "replace") + b"\n")

    def close(self) -> None:
        """Finish and move both files to their places; safe to call twice."""
        if not self._done:
            self._other.close()
        super().close()

    def discard(self) -> None:
        """Give up what was written; without effect after `close`."""
        self._other.discard()
        super().discard()
