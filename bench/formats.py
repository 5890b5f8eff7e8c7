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

from connectors.files import open_sink, open_source
from craft_stream.ports.files import Source
from craft_stream.settings import RecordSettings

FORMATS = (
    "pairs.tsv",
    "bitextor.tsv?columns=url1,url2,src,tgt,score",
    "pairs.csv",
    "pairs.jsonl",
    "pairs.tmx?langs=en,fr",
    "pairs.parquet",
    "pairs.en-fr",
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
    reading, writing = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(chosen.rounds):
            for name in FORMATS:
                path = str(Path(folder) / name)

                def write(path: str = path) -> None:
                    with open_sink(path) as sink:  # type: ignore[attr-defined]
                        for start in range(0, len(records), _BATCH):
                            sink.write(records[start : start + _BATCH])

                writing[name].append(seconds(write))
                bare = path.partition("?")[0]
                reading[name].append(seconds(lambda bare=bare: drained(open_source(bare, RecordSettings()))))  # type: ignore[misc]
    print(f"CPU seconds for {_PER:,} pairs, median of {chosen.rounds}")
    print(f"{'format':<16} {'read':>6} {'write':>6} {'pairs read a second':>20}")
    for name in FORMATS:
        per = _PER / len(records)
        read, write_ = (statistics.median(found[name]) * per for found in (reading, writing))
        print(f"{name.partition('?')[0]:<16} {read:6.2f} {write_:6.2f} {_PER / read:20,.0f}")


if __name__ == "__main__":
    main()
