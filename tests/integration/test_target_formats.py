"""`craft-stream target publish` takes every format that there is, into a real topic."""

from __future__ import annotations

import gzip
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path

import orjson
import polib
import pytest
import zstandard

from connectors.files import open_sink
from connectors.kafka.admin import connect, plans
from connectors.kafka.reader import KafkaReader
from craft_stream.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PAIRS = [(f"Menu {n} “é”", f"Menü {n} & mehr") for n in range(7)]


def write(folder: Path) -> list[str]:
    """The same pairs in each format; names of the files as one types them."""
    import pyarrow as pa

    records = [orjson.dumps({"src": source, "tgt": target}) for source, target in PAIRS]
    names = ["a.jsonl", "a.tsv", "a.tmx?langs=en,de", "a.parquet", "b.jsonl.gz", "b.jsonl.zst"]
    for name in names:
        with open_sink(str(folder / name)) as sink:  # type: ignore[attr-defined]
            sink.write(records)
    (folder / "b.tsv.gz").write_bytes(gzip.compress((folder / "a.tsv").read_bytes()))
    (folder / "b.tmx.zst").write_bytes(zstandard.compress((folder / "a.tmx").read_bytes()))
    for side, language in enumerate(("en", "de")):
        (folder / f"c.en-de.{language}").write_text("".join(f"{pair[side]}\n" for pair in PAIRS))
    table = pa.table({"src": [source for source, _ in PAIRS], "tgt": [target for _, target in PAIRS]})
    with pa.OSFile(str(folder / "d.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    catalogue = polib.POFile()
    catalogue.metadata = {"Content-Type": "text/plain; charset=utf-8"}
    catalogue.extend(polib.POEntry(msgid=source, msgstr=target) for source, target in PAIRS)
    catalogue.save(str(folder / "e.po"))
    catalogue.save_as_mofile(str(folder / "e.mo"))
    made = ["b.tsv.gz", "b.tmx.zst?langs=en,de", "c.en-de", "d.arrow", "e.po", "e.mo"]
    return [str(folder / name) for name in (*names, *made)]


def test_target_publish_takes_every_format(bootstrap: str, tmp_path: Path) -> None:
    """Twelve files of seven pairs give 84 records with ids of their own; withdrawn, all are gone by tombstones."""
    pytest.importorskip("pyarrow")
    files = write(tmp_path)
    topic = f"target-{uuid.uuid4().hex[:8]}"
    options = [f"kafka.bootstrap_servers={bootstrap}", f"kafka.target_topic={topic}"]
    settings = Settings.load(None, options)
    with connect(settings.kafka) as admin:
        admin.create([plan for plan in plans(settings.kafka, settings.record, 1) if plan.name == topic], 1)
    command = [sys.executable, "-c", "from craft_stream.cli import main; main()", "target", "publish", *files]
    command += [part for option in options for part in ("--set", option)]
    for more in ([], ["--withdraw"]):
        done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "84 pairs" in done.stdout
    reader = KafkaReader(settings.kafka)
    try:
        first, end = reader.bounds(topic, [0])[0]
        messages = [message for chunk in reader.read(topic, 0, first, end) for message in chunk]
    finally:
        reader.close()
    held = [orjson.loads(message.value) for message in messages if message.value is not None]
    assert Counter((record["src"], record["tgt"]) for record in held) == dict.fromkeys(PAIRS, len(files))
    keys = [message.key for message in messages]
    assert len(set(keys[:84])) == 84
    assert keys[84:] == keys[:84]
    assert all(message.value is None for message in messages[84:])
