"""The name that was meant, where somebody has typed one that there is none of."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Of the known names the one that is spelt most like another, in whatever case; the first of several."""
    asked = name.lower()
    return max(known, key=lambda one: SequenceMatcher(None, asked, one.lower()).ratio())
