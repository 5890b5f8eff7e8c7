"""Where pairs come from: the page and the host that their records name, as hashes."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from craft_stream.ports.messages import values
from craft_stream.reading.chunk import Chunk


class Addresses(NamedTuple):
    """Of the pairs of a chunk.

    Attributes:
        page, host: uint64 [pairs], hashes of the URL and of its host; 0 where the record names none.
    """

    page: NDArray[np.uint64]
    host: NDArray[np.uint64]


def addresses(chunk: Chunk) -> Addresses:
    """Of each pair, the first of `record.url_fields` that holds a text.

    What is no URL, such as the name of a document, is a page of no host. A page's fragment does not count.
    """
    names, held = chunk.fields.url_fields, values(chunk.messages)
    page, host = np.zeros(len(chunk.pairs), np.uint64), np.zeros(len(chunk.pairs), np.uint64)
    quoted = [f'"{name}"'.encode() for name in names]
    known: dict[str, int] = {}
    for pair, row in enumerate(chunk.rows.tolist()):
        value = held[row]
        if not any(name in value for name in quoted):
            continue
        record: dict[str, Any] = orjson.loads(value)
        found = [record.get(name) for name in names]
        url: str = next((text for text in found if isinstance(text, str) and text), "")
        if not url:
            continue
        url = url.partition("#")[0]
        _, mark, rest = url.partition("://")
        page[pair] = _hash(url, known)
        if mark:
            host[pair] = _hash(rest.partition("/")[0].rpartition("@")[2].partition(":")[0].lower(), known)
    return Addresses(page, host)


def _hash(text: str, known: dict[str, int]) -> int:
    """Not 0, which says that nothing is known."""
    found = known.get(text)
    if found is None:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        found = known[text] = int.from_bytes(digest, "little") or 1
    return found
