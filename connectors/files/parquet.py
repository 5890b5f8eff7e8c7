"""Parquet, in and out, and files and streams of Arrow; also the `translation` column that Hugging Face datasets have."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from connectors.files.base import FileSink, FileSource
from connectors.files.columns import records
from connectors.files.compression import first_bytes
from connectors.files.fields import (
    LANGUAGES,
    TRANSLATION,
    decoded,
    free_name,
    likely_sides,
    no_sides,
    packing,
    side_names,
    sides,
    split_options,
    splits,
    tells_language,
)
from connectors.files.open import OutputFile, open_input
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings

_BATCH = 8_192
_BATCH_BYTES = 1 << 26
_ROW_GROUP = 50_000
_SHOWN = 100  # names that a message lists
_STREAM = 0xFFFFFFFF
_LONGEST_SCHEMA = 1 << 24


class ParquetSource(FileSource):
    """Rows as messages: offset = number of the row from 0; every column is a field.

    The sides are the columns that the path names (`pairs.parquet?src=en&tgt=fr`, also parts of a struct:
    `?src=translation.en&...`), the record's own names, names that tools use, or the two languages of a struct
    `translation`, which then become the fields `src_lang` and `tgt_lang`. Memory is that of one batch of 8,192 rows and the
    column chunks being decompressed. A row that is no UTF-8 is a message with a `problem`. Parquet that comes compressed or
    through a pipe is kept in a temporary file while it is read; streams of Arrow are not.
    """

    def __init__(self, path: str, fields: RecordSettings) -> None:
        self._path, options = split_options(path, ("src", "tgt"))
        self._fields = fields
        self._close: Callable[[], None] = lambda: None
        file = open_input(self._path, packing(options))
        try:
            self._batches = self._open(*first_bytes(file, 8))
            self._columns = self._chosen(options)
        except (OSError, pa.ArrowException) as error:
            self.close()
            raise DataError(f"cannot read {self._path}: {error}") from None
        except (ConfigurationError, DataError):
            self.close()
            raise
        self._ready: list[Message] = []
        self._taken = self._next = 0

    def _open(self, file: io.BufferedReader, magic: bytes) -> Iterator[Any]:
        plain = isinstance(getattr(file, "raw", None), io.FileIO) and file.seekable()
        if magic.startswith(b"PAR1"):
            if plain:
                file.close()
            else:
                file = _seekable(file)
                self._close = file.close
            parquet = pq.ParquetFile(self._path if plain else file, memory_map=False, pre_buffer=False)
            self._close = partial(_close_all, parquet, file)
            self._schema = parquet.schema_arrow
            return _bounded(parquet.iter_batches(_BATCH))
        self._close = file.close
        if magic.startswith(b"ARROW1"):
            if plain:
                reader = pyarrow.ipc.open_file(pa.memory_map(self._path))
                self._schema = reader.schema
                return _bounded(map(reader.get_batch, range(reader.num_record_batches)))
            file.read(8)  # a file is a stream behind this, with an index at its end
        else:
            self._refuse_others(magic)
        stream = pyarrow.ipc.open_stream(file)
        self._schema = stream.schema
        return _bounded(stream)

    def _refuse_others(self, magic: bytes) -> None:
        """Refuse what cannot be a stream of Arrow, which begins by a mark or, in old ones, by the length of its schema."""
        if magic.startswith(b"FEA1"):
            raise DataError(
                f"{self._path} is Feather of version 1: pyarrow.feather.write_feather(pyarrow.feather.read_table(FILE), OTHER)"
            )
        start = int.from_bytes(magic[:4], "little")
        if len(magic) < 8 or (start != _STREAM and start > _LONGEST_SCHEMA):
            begins = f", it begins with {magic!r}" if magic else ": it is empty"
            raise DataError(f"{self._path} is neither Parquet nor Arrow{begins}")

    def _chosen(self, options: dict[str, str]) -> list[tuple[str, tuple[str, ...]]]:
        """Name of each field, and where its column is: names of a column and of parts within it; no names: its own value."""
        fields, names = self._fields, self._schema.names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError(f"{self._path}: several columns are called {', '.join(twice)}")
        own = (fields.source_field, fields.target_field)
        if options.keys() & {"src", "tgt"}:
            chosen = [
                self._place(options.get(key, name)) for key, name in zip(("src", "tgt"), own, strict=True)
            ]
        elif (found := sides(names, fields)) is not None:
            chosen = [(names[number],) for number in found]
        else:
            languages = _languages(self._schema)
            chosen = [(TRANSLATION, language) for language in languages or ()]
        if len(chosen) != 2 or None in chosen or chosen[0] == chosen[1]:
            parts = {name: _parts(self._schema.field(name).type) for name in names}
            inside = [f"{field.name}.{part}" for field in self._schema for part in _inside(field.type)][
                :_SHOWN
            ]
            likely = likely_sides(
                {name: dict.fromkeys(parts[name], "") if parts[name] else "" for name in names}
            )
            source, target = likely or ("NAME", "NAME")
            raise ConfigurationError(
                f"{self._path}: its columns are {', '.join([*names, *inside])}; add ?src={source}&tgt={target}"
            )
        places = [place for place in chosen if place]
        spent = {
            place[0]
            for place in places
            if _holds_only(
                self._schema.field(place[0]).type, [one[1:] for one in places if one[0] == place[0]]
            )
        }
        columns = [(name, place) for name, place in zip(own, places, strict=True)]
        taken = {*own}
        for name in names:
            if name not in spent:
                columns.append((free := free_name(name, taken), (name,)))
                taken.add(free)
        if all(len(place) > 1 and tells_language(place[-1]) for place in places):
            columns += [
                (name, ("", place[-1]))
                for name, place in zip(LANGUAGES, places, strict=True)
                if name not in taken
            ]
        return columns

    def _place(self, name: str) -> tuple[str, ...] | None:
        """Where a column or a part of a struct is."""
        names = self._schema.names
        if name in names:
            return (name,)
        for outer, inner in splits(name):
            if outer in names and (rest := _within(self._schema.field(outer).type, inner)):
                return outer, *rest
        if TRANSLATION in names and (rest := _within(self._schema.field(TRANSLATION).type, name)):
            return TRANSLATION, *rest
        return None

    def read(self, limit: int) -> Sequence[Message]:
        """At most `limit` next rows; empty at the end."""
        messages: list[Message] = []
        while len(messages) < limit:
            if self._taken == len(self._ready):
                try:
                    batch = next(self._batches, None)
                except (OSError, pa.ArrowException) as error:
                    raise DataError(f"{self._path} is damaged: {error}") from None
                if batch is None:
                    break
                try:
                    self._ready, self._taken = self._messages(batch), 0
                except pa.ArrowException as error:
                    raise DataError(f"{self._path} has a column that cannot be read: {error}") from None
            taken = self._ready[self._taken : self._taken + limit - len(messages)]
            messages = messages + taken if messages else taken
            self._taken += len(taken)
            self._next += len(taken)
        return messages

    def _messages(self, batch: Any) -> list[Message]:
        columns = [_column(batch, place) for _, place in self._columns]
        rows = records([name for name, _ in self._columns], columns)
        if isinstance(rows, list):
            return [Message(value, row, self._path) for row, value in enumerate(rows, self._next)]
        return [
            Message(value, row, self._path, problem=problem)
            for row, (value, problem) in enumerate(rows, self._next)
        ]

    def close(self) -> None:
        """Release the file; safe to call twice."""
        self._batches = iter(())
        self._close()


def _close_all(*opened: Any) -> None:
    for one in opened:
        one.close()


def _seekable(file: io.BufferedReader) -> io.BufferedReader:
    """The same bytes in a temporary file, which has no name."""
    kept = tempfile.TemporaryFile()  # noqa: SIM115
    with file:
        shutil.copyfileobj(file, kept, 1 << 20)
    kept.seek(0)
    return cast(io.BufferedReader, kept)


def _parts(kind: Any) -> list[str]:
    return [kind.field(number).name for number in range(kind.num_fields)] if pa.types.is_struct(kind) else []


def _inside(kind: Any) -> list[str]:
    """Dotted names of all that is within a struct."""
    found = []
    for name in _parts(kind):
        found += [name, *(f"{name}.{part}" for part in _inside(kind.field(name).type))]
    return found


def _within(kind: Any, name: str) -> tuple[str, ...] | None:
    """Names, the outermost first, of what a dotted name stands for within a struct, a map or a translation."""
    parts = _parts(kind)
    if name in parts or pa.types.is_map(kind) or _is_variable(kind):
        return (name,)
    for outer, inner in splits(name):
        if outer in parts and (rest := _within(kind.field(outer).type, inner)):
            return outer, *rest
    return None


def _holds_only(kind: Any, paths: Sequence[tuple[str, ...]]) -> bool:
    """Whether a column of a type holds nothing beside what stands at `paths` within it."""
    if () in paths:
        return True
    return bool(_parts(kind)) and all(
        _holds_only(kind.field(name).type, [path[1:] for path in paths if path[:1] == (name,)])
        for name in _parts(kind)
    )


def _is_variable(kind: Any) -> bool:
    """Whether a type is that of a translation into languages that change by the row: two lists, of languages and of texts."""
    return sorted(_parts(kind)) == ["language", "translation"] and all(
        pa.types.is_list(kind.field(number).type) or pa.types.is_large_list(kind.field(number).type)
        for number in range(2)
    )


def _languages(schema: Any) -> list[str] | None:
    """The two languages of a struct `translation`."""
    if TRANSLATION not in schema.names:
        return None
    parts = _parts(schema.field(TRANSLATION).type)
    return parts if len(parts) == 2 and not _is_variable(schema.field(TRANSLATION).type) else None


def _column(batch: Any, place: tuple[str, ...]) -> Any:
    """A column of a batch, a part of it, or a constant where the place is ("", text)."""
    if not place[0]:
        return pa.repeat(place[1], batch.num_rows)
    column = batch.column(batch.schema.names.index(place[0]))
    for name in place[1:]:
        column = _part(column, name)
    return column


def _part(column: Any, name: str) -> Any:
    if pa.types.is_map(column.type):
        return pc.map_lookup(column, pa.scalar(name, column.type.key_type), "first")
    if not _is_variable(column.type):
        return pc.struct_field(column, name)
    found = [
        next(
            (text for tag, text in zip(row["language"], row["translation"], strict=False) if tag == name),
            None,
        )
        if row and row["language"] and row["translation"]
        else None
        for row in column.to_pylist()
    ]
    return pa.array(found, pa.string())


def _bounded(batches: Iterator[Any]) -> Iterator[Any]:
    """Batches, cut where they hold more than `_BATCH_BYTES`."""
    for batch in batches:
        step = max(1, batch.num_rows * _BATCH_BYTES // max(batch.nbytes, _BATCH_BYTES))
        for start in range(0, batch.num_rows, step):
            yield batch.slice(start, step)


class ParquetSink(FileSink):
    """Writes records as rows, in groups of 50,000.

    The first group tells the columns: text, or numbers where all values are; lists and objects become their JSON. What
    later records have beside that stands as JSON in the column `more`.
    """

    def __init__(self, path: str) -> None:
        path, options = split_options(path, ("src", "tgt"))
        super().__init__(path)
        self._sides, self._named = side_names(options), bool(options.keys() & {"src", "tgt"})
        self._rows: list[dict[str, object]] = []
        self._writer: Any = None
        self._schema: Any = None

    def write(self, values: Iterable[bytes]) -> None:
        """Append records.

        Raises:
            DataError: none of the first group has a side that options name.
        """
        for value in values:
            self._rows.append(decoded(value, self._path))
            if len(self._rows) >= _ROW_GROUP:
                self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            held = {name for row in self._rows for name in self._sides if row.get(name) is not None}
            if self._named and self._rows and len(held) < len(set(self._sides)):
                raise no_sides(self._path, self._sides, self._rows[0])
            self._schema = _schema(self._rows, self._sides)
            self._writer = pq.ParquetWriter(
                pa.PythonFile(_Stream(self._file), mode="w"), self._schema, compression="zstd"
            )
        columns = {name: [] for name in self._schema.names}  # type: dict[str, list[object]]
        numbers = {field.name for field in self._schema if not pa.types.is_string(field.type)}
        for row in self._rows:
            more = {}
            for name in columns:
                if name != "more":
                    value = row.pop(name, None)
                    if name in numbers and not isinstance(value, float | int | None):
                        more[name], value = value, None
                    columns[name].append(value if name in numbers else _as_text(value))
            more.update(row)
            columns["more"].append(orjson.dumps(more).decode() if more else None)
        self._writer.write_table(pa.table(columns, schema=self._schema))
        self._rows = []

    def _finish(self) -> None:
        self._flush()
        self._writer.close()


class _Stream:
    """What pyarrow asks of a file, on an OutputFile."""

    closed = False

    def __init__(self, output: OutputFile) -> None:
        self._output, self._length = output, 0

    def write(self, data: bytes) -> int:
        self._output.write(bytes(data))
        self._length += len(data)
        return len(data)

    def tell(self) -> int:
        return self._length

    def flush(self) -> None:
        """The OutputFile is flushed when it is closed."""

    def close(self) -> None:
        self.closed = True


def _schema(rows: list[dict[str, object]], sides: tuple[str, str]) -> Any:
    names = dict.fromkeys(sides)
    for row in rows:
        names.update(dict.fromkeys(row))
    names.pop("more", None)
    fields = []
    for name in names:
        kinds = {type(row[name]) for row in rows if row.get(name) is not None}
        number = (
            pa.int64() if kinds == {int} else pa.float64() if kinds and kinds <= {int, float} else pa.string()
        )
        fields.append(pa.field(name, number))
    return pa.schema([*fields, pa.field("more", pa.string())])


def _as_text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
