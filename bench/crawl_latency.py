"""From a page written to a WARC file to its pair on the training topic: how long it takes, live.

    python -m bench.crawl_latency --warc crawl.warc.gz --langs en,fr --target target.jsonl --rate 20

Starts a broker (or uses CRAFT_TEST_BOOTSTRAP), `craft-stream run` and `craft-stream crawl --follow` as processes of
their own, then copies the records of the WARC file into a growing one, `--rate` responses a second, and reads the
accepted topic (read_committed) meanwhile. A pair's latency counts from the moment when the later of its two pages was
in the file to the moment when the accepted record was read.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from fastwarc import ArchiveIterator, WarcRecordType

from connectors.crawl.urls import canonical
from connectors.kafka.admin import connect, plans
from connectors.kafka.clients import consumer
from craft_stream.settings import Settings
from tests import broker

COMMAND = [sys.executable, "-c", "from craft_stream.cli import main; main()"]
QUIET_SECONDS = 15.0  # without an accepted record, after the last page
START_SECONDS = 90.0  # the same before the first: a busy machine starts a worker in a minute


def responses(path: Path) -> list[tuple[str, bytes]]:
    """URL and gzip member of each response."""
    data = path.read_bytes()
    starts, urls = [], []
    with path.open("rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.any_type, parse_http=False):
            starts.append(record.stream_pos)
            is_response = record.record_type == WarcRecordType.response
            urls.append((record.headers.get("WARC-Target-URI") or "").strip("<>") if is_response else "")
    ends = [*starts[1:], len(data)]
    found = [(canonical(url), data[a:b]) for url, a, b in zip(urls, starts, ends, strict=True) if url]
    gzip.decompress(found[0][1])
    return found


def percentile(values: list[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--warc", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--langs", default="en,fr")
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--budget", type=float, default=0.1)
    arguments = parser.parse_args()
    pages = responses(arguments.warc)
    with broker.bootstrap() as bootstrap, tempfile.TemporaryDirectory() as name:
        measure(arguments, pages, bootstrap, Path(name))


def measure(
    arguments: argparse.Namespace, pages: list[tuple[str, bytes]], bootstrap: str, folder: Path
) -> None:
    """Feed the pages and read the accepted topic."""
    (folder / "warc").mkdir()
    config = folder / "craft.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{bootstrap}"\ncommit_interval_ms = 200\n[budget]\nrate = {arguments.budget}\n'
        "[learner]\nprime_pairs = 2000\nprime_seconds = 20\n[observe]\nport = 0\n"
    )
    settings = Settings.load(config)
    with connect(settings.kafka) as admin:
        admin.create(plans(settings.kafka, settings.record, 2), 1)
    subprocess.run(
        [*COMMAND, "target", "publish", str(arguments.target), "--config", str(config)], check=True
    )
    log = (folder / "log").open("wb")
    crawl = [
        "crawl",
        "--warc",
        str(folder / "warc"),
        "--follow",
        "--langs",
        arguments.langs,
        "--topic",
        settings.kafka.input_topic,
    ]
    processes = [
        subprocess.Popen([*COMMAND, "run", "--config", str(config)], stdout=log, stderr=log),
        subprocess.Popen(
            [*COMMAND, *crawl, "--config", str(config), "--store", str(folder / "store")],
            stdout=log,
            stderr=log,
        ),
    ]
    written: dict[str, float] = {}
    done = threading.Event()

    def feed() -> None:
        time.sleep(5)
        due = time.time()
        with (folder / "warc" / "live.warc.gz").open("ab") as file:
            for url, member in pages:
                file.write(member)
                file.flush()
                written[url] = time.time()
                due += 1 / arguments.rate
                time.sleep(max(0.0, due - time.time()))
        done.set()

    threading.Thread(target=feed, daemon=True).start()
    accepted: list[tuple[float, float]] = []
    quiet = time.monotonic()
    reader = consumer(settings.kafka, group_id=None, auto_offset_reset="earliest", fetch_max_wait_ms=50)
    reader.subscribe([settings.kafka.accepted_topic])
    while not done.is_set() or time.monotonic() - quiet < (QUIET_SECONDS if accepted else START_SECONDS):
        if not done.is_set():
            quiet = time.monotonic()
        for records in reader.poll(timeout_ms=100, max_records=5_000).values():
            now = time.time()
            quiet = time.monotonic()
            for record in records:
                pair = json.loads(record.value)
                since = max(written[pair["src_url"]], written[pair["tgt_url"]])
                accepted.append((since, now - since))
        for process in processes:
            if process.poll() is not None:
                raise SystemExit((folder / "log").read_text())
    reader.close()
    for process in processes:
        process.terminate()
        process.wait(30)
    log.close()
    if not accepted:
        raise SystemExit(f"no pair was accepted:\n{(folder / 'log').read_text()}")
    print((folder / "log").read_text()[-1500:])
    begun = min(since for since, _ in accepted)
    print(f"{len(pages)} responses at {arguments.rate:.0f}/s, {len(accepted)} pairs accepted")
    for what, chosen in (
        ("all", [latency for _, latency in accepted]),
        ("after the learner's first version", [latency for since, latency in accepted if since > begun + 30]),
    ):
        if chosen:
            print(
                f"{what}: {len(chosen)} pairs, latency p50 {statistics.median(chosen):.2f} s, "
                f"p95 {percentile(chosen, 0.95):.2f} s, p99 {percentile(chosen, 0.99):.2f} s, worst {max(chosen):.2f} s"
            )


if __name__ == "__main__":
    main()
