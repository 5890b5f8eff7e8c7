"""The report as one HTML file: styles and script inside, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

import orjson
from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from craft_stream import __version__
from craft_stream.report.about import About
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
    while len(made := _render(gathered, about, share)) > MOST:
        share /= 2
    return made


def _render(gathered: Gathered, about: About, share: float) -> bytes:
    folder = files(__package__)
    style, script, template = (
        folder.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js", "page.html.j2")
    )
    environment = Environment(
        loader=DictLoader({"page": template}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": "{:,}".format, "share": _share, "json": _json}
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    values = view(gathered, about, share)
    made = environment.get_template("page").render(
        **values,
        style=Markup(style),  # noqa: S704  # our own files
        script=Markup(script),  # noqa: S704
        policy=policy,
        version=__version__,
    )
    return made.encode("utf-8", "replace")


def _share(value: float) -> str:
    """A share as percent, with as many digits as tell something."""
    percent = 100 * value
    return (
        f"{percent:.0f} %"
        if percent >= 99.5 or percent == 0
        else f"{percent:.1f} %"
        if percent >= 1
        else f"{percent:.2f} %"
    )


def _json(value: object) -> Markup:
    """Numbers for the script; no text is among them."""
    return Markup(orjson.dumps(value).decode().replace("<", "\\u003c"))  # noqa: S704  # nothing in it ends the element


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
