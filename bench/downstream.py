"""What a selection is good for: a small translation model trained on it, judged on held-out pairs.

Bits per token of the test targets given their sources under a mixture of IBM Model 1 (5 rounds of EM, with a
null word), a bigram model (Witten-Bell, backing off to unigrams), unigrams and a uniform floor of 1 /
200,000; the weights of the four are fitted by EM on up to 500 pairs of the target set. And chrF of retrieval:
the translation of each test source is the target side of the selected pair with the most similar source
(tf-idf of character 3- and 4-grams).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from bench.corpus import Corpus, Texts

# The vowel signs of Hindi and other marks that combine are none of `\w`; without them its words fell into letters.
_COMBINING = "".join(
    chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code)) in ("Mn", "Mc")
)
_WORD = re.compile(rf"[\w{_COMBINING}]+|[^\w{_COMBINING}\s]")
_LONGEST, _ROUNDS, _FLOOR = 60, 5, 1 / 200_000
_NULL = _START = 0


def figures(corpus: Corpus, domain: str, chosen: NDArray[np.int64]) -> dict[str, float]:
    """Bits per token, share of unknown tokens, and chrF of retrieval, of the corpus's records `chosen`."""
    selected = corpus.pairs.take(chosen)
    train = Texts(selected.source.texts(), selected.target.texts())
    bits, unknown = bits_per_token(train, corpus.target(domain), corpus.test(domain))
    return {"bits": bits, "unknown": unknown, "chrf": retrieval_chrf(train, corpus.test(domain))}


def bits_per_token(train: Texts, tuning: Texts, test: Texts) -> tuple[float, float]:
    """Cross entropy of the test targets in bits per token, and the share of them never seen in training."""
    model = TranslationModel.train(train)
    parts, _ = model.probabilities(tuning.sources[:500], tuning.targets[:500])
    weights = np.full(4, 0.25)
    for _ in range(30):
        shares = parts * weights
        weights = (shares / shares.sum(1, keepdims=True)).mean(0)
    parts, unknown = model.probabilities(test.sources, test.targets)
    return float(-np.log2(parts @ weights).mean()), unknown


@dataclass(frozen=True)
class TranslationModel:
    """IBM Model 1, a bigram and a unigram model of the target side.

    Attributes:
        sources: word to number; 0 is the null word.
        targets: word to number; 0 is the start of a sentence.
        translation: (source, target) as source * len(targets) + target, to t(target | source).
        unigram: float64 [targets], relative frequencies.
        bigrams: counts of (before, word).
        before: counts of every word as the first of a bigram.
        kinds: different words that follow every word.
    """

    sources: dict[str, int]
    targets: dict[str, int]
    translation: dict[int, float]
    unigram: NDArray[np.float64]
    bigrams: Counter[tuple[int, int]]
    before: Counter[int]
    kinds: Counter[int]

    @classmethod
    def train(cls, pairs: Texts) -> TranslationModel:
        """Train on pairs; sentences are cut at 60 tokens."""
        sources, targets = {"<null>": _NULL}, {"<s>": _START}
        left = [[_NULL, *_numbered(text, sources)] for text in pairs.sources]
        right = [_numbered(text, targets) for text in pairs.targets]
        (x, x_offsets), (y, y_offsets) = _flat(left), _flat(right)
        links = _links(x, x_offsets, y, y_offsets, len(targets))
        kinds, position = np.unique(links, return_inverse=True)
        owner = kinds // len(targets)
        t = np.full(len(kinds), 1 / len(targets), np.float32)
        for _ in range(_ROUNDS):
            expected = _expectation(x_offsets, y_offsets, position.astype(np.int32), t)
            total = np.bincount(owner, weights=expected, minlength=len(sources))
            t = (expected / np.maximum(total[owner], 1e-9)).astype(np.float32)
        counts = np.bincount(y, minlength=len(targets)).astype(np.float64)
        bigrams = Counter(pair for words in right for pair in zip([_START, *words], words, strict=False))
        before: Counter[int] = Counter()
        for (first, _), count in bigrams.items():
            before[first] += count
        followers = Counter(first for first, _ in bigrams)
        translation = dict(zip(kinds.tolist(), t.tolist(), strict=True))
        return cls(sources, targets, translation, counts / counts.sum(), bigrams, before, followers)

    def probabilities(
        self, sources: Sequence[str], targets: Sequence[str]
    ) -> tuple[NDArray[np.float64], float]:
        """Float64 [tokens, 4]: Model 1, bigram, unigram, floor of every token; and the share unknown."""
        rows = [row for pair in zip(sources, targets, strict=True) for row in self._tokens(*pair)]
        table = np.array(rows)
        return table, float((table[:, 2] == 0).mean())

    def _tokens(self, source: str, target: str) -> Iterator[tuple[float, float, float, float]]:
        words = _words(source)
        known = [_NULL, *(self.sources[word] for word in words if word in self.sources)]
        before = _START
        for word in _words(target):
            number = self.targets.get(word, -1)
            if number < 0:
                yield 0.0, 0.0, 0.0, _FLOOR
            else:
                at = (source_word * len(self.targets) + number for source_word in known)
                lexical = sum(self.translation.get(key, 0.0) for key in at) / (len(words) + 1)
                unigram = float(self.unigram[number])
                yield lexical, self._bigram(before, number, unigram), unigram, _FLOOR
            before = number

    def _bigram(self, before: int, word: int, unigram: float) -> float:
        seen, kinds = self.before[before], self.kinds[before]
        return (self.bigrams[before, word] + kinds * unigram) / (seen + kinds) if seen else unigram


def retrieval_chrf(train: Texts, test: Texts) -> float:
    """ChrF of the nearest selected pair's target side as a translation of each test source."""
    import sacrebleu
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True)
    known, asked = vectorizer.fit_transform(train.sources).T.tocsr(), vectorizer.transform(test.sources)
    blocks = (asked[start : start + 100] @ known for start in range(0, asked.shape[0], 100))
    found = np.concatenate([np.asarray(block.argmax(1)).ravel() for block in blocks])
    return float(sacrebleu.corpus_chrf([train.targets[index] for index in found], [test.targets]).score)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())[:_LONGEST]


def _numbered(text: str, numbers: dict[str, int]) -> list[int]:
    return [numbers.setdefault(word, len(numbers)) for word in _words(text)]


def _flat(sentences: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All numbers end to end, and where each sentence begins."""
    offsets = np.zeros(len(sentences) + 1, np.int64)
    np.cumsum([len(sentence) for sentence in sentences], out=offsets[1:])
    return np.fromiter((number for sentence in sentences for number in sentence), np.int64), offsets


@numba.njit(cache=True)
def _links(x, x_offsets, y, y_offsets, width):  # type: ignore[no-untyped-def]
    """int64, the key of every (source word, target word) of every sentence, target words outermost."""
    total = 0
    for i in range(len(x_offsets) - 1):
        total += (x_offsets[i + 1] - x_offsets[i]) * (y_offsets[i + 1] - y_offsets[i])
    keys, n = np.empty(total, np.int64), 0
    for i in range(len(x_offsets) - 1):
        for q in range(y_offsets[i], y_offsets[i + 1]):
            for p in range(x_offsets[i], x_offsets[i + 1]):
                keys[n] = x[p] * width + y[q]
                n += 1
    return keys


@numba.njit(cache=True)
def _expectation(x_offsets, y_offsets, position, t):  # type: ignore[no-untyped-def]
    """float64 [kinds of links]: each target word's one count, shared among its source words by t."""
    expected, n = np.zeros(len(t), np.float64), 0
    for i in range(len(x_offsets) - 1):
        size = x_offsets[i + 1] - x_offsets[i]
        for _ in range(y_offsets[i], y_offsets[i + 1]):
            total = 1e-12
            for p in range(n, n + size):
                total += t[position[p]]
            for p in range(n, n + size):
                expected[position[p]] += t[position[p]] / total
            n += size
    return expected
