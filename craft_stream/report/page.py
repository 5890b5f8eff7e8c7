"""The report as one HTML file: styles and script inside, nothing loaded from elsewhere."""

from __future__ import annotations

from functools import cache

from craft_stream.report.about import About
from craft_stream.report.document import Document
from craft_stream.report.gathered import Gathered
from craft_stream.report.view import view

# Bytes of a page at most; where texts are as long and as full of marks as can be, fewer examples are shown.
MOST = 4_900_000


def page(gathered: Gathered, about: About) -> bytes:
    """The page, UTF-8.

    All text of the stream is escaped by the template; scripts see numbers only, and the page's policy lets no other script, no
    form and no request through.
    """
    share = 1.0
    while len(made := _document().render(**view(gathered, about, share))) > MOST:
        share /= 2
    return made


@cache  # compiling the templates takes longer than filling them
def _document() -> Document:
    """What every page is made with."""
    return Document(__package__, "form-action 'none'")
