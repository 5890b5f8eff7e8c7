"""Rows of cells, in TSV and CSV: which columns are the two sides, and what the others are called.

The sides are found in this order: options of the path (`pairs.tsv?src=3&tgt=4`, numbers from 1 or names;
`?columns=url,-,src,tgt,score` names all columns, `-` drops one); a header that names them, or two languages (`en,fr`); two URLs
at the front (Bitextor: url1 url2 text1 text2 score ...); else the first two columns. Every other column stays a field of the
record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import orjson

from connectors.files.fields import as_text, free_name, language_columns, no_sides, sides
from craft_stream.errors import ConfigurationError
from craft_stream.language_tags import is_name
from craft_stream.settings import RecordSettings

OPTIONS = ("src", "tgt", "columns")
MORE = "more"  # holds, as JSON, fields that the first record has not
_CODE = re.compile("[A-Za-z]{2}(?:[-_].+)?")  # of three letters many are words
_BESIDE = frozenset(
    {"", "#", "id", "no", "idx", "index", "line", "number", "score", "split", "domain", "url", "unnamed: 0"}
)
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


class Columns:
    """Names of the columns of a table.

    Args:
        names: of the fields that they become; empty: dropped.
        found: numbers of the two sides.
        header: whether the first line is one.

    Attributes:
        header: as given.
        needed: columns that a row must have.
    """

    def __init__(self, names: list[str], found: tuple[int, int], header: bool) -> None:
        self.header, self.needed = header, max(found) + 1
        self._names = names

    @classmethod
    def found(
        cls, path: str, head: Sequence[bytes], options: dict[str, str], fields: RecordSettings
    ) -> Columns:
        """Find the sides in a first line and options.

        Raises:
            ConfigurationError: an option names a column that is not there.
        """
        first = [cell.decode("utf-8", "replace").strip() for cell in head]
        found = sides(first, fields) or _language_header(first)
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
            if not (options.get("src", "1").isdecimal() and options.get("tgt", "1").isdecimal()):
                header = True
                if "columns" not in options:
                    names = list(first)
        if found is None or found[0] == found[1]:
            raise ConfigurationError(f"{path}: no two columns are named as the sides; add ?src=N&tgt=M")
        while len(names) <= max(found):
            names.append("")
        own = (fields.source_field, fields.target_field)
        for number, name in enumerate(names):
            names[number] = free_name(name, {*names[:number], *own}) if name and number not in found else name
        for number, name in zip(found, own, strict=True):
            names[number] = name
        return cls(names, found, header)

    def record(self, cells: list[str]) -> bytes:
        """A row as a record; columns that have no name get one by their number."""
        names = self._names
        while len(names) < len(cells):
            names.append(free_name(f"column{len(names) + 1}", names))
        return orjson.dumps({name: cell for name, cell in zip(names, cells, strict=False) if name})

    def too_few(self, cells: list[str]) -> str:
        """What is wrong with a row that has not both sides."""
        return f"{'one column' if len(cells) == 1 else f'{len(cells)} columns'} where at least {self.needed} were expected"


def _language_header(cells: list[str]) -> tuple[int, int] | None:
    """The sides in a header of two languages (`id,en,fr`), beside which nothing stands that may be a sentence."""
    found = language_columns(cells)
    if found is None:
        return None
    others = {cell.lower() for number, cell in enumerate(cells) if number not in found}
    told = all(_CODE.fullmatch(cells[number]) or is_name(cells[number]) for number in found)
    return found if told and others <= _BESIDE else None


def _chosen(path: str, wanted: str | None, header: list[str], default: int) -> int:
    if wanted is None:
        return default
    if wanted in header:
        return header.index(wanted)
    if wanted.isdecimal() and int(wanted):
        return int(wanted) - 1
    raise ConfigurationError(f'{path}: no column "{wanted}"; its first line is {", ".join(header)[:200]}')


class RowFields:
    """Records as rows of cells.

    Args:
        columns: fields by commas, `*`: all that the first record has, with a header; None: source and target.
        sides: names of the two that every record must have.
        path: for messages.

    Attributes:
        left_out: names of fields that records had and the rows have not.
    """

    def __init__(self, columns: str | None, sides: tuple[str, str], path: str) -> None:
        self._sides = sides
        self._all = columns == "*"
        chosen = ",".join(self._sides) if columns is None else columns
        self._names = [] if self._all else [name.strip() for name in chosen.split(",")]
        self._path = path
        self.left_out: set[str] = set()
        if self._names:
            self._require()

    def lines(self, record: dict[str, object]) -> Iterator[list[str]]:
        """The row of a record, behind the header where it is the first.

        Raises:
            DataError: one of its sides is empty: those that have the names of sides, else the first two columns.
        """
        if self._all and not self._names:
            others = [name for name in record if name not in self._sides and name != MORE]
            self._names = [*self._sides, *others, MORE]
            self._require()
            yield self._names
        if self._all:
            more = {name: record[name] for name in record.keys() - set(self._names)}
            row = [as_text(record.get(name)) for name in self._names]
            if more:
                row[-1] = as_text(more)
        else:
            self.left_out |= record.keys() - set(self._names)
            row = [as_text(record.get(name)) for name in self._names]
        if not all(row[place] for place in self._places):
            raise no_sides(self._path, self._required, record)
        yield row

    def _require(self) -> None:
        """Note which columns no row may leave empty."""
        names = self._names
        named = set(self._sides) <= set(names)
        self._required = self._sides if named else (names[0], names[-1 if len(names) < 2 else 1])
        self._places = [names.index(name) for name in self._required]
