"""What a partition takes in memory: `python deploy/sizing.py` prints the table that docs/how-to/operations.md quotes; a minute.

Ledgers of their own decide the same pairs, none of which comes twice (two messages of the demo's catalogues joined). The
resident memory of the process is read before and after. Needs the extra `demo`. CPU time a pair is in
docs/reference/performance.md.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import orjson

sys.path.insert(0, str(Path(__file__).parents[1]))

from craft_stream.cli.engine import load_engine
from craft_stream.demo.catalogues import Catalogues
from craft_stream.learning.learner import Learner
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs
from tests.chaos.endurance import records

BATCH = 5_000


def resident() -> float:
    """Memory of this process, in MB, without what it has freed."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def pack(texts: Sequence[tuple[str, str]], first: int) -> PairBatch:
    """Pairs at offsets from `first` on."""
    sources, targets = zip(*texts, strict=True)
    return PairBatch.pack(list(sources), list(targets), list(range(first, first + len(texts))))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=200_000, help="that each partition decides at the most")
    arguments = parser.parse_args()
    parameters, encoder = load_engine(Settings())
    catalogues = Catalogues.installed()
    target = catalogues.target
    texts = [
        (record["src"], record["tgt"])
        for record in map(orjson.loads, islice(records(catalogues), arguments.pairs))
    ]
    learner = Learner(parameters, encoder)
    learner.observe_target(
        [pair.id for pair in target],
        PairBatch.pack([p.source for p in target], [p.target for p in target], None),
    )
    learner.observe(pack(texts[:50_000], 0))
    model = learner.publish()
    selector = Selector(parameters, encoder)
    warm = Ledger(selector.parameters)
    selector.decide(TokenizedPairs.of(pack(texts[:BATCH], 0)), warm, model)
    batches = [pack(texts[at : at + BATCH], at) for at in range(0, arguments.pairs, BATCH)]
    before = resident()
    ledgers = [Ledger(selector.parameters) for _ in range(arguments.partitions)]
    sys.stdout.write(
        f"{'pairs a partition':>18} {'MB a partition':>15} {'snapshot, kB':>13} {'segments, kB':>13}\n"
    )
    segments = [0] * len(ledgers)
    marks = {BATCH, 50_000, 100_000, arguments.pairs}
    for number, batch in enumerate(batches, 1):
        for index, ledger in enumerate(ledgers):
            selector.decide(TokenizedPairs.of(batch), ledger, model)
            segments[index] += sum(len(segment) for _, segment in ledger.closed_segments())
            ledger.delta()
        if number * BATCH in marks:
            taken = (resident() - before) / len(ledgers)
            snapshot = len(ledgers[0].snapshot()) / 1e3
            sys.stdout.write(
                f"{number * BATCH:>18,} {taken:>15.2f} {snapshot:>13.1f} {segments[0] / 1e3:>13.0f}\n"
            )


if __name__ == "__main__":
    main()
