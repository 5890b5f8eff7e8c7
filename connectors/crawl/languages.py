"""Which language a text is in."""

from __future__ import annotations

from collections.abc import Iterable

import pycld2

_ENOUGH = 20_000  # characters that tell a page's language
SURE = 60  # characters below which a sentence's language is a guess


def shares(texts: Iterable[str]) -> dict[str, int]:
    """Percent of the text in each language, by code without script; empty where nothing can be told."""
    taken, length = [], 0
    for text in texts:
        taken.append(text)
        length += len(text)
        if length > _ENOUGH:
            break
    try:
        _, _, found = pycld2.detect(
            "\n".join(taken).encode("utf-8", "ignore")[: 4 * _ENOUGH], isPlainText=True
        )
    except pycld2.error:
        return {}
    result: dict[str, int] = {}
    for _, code, percent, _ in found:
        if code != "un":
            base = str(code).split("-")[0]
            result[base] = result.get(base, 0) + int(percent)
    return result


def is_surely(text: str, language: str) -> bool:
    """Whether a sentence is in a language beyond doubt."""
    if len(text) < SURE:
        return False
    try:
        reliable, _, found = pycld2.detect(text.encode("utf-8", "ignore"), isPlainText=True)
    except pycld2.error:
        return False
    return bool(reliable) and str(found[0][1]).split("-")[0] == language
