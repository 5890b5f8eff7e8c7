"""`craft-stream simulate`: a crawl to try things with, without a network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from craft_stream.cli.tell import tell
from craft_stream.errors import MissingExtraError

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: craft-stream simulate crawl/ --pages 200 --rate 20")
def simulate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the WARC file is written.")],
    pages: Annotated[
        int,
        typer.Option(metavar="NUMBER", min=1, max=1_000_000, help="Pages of the site in each language."),
    ] = 500,
    rate: Annotated[
        float, typer.Option(metavar="NUMBER", min=0, help="Pages a second; 0: as fast as it goes.")
    ] = 20.0,
    port: Annotated[
        int, typer.Option(metavar="NUMBER", min=0, max=65_535, help="Port of the site; 0 takes a free one.")
    ] = 0,
    serve_only: Annotated[
        bool, typer.Option("--serve-only", help="Serve the site and fetch nothing.")
    ] = False,
) -> None:
    """Serve a small bilingual site on the loopback interface, and crawl it into a WARC file that grows.

    Beside it, `craft-stream crawl --warc DIR --follow --langs en,fr --topic crawl.pairs` makes pairs of it. Needs the
    extra `crawl`.
    """
    try:
        from craft_stream.demo.fetch import fetch
        from craft_stream.demo.site import Site, serve
    except ImportError:
        raise MissingExtraError("craft-stream simulate", "crawl") from None
    folder.mkdir(parents=True, exist_ok=True)
    with serve(Site(pages), port) as url:
        tell(f"the site is at {url}/")
        try:
            while serve_only:
                time.sleep(1)
            path = folder / f"simulated-{time.time_ns()}.warc.gz"
            written = fetch(f"{url}/", path, rate or None)
        except KeyboardInterrupt:
            return
    tell(f"{written} pages in {path}")
