"""`python -m tests.site.links SITE`: every link of a built site leads somewhere, and no page loads anything from elsewhere.

Lists and tables without a blank line before them, which the site shows as running text, are found as well.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

UNFORMATTED = re.compile(r"\n *(?:- |\d+\. |\|)")
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """What a page links to, what it loads, the anchors that it has, and lists that are none."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.unformatted: list[str] = []
        self._text: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        values = {name: value for name, value in attrs if value is not None}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in LOADED and LOADED[tag] in values and values.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(values[LOADED[tag]])
        if tag in ("p", "li"):
            self._text = []

    def handle_data(self, data: str) -> None:
        """Gather the text of a paragraph."""
        self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Look at a paragraph."""
        if tag == "p" and (found := UNFORMATTED.search(text := "".join(self._text))):
            self.unformatted.append(text[found.start() :].strip()[:60])


def faults(site: Path) -> list[str]:
    """What is wrong with a site, a line each."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        found += [f"{path.name} loads {url}" for url in page.loaded if urlsplit(url).netloc]
        found += [f"{path.name} needs a blank line before: {text}" for text in page.unformatted]
        if path.name == "404.html":  # its links are of the place that a server has it at
            continue
        for url in [*page.links, *page.loaded]:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            fragment = unquote(parts.fragment)
            if not target.exists():
                found.append(f"{path.relative_to(site.resolve())}: {url} is not there")
            elif fragment and target in pages and fragment not in pages[target].anchors | {"__skip", "top"}:
                found.append(f"{path.relative_to(site.resolve())}: {url} has no such place")
    return found


if __name__ == "__main__":
    lines = faults(Path(sys.argv[1]))
    print("\n".join(lines) or "every link leads somewhere, nothing is loaded from elsewhere")
    sys.exit(bool(lines))
