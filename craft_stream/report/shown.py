"""Crawled text as it is shown: what cannot be seen is spelt, what is long is cut, what speaks against a pair is marked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from craft_stream.selection.decisions import Reason

# Characters of a text that are shown, after unseen ones were spelt; marks in it.
SHOWN, _MOST_MARKS = 240, 12
# Controls, zero-width and bidirectional marks, line and paragraph separators, tags, unpaired surrogates, private use; not the
# joiners that Persian, Indic scripts and emoji are written with.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff0-\ufffc\ufffe\uffff\ud800-\udfff\ue000-\uf8ff\U000e0000-\U000e0fff]"
)
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+")
_MOJIBAKE = re.compile("[ÃÂâ][\x80-\xbf€-™]+")


class Part(NamedTuple):
    """A piece of a text.

    Attributes:
        text: as it is shown.
        mark: why it is marked; empty where it is not.
    """

    text: str
    mark: str = ""


def visible(text: str, most: int = SHOWN) -> str:
    """A text whose unseen characters are spelt (`[U+202E]`), cut where it is long."""
    text = _UNSEEN.sub(_spell, text[: 4 * most])
    return text if len(text) <= most else text[: most - 1] + "…"


def _spell(found: re.Match[str]) -> str:
    return " " if found[0] in "\t\n\r" else f"[U+{ord(found[0]):04X}]"


def parts(text: str, other: str, reason: Reason) -> list[Part]:
    """A text in pieces, of which those are marked that a reader should look at.

    Args:
        text: one side of a pair.
        other: the other one.
        reason: what was decided of it. Of a copy words are marked that both sides have, of anything else numbers that the other
            side has not, and text that was encoded twice.
    """
    text = visible(text)
    found = list(islice(_marks(text, other, reason), _MOST_MARKS))
    pieces, at = [], 0
    for start, stop, why in found:
        pieces += [Part(text[at:start]), Part(text[start:stop], why)]
        at = stop
    return [piece for piece in (*pieces, Part(text[at:])) if piece.text]


def _marks(text: str, other: str, reason: Reason) -> Iterator[tuple[int, int, str]]:
    if reason in (Reason.COPY, Reason.UNFAMILIAR_TEXT):
        words = set(_WORD.findall(other.lower()))
        for found in _WORD.finditer(text):
            if found[0].lower() in words:
                yield *found.span(), "on both sides"
        return
    pattern = re.compile(f"{_MOJIBAKE.pattern}|{_NUMBER.pattern}")
    numbers = set(_NUMBER.findall(other))
    for found in pattern.finditer(text):
        if not found[0].isdecimal():
            yield *found.span(), "encoded twice"
        elif found[0] not in numbers and reason is not Reason.ACCEPTED:
            yield *found.span(), "not on the other side"
