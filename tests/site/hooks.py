"""What MkDocs is told beside mkdocs.yml: links that leave the documents, and the list of decisions.

A document may link to a file of the repository, which a reader on a code host follows. The site has no such file, and
knows no host: there the link becomes the file's path. One that leads nowhere stays as it is, and the strict build fails.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")
OF_SITE = (".md", ".png", ".svg")
# What the theme's search loads on pages that are opened as files; docs/assets has it.
SHIM = "https://unpkg.com/iframe-worker/shim"
OWN_SHIM = "assets/iframe-worker.js"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page's text as the site has it."""
    here = page.file.src_uri

    def replace(link: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join("docs", posixpath.dirname(here), link[2]))
        if place.startswith("docs/") and place.endswith(OF_SITE) and not place.startswith("docs/examples/"):
            return link[0]
        if not (ROOT / place).exists():
            return link[0]
        return f"`{place}`" if link[1].strip("`") in (place, link[2]) else f"{link[1]} (`{place}`)"

    if here == "adr/index.md":
        decisions = sorted((ROOT / "docs" / "adr").glob("0*.md"))
        titles = (path.read_text("utf-8").partition("\n")[0].removeprefix("# ") for path in decisions)
        markdown += "\n" + "".join(
            f"- [{title}]({path.name})\n" for path, title in zip(decisions, titles, strict=True)
        )
    return LINK.sub(replace, markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """A page that loads nothing from elsewhere."""
    return output.replace(SHIM, "../" * page.file.dest_uri.count("/") + OWN_SHIM)


def on_post_template(output_content: str, **_: Any) -> str:
    """The same of the page that a server shows for what is not there."""
    return output_content.replace(SHIM, OWN_SHIM)
