"""What a page's owner asks of robots: whether it may be kept, and whether its text may be mined."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FORBIDDEN = frozenset(
    {"noindex", "noarchive", "nocache", "none"}
)  # hyphens apart; the third is the second's old name
_RESERVED = frozenset({"noai", "noimageai", "notrain", "nodatamining"})
_NOT_RESERVED = frozenset({"0", "false", "no"})
# directives that have a value behind a colon; any other name before a colon is that of a robot, which is not ours
_VALUED = frozenset({"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"})
_SEPARATOR = re.compile(r"[,;|/\s]+")
_VALUE = re.compile(r"\s*:\s*")


def directives(value: str) -> set[str]:
    """The words of one value of `robots` (a header or a meta element) that are meant for every robot."""
    found: set[str] = set()
    ours = True
    for word in filter(None, _SEPARATOR.split(_VALUE.sub(":", value.lower()))):
        name, colon, rest = word.partition(":")
        if colon and name not in _VALUED:
            ours = name == "*"  # what follows is for this robot
            word = rest
        elif colon:
            continue
        if ours:
            found.add(word.replace("-", ""))
    return found


def reservation(values: Iterable[str]) -> bool | None:
    """What values of `tdm-reservation` say: whether the rights of text and data mining are reserved; None for nothing.

    1 reserves them, and so does what may be meant by it; of several values one is enough. 0 leaves them open.
    """
    words = {word.strip(" \t\"'").lower() for value in values for word in value.split(",")} - {""}
    return not words <= _NOT_RESERVED if words else None


def is_forbidden(values: Iterable[str]) -> bool:
    """Whether values of `robots` forbid to keep a page."""
    return any(directives(value) & _FORBIDDEN for value in values)


def is_reserved(values: Iterable[str]) -> bool:
    """Whether values of `robots` reserve the rights of text and data mining or of training."""
    return any(directives(value) & _RESERVED for value in values)
