"""What must not be used: pages whose owners have asked for it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from connectors.crawl.urls import address, canonical
from connectors.files.entries import entries
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.hosts import listed_host


class Takedown:
    """A list of hosts, URLs and beginnings of URLs, read again when its file changes.

    One rule a line: `example.org` covers the host and all below it, `https://example.org/page` one page,
    `https://example.org/private/*` all that begins so; schemes make no difference, what stands behind ` #` is a remark.

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
            ConfigurationError: it cannot be read, or a rule of it can cover nothing. A list that is gone is no leave to use
                what it covered.
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
        hosts, pages, beginnings = set[str](), set[str](), list[str]()
        for rule in rules:
            bare = rule.partition(" #")[0].strip()
            url = canonical(_with_scheme(bare.removesuffix("*")))
            if host := listed_host(bare):
                hosts.add(host)
            elif not url or "/" not in bare or any(map(str.isspace, bare)):
                raise ConfigurationError(
                    f'the takedown list {self._path}: "{rule}" is no host, URL or URL*: it would cover nothing'
                )
            elif bare.endswith("*"):
                beginnings.append(_page(url))
            else:
                pages.add(address(url))
        self._hosts, self._pages, self._beginnings = frozenset(hosts), frozenset(pages), tuple(beginnings)

    def covers(self, url: str) -> bool:
        """Whether a canonical URL must not be used; how it is spelt makes no difference."""
        if self._path is None:
            return False
        if address(url) in self._pages or _page(url).startswith(self._beginnings or ("\n",)):
            return True
        labels = (urlsplit(url).hostname or "").split(".")
        return any(".".join(labels[k:]) in self._hosts for k in range(len(labels)))


def _with_scheme(url: str) -> str:
    _, mark, rest = url.partition("://")
    return url if mark and not url.startswith("*") else f"http://{rest or url.removeprefix('//')}"


def _page(url: str) -> str:
    return url.partition("://")[2]
