"""A crawl for demonstrations: the demo's message catalogues, published at a steady rate, round after round.

    RATE=50 CRAFT_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 python crawl.py [--rounds N]

The domain's half goes to the target topic first, as the demo has it; the rest is the crawl, with noise. From the second
round on most pairs have been seen, so `duplicate` becomes the most frequent reason. Needs the extra `demo`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from dataclasses import replace
from itertools import count

from connectors.kafka.sink import TopicSink
from craft_stream.demo.catalogues import Catalogues
from craft_stream.settings import Settings


def main() -> None:
    """Publish until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=0, help="0: for ever")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    rate = float(os.environ.get("RATE", "50"))
    kafka = Settings.load().kafka
    target, crawl = TopicSink(kafka, kafka.target_topic), TopicSink(kafka, kafka.input_topic)
    try:
        for turn in range(arguments.rounds) if arguments.rounds else count():
            catalogues = Catalogues.installed(turn)
            if turn == 0:
                for pair in catalogues.target:
                    target.append(pair.id.encode(), pair.record())
                target.flush()
            begun = time.monotonic()
            for number, pair in enumerate(catalogues.stream):
                crawl.append(pair.source.encode(), replace(pair, id=f"{turn}-{number}").record())
                ahead = begun + number / rate - time.monotonic()
                if ahead > 0.1:
                    crawl.flush()
                    time.sleep(ahead)
            crawl.flush()
            sys.stderr.write(f"round {turn}: {len(catalogues.stream)} pairs\n")
    finally:
        target.close()
        crawl.close()


if __name__ == "__main__":
    main()
