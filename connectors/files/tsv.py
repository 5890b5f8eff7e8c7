"""Tab-separated values: with a header, in the layouts of Bitextor and ParaCrawl, or simply source and target.

The sides are found in this order: options of the path (`pairs.tsv?src=3&tgt=4`, numbers from 1 or names;
`?columns=url,-,src,tgt,score` names all columns, `-` drops one); a header that names them; two URLs at the front
(Bitextor: url1 url2 text1 text2 score ...); else the first two columns. Every other column stays a field of the
record. Nothing is quoted or escaped: a tab separates, a newline ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import orjson

from connectors.files.base import FileSink, FileSource
from connectors.files.fields import sides, split_options, text_fields
from connectors.files.jsonl import LONGEST_LINE, JsonlSource
from connectors.files.open import open_input
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings

_URL = re.compile(rb"(https?://|ftp://|www\.)\S+$")
_BITEXTOR = ("src_url", "trg_url", "", "", "aligner_score")
# behind the score, when all of its steps ran; otherwise their number does not tell which ones did
_BITEXTOR_STEPS = (
    "src_paragraph_id",
    "trg_paragraph_id",
    "src_deferred_hash",
    "trg_deferred_hash",
    "bifixer_hash",
    "bifixer_score",
    "bicleaner_score",
    "length_ratio",
    "num_tokens_src",
    "num_tokens_trg",
)
_OPTIONS = ("src", "tgt", "columns")


class TsvSource(FileSource):
    """The lines of a file as messages: offset = line number from 0, the header's included.

    A line with fewer columns than the two sides need, or that is not UTF-8, is a message with a `problem`.

    Raises:
        ConfigurationError: an option of the path names a column that is not there.
    """

    def __init__(self, path: str, fields: RecordSettings) -> None:
        self._path, options = split_options(path, _OPTIONS)
        with open_input(self._path) as file:
            head = file.readline(LONGEST_LINE).rstrip(b"\r\n").split(b"\t")
        self._names, self._sides, header = _columns(path, head, options, fields)
        self._needed = max(self._sides) + 1
        self._fields = fields
        self._lines = JsonlSource(self._path, fields)
        if header:
            self._lines.read(1)

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next lines; empty at the end."""
        path, names, convert = self._path, self._names, self._convert
        messages = []
        for line in self._lines.read(limit):
            raw = line.value or b""
            try:
                cells = raw.decode("utf-8").split("\t")
            except UnicodeDecodeError as error:
                messages.append(
                    Message(raw, line.offset, path, problem=f"byte {error.start} is not valid UTF-8")
                )
                continue
            if len(cells) < self._needed:
                problem = f"{len(cells)} columns where at least {self._needed} were expected"
                messages.append(Message(raw, line.offset, path, problem=problem))
                continue
            messages.append(Message(convert(names, cells), line.offset, path))
        return messages

    def _convert(self, names: list[str], cells: list[str]) -> bytes:
        if cells[-1].endswith("\r"):
            cells[-1] = cells[-1][:-1]
        while len(names) < len(cells):
            names.append(f"column{len(names) + 1}")
        fields = {name: cell for name, cell in zip(names, cells, strict=False) if name}
        return orjson.dumps(fields)

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def _columns(
    path: str, head: list[bytes], options: dict[str, str], fields: RecordSettings
) -> tuple[list[str], tuple[int, int], bool]:
    """Names of the columns (empty: dropped), numbers of the sides, and whether the first line is a header."""
    first = [cell.decode("utf-8", "replace").strip() for cell in head]
    found = sides(first, fields)
    header = found is not None
    if "columns" in options:
        names = [name.strip() for name in options["columns"].split(",")]
        found = sides(names, fields)
        names = ["" if name == "-" else name for name in names]
    elif header:
        names = list(first)
    elif len(head) >= 4 and _URL.match(head[0]) and _URL.match(head[1]):
        extra = len(head) - len(_BITEXTOR)
        names = [*_BITEXTOR, *(_BITEXTOR_STEPS[:extra] if extra in (7, 10) else ())][: len(head)]
        found = (2, 3)
    else:
        names, found = ["", ""], (0, 1)
    if "src" in options or "tgt" in options:
        found = _chosen(path, options.get("src"), first, 0), _chosen(path, options.get("tgt"), first, 1)
        header = header or not (options.get("src", "1").isdigit() and options.get("tgt", "1").isdigit())
    if found is None or found[0] == found[1]:
        raise ConfigurationError(f"{path}: no two columns are named as the sides; add ?src=N&tgt=M")
    while len(names) <= max(found):
        names.append("")
    for number, name in zip(found, (fields.source_field, fields.target_field), strict=True):
        names[number] = name
    return names, found, header


def _chosen(path: str, wanted: str | None, header: list[str], default: int) -> int:
    if wanted is None:
        return default
    if wanted.isdigit() and int(wanted):
        return int(wanted) - 1
    if wanted in header:
        return header.index(wanted)
    raise ConfigurationError(f'{path}: no column "{wanted}"; its first line is {", ".join(header)[:200]}')


class TsvSink(FileSink):
    """Writes records as lines of source, tab, target; `out.tsv?columns=src,tgt,score` says which fields instead.

    White space in a field, tabs and newlines among it, becomes a space. No header is written: Marian and OpusTrainer
    expect none.
    """

    def __init__(self, path: str) -> None:
        path, options = split_options(path, ("columns",))
        super().__init__(path)
        default = RecordSettings()
        names = options.get("columns", f"{default.source_field},{default.target_field}")
        self._names = tuple(name.strip() for name in names.split(","))

    def write(self, values: Iterable[bytes]) -> None:
        """Append records, each as a line."""
        for fields in text_fields(values, self._names, self._path):
            if not all(fields[:2]):
                raise DataError(f"{self._path}: a record has no {' or no '.join(self._names[:2])}")
            self._file.write("\t".join(fields).encode() + b"\n")
