"""Pairs that must never be accepted: those of test sets (decontamination), and what was asked to be taken down.

A list is a set of 64-bit hashes, each of a kind: an identifier, a host, a whole side, or 13 words of a side in a row. A pair
is listed if its identifier or one of its URLs is, the host of one of its URLs or a host above it, one of its sides as a
whole, or any 13 words in a row of a side. Sides are compared by their words alone: case, spaces and marks make no
difference, nor does what the eye does not see or tell apart (`text.plain`). Runs of 13 words are what language models'
training data are cleaned by (Brown et al. 2020, appendix C: shorter runs meet by chance); a test sentence of fewer words is
found as a whole side only.

The hashes lie in an open-addressed table that is at most half full: 16 to 32 bytes each. A pair that is not listed passes
for listed with probability hashes x 2^-64 for each of its hashes: 5e-11 for a pair of 40 words and the largest list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import urlsplit

import numba
import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import ConfigurationError
from craft_stream.hosts import ascii_host
from craft_stream.parameters import lists_digest
from craft_stream.text.batch import TextBatch
from craft_stream.text.hashing import FNV_OFFSET, GOLDEN, fnv, mix
from craft_stream.text.plain import hidden, plain
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.text.tokens import MARK, Tokens, tokenize

WORDS = 13
MOST_HASHES = 1 << 24
_IDENTIFIER, _HOST, _SIDE, _RUN = (np.uint64(kind) for kind in (1, 2, 3, 4))
# Of the polynomial over words, odd, so that every word moves every higher bit.
_BASE = np.uint64(0xD1342543DE82EF95)
# A host name has at most 127 labels, and a URL may be anything.
_MOST_LABELS = 16


@numba.njit(cache=True, nogil=True)
def _side_hashes(
    words: NDArray[np.uint64],
    kinds: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    runs: bool,
    hashes: NDArray[np.uint64],
    owners: NDArray[np.int64],
) -> int:
    count = 0
    last = np.zeros(WORDS, np.uint64)
    highest = np.uint64(1)
    for _ in range(WORDS):
        highest *= _BASE
    for i in range(len(offsets) - 1):
        whole = np.uint64(0)
        run = np.uint64(0)
        seen = 0
        for t in range(offsets[i], offsets[i + 1]):
            if kinds[t] == MARK:
                continue
            word = words[t]
            whole = whole * _BASE + word
            run = run * _BASE + word
            if seen >= WORDS:
                run -= last[seen % WORDS] * highest
            last[seen % WORDS] = word
            seen += 1
            if runs and seen >= WORDS:
                hashes[count] = mix(run + _RUN * GOLDEN)
                owners[count] = i
                count += 1
        if seen:
            hashes[count] = mix(whole + np.uint64(seen) * GOLDEN + _SIDE)
            owners[count] = i
            count += 1
    return count


@numba.njit(cache=True, nogil=True)
def _byte_hashes(
    buffer: NDArray[np.uint8], offsets: NDArray[np.int64], kind: np.uint64, hashes: NDArray[np.uint64]
) -> None:
    for i in range(len(hashes)):
        h = FNV_OFFSET
        for p in range(offsets[i], offsets[i + 1]):
            h = fnv(h, buffer[p])
        hashes[i] = mix(h + kind * GOLDEN)


@numba.njit(cache=True, nogil=True)
def _insert(table: NDArray[np.uint64], hashes: NDArray[np.uint64]) -> None:
    mask = np.uint64(len(table) - 1)
    for h in hashes:
        at = h & mask
        while table[np.int64(at)] != 0 and table[np.int64(at)] != h:
            at = (at + np.uint64(1)) & mask
        table[np.int64(at)] = h


@numba.njit(cache=True, nogil=True)
def _mark(
    table: NDArray[np.uint64],
    hashes: NDArray[np.uint64],
    owners: NDArray[np.int64],
    listed: NDArray[np.bool_],
) -> None:
    mask = np.uint64(len(table) - 1)
    for k in range(len(hashes)):
        at = hashes[k] & mask
        while table[np.int64(at)] != 0:
            if table[np.int64(at)] == hashes[k]:
                listed[owners[k]] = True
                break
            at = (at + np.uint64(1)) & mask


def side_hashes(tokens: Tokens, runs: bool) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of whole sides and, with `runs`, of every 13 words in a row; and the text that each is of.

    Returns:
        uint64 [hashes], never 0, and int64 [hashes]. A text without words has none.
    """
    hashes = np.empty(len(tokens.words) + len(tokens), np.uint64)
    owners = np.empty(len(hashes), np.int64)
    count = _side_hashes(tokens.words, tokens.kinds, tokens.offsets, runs, hashes, owners)
    return np.maximum(hashes[:count], np.uint64(1)), owners[:count]


def identifier_hashes(identifiers: Sequence[str]) -> NDArray[np.uint64]:
    """Hashes of identifiers, uint64 [n], never 0."""
    return _hashes_of(identifiers, _IDENTIFIER)


def host_hashes(hosts: Sequence[str]) -> NDArray[np.uint64]:
    """Hashes of host names, uint64 [n], never 0; what `hosts.ascii_host` takes for one is one."""
    return _hashes_of([ascii_host(host) for host in hosts], _HOST)


def _hashes_of(texts: Sequence[str], kind: np.uint64) -> NDArray[np.uint64]:
    packed = TextBatch.pack(texts)
    hashes = np.empty(len(packed), np.uint64)
    _byte_hashes(packed.buffer, packed.offsets, kind, hashes)
    return np.maximum(hashes, np.uint64(1))


def hosts_of(url: str) -> list[str]:
    """The host of a URL and all hosts above it: `a.b.org`, `b.org`, `org`; empty where there is none."""
    try:
        name = urlsplit(url).hostname or ""
    except ValueError:  # such as an unfinished IPv6 address
        return []
    labels = ascii_host(name).split(".")
    first = max(len(labels) - _MOST_LABELS, 0)
    return [".".join(labels[k:]) for k in range(first, len(labels)) if name]


class Blocklist:
    """What is listed.

    Attributes:
        digests: of the files that it was read from, by the names of their settings.
        digest: of all of them.
        entries: lines or records of these files, by the names of their settings.
        hashes: how many it holds of these.
    """

    def __init__(self, digests: Mapping[str, str] = MappingProxyType({})) -> None:
        self.digests, self.digest = dict(digests), lists_digest(digests)
        self.entries: Counter[str] = Counter()
        self.hashes = 0
        self._hashes: list[NDArray[np.uint64]] = []
        # What there is an entry of: nothing else is looked up.
        self._kinds: set[str] = set()
        self._table = np.zeros(1, np.uint64)

    def add_test_set(self, texts: Sequence[str]) -> None:
        """List texts of a test set, whole and by 13 words in a row."""
        self._kinds.add("runs")
        self._add_sides(texts, runs=True)

    def add_texts(self, texts: Sequence[str]) -> None:
        """List texts as whole sides."""
        self._add_sides(texts, runs=False)

    def _add_sides(self, texts: Sequence[str], runs: bool) -> None:
        """List texts as they are, and in their plain forms."""
        for forms in (texts, [form for text in texts if (form := plain(text)) != text]):
            self._add("sides", side_hashes(tokenize(TextBatch.pack(forms)), runs)[0])

    def add_identifiers(self, identifiers: Sequence[str]) -> None:
        """List records by their identifiers."""
        self._add("identifiers", identifier_hashes(identifiers))

    def add_hosts(self, hosts: Sequence[str]) -> None:
        """List hosts and all beneath them."""
        self._add("hosts", host_hashes(hosts))

    def _add(self, kind: str, hashes: NDArray[np.uint64]) -> None:
        self.hashes += len(hashes)
        if self.hashes > MOST_HASHES:
            raise ConfigurationError(
                f"the lists hold more than {MOST_HASHES:,} hashes (a line of a test set has one for each 13 words in a row, a "
                "line of a takedown list one as an id, a host and a text each): shorten selection.decontaminate or .takedown"
            )
        if len(hashes):
            self._hashes.append(hashes)
            self._kinds.add(kind)

    def seal(self) -> None:
        """Build the table; nothing may be added afterwards."""
        self._table = np.zeros(1 << int(np.ceil(np.log2(max(2 * self.hashes, 2)))), np.uint64)
        for hashes in self._hashes:
            _insert(self._table, hashes)
        self._hashes = []

    def matches(
        self, pairs: TokenizedPairs, origins: Callable[[], Iterable[tuple[str, Sequence[str]]]]
    ) -> NDArray[np.bool_]:
        """Which pairs are listed, bool [pairs].

        Args:
            pairs: any.
            origins: identifier and URLs of each; not called where only texts are listed, since few records need them.
        """
        listed = np.zeros(len(pairs), np.bool_)
        if "sides" in self._kinds:
            runs = "runs" in self._kinds
            for tokens, texts in ((pairs.source, pairs.batch.source), (pairs.target, pairs.batch.target)):
                _mark(self._table, *side_hashes(tokens, runs), listed)
                rows = hidden(texts)
                forms = tokenize(TextBatch.pack([plain(texts.text(row)) for row in rows.tolist()]))
                hashes, owners = side_hashes(forms, runs)
                _mark(self._table, hashes, rows[owners], listed)
        if not self._kinds & {"identifiers", "hosts"}:
            return listed
        named = list(origins())
        if "identifiers" in self._kinds:
            self._mark_named([(own, *urls) for own, urls in named], identifier_hashes, listed)
        if "hosts" in self._kinds:
            hosts = [[host for url in urls for host in hosts_of(url)] for _, urls in named]
            self._mark_named(hosts, host_hashes, listed)
        return listed

    def _mark_named(
        self,
        names: Sequence[Sequence[str]],
        hashes: Callable[[Sequence[str]], NDArray[np.uint64]],
        listed: NDArray[np.bool_],
    ) -> None:
        owners = np.repeat(np.arange(len(names)), np.fromiter(map(len, names), np.int64, len(names)))
        _mark(self._table, hashes([name for own in names for name in own]), owners, listed)
