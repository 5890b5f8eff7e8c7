"""A trivial stateful filter in Quix Streams, exactly once: for the environment that `bench.throughput --quix` makes.

Imports nothing of this project. Every tenth pair passes, by a checksum of its source; one number in the state is read and
written for each pair. Usage: `python quix_filter.py BOOTSTRAP GROUP INPUT OUTPUT STATE_FOLDER`; runs until told to stop.
"""

from __future__ import annotations

import sys
import zlib
from typing import Any

from quixstreams import Application


def keep(value: dict[str, Any], state: Any) -> bool:
    """Count the pair and say whether it passes."""
    state.set("seen", state.get("seen", 0) + 1)
    return zlib.crc32(value["src"].encode()) % 10 == 0


def main() -> None:
    """Run the application."""
    bootstrap, group, source, sink, folder = sys.argv[1:]
    app = Application(
        broker_address=bootstrap,
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=1.0,
        commit_every=10_000,
        state_dir=folder,
        auto_create_topics=True,
        loglevel="WARNING",
        consumer_extra_config={"fetch.max.bytes": 50 << 20},
        producer_extra_config={"linger.ms": 20, "compression.type": "lz4"},
    )
    frame = app.dataframe(app.topic(source, value_deserializer="json", key_deserializer="bytes"))
    frame = frame.filter(keep, stateful=True)
    frame.to_topic(app.topic(sink, value_serializer="json", key_serializer="bytes"))
    app.run()


if __name__ == "__main__":
    main()
