"""Mojibake: UTF-8 that was decoded as Latin-1 or Windows-1252 and encoded again.

Each byte C3..E9 of the original became a letter such as Ã or â, each continuation byte a character of U+0080..U+00BF or
a mark such as €; such a letter followed by such a character is the sign. On the en-fr development stream the sign is in
.001 % of the clean pairs.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True, nogil=True)
def mojibake_signs(buffer: NDArray[np.uint8], start: int, stop: int) -> int:
    """How many signs of double encoding buffer[start:stop] holds."""
    found = 0
    p = start
    while p + 3 < stop:
        if buffer[p] == 0xC3:
            c = buffer[p + 1]
            # Â Ã Å Ð Ñ Ø Ù Î Ï à â: the lead bytes of Latin, Greek, Cyrillic, Arabic, Indic and punctuation
            lead = c in (0x82, 0x83, 0x85, 0x8E, 0x8F, 0x90, 0x91, 0x98, 0x99, 0xA0, 0xA2)
            follow = buffer[p + 2] == 0xC2 and buffer[p + 3] >= 0x80 and buffer[p + 3] <= 0xBF
            if follow and buffer[p + 3] in (0xA0, 0xAB, 0xBB):
                # a no-break space or a guillemet may follow à in French; only Â and Ã before it tell
                follow = c in (0x82, 0x83)
            if follow and buffer[p + 3] <= 0x9F:
                # a control character of U+0080..U+009F after any letter: no writing holds these
                lead = True
            if not follow and p + 4 < stop and c in (0x82, 0x83, 0x85, 0x90, 0x91, 0xA2):
                # € ‚ … ™: what Windows-1252 makes of 80..9F
                follow = buffer[p + 2] == 0xE2 and buffer[p + 3] in (0x80, 0x82, 0x84)
                if c == 0xA2 and follow and buffer[p + 3] != 0x82:
                    follow = buffer[p + 3] == 0x80 and buffer[p + 4] >= 0x98
            if lead and follow:
                found += 1
                p += 3
        p += 1
    return found
