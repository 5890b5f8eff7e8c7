"""What it costs to read and write each format of files.

    python -m bench.formats --stream stream.jsonl.zst --pairs 100000

Writes the first pairs of a stream in each format and reads them again, in turn, `--rounds` times; prints the median of the
process's own CPU seconds for 100,000 pairs, from file to records and back.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import orjson

from connectors.files import open_sink, open_source
from craft_stream.ports.files import Source
from craft_stream.settings import RecordSettings

# `all`: with every field of the stream, else the two sides alone
FORMATS = (
    "pairs.tsv",
    "all.tsv?columns=*",
    "pairs.csv",
    "pairs.en-fr",
    "pairs.jsonl",
    "pairs.tmx?langs=en,fr",
    "all.tmx?langs=en,fr",
    "pairs.parquet",
    "all.parquet",
)
_BATCH = 4_096
_PER = 100_000


def drained(source: Source) -> int:
    """Read a source to its end; how many records were read."""
    count = 0
    while messages := source.read(_BATCH):
        count += len(messages)
    source.close()
    return count


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process that a piece of work takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stream", required=True, help="pairs, in any format")
    parser.add_argument("--pairs", type=int, default=_PER)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    source = open_source(chosen.stream, RecordSettings())
    records: list[bytes] = []
    while len(records) < chosen.pairs and (messages := source.read(_BATCH)):
        records += [message.value for message in messages if message.value and message.problem is None]
    source.close()
    records = records[: chosen.pairs]
    names = (RecordSettings().source_field, RecordSettings().target_field)
    bare = [orjson.dumps({name: record[name] for name in names}) for record in map(orjson.loads, records)]
    reading, writing = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(chosen.rounds):
            for name in FORMATS:
                path = str(Path(folder) / name)

                written = records if name.startswith("all") else bare

                def write(path: str = path, written: list[bytes] = written) -> None:
                    with open_sink(path) as sink:  # type: ignore[attr-defined]
                        for start in range(0, len(written), _BATCH):
                            sink.write(written[start : start + _BATCH])

                def read(path: str = path.partition("?")[0]) -> None:
                    drained(open_source(path, RecordSettings()))

                writing[name].append(seconds(write))
                reading[name].append(seconds(read))
    print(f"CPU seconds for {_PER:,} pairs, median of {chosen.rounds}")
    print(f"{'format':<16} {'read':>6} {'write':>6} {'pairs read a second':>20}")
    for name in FORMATS:
        per = _PER / len(records)
        in_, out = (statistics.median(found[name]) * per for found in (reading, writing))
        print(f"{name.partition('?')[0]:<16} {in_:6.2f} {out:6.2f} {_PER / in_:20,.0f}")


if __name__ == "__main__":
    main()
