"""`craft-stream crawl`: pairs from WARC files, also while they are being written."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from connectors.files.open import STANDARD, is_standard_output
from connectors.files.places import is_pipe
from craft_stream import meanings
from craft_stream.cli.files import protect_inputs
from craft_stream.cli.options import Config, Json, Overrides, load_settings
from craft_stream.cli.stopping import stop_event
from craft_stream.cli.tell import counted, tell
from craft_stream.errors import ConfigurationError, MissingExtraError
from craft_stream.observe.crawl import CrawlRecorder
from craft_stream.observe.http import Server
from craft_stream.settings import Settings

if TYPE_CHECKING:
    from connectors.crawl.job import Crawl
    from connectors.crawl.publish import Publisher
    from connectors.crawl.store import Store

app = typer.Typer(add_completion=False)

_REPORT_SECONDS = 10.0
_SHOWN = 3  # languages of pages that are not wanted


@app.command(epilog="Example: craft-stream crawl --warc crawl/ --follow --langs en,fr --topic crawl.pairs")
def crawl(
    warc: Annotated[
        list[str],
        typer.Option("--warc", metavar="PATH", help="A WARC file, a folder of them, or `-`. Repeatable."),
    ],
    langs: Annotated[str, typer.Option(metavar="SOURCE,TARGET", help="The two languages, such as en,fr.")],
    topic: Annotated[str | None, typer.Option(metavar="TEXT", help="Publish to this topic.")] = None,
    output: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write JSON lines instead; `-` is standard output.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more at the end of the files.")] = False,
    store: Annotated[
        Path, typer.Option(metavar="FILE", help="What has been done and which pages wait; SQLite.")
    ] = Path("craft-crawl.sqlite"),
    name: Annotated[
        str, typer.Option(metavar="TEXT", help="Name of this crawl on its topic; one process for each.")
    ] = "crawl",
    takedown: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Hosts, URLs and URL* that must not be used, one a line."),
    ] = None,
    wait_days: Annotated[
        float,
        typer.Option(metavar="NUMBER", min=0, help="Crawl time for which a page waits for its translation."),
    ] = 30.0,
    max_waiting: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="Pages that wait, at most.")
    ] = 1_000_000,
    max_page_bytes: Annotated[int, typer.Option(metavar="NUMBER", min=1_024, help="Largest page.")] = 10
    << 20,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            min=0,
            max=65_535,
            help="Serve /metrics and /livez on this port of observe.host; 0: a free one.",
        ),
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Pair the pages of two languages, align their sentences and publish the pairs as they are found.

    It goes on where it stopped: nothing twice and nothing lost, however it ended. Needs the extra `crawl`.
    Exit codes: 0; 2 usage or configuration; 1 unreadable input; 75 brokers out of reach.
    """
    try:
        from connectors.crawl.job import Crawl, warc_files
        from connectors.crawl.store import Store
        from connectors.crawl.takedown import Takedown
        from connectors.crawl.warc import WarcStream
        from craft_stream.language_identification import two_languages
    except ImportError:
        raise MissingExtraError("craft-stream crawl", "crawl") from None
    settings = load_settings(config, overrides)
    languages = two_languages(langs)
    if (topic is None) == (output is None):
        raise ConfigurationError("give --topic TOPIC or --output FILE, one of them")
    stop = stop_event()
    reads = [str(path) for place in warc if not is_pipe(place) for path in warc_files(Path(place))]
    mark = None if output is None or is_standard_output(output) else f"{output}.batch"
    protect_inputs(
        [output, mark, str(store)], [*reads, str(takedown) if takedown else None], settings, config
    )
    inputs = [
        WarcStream(_pipe(path), max_bytes=max_page_bytes, path=Path(path)) if is_pipe(path) else Path(path)
        for path in warc
    ]
    with Store(store, languages, wait=int(wait_days * 86_400), most_waiting=max_waiting) as opened:
        publisher = _publisher(settings, topic, output, name, opened)
        report = _Report(opened, as_json, to_stderr=is_standard_output(output))
        watched = CrawlRecorder(opened.counts)
        server = None
        try:
            if metrics_port is not None:
                server = Server(watched, settings.observe.host, metrics_port)
                typer.echo(f"metrics and health on http://{settings.observe.host}:{server.port}", err=True)
            job = Crawl(
                inputs,
                languages,
                opened,
                publisher,
                takedown=Takedown(takedown),
                fields=settings.record,
                follow=follow,
                max_bytes=max_page_bytes,
                failed=_tell,
            )

            def stepped() -> None:
                report.step()
                watched.step(opened.counts, opened.partners.waiting)

            job.run(stop.is_set, stepped)
            if not stop.is_set():
                _tell_nothing(report.counts(), job, opened, languages)
        finally:
            publisher.close()
            if server is not None:
                server.close()
        report.finish()


def _pipe(path: str) -> BinaryIO:
    return sys.stdin.buffer if path == STANDARD else open(path, "rb")  # open for as long as the process


def _tell_nothing(counts: dict[str, int], job: Crawl, store: Store, languages: tuple[str, str]) -> None:
    """Say what a run found that found no pair.

    Args:
        counts: of this run.
        job: that has ended.
        store: of it, open.
        languages: that were asked for.
    """
    if counts.get("pairs"):
        return
    pages = counts.get("responses", 0)
    if not store.counts["responses"]:
        _tell_no_page(job.found())
    elif not pages:
        tell("nothing new was found: the store has all pages of these files")
    else:
        kinds = [f"{counts[kind]:,} {kind}" for kind in meanings.PAGES if counts.get(kind)]
        if waiting := store.partners.waiting:
            kinds.append(f"{waiting:,} wait for a translation")
        told = f"no pair was found in {counted(pages, 'pages')}: {', '.join(kinds)}"
        if others := job.other_languages.most_common(_SHOWN):
            found = ", ".join(f"{language} ({count:,})" for language, count in others)
            told += f"; pages in other languages than {' and '.join(languages)} are in {found}: give --langs"
        tell(told)


def _tell_no_page(found: Counter[str]) -> None:
    """Say what a run found that found no page."""
    files = found.pop("files")
    kinds = ", ".join(f"{count} {kind or 'without a type'}" for kind, count in sorted(found.items()) if count)
    several = "one WARC file holds" if files == 1 else f"{files} WARC files hold"
    held = f"{several} {kinds or 'no record'}" if files else "there is no WARC file"
    tell(f"no page was found: {held}")


def _publisher(
    settings: Settings, topic: str | None, output: str | None, name: str, store: Store
) -> Publisher:
    from connectors.crawl.publish import FilePublisher, KafkaPublisher, StandardOutput

    if topic is not None:
        return KafkaPublisher(settings.kafka, topic, name, store.identity, settings.record.source_field)
    if output is None or is_standard_output(output):
        return StandardOutput()
    return FilePublisher(Path(output), store.identity)


def _tell(url: str, error: Exception) -> None:
    tell(f"{url}: {type(error).__name__}: {error}")


class _Report:
    """A line every ten seconds on stderr, and all counts at the end."""

    def __init__(self, store: Store, as_json: bool, to_stderr: bool) -> None:
        self._store, self._json, self._to_stderr = store, as_json, to_stderr
        self._before = dict(store.counts)
        self._began = self._told = time.monotonic()
        self._cpu = time.process_time()

    def step(self) -> None:
        if time.monotonic() - self._told >= _REPORT_SECONDS:
            self._told = time.monotonic()
            counts = self.counts()
            tell(
                f"{counted(counts.get('responses', 0), 'responses')}, {counted(counts.get('pairs', 0), 'pairs')}, "
                f"{self._store.partners.waiting} pages wait"
            )

    def counts(self) -> dict[str, int]:
        """Of this run."""
        counts = self._store.counts
        return {
            key: counts[key] - self._before.get(key, 0)
            for key in sorted(counts)
            if counts[key] > self._before.get(key, 0)
        }

    def finish(self) -> None:
        seconds, cpu = time.monotonic() - self._began, time.process_time() - self._cpu
        counts = self.counts()
        summary = {
            **counts,
            "waiting": self._store.partners.waiting,
            "seconds": round(seconds, 2),
            "cpu_seconds": round(cpu, 2),
        }
        if self._json:
            typer.echo(json.dumps(summary), err=self._to_stderr)
            return
        rate = counts.get("responses", 0) / cpu if cpu else 0.0
        for key, value in summary.items():
            typer.echo(f"{key:18} {value}", err=self._to_stderr)
        typer.echo(f"{'responses/cpu s':18} {rate:.0f}", err=self._to_stderr)
