"""HTML documents that load nothing: style and script inside, allowed by their digests, and nothing else."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

import orjson
from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from craft_stream import __version__


class Document:
    """A template with its style and script; all text that it is given is escaped.

    Args:
        package: that has `page.html.j2` and `page.js`; the style is the same for all.
        allowed: what its policy allows beside its own style and script.

    Attributes:
        policy: content-security policy.
    """

    def __init__(self, package: str, allowed: str) -> None:
        own = files(__package__)
        macros, style = (own.joinpath(name).read_text("utf-8") for name in ("macros.html.j2", "page.css"))
        template, script = (
            files(package).joinpath(name).read_text("utf-8") for name in ("page.html.j2", "page.js")
        )
        environment = Environment(
            loader=DictLoader({"page": template, "macros": macros}),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"count": "{:,}".format, "share": share, "json": _json}
        self.policy = (
            f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src data:; base-uri 'none'; "
            f"{allowed}"
        )
        environment.globals |= {
            "style": Markup(style),  # noqa: S704  # our own files
            "script": Markup(script),  # noqa: S704
            "policy": self.policy,
            "version": __version__,
        }
        self._template = environment.get_template("page")

    def render(self, **values: Any) -> bytes:
        """The document, UTF-8."""
        return self._template.render(values).encode("utf-8", "replace")


def share(value: float) -> str:
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
