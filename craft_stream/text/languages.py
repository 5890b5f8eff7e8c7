"""Which language a text is in: by py3langid's model (140 languages, 10 to 24 us a text) or eldc (an extra: 60, 2 to 15 us).

Of crawled pairs that people judged eldc finds .40 of those in a wrong language where it takes 1 % of the translations for such,
py3langid .26; but eldc has no wheels for Python 3.14, nor for aarch64 (ADR 55).

A text is foreign to a language by m l / (l + 20): m is how much better, between 0 and 1, another language fits than the
expected one, and l how many letters were looked at. So a short text, of which little can be known, is rarely foreign.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import ConfigurationError, IntegrityError, MissingExtraError
from craft_stream.language_tags import nearest_pair, parse_tag, split_pair
from craft_stream.text.batch import TextBatch

_SHRINKAGE = 20.0
# Bytes that are looked at: more changes no answer.
_BYTES = 512
# Languages whose fit is asked for; a language beyond counts as fitting not at all.
_SCORES = 20
# A side of the target is of a language if so much of it is.
_MAJORITY = 0.5
UNKNOWN = "und"
# Times the probability of chance: of a text without letters all languages are alike, and Serbian counts for two scripts.
_KNOWN = 3


class Identifier(ABC):
    """Tells languages.

    Args:
        package: that tells them.
        labels: its own names of them, such as `no` and `tl`.
        limit: strangeness above which a pair is rejected.

    Attributes:
        name: package and version; answers may change with it.
        limit: see above.
    """

    def __init__(self, package: str, labels: Iterable[str], limit: float) -> None:
        self.name, self.limit = f"{package}-{version(package)}", limit
        # by what they are called here
        self._names = {tag.language: label for label in labels if (tag := parse_tag(label))}

    @abstractmethod
    def _language(self, text: str) -> str:
        """The language that fits best, by the package's name; "und": none does."""

    @abstractmethod
    def _margin(self, text: str, language: str) -> float:
        """How much better, 0 to 1, the best language fits than this one."""

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
            weights[self._language(text)] += len(text)
        language, weight = max(weights.items(), key=lambda item: (item[1], item[0]), default=(UNKNOWN, 0))
        return language if weight > _MAJORITY * weights.total() else UNKNOWN

    def strangeness(self, texts: TextBatch, rows: NDArray[np.int64], language: str) -> NDArray[np.float32]:
        """How foreign texts `rows` are to a language, float32 [rows], 0 to 1; 0 for language "und"."""
        out = np.zeros(len(rows), np.float32)
        if language == UNKNOWN:
            return out
        for place, row in enumerate(rows.tolist()):
            text = _head(texts, row)
            margin = self._margin(text, language)
            if margin > self.limit:  # else no length makes it foreign
                letters = sum(map(str.isalpha, text))
                out[place] = margin * letters / (letters + _SHRINKAGE)
        return out


class Eldc(Identifier):
    """By the package eldc.

    Raises:
        MissingExtraError: the extra is not installed.
    """

    def __init__(self) -> None:
        try:
            import eldc
        except ImportError as error:
            raise MissingExtraError('learner.identifier = "eldc"', "languages") from error
        eldc.init()
        super().__init__("eldc", eldc.LANGUAGES, 0.1)
        # settings of its own, whatever else the process does with the package
        self._eldc: Any = eldc.instance()
        self._eldc.set_scores(_SCORES)

    def _language(self, text: str) -> str:
        return str(self._eldc.detect_details(text).language)

    def _margin(self, text: str, language: str) -> float:
        scores = self._eldc.detect_details(text).scores
        return float(max(scores.values(), default=0.0) - scores.get(language, 0.0))


class Langid(Identifier):
    """By the model of py3langid, which is always installed."""

    def __init__(self) -> None:
        from craft_stream.text.language_model import LanguageModel  # 140 MB, which few need

        self._model = LanguageModel()
        super().__init__("py3langid", self._model.labels, 0.3)

    def _language(self, text: str) -> str:
        posterior = self._model.posterior(text)
        best = int(posterior.argmax())
        return self._model.labels[best] if posterior[best] > _KNOWN / len(posterior) else UNKNOWN

    def _margin(self, text: str, language: str) -> float:
        posterior = self._model.posterior(text)
        return float(posterior.max() - posterior[self._model.labels.index(language)])


_KINDS: dict[str, type[Identifier]] = {"eldc": Eldc, "py3langid": Langid}


def _head(texts: TextBatch, row: int) -> str:
    start, end = int(texts.offsets[row]), int(texts.offsets[row + 1])
    return texts.buffer[start : min(end, start + _BYTES)].tobytes().decode("utf-8", "ignore")


@lru_cache(len(_KINDS))
def _identifier(kind: str) -> Identifier:
    return _KINDS[kind]()  # type: ignore[call-arg]


def load_identifier(kind: str) -> Identifier | None:
    """The identifier of that kind, "py3langid" or "eldc"; None for "none"."""
    return None if kind == "none" else _identifier(kind)


def named_identifier(name: str) -> Identifier | None:
    """The identifier that a Model names; None for an empty name.

    Raises:
        IntegrityError: another version is installed, whose answers may be others.
        ConfigurationError: none is installed.
    """
    if not name:
        return None
    kind = name.partition("-")[0]
    if kind not in _KINDS:
        raise IntegrityError(
            f"the model tells languages by {name}, which is not known here: learn a new model"
        )
    found = _identifier(kind)
    if found.name != name:
        raise IntegrityError(
            f"the model tells languages by {name}, here is {found.name}: install that version, or learn a new model"
        )
    return found
