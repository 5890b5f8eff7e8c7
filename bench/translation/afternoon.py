"""What a practitioner writes in an afternoon: a score of the domain, and rules that keep noise out.

Scores: the bilingual cross-entropy difference (Moore and Lewis 2010, Axelrod et al. 2011) of trigram models over pieces, and
a logistic regression on hashed words and pairs of words of both sides, target against stream. Rules: lengths as in the
target, no copies, equal numbers, no broken encoding, the right languages (eldc), a lexical fit (IBM Model 1 both ways) as
good as that of 97 % of the target, Bicleaner's score where a pair came with one, and no pair twice, numbers aside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from bench.downstream import _expectation, _links
from bench.translation.prepared import Side

SAMPLE = 50_000  # pairs that stand for the stream, in both scores
LEXICON = 40_000  # pairs that pass the rules and teach Model 1
ROUNDS = 5
BICLEANER = 0.5  # what its authors keep
_UNLIKELY = 1e-4
_FOREIGN = 0.1
_NUMBER, _WORD = re.compile(r"\d+"), re.compile(r"\w+")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_BROKEN = re.compile("[ÃÂ][\u0080-\u00bf¢£¤¥¦§¨©ª«¬®¯°±²³´µ¶·¸¹º»¼½¾¿]|â€|Ã.|Â ")


class Trigrams:
    """A trigram model of pieces, Witten-Bell, each order backing off to the next, the lowest to add a half."""

    def __init__(self, side: Side, size: int) -> None:
        self._size = size
        pieces = side.pieces.astype(np.int64)
        last, before = _contexts(side)
        counts = np.bincount(pieces, minlength=size) + 0.5
        self._unigram = counts / counts.sum()
        self._second = _Counts(last, pieces, size)
        self._third = _Counts(before * size + last, pieces, size)

    def entropy(self, side: Side) -> NDArray[np.float64]:
        """float64 [n], nats per piece of every text; 0 for a text without pieces."""
        pieces = side.pieces.astype(np.int64)
        last, before = _contexts(side)
        lower = self._second.mixed(last, pieces, self._unigram[pieces])
        logs = np.log(self._third.mixed(before * self._size + last, pieces, lower))
        totals = np.concatenate([[0.0], np.cumsum(logs)])[side.offsets]
        return -np.diff(totals) / np.maximum(side.lengths, 1)


class _Counts:
    """Counts of pieces after a context, and how a lower order is mixed in."""

    def __init__(self, contexts: NDArray[np.int64], pieces: NDArray[np.int64], size: int) -> None:
        self._size = size
        self._contexts, place = np.unique(contexts, return_inverse=True)
        self._seen = np.bincount(place)
        self._keys, self._counts = np.unique(place * size + pieces, return_counts=True)
        self._kinds = np.bincount(self._keys // size, minlength=len(self._contexts))

    def mixed(
        self, contexts: NDArray[np.int64], pieces: NDArray[np.int64], lower: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        place, known = _find(self._contexts, contexts)
        at, held = _find(self._keys, place * self._size + pieces)
        count = np.where(known & held, self._counts[at], 0)
        seen, kinds = self._seen[place], self._kinds[place]
        return np.where(known, (count + kinds * lower) / (seen + kinds), lower)


def _find(keys: NDArray[np.int64], asked: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return at, keys[at] == asked


def _contexts(side: Side) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The piece before each, and the one before that; 0 at a text's beginning."""
    pieces = side.pieces.astype(np.int64)
    starts = side.offsets[:-1][side.lengths > 0]
    last = np.concatenate([[0], pieces[:-1]])
    last[starts] = 0
    before = np.concatenate([[0], last[:-1]])
    before[starts] = 0
    return last, before


def taken(side: Side, rows: NDArray[np.int64]) -> Side:
    """The texts `rows` of a side."""
    return Side.of([side.text(int(row)).tolist() for row in rows])


def cross_entropy_difference(
    target: Sequence[Side], stream: Sequence[Side], size: int, seed: int = 0
) -> NDArray[np.float64]:
    """float64 [n], H of the stream's model less H of the target's, summed over both sides; larger is nearer."""
    n = len(stream[0])
    rows = np.sort(np.random.default_rng(seed).choice(n, min(SAMPLE, n), replace=False))
    score = np.zeros(n)
    for near, side in zip(target, stream, strict=True):
        score += Trigrams(taken(side, rows), size).entropy(side) - Trigrams(near, size).entropy(side)
    return score


def logistic(
    target: tuple[Sequence[str], Sequence[str]], stream: tuple[Sequence[str], Sequence[str]], seed: int = 0
) -> NDArray[np.float64]:
    """float64 [n], log odds of the target against the stream."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression

    hashed = HashingVectorizer(
        n_features=1 << 20,
        ngram_range=(1, 2),
        tokenizer=str.split,
        token_pattern=None,
        alternate_sign=False,
        lowercase=False,
    )
    n, step = len(stream[0]), 50_000
    rows = np.sort(np.random.default_rng(seed).choice(n, min(SAMPLE, n), replace=False))
    drawn = [stream[0][row] for row in rows], [stream[1][row] for row in rows]
    features = hashed.transform([*_marked(*target), *_marked(*drawn)])
    labels = np.repeat([1, 0], [len(target[0]), len(rows)])
    model = LogisticRegression(C=10, class_weight="balanced", solver="liblinear").fit(features, labels)
    parts = (
        hashed.transform(_marked(stream[0][start : start + step], stream[1][start : start + step]))
        for start in range(0, n, step)
    )
    return np.concatenate([model.decision_function(part) for part in parts])


def _marked(sources: Sequence[str], targets: Sequence[str]) -> Iterable[str]:
    """Both sides in one text, every word marked with its side."""
    for pair in zip(sources, targets, strict=True):
        yield " ".join(
            f"{mark}{word}"
            for mark, text in zip("st", pair, strict=True)
            for word in _TOKEN.findall(text.lower())
        )


@dataclass
class Filters:
    """The rules, with their limits from a target.

    Attributes:
        shortest, longest: bounds of the logarithm of the ratio of lengths, target to source: 98 % of the target.
        lexicon: Model 1 in both directions.
        fit: the least lexical fit, the 3 % quantile of the target.
        scores: Bicleaner's, by place in the stream, where there are any.
    """

    shortest: float
    longest: float
    lexicon: Lexicon
    fit: float
    scores: Mapping[int, float]

    @classmethod
    def learn(
        cls,
        target: tuple[Sequence[str], Sequence[str]],
        target_pieces: Sequence[Side],
        stream: tuple[Sequence[str], Sequence[str]],
        pieces: Sequence[Side],
        scores: Mapping[int, float],
        seed: int = 0,
    ) -> Filters:
        """Limits from the target, the lexicon from pairs of the stream that pass the plain rules."""
        ratios = [_ratio(source, text) for source, text in zip(*target, strict=True)]
        shortest, longest = (float(limit) for limit in np.quantile(ratios, [0.01, 0.99]))
        order = np.random.default_rng(seed).permutation(len(stream[0]))
        rows: list[int] = []
        for row in order.tolist():
            if len(rows) == LEXICON:
                break
            if plain(stream[0][row], stream[1][row], shortest, longest):
                rows.append(row)
        at = np.sort(np.array(rows, np.int64))
        lexicon = Lexicon.learn(taken(pieces[0], at), taken(pieces[1], at))
        fit = float(np.quantile(lexicon.fit(*target_pieces), 0.03))
        return cls(shortest, longest, lexicon, fit, scores)

    def ranked(
        self,
        order: NDArray[np.int64],
        stream: tuple[Sequence[str], Sequence[str]],
        pieces: Sequence[Side],
        tokens: NDArray[np.int64],
        budget: int,
    ) -> NDArray[np.int64]:
        """The best of a ranking that pass every rule, until their source tokens fill the budget."""
        languages, kept, spent = Languages(), [], 0
        known: set[tuple[str, str]] = set()
        for start in range(0, len(order), 4096):
            rows = np.array(
                [row for row in order[start : start + 4096].tolist() if self._passes(row, stream)], np.int64
            )
            if not len(rows):
                continue
            fits = self.lexicon.fit(taken(pieces[0], rows), taken(pieces[1], rows)) >= self.fit
            for row in rows[fits].tolist():
                pair = stream[0][row], stream[1][row]
                key = (_NUMBER.sub("0", pair[0].lower()), _NUMBER.sub("0", pair[1].lower()))
                if key in known or not languages.agree(*pair):
                    continue
                known.add(key)
                kept.append(row)
                spent += int(tokens[row])
                if spent > budget:
                    return np.array(kept, np.int64)
        return np.array(kept, np.int64)

    def _passes(self, row: int, stream: tuple[Sequence[str], Sequence[str]]) -> bool:
        return self.scores.get(row, 1.0) >= BICLEANER and plain(
            stream[0][row], stream[1][row], self.shortest, self.longest
        )


def plain(source: str, target: str, shortest: float, longest: float) -> bool:
    """Whether a pair passes the rules that look at letters alone."""
    if not source.strip() or not target.strip() or not shortest <= _ratio(source, target) <= longest:
        return False
    if source.strip().lower() == target.strip().lower() or _BROKEN.search(source) or _BROKEN.search(target):
        return False
    if set(_NUMBER.findall(source)) ^ set(_NUMBER.findall(target)):
        return False
    words, translated = set(_WORD.findall(source.lower())), set(_WORD.findall(target.lower()))
    return len(translated) <= 2 or len(words & translated) <= 0.7 * len(translated)


def _ratio(source: str, target: str) -> float:
    return float(np.log((len(target) + 2) / (len(source) + 2)))


class Languages:
    """Tells English and French from all else, by eldc; a short text is taken for what it should be."""

    def __init__(self) -> None:
        import eldc

        eldc.init()
        self._eldc = eldc.instance()
        self._eldc.set_scores(20)

    def agree(self, source: str, target: str) -> bool:
        """Whether neither side is foreign."""
        return not self._foreign(source, "en") and not self._foreign(target, "fr")

    def _foreign(self, text: str, language: str) -> bool:
        scores: dict[str, float] = self._eldc.detect_details(text[:500]).scores
        margin = max(scores.values(), default=0.0) - scores.get(language, 0.0)
        letters = sum(map(str.isalpha, text))
        return margin * letters / (letters + 20) > _FOREIGN


@dataclass(frozen=True)
class Lexicon:
    """IBM Model 1 in both directions.

    Attributes:
        forward, backward: keys (source piece with 1 added, target piece) and their probabilities, of either direction.
        size: number of pieces, the base of the keys.
    """

    forward: tuple[NDArray[np.int64], NDArray[np.float32]]
    backward: tuple[NDArray[np.int64], NDArray[np.float32]]
    size: int

    @classmethod
    def learn(cls, source: Side, target: Side) -> Lexicon:
        """Five rounds of EM, with a null word."""
        size = int(max(source.pieces.max(), target.pieces.max())) + 1
        return cls(_model_one(source, target, size), _model_one(target, source, size), size)

    def fit(self, source: Side, target: Side) -> NDArray[np.float64]:
        """float64 [n], the mean log of each piece's best translation, of the worse direction."""
        directions = ((source, target, self.forward), (target, source, self.backward))
        fits = [
            _best(
                x.pieces.astype(np.int64), x.offsets, y.pieces.astype(np.int64), y.offsets, *table, self.size
            )
            for x, y, table in directions
        ]
        worse: NDArray[np.float64] = np.minimum(*fits)
        return worse


def _model_one(source: Side, target: Side, size: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    x = np.insert(source.pieces.astype(np.int64) + 1, source.offsets[:-1], 0)
    x_offsets = source.offsets + np.arange(len(source.offsets))
    links = _links(x, x_offsets, target.pieces.astype(np.int64), target.offsets, size)
    keys, place = np.unique(links, return_inverse=True)
    owner, place = keys // size, place.astype(np.int32)
    t = np.full(len(keys), 1 / size, np.float32)
    for _ in range(ROUNDS):
        expected = _expectation(x_offsets, target.offsets, place, t)
        total = np.bincount(owner, weights=expected)
        t = (expected / np.maximum(total[owner], 1e-9)).astype(np.float32)
    return keys, t


@numba.njit(cache=True)
def _best(x, x_offsets, y, y_offsets, keys, t, size):  # type: ignore[no-untyped-def]
    """The mean log of max t(y | x) over each text of y, null word left out."""
    out = np.zeros(len(x_offsets) - 1)
    for i in range(len(out)):
        total = 0.0
        for q in range(y_offsets[i], y_offsets[i + 1]):
            best = _UNLIKELY
            for p in range(x_offsets[i], x_offsets[i + 1]):
                key = (x[p] + 1) * size + y[q]
                at = np.searchsorted(keys, key)
                if at < len(keys) and keys[at] == key and t[at] > best:
                    best = t[at]
            total += np.log(best)
        out[i] = total / max(y_offsets[i + 1] - y_offsets[i], 1)
    return out
