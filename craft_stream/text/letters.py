"""What each character is to the tokenizer, and the form that it is hashed in: one table over the Basic Multilingual Plane.

Forms are those of NFKC in lower case, where these are letters or digits: a full-width, half-width, ligated or positional form
is the letter itself, and a digit of any script is the digit. Beyond NFKC, Romanian's letters with a cedilla are those with a
comma (most text has the wrong one), and the marks of other scripts that mean what one of ASCII does are that one.

Scripts that Unicode's line breaking calls complex (UAX 14, class SA: Thai, Lao, Khmer, Burmese and their neighbours) write no
spaces; there a cluster of letters is a word, as a character of Chinese is: a base with the signs on it, the vowel before it
that is written first, and what is stacked below it. A text with U+200B marks its words by itself; there they are the words.
"""

from __future__ import annotations

import unicodedata

import numpy as np
from numpy.typing import NDArray

# Kinds of characters.
LETTER = 0  # continues a word
SPACE = 1  # ends one and is nothing: spaces, dashes, quotation marks
SYMBOL = 2  # a token of its own: marks of punctuation, signs
IDEOGRAPH = 3  # a word of its own
HIDDEN = 4  # as if it were not there
ACCENT = 5  # joins the letter before it
BASE = 6  # begins a cluster, unless what is before it calls for one
PREPOSED = 7  # begins a cluster and calls for a base
SIGN = 8  # continues a cluster
STACKER = 9  # continues it and calls for a base
BREAK = 10  # U+200B: ends a word where the script writes no spaces, is as if it were not there elsewhere

# What Unicode ignores by default though it is a letter or a mark: a joiner, fillers, vowels that are not heard, selectors of
# variants. (What it calls a format character is known by that.)
INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0" + "".join(
    map(chr, range(0xFE00, 0xFE10))
)

# Beyond these blocks all are letters that nothing folds (unified ideographs, syllables of Korean), or private.
_VARIOUS = (
    range(0x3400),
    range(0x4DC0, 0x4E00),
    range(0xA000, 0xAC00),
    range(0xD7A4, 0xD800),
    range(0xF900, 0x10000),
)
# Assigned in the BMP after Unicode 14, which Python 3.11 has: as unassigned, so that tokens are equal under every Python.
_YOUNGER = {
    *(0x0CF3, 0x0ECE, *range(0x2FFC, 0x3000), 0x31EF),  # 15
    *(0x0897, 0x1B4E, 0x1B4F, 0x1B7F, 0x1C89, 0x1C8A, *range(0x2427, 0x242A), 0x31E4, 0x31E5),  # 16
    *(0xA7CB, 0xA7CC, 0xA7CD, 0xA7DA, 0xA7DB, 0xA7DC),
    *(0x088F, 0x0C5C, 0x0CDC, *range(0x1ACF, 0x1ADE), *range(0x1AE0, 0x1AEC), 0x20C1, 0x2B96),  # 17
    *(0xA7CE, 0xA7CF, 0xA7D2, 0xA7D4, 0xA7F1, *range(0xFBC3, 0xFBD3), 0xFD90, 0xFD91, *range(0xFDC8, 0xFDCF)),
}
_CATEGORIES = {
    **dict.fromkeys(("Pc", "Pe", "Po", "Ps", "Sc", "Sk", "Sm", "So"), SYMBOL),
    **dict.fromkeys(("Zs", "Zl", "Zp", "Cc", "Pd", "Pi", "Pf"), SPACE),
    "Cf": HIDDEN,
}
# The categories whose characters may have another form without having a decomposition.
_FOLDED = ("Lu", "Lt", "Nd", "Nl", "So")
_COMPLEX = (
    range(0x0E01, 0x0F00),  # Thai, Lao
    range(0x1000, 0x10A0),  # Burmese
    range(0x1780, 0x1800),  # Khmer
    range(0x1950, 0x19E0),  # Tai Le, New Tai Lue
    range(0x1A20, 0x1AB0),  # Tai Tham
    range(0xA9E0, 0xAA00),  # Burmese, extended
    range(0xAA60, 0xAAE0),  # Burmese again, Tai Viet
)
_PREPOSED = "เแโใไເແໂໃໄ\uaab5\uaab6\uaab9\uaabb\uaabc"
_STACKERS = "\u1039\u17d2\u1a60"
# Points that readers of Arabic and Hebrew supply, and the stroke that lengthens a word.
_POINTS = "".join(map(chr, (*range(0x591, 0x5BE), 0x5BF, 0x5C1, 0x5C2, 0x640, *range(0x64B, 0x653), 0x670)))
# Combining marks of Latin, Greek and Cyrillic, and the voice marks of kana.
_ACCENTS = [*range(0x0300, 0x0370), 0x3099, 0x309A, 0xFF9E, 0xFF9F]
# As dashes and quotation marks; the last two end the syllables of Tibetan.
_SPACES = "¡¿·「」『』《》〈〉・་༌"
_SAME = dict(zip("şŞţŢİ。、،؛؟۔։።፣།॥", "șșțți.,,;?...,।।", strict=True))
# Decompositions of signs that are read as letters of the line; a superscript (as of a trade mark) is not.
_READ_AS_LETTERS = ("<square>", "<wide>", "<narrow>", "<circle>", "<small>", "<vertical>")
_MOST_BYTES = 7
_LAST = "\uffff"


def _form(character: str, category: str, decomposition: str) -> str:
    """What a character is hashed as."""
    if character in _SAME:
        return _SAME[character]
    if category == "Nd":
        return str(unicodedata.decimal(character))
    lower = character.lower()
    if decomposition and (category[0] != "S" or decomposition.startswith(_READ_AS_LETTERS)):
        folded = unicodedata.normalize("NFKC", character).lower()
        short = len(folded) == 1 or (folded.isalnum() and len(folded.encode()) <= _MOST_BYTES)
        if short and folded[0] <= _LAST:
            return folded
    return lower if len(lower) == 1 else character


def _kinds(categories: NDArray[np.uint8], heads: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Kind of each character, uint8 [65536].

    Args:
        categories: uint8 [65536, 2], the two letters of each character's category.
        heads: int64 [65536], the first code point of its form.
    """
    by_category = np.full((128, 128), LETTER, np.uint8)
    for name, kind in _CATEGORIES.items():
        by_category[tuple(name.encode())] = kind
    codes, (major, minor) = np.arange(len(heads)), categories[heads].T
    kinds: NDArray[np.uint8] = by_category[major, minor]
    for block in _COMPLEX:
        inside = slice(block.start, block.stop)
        kinds[inside][major[inside] == ord("L")] = BASE
        kinds[inside][major[inside] == ord("M")] = SIGN
    kinds[_ACCENTS] = ACCENT
    eastern = ((heads >= 0x3000) & (heads < 0xA000)) | ((heads >= 0xF900) & (heads < 0xFB00))
    kinds[eastern & ((major == ord("L")) | (major == ord("N")))] = IDEOGRAPH
    kinds[(codes >= 0x2000) & (codes < 0x2040) & (kinds == SYMBOL)] = SPACE
    for members, kind in (
        (_PREPOSED, PREPOSED),
        (_STACKERS, STACKER),
        (_SPACES, SPACE),
        (_POINTS, HIDDEN),
        (INVISIBLE, HIDDEN),
    ):
        kinds[[*map(ord, members)]] = kind
    kinds[0x200B] = BREAK
    kinds[heads == ord("_")] = LETTER
    kinds[heads == ord("-")] = SYMBOL
    return kinds


def character_table() -> NDArray[np.uint64]:
    """uint64 [65536], by code point: the kind in the lowest byte, above it the form.

    A form is the UTF-8 of what is hashed, first byte lowest; of a symbol it is a code point.
    """
    categories = ["Lo"] * 0x10000
    heads = np.arange(0x10000)
    low, middle, high = (0x80 | heads >> shift & 0x3F for shift in (0, 6, 12))
    forms = np.where(
        heads < 0x800, low << 8 | middle & 0x1F | 0xC0, low << 16 | middle << 8 | high & 0x0F | 0xE0
    )
    for block in _VARIOUS:
        for code in block:
            if code in _YOUNGER:
                continue
            character = chr(code)
            category = categories[code] = unicodedata.category(character)
            decomposition = unicodedata.decomposition(character)
            if decomposition or category in _FOLDED or character in _SAME:
                form = _form(character, category, decomposition)
                forms[code], heads[code] = int.from_bytes(form.encode(), "little"), ord(form[0])
    kinds = _kinds(np.frombuffer("".join(categories).encode(), np.uint8).reshape(-1, 2), heads)
    return np.where(kinds == SYMBOL, heads, forms).astype(np.uint64) << np.uint64(8) | kinds


def compositions(table: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Letters that an accent behind a letter makes, as canonical composition does.

    Args:
        table: of `character_table`.

    Returns:
        uint64 [n], sorted: the letter's form, shifted by 24, and the accent's; and uint64 [n], the form of both.
    """
    found = {}
    for code in (*range(0xC0, 0x2000), *range(0x3040, 0x3100)):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            letter, accent = int(parts[0], 16), int(parts[1], 16)
            lower = ord(chr(letter).lower()) if letter < 0x80 else int(table[letter]) >> 8
            found[lower << 24 | int(table[accent]) >> 8] = int(table[code]) >> 8
    keys = sorted(found)
    return np.array(keys, np.uint64), np.array([found[key] for key in keys], np.uint64)
