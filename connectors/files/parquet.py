"""Parquet and Arrow files, in and out; also the `translation` column that Hugging Face datasets have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from connectors.files.base import FileSink, FileSource
from connectors.files.columns import records
from connectors.files.fields import decoded, sides, split_options
from connectors.files.open import OutputFile
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings

_BATCH = 8_192
_BATCH_BYTES = 1 << 26
_ROW_GROUP = 50_000
_OPTIONS = ("src", "tgt")


class ParquetSource(FileSource):
    """Rows as messages: offset = number of the row from 0; every column is a field.

    The sides are the columns that the path names (`pairs.parquet?src=en&tgt=fr`), the record's own names, names that
    tools use, or the two languages of a struct column `translation`. Memory is that of one batch of 8,192 rows and
    the column chunks being decompressed. A row that is no UTF-8 is a message with a `problem`.
    """

    def __init__(self, path: str, fields: RecordSettings) -> None:
        self._path, options = split_options(path, _OPTIONS)
        self._fields = fields
        try:
            self._batches = self._open()
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"cannot read {self._path}: {error}") from None
        self._struct, self._names = self._columns(self._schema.names, options)
        self._ready: list[Message] = []
        self._taken = self._next = 0

    def _open(self) -> Iterator[Any]:
        raise_missing = open(self._path, "rb")  # noqa: SIM115  # pyarrow's messages are many lines
        magic = raise_missing.read(6)
        raise_missing.close()
        if magic == b"ARROW1":
            reader = pyarrow.ipc.open_file(pa.memory_map(self._path))
            self._schema = reader.schema
            return _bounded(map(reader.get_batch, range(reader.num_record_batches)))
        self._file = pq.ParquetFile(self._path, memory_map=False, pre_buffer=False)
        self._schema = self._file.schema_arrow
        return _bounded(self._file.iter_batches(_BATCH))

    def _columns(self, names: list[str], options: dict[str, str]) -> tuple[str | None, list[str]]:
        """The struct column that holds both sides, if one does, and the fields that the columns become."""
        fields = self._fields
        if options:
            chosen = [options.get("src", fields.source_field), options.get("tgt", fields.target_field)]
        elif (found := sides(names, fields)) is not None:
            chosen = [names[number] for number in found]
        elif "translation" in names and pa.types.is_struct(kind := self._schema.field("translation").type):
            languages = [kind.field(number).name for number in range(kind.num_fields)]
            if len(languages) == 2:
                return "translation", [fields.source_field, fields.target_field]
            chosen = []
        else:
            chosen = []
        if len(chosen) != 2 or not set(chosen) <= set(names):
            raise ConfigurationError(
                f"{self._path}: its columns are {', '.join(names)}; add ?src=NAME&tgt=NAME"
            )
        renamed = dict(zip(chosen, (fields.source_field, fields.target_field), strict=True))
        return None, [renamed.get(name, name) for name in names]

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
                self._ready, self._taken = self._messages(batch), 0
            taken = self._ready[self._taken : self._taken + limit - len(messages)]
            messages = messages + taken if messages else taken
            self._taken += len(taken)
            self._next += len(taken)
        return messages

    def _messages(self, batch: Any) -> list[Message]:
        columns = batch.columns
        if self._struct is not None:
            columns = batch.column(self._schema.names.index(self._struct)).flatten()
        rows = records(self._names, columns)
        if isinstance(rows, list):
            return [Message(value, row, self._path) for row, value in enumerate(rows, self._next)]
        return [
            Message(value, row, self._path, problem=problem)
            for row, (value, problem) in enumerate(rows, self._next)
        ]

    def close(self) -> None:
        """Release the file."""
        self._batches = iter(())
        if hasattr(self, "_file"):
            self._file.close()


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
        super().__init__(path)
        self._rows: list[dict[str, object]] = []
        self._writer: Any = None
        self._schema: Any = None

    def write(self, values: Iterable[bytes]) -> None:
        """Append records."""
        for value in values:
            self._rows.append(decoded(value, self._path))
            if len(self._rows) >= _ROW_GROUP:
                self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            self._schema = _schema(self._rows)
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


def _schema(rows: list[dict[str, object]]) -> Any:
    default = RecordSettings()
    names = dict.fromkeys([default.source_field, default.target_field])
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
