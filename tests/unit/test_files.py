"""Files: compressed or not, whole or damaged, and outputs that appear only when they are whole."""

from __future__ import annotations

import gzip
import io
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from connectors.files import ending, open_sink, open_source
from connectors.files.jsonl import JsonlSink, JsonlSource
from connectors.files.open import OutputFile, open_input
from craft_stream.cli.files import read_messages
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.ports.files import Sink, Source
from craft_stream.ports.messages import Lines, Message, chosen, joined, size, values
from craft_stream.selection.ledger import EPOCH
from craft_stream.settings import RecordSettings

RECORD = RecordSettings()
LINES = [b'{"src": "a"}', b"", b"\xff\xfe", b"crlf\r", b"last"]
CHECKED = zstandard.ZstdCompressor(write_checksum=True)
PACK: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "zstd": CHECKED.compress,
    "gzip members": lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:]),
    "zstd frames": lambda data: CHECKED.compress(data[:7]) + CHECKED.compress(data[7:]),
}


def read_all(source: Source, limit: int = 2) -> list[bytes | None]:
    values: list[bytes | None] = []
    while messages := source.read(limit):
        assert len(messages) <= limit
        values.extend(message.value for message in messages)
    return values


@pytest.mark.parametrize("packing", PACK)
def test_lines_come_as_they_are(tmp_path: Path, packing: str) -> None:
    """Every line is a message with its number, whatever bytes it holds and however the file is packed."""
    path = tmp_path / "stream.jsonl"
    path.write_bytes(PACK[packing](b"\n".join(LINES)))
    with JsonlSource(str(path), RECORD) as source:
        messages = [*source.read(3), *source.read(3)]
        assert [message.value for message in messages] == LINES
        assert [message.offset for message in messages] == [0, 1, 2, 3, 4]
        assert messages[0].topic == str(path)
        assert not source.read(3)


@given(st.lists(st.binary(max_size=4), max_size=6), st.integers(0, 9), st.data())
def test_lines_are_the_messages_that_they_stand_for(
    found: list[bytes], first: int, data: st.DataObject
) -> None:
    """One by one, in slices, and in values and bytes taken together."""
    lines = Lines(found, range(first, first + len(found)), "file")
    whole = [Message(value, offset, "file") for offset, value in enumerate(found, first)]
    low, high = (data.draw(st.integers(-7, 7)) for _ in range(2))
    assert list(lines) == whole
    assert lines[low:high] == whole[low:high]
    assert values(lines) == values(whole)
    assert size(lines) == size(whole)
    rows = data.draw(st.lists(st.sampled_from(range(len(found)))) if found else st.just([]))
    assert list(chosen(lines, rows)) == chosen(whole, rows) == [whole[row] for row in rows]
    assert list(joined([lines, lines.chosen(rows)])) == [*whole, *chosen(whole, rows)]
    assert list(joined([lines, Lines([b"x"], [1], "other")])) == [*whole, Message(b"x", 1, "other")]
    with pytest.raises(IndexError):
        lines[len(found)]


def test_runs_are_bounded_by_their_bytes(tmp_path: Path) -> None:
    """All records in their order, over files too; an epoch each where they are long, from the first and after short ones."""
    lengths = [3_000] * (3 * EPOCH + 500), [5] * (6 * EPOCH), [3_000] * (2 * EPOCH)
    paths, records = [], []
    for number, file in enumerate(lengths):
        paths.append(str(tmp_path / f"{number}.jsonl"))
        lines = [b"%05d" % place + b"x" * (length - 5) for place, length in enumerate(file)]
        Path(paths[-1]).write_bytes(b"\n".join(lines))
        records += [Message(line, place, paths[-1]) for place, line in enumerate(lines)]
    runs = list(read_messages(paths, RECORD, 4 * EPOCH))
    assert [message for run in runs for message in run] == records
    assert [len(run) for run in runs[:3]] == [EPOCH] * 3
    assert max(map(len, runs)) == 4 * EPOCH
    assert max(map(size, runs)) < (1 << 20) + EPOCH * 3_000
    epochs = list(read_messages(paths, RECORD))
    assert {len(run) for run in epochs[:-1]} == {EPOCH}


@pytest.mark.parametrize("packing", [name for name in PACK if name != "plain"])
def test_a_file_that_is_cut_off_is_an_error(tmp_path: Path, packing: str) -> None:
    """The end of a compressed file is not the end of the data unless it is whole."""
    path = tmp_path / "stream.jsonl.x"
    path.write_bytes(PACK[packing](b"line\n" * 100)[:-3])
    with pytest.raises(DataError, match="damaged or cut off"), JsonlSource(str(path), RECORD) as source:
        read_all(source, 1000)


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_a_damaged_file_is_an_error(tmp_path: Path, packing: str) -> None:
    """Compressed data that was changed is one clear error."""
    data = bytearray(PACK[packing](os.urandom(5000).hex().encode()))
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xff" * 40
    path = tmp_path / "stream.jsonl"
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged or cut off"), JsonlSource(str(path), RECORD) as source:
        read_all(source, 1000)


def test_a_long_line_is_cut_and_the_next_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by the longest line that is kept, and what follows it is not lost."""
    monkeypatch.setattr("connectors.files.lines.LONGEST_LINE", 10)
    path = tmp_path / "stream.jsonl"
    path.write_bytes(b"x" * 1000 + b"\n" + b"123456789\n" + b"1234567890\n" + b"y" * 11)
    with JsonlSource(str(path), RECORD) as source:
        assert read_all(source) == [b"x" * 10, b"123456789", b"1234567890", b"y" * 10]


@given(
    st.lists(st.sampled_from([b"\n", b"a", b"bc", b"\r", b"\n\n"]), max_size=60).map(b"".join),
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(1, 40),
)
def test_lines_are_what_stands_between_newlines(data: bytes, limit: int, longest: int, block: int) -> None:
    """However the file comes in blocks and is asked for in runs: each line once, cut; also those of an old Macintosh."""
    lines = data.split(b"\r" if b"\n" not in data and data.count(b"\r") > 1 else b"\n")
    if not lines[-1]:
        lines.pop()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr("connectors.files.lines.LONGEST_LINE", longest)
        patch.setattr("connectors.files.lines._BLOCK", block)
        path = Path(folder) / "stream.jsonl"
        path.write_bytes(data)
        found: list[Message] = []
        with JsonlSource(str(path), RECORD) as source:
            while messages := source.read(limit):
                found += messages
    assert [message.value for message in found] == [line[:longest] for line in lines]
    assert [message.offset for message in found] == list(range(len(lines)))


def test_zstd_expands_in_bounded_steps(tmp_path: Path) -> None:
    """A file that unpacks to 30,000 times its size is read without holding it whole."""
    path = tmp_path / "zeros.zst"
    compressor = zstandard.ZstdCompressor().compressobj()
    with path.open("wb") as file:
        for _ in range(256):
            file.write(compressor.compress(bytes(1 << 20)))
        file.write(compressor.flush())
    assert path.stat().st_size < 20_000
    with open_input(str(path)) as opened:
        assert len(opened.read(1000)) == 1000


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is an error of the input."""
    with pytest.raises(DataError, match="cannot read"):
        JsonlSource(str(tmp_path / "none.jsonl"), RECORD)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads standard input, packed or not, and leaves it open."""
    raw = io.BufferedReader(io.BytesIO(zstandard.compress(b"a\nb\n")))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw))
    source = open_source("-", RECORD)
    assert read_all(source) == [b"a", b"b"]
    source.close()
    assert not raw.closed


@given(st.lists(st.binary(max_size=20).map(lambda line: b"{" + line.replace(b"\n", b""))))
def test_what_is_written_is_read_back(lines: list[bytes]) -> None:
    """Lines survive a sink and a source, byte for byte."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
            path = os.path.join(folder, name)
            with JsonlSink(path) as sink:
                sink.write(lines[:2])
                sink.write(lines[2:])
            with JsonlSource(path, RECORD) as source:
                assert read_all(source) == lines


def test_an_output_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """Until it is closed the old file stands; an error leaves it, and no temporary file."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"old")

    def fail() -> None:
        with OutputFile(str(path)) as file:
            file.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    with OutputFile(str(path)) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_an_output_has_ordinary_permissions(tmp_path: Path) -> None:
    """An output can be read by whom the umask allows."""
    before = os.umask(0o022)
    try:
        OutputFile(str(tmp_path / "out")).close()
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o644


def test_an_output_follows_links_and_spares_devices(tmp_path: Path) -> None:
    """A symbolic link stays one, and a device is written, not replaced."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with OutputFile(str(tmp_path / "link")) as file:
        file.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"x"
    with OutputFile(os.devnull) as file:
        file.write(b"x")
    assert not os.path.isfile(os.devnull)


def test_an_output_may_be_a_pipe_without_a_name(tmp_path: Path) -> None:
    """`/dev/stdout` before a pipe, and process substitution: links in `/dev/fd` that lead to no name."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        with OutputFile(f"/dev/fd/{writing}") as output:
            output.write(b"x\n")
        os.close(writing)
        assert pipe.read() == b"x\n"


@pytest.mark.parametrize(
    ("output", "shell"),
    [
        ("/dev/stdout", "COMMAND >> all.jsonl"),
        ("/dev/fd/1", "COMMAND >> all.jsonl"),
        ("all.jsonl", "COMMAND >> all.jsonl"),
        ("link", "ln -s /dev/stdout link; COMMAND >> all.jsonl"),
        ("/dev/fd/3", "COMMAND 3>> all.jsonl"),
        ("/dev/stderr", "COMMAND 2>> all.jsonl"),
        ("-", "COMMAND >> all.jsonl"),
        ("/dev/stdout", "{ echo before; COMMAND; } > all.jsonl"),
    ],
)
def test_an_output_that_the_shell_has_opened_is_written_from_where_it_stands(
    tmp_path: Path, output: str, shell: str
) -> None:
    """What stood in the file before stays, what comes behind follows, and no other file is made."""
    (tmp_path / "all.jsonl").write_text("before\n")
    code = f"from connectors.files.open import OutputFile\nwith OutputFile('{output}') as f: f.write(b'new' + bytes([10]))"
    (tmp_path / "write.py").write_text(code)
    command = (
        shell.replace("COMMAND", f"{shlex.quote(sys.executable)} write.py") + "\necho behind >> all.jsonl"
    )
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    assert (tmp_path / "all.jsonl").read_text() == "before\nnew\nbehind\n"
    assert set(os.listdir(tmp_path)) <= {"all.jsonl", "write.py", "link"}


def test_a_descriptor_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """One for reading, and one that is not open, before anything is computed."""
    (tmp_path / "f").touch()
    reading = os.open(tmp_path / "f", os.O_RDONLY)
    with pytest.raises(ConfigurationError, match="cannot write"):
        OutputFile(f"/dev/fd/{reading}")
    os.close(reading)
    with pytest.raises(ConfigurationError, match="cannot write"):
        OutputFile(f"/dev/fd/{reading}")


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that does not exist is an error of usage."""
    with pytest.raises(ConfigurationError, match="cannot write"):
        OutputFile(str(tmp_path / "none" / "out"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a.jsonl", "jsonl"), ("a.b.TSV", "tsv"), ("a.tmx.gz", "tmx"), ("a.jsonl.zst", "jsonl"), ("-", "jsonl"),
     ("a", "jsonl"), ("a.gz", "jsonl"), ("/d.x/a", "jsonl")],
)  # fmt: skip
def test_ending(path: str, expected: str) -> None:
    """The format is the last suffix that is no compression."""
    assert ending(path) == expected


def test_unknown_format_names_the_known(tmp_path: Path) -> None:
    """An ending that nothing reads is refused with those that are."""
    with pytest.raises(ConfigurationError, match="jsonl"):
        open_source("a.docx", RECORD)
    with pytest.raises(ConfigurationError, match="jsonl"):
        open_sink(str(tmp_path / "a.docx"))


def test_protocols(tmp_path: Path) -> None:
    """What files open as are the runtime's ports."""
    sink = open_sink(str(tmp_path / "a.jsonl"))
    sink.close()
    sink.close()
    assert isinstance(sink, Sink)
    source = open_source(str(tmp_path / "a.jsonl"), RECORD)
    source.close()
    source.close()
    assert isinstance(source, Source)


PACKAGE = """
import csv, json
from pathlib import Path
from craft_stream.ports.messages import Message

class CsvSource:
    def __init__(self, path, record):
        self.rows = list(csv.reader(Path(path).read_text().splitlines()))
        self.path, self.record, self.next = path, record, 0

    def read(self, limit):
        start, self.next = self.next, min(self.next + limit, len(self.rows))
        names = self.record.source_field, self.record.target_field
        return [Message(json.dumps(dict(zip(names, row))).encode(), start + n, self.path)
                for n, row in enumerate(self.rows[start : self.next])]

    def close(self):
        pass

class CsvSink:
    def __init__(self, path):
        self.file = open(path, "w", newline="")

    def write(self, values):
        csv.writer(self.file).writerows([record["src"], record["tgt"]] for record in map(json.loads, values))

    def close(self):
        self.file.close()
"""


def test_a_package_adds_its_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that is installed beside us adds an ending by its entry points, and keeps the contract."""
    from craft_stream.testing import check_sink, check_source

    site, info = tmp_path / "site", tmp_path / "site" / "csv_pairs-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "csv_pairs.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: csv-pairs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[craft_stream.sources]\nrows = csv_pairs:CsvSource\nlost = csv_gone:Source\n"
        "[craft_stream.sinks]\nrows = csv_pairs:CsvSink\n"
    )
    path = str(tmp_path / "pairs.rows")
    with pytest.raises(ConfigurationError, match='unknown format "rows"'):
        open_source(path, RECORD)
    monkeypatch.syspath_prepend(str(site))
    values = [b'{"src": "a, \\"b\\"", "tgt": "c"}', b'{"src": "d", "tgt": "e"}', b'{"src": "f", "tgt": "g"}']
    check_sink(lambda: open_sink(path), lambda: read_all(open_source(path, RECORD)), values)  # type: ignore[arg-type, return-value]
    check_source(lambda: open_source(path, RECORD), records=3)
    with pytest.raises(ConfigurationError, match="csv_gone"):
        open_source("x.lost", RECORD)
