"""What a release writes, made by that release: the files by which later ones show that they read it.

    git worktree add --detach ../release REVISION      # the CHANGELOG names it
    cd ../release && PYTHONPATH=$PWD python THIS_FILE THIS_FOLDER/RELEASE

It uses what every release has: a worker on topics in memory, and a ledger.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from craft_stream.ports.messages import Message
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.segments import key_of
from craft_stream.settings import LedgerSettings
from craft_stream.testing.memory import MemoryTransport
from craft_stream.topics.ledger_reader import read_ledger
from craft_stream.topics.ledger_writer import LedgerWriter
from tests.unit.test_runtime_worker import configuration, filled, learned, run

# Other values than the defaults, whatever these will be.
SETTINGS: dict[str, Any] = {
    "budget__rate": 0.2, "learner__clusters": 70, "selection__seen_pairs": 4096, "selection__horizon": 30_000,
    "decisions__rejected_sample": 0.02, "kafka__max_poll_records": 100,
}  # fmt: skip
REMEMBERED = 9_000


def packed(messages: Iterable[Message]) -> str:
    """Keys and values, a JSON object a line."""
    lines = []
    for message in messages:
        value = None if message.value is None else base64.b64encode(message.value).decode()
        lines.append(json.dumps({"key": (message.key or b"").decode(), "value": value}) + "\n")
    return "".join(lines)


def facts(ledger: Ledger) -> dict[str, Any]:
    """What a ledger holds, as numbers."""
    names = (
        "next_offset", "epoch", "seen", "accepted", "epoch_seen", "model_version", "clustering", "epoch_allowance", "spending",
        "unspendable", "clustering_allowance", "gate", "threshold", "gate_mass", "score_mass", "tail", "tail_mass",
        "largest_share",
    )  # fmt: skip
    seen, histograms = ledger.seen_pairs, (ledger.gate_histogram, ledger.score_histogram)
    return {
        **{name: getattr(ledger, name) for name in names},
        "reasons": ledger.reasons.tolist(),
        "accepted_by_cluster": np.trim_zeros(ledger.accepted_by_cluster, "b").tolist(),
        "duals": np.trim_zeros(ledger.duals, "b").tolist(),
        "histograms": [float(one @ np.arange(1, len(one) + 1)) for one in histograms],
        "remembered": [seen.count, seen.first, int(seen.chain)],
    }


def work(folder: Path) -> None:
    """A worker decides two partitions with a pinned version, in sixty transactions."""
    configured, model = configuration(**SETTINGS), learned()
    broker = filled(configured)
    run(broker, configured, model)
    kafka = configured.kafka
    (folder / "model.bin").write_bytes(model.encode())
    reader = MemoryTransport(broker, kafka).reader()
    said = []
    for partition in (0, 1):
        newest = {message.key: message for message in broker.log(kafka.ledger_topic, partition)}
        kept = sorted(newest.values(), key=lambda message: message.offset)  # as compaction leaves it
        (folder / f"ledger-{partition}.jsonl").write_text(packed(kept))
        decided = broker.log(kafka.decisions_topic, partition)[:40]
        (folder / f"decisions-{partition}.jsonl").write_text(packed(decided))
        found = read_ledger(reader, kafka, partition).restore(configured.parameters())
        assert found is not None
        said.append(facts(found.ledger))
    (folder / "facts.json").write_text(json.dumps(said, indent=1) + "\n")


def remember(folder: Path) -> None:
    """A ledger that has forgotten the first of the pairs which it accepted."""
    ledger, writer = Ledger(configuration(**SETTINGS).parameters()), LedgerWriter("g/t/0")
    rng, messages = np.random.default_rng(0), dict[bytes, Message]()
    while ledger.seen_pairs.count < REMEMBERED:
        sketches = np.full((700, 64), 0xFFFF, np.uint16)
        sketches[:, :2] = np.sort(rng.integers(0, 60_000, (700, 2)), axis=1)
        keys = np.array([key_of(row, np.uint16(n)) for n, row in enumerate(sketches)], np.uint64)
        ledger.seen_pairs.add(keys, sketches)
        ledger.skip(ledger.next_offset + 699)
        for key, entry in writer.write(ledger, (), LedgerSettings(retained_snapshots=0), 0).records:
            messages[key] = Message(entry.encode() if entry else None, 0, key=key)
    (folder / "remembered.jsonl").write_text(packed(messages.values()))
    (folder / "remembered.json").write_text(json.dumps(facts(ledger)) + "\n")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    work(place)
    remember(place)
