"""Names of hosts: one spelling for each, and what lists of hosts write."""

from __future__ import annotations

import re
from unicodedata import category, normalize

# alone, with all beneath it (`*.example.org`, `.example.org`), as the address of its site, as filters of browsers write it
_LISTED = re.compile(
    r"(?:(?:https?|ftp|\*):)?(?://)?(?:\|\|)?(?:\*?\.)?((?:[\w-]+\.)*[\w-]+|\[[0-9a-f:.]+\])\.?(?::\d+)?(?:/\*?|\^)?",
    re.IGNORECASE,
)


def ascii_host(name: str) -> str:
    """A name as DNS knows it: lower case, no dot at the end, no brackets, letters of other scripts in Punycode."""
    bare = name.strip().rstrip(".").lower().removeprefix("[").removesuffix("]")
    if bare.isascii():
        return bare
    try:
        return bare.encode("idna").decode("ascii")
    except UnicodeError:  # a label that is empty or too long
        return bare


def listed_host(entry: str) -> str | None:
    """The host that an entry of a list names, itself and all beneath it, as `ascii_host`; None for what is more or other."""
    seen = "".join(
        letter for letter in normalize("NFKC", entry) if category(letter) != "Cf"
    )  # zero width, marks of order
    found = _LISTED.fullmatch(seen.strip())
    return ascii_host(found[1]) if found else None
