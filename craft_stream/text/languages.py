"""Which language a text is in, by the package eldc (an extra): 60 languages by n-grams of letters, 2 us a sentence.

A text is foreign to a language by m l / (l + 20): m is how much better, between 0 and 1, another language fits than the
expected one, and l how many letters were looked at. So a short text, of which little can be known, is rarely foreign.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import ConfigurationError, IntegrityError, MissingExtraError
from craft_stream.language_tags import nearest_pair, parse_tag, split_pair
from craft_stream.text.batch import TextBatch

LIMIT = 0.1
_SHRINKAGE = 20.0
# Bytes that are looked at: more changes no answer.
_BYTES = 512
# Languages whose fit is asked for; a language beyond counts as fitting not at all.
_SCORES = 20
# A side of the target is of a language if so much of it is.
_MAJORITY = 0.5
UNKNOWN = "und"


class Identifier:
    """Tells languages.

    Attributes:
        name: package and version; answers may change with it.

    Raises:
        MissingExtraError: the extra is not installed.
    """

    def __init__(self) -> None:
        try:
            import eldc
        except ImportError as error:
            raise MissingExtraError('learner.identifier = "eldc"', "languages") from error
        eldc.init()
        self.name = f"eldc-{version('eldc')}"
        # its own names, such as `no` and `tl`, by what they are called here
        self._names = {tag.language: name for name in eldc.LANGUAGES if (tag := parse_tag(name))}
        self._eldc: Any = (
            eldc.instance()
        )  # settings of its own, whatever else the process does with the package
        self._eldc.set_scores(_SCORES)

    def pair(self, languages: str) -> str:
        """Source and target, in any spelling (`en-fr`, `en-US,nb_NO`), as the package calls them: `en-no`.

        Raises:
            ConfigurationError: these are not two languages that it tells.
        """
        sides = split_pair(languages)
        tags = [parse_tag(side) for side in sides or ()]
        names = [self._names.get(tag.language, "") if tag else "" for tag in tags]
        if not names or not all(names):
            near = nearest_pair(languages, self._names)
            hint = f" (did you mean {near}?)" if near else ""
            raise ConfigurationError(
                f'learner.languages is "{languages}"{hint}: it must be source and target, as in "en-fr", of '
                f"{', '.join(sorted(self._names.values()))}"
            )
        return "-".join(names)

    def majority(self, texts: TextBatch) -> str:
        """The language that most of these texts are in, weighed by their lengths; "und" if there is none."""
        weights: Counter[str] = Counter()
        for row in range(len(texts)):
            text = _head(texts, row)
            weights[self._eldc.detect_details(text).language] += len(text)
        language, weight = max(weights.items(), key=lambda item: (item[1], item[0]), default=(UNKNOWN, 0))
        return language if weight > _MAJORITY * weights.total() else UNKNOWN

    def strangeness(self, texts: TextBatch, rows: NDArray[np.int64], language: str) -> NDArray[np.float32]:
        """How foreign texts `rows` are to a language, float32 [rows], 0 to 1; 0 for language "und"."""
        out = np.zeros(len(rows), np.float32)
        if language == UNKNOWN:
            return out
        for place, row in enumerate(rows.tolist()):
            text = _head(texts, row)
            scores = self._eldc.detect_details(text).scores
            margin = max(scores.values(), default=0.0) - scores.get(language, 0.0)
            if margin > LIMIT:  # else no length makes it foreign
                letters = sum(map(str.isalpha, text))
                out[place] = margin * letters / (letters + _SHRINKAGE)
        return out


def _head(texts: TextBatch, row: int) -> str:
    start, end = int(texts.offsets[row]), int(texts.offsets[row + 1])
    return texts.buffer[start : min(end, start + _BYTES)].tobytes().decode("utf-8", "ignore")


@lru_cache(1)
def _eldc() -> Identifier:
    return Identifier()


def load_identifier(kind: str) -> Identifier | None:
    """The identifier of that kind, "eldc"; None for "none"."""
    return None if kind == "none" else _eldc()


def named_identifier(name: str) -> Identifier | None:
    """The identifier that a Model names; None for an empty name.

    Raises:
        IntegrityError: another version is installed, whose answers may be others.
        ConfigurationError: none is installed.
    """
    if not name:
        return None
    found = _eldc()
    if found.name != name:
        raise IntegrityError(
            f"the model tells languages by {name}, here is {found.name}: install that version, or learn a new model"
        )
    return found
