"""Texts without what the eye does not tell apart: for comparing them, never for scoring.

Invisible characters go (soft hyphens, zero-width spaces and joiners, byte order marks, marks of direction, selectors of
variants, fillers, controls of ASCII), widths, ligatures
and composed letters become one form (NFKC), case is folded, and spaces and marks of every kind become a space.
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np
from numpy.typing import NDArray

from craft_stream.text.batch import TextBatch
from craft_stream.text.letters import INVISIBLE

# Bytes that begin what changes: controls, no-break spaces, soft hyphens, combining marks, all of three bytes and more.
_LEADS = np.zeros(256, np.int64)
_LEADS[[*range(9), *range(0x0E, 0x20), 0x7F]] = 1
_LEADS[[0xC2, 0xCC, 0xCD]] = 1
_LEADS[0xE0:] = 1
_CATEGORIES = {"Cf": "", "Cc": " ", "Zs": " ", "Zl": " ", "Zp": " "}
# `letters.INVISIBLE` and their like beyond the BMP, and controls that are no spaces; those above ASCII are mostly marks of
# Windows-1252 that was taken for Latin-1
_HIDDEN = re.compile(f"[\\x00-\\x08\\x0e-\\x1f\\x7f{INVISIBLE}\U000e0000-\U000e0fff]")
_RARE = re.compile(r"[^\w\s]|[\x00-\x1f\x7f-\xa0\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]|\u00ad")


def _replaced(match: re.Match[str]) -> str:
    kind = unicodedata.category(match[0])
    if kind in _CATEGORIES:
        return _CATEGORIES[kind]
    return " " if kind[0] in "PS" else match[0]


def plain(text: str) -> str:
    """The text in its plain form; equal forms are one text to a reader."""
    text = _RARE.sub(_replaced, _HIDDEN.sub("", text))
    return _RARE.sub(_replaced, unicodedata.normalize("NFKC", text).casefold())


def hidden(texts: TextBatch) -> NDArray[np.int64]:
    """Rows whose texts may differ from their plain forms in more than the case and the marks of ASCII, int64."""
    start, end = int(texts.offsets[0]), int(texts.offsets[-1])
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(_LEADS[texts.buffer[start:end]])])
    return np.flatnonzero(before[texts.offsets[1:] - start] > before[texts.offsets[:-1] - start])
