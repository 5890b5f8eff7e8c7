"""Every file connector keeps the contracts of `craft_stream.testing`."""

import gzip
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
import zstandard

from connectors.files import open_sink, open_source
from craft_stream.ports.files import Source
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings
from craft_stream.testing import ContractError, check_sink, check_source

pytest.importorskip("pyarrow")

PAIRS = [(f"sentence {i} & <more> “é”", f"phrase {i} \N{GRINNING FACE}") for i in range(300)]
RECORDS = [orjson.dumps({"src": source, "tgt": target}) for source, target in PAIRS]


def jsonl(folder: Path) -> Path:
    path = folder / "pairs.jsonl"
    path.write_bytes(b"\n".join(RECORDS))
    return path


def tsv(folder: Path) -> Path:
    path = folder / "pairs.tsv"
    path.write_text("src\ttgt\n" + "".join(f"{s}\t{t}\n" for s, t in PAIRS))
    return path


def moses(folder: Path) -> Path:
    (folder / "corpus.en-fr.en").write_text("".join(f"{s}\n" for s, _ in PAIRS))
    (folder / "corpus.en-fr.fr").write_text("".join(f"{t}\n" for _, t in PAIRS))
    return folder / "corpus.en-fr"


def written(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        sink = open_sink(str(folder / name))
        sink.write(RECORDS)
        sink.close()
        return folder / name.partition("?")[0]

    return make


def arrow(folder: Path) -> Path:
    import pyarrow as pa

    table = pa.table({"src": [s for s, _ in PAIRS], "tgt": [t for _, t in PAIRS]})
    path = folder / "pairs.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=70)
    return path


def po(folder: Path) -> Path:
    path = folder / "fr.po"
    path.write_text("".join(f'msgid "m{i}"\nmsgstr "t{i}"\n\n' for i in range(40)))
    return path


def open_at(path: Path) -> Callable[[], Source]:
    return lambda: open_source(str(path), RecordSettings())


@pytest.mark.parametrize(
    "make",
    [jsonl, tsv, moses, arrow, po, written("m.tmx?langs=en,fr"), written("p.parquet"), written("w.tsv")],
)
def test_sources(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """Reads alike at any limit, and gives the pairs that were put in."""
    messages = check_source(open_at(make(tmp_path)))
    if make is not po:
        records = [orjson.loads(message.value or b"") for message in messages]
        assert [(record["src"], record["tgt"]) for record in records] == PAIRS
    assert all(message.problem is None for message in messages)


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
@pytest.mark.parametrize("make", [jsonl, tsv, written("m.tmx?langs=en,fr")])
def test_compressed_sources(
    make: Callable[[Path], Path], compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """The same holds for compressed files."""
    path = make(tmp_path)
    packed = path.with_name(path.name + (".gz" if compress is gzip.compress else ".zst"))
    packed.write_bytes(compress(path.read_bytes()))
    check_source(open_at(packed), records=300)


@pytest.mark.parametrize("name", ["s.jsonl", "s.jsonl.gz", "s.tsv", "s.tmx", "s.parquet"])
def test_sinks(name: str, tmp_path: Path) -> None:
    """What is written is read back the same."""
    path = str(tmp_path / name)

    def read_back() -> list[bytes]:
        source = open_source(path, RecordSettings())
        try:
            records = [orjson.loads(message.value or b"") for message in source.read(10_000)]
        finally:
            source.close()
        return [orjson.dumps({"src": record["src"], "tgt": record["tgt"]}) for record in records]

    check_sink(lambda: open_sink(path), read_back, RECORDS)


class Broken:
    """A source that loses what it was not asked for in one reading."""

    def __init__(self) -> None:
        self._left = 3

    def read(self, limit: int) -> list[Message]:  # noqa: D102
        batch = [Message(b"{}", 3 - left) for left in range(self._left, max(0, self._left - limit), -1)]
        self._left -= len(batch) + 1
        return batch

    def close(self) -> None: ...  # noqa: D102


def test_the_contract_finds_a_broken_source() -> None:
    """A source that loses messages fails the suite."""
    with pytest.raises(ContractError, match="other messages"):
        check_source(Broken)
