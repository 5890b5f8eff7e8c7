"""What must not be used: pages whose owners have asked for it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from connectors.crawl.urls import canonical
from connectors.files.entries import entries
from craft_stream.errors import ConfigurationError, DataError


class Takedown:
    """A list of hosts, URLs and beginnings of URLs, read again when its file changes.

    One rule a line: `example.org` covers the host and all below it, `https://example.org/page` one page,
    `https://example.org/private/*` all that begins so.

    Args:
        path: the file; None covers nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._changed = -1
        self._hosts: frozenset[str] = frozenset()
        self._pages: frozenset[str] = frozenset()
        self._beginnings: tuple[str, ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Read the file again if it has changed.

        Raises:
            ConfigurationError: it cannot be read. A list that is gone is no leave to use what it covered.
        """
        if self._path is None:
            return
        try:
            changed = self._path.stat().st_mtime_ns
            if changed == self._changed:
                return
            rules = list(entries(str(self._path)))
        except (OSError, DataError) as error:
            raise ConfigurationError(f"cannot read the takedown list {self._path}: {error}") from None
        self._changed = changed
        self._hosts = frozenset(rule.lower().rstrip(".") for rule in rules if "/" not in rule)
        self._pages = frozenset(_page(rule) for rule in rules if "/" in rule and not rule.endswith("*"))
        self._beginnings = tuple(_page(rule[:-1]) for rule in rules if "/" in rule and rule.endswith("*"))

    def covers(self, url: str) -> bool:
        """Whether a canonical URL must not be used; the scheme makes no difference."""
        if self._path is None:
            return False
        page = _page(url)
        if page in self._pages or page.startswith(self._beginnings or ("\n",)):
            return True
        name = urlsplit(url).hostname or ""
        labels = name.split(".")
        return any(".".join(labels[k:]) in self._hosts for k in range(len(labels)))


def _page(url: str) -> str:
    return (canonical(url) or url).partition("://")[2]
