"""Orders in which the records of a corpus may come: a crawl comes site by site, and document by document."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.corpus import Corpus

ORDERS = ("shuffled", "ids", "blocks", "blocks8")
CONTEXTS = ("none", "neighbours", "page", "host", "page+host")
# Records of one site in a row, log-uniform between these, and how many of an open site come at a time.
_SITE = (2_000, 20_000)
_TURN = 50


def arrange(corpus: Corpus, name: str, seed: int = 0) -> NDArray[np.int64]:
    """The stream's records in another order, int64 [n].

    Args:
        corpus: the corpus.
        name: `shuffled`, as the corpus is; `ids`, as the documents were written, with copies from elsewhere at random
            places; `blocks`, sites of 2,000 to 20,000 records, one after the other; `blocks8`, eight of them at a time.
        seed: of what is random.
    """
    rng = np.random.default_rng(seed)
    if name == "shuffled":
        return np.arange(len(corpus.labels.domains))
    if name == "ids":
        places = corpus.places.astype(np.float64)
        copies = np.flatnonzero(corpus.copies)
        places[copies] = rng.uniform(places.min(), places.max(), len(copies))
        return np.argsort(places, kind="stable")
    if name in ("blocks", "blocks8"):
        sites = _sites(corpus.labels.domains, rng)
        return np.concatenate(sites if name == "blocks" else _in_turns(sites, 8, rng))
    raise ValueError(f"no order {name!r}; known: {', '.join(ORDERS)}")


# Records of a page and of a host, by the places of the documents.
_PAGE, _HOST = 16, 1000


def contexts(corpus: Corpus, name: str, seed: int = 0) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Page and host of every record in the corpus's order, uint64 [n] each; 0 where it is not said.

    Args:
        corpus: the corpus.
        name: `none`, `neighbours` (nothing is said), or `page`, `host`, `page+host`: 16 and 1,000 records that stand together.
        seed: of the pages of copies from elsewhere.
    """
    n = len(corpus.places)
    if name in ("none", "neighbours"):
        return np.zeros(n, np.uint64), np.zeros(n, np.uint64)
    places, copies = corpus.places.copy(), np.flatnonzero(corpus.copies)
    places[copies] = np.random.default_rng(seed).permutation(places[copies])
    return (places // _PAGE + 1).astype(np.uint64), (places // _HOST + 1).astype(np.uint64)


def _sites(domains: NDArray[np.uint8], rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """The records of each domain cut into sites, in any order."""
    low, high = np.log(_SITE)
    sites = []
    for domain in np.unique(domains):
        rows = np.flatnonzero(domains == domain)
        while len(rows):
            size = int(np.exp(rng.uniform(low, high)))
            sites.append(rows[:size])
            rows = rows[size:]
    return [sites[index] for index in rng.permutation(len(sites))]


def _in_turns(sites: list[NDArray[np.int64]], many: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Parts of sites, so many of which are open at a time."""
    waiting, parts = list(reversed(sites)), []
    opened: list[NDArray[np.int64]] = []
    while waiting or opened:
        while waiting and len(opened) < many:
            opened.append(waiting.pop())
        at = int(rng.integers(len(opened)))
        parts.append(opened[at][:_TURN])
        opened[at] = opened[at][_TURN:]
        if not len(opened[at]):
            opened.pop(at)
    return parts
