"""Where pairs come from: the page and the host that their records name, and their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from craft_stream.text.contexts import Contexts


def origin(record: dict[str, Any], names: Iterable[str]) -> tuple[str, str]:
    """Page and host of the first URL field that holds a text; empty where none does.

    What is no URL, such as the name of a document, is a page of no host. A page's fragment does not count.
    """
    held = (record.get(name) for name in names)
    url = next((text for text in held if isinstance(text, str) and text), "").partition("#")[0]
    _, mark, rest = url.partition("://")
    return url, rest.partition("/")[0].rpartition("@")[2].partition(":")[0].lower() if mark else ""


def contexts(values: Sequence[bytes], rows: NDArray[np.int64], names: Sequence[str]) -> Contexts | None:
    """Of each pair, hashes of its page and host, see `origin`; None where no record has such a field.

    Args:
        values: of messages.
        rows: int64 [pairs], index in `values` of each pair.
        names: of the fields.
    """
    quoted = [f'"{name}"'.encode() for name in names]
    whole = b"".join(values)
    # what all of them end in is looked for before each is: most streams name no URL
    if not quoted or _end(quoted) not in whole or not any(name in whole for name in quoted):
        return None
    found, known = Contexts.unknown(len(rows)), {"": 0}
    for pair, row in enumerate(rows.tolist()):
        value = values[row]
        if not any(name in value for name in quoted):
            continue
        page, host = origin(orjson.loads(value), names)
        found.page[pair], found.host[pair] = _hash(page, known), _hash(host, known)
    return found


def _end(names: Sequence[bytes]) -> bytes:
    """The longest ending that all names have."""
    size = 0
    while size < min(map(len, names)) and len({name[-size - 1 :] for name in names}) == 1:
        size += 1
    return names[0][len(names[0]) - size :]


def _hash(text: str, known: dict[str, int]) -> int:
    """Not 0, which says that nothing is known, but of no text."""
    found = known.get(text)
    if found is None:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        found = known[text] = int.from_bytes(digest, "little") or 1
    return found
