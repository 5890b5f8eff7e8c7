"""Tokens, n-grams, bags of stems, mojibake."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_stream.encoders.hashing import HashingEncoder
from craft_stream.text.bags import STEM_BITS, bags, nearest_bags
from craft_stream.text.batch import PairBatch, TextBatch
from craft_stream.text.mojibake import mojibake_signs
from craft_stream.text.ngrams import NGRAM_BITS, word_ngrams
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.text.tokens import MARK, MAX_TOKENS, NUMBER, WORD, tokenize

texts = st.lists(st.text(max_size=60), max_size=12)


@given(texts)
def test_packing_keeps_every_text(items: list[str]) -> None:
    """What is packed comes out again, but for characters that UTF-8 cannot hold."""
    assert TextBatch.pack(items).texts() == [t.encode("utf-8", "replace").decode() for t in items]


@given(texts, st.integers(0, 12), st.integers(0, 12))
def test_a_slice_is_tokenised_as_in_the_whole(items: list[str], a: int, b: int) -> None:
    """Tokens of a text do not depend on its neighbours."""
    low, high = sorted((min(a, len(items)), min(b, len(items))))
    batch = TextBatch.pack(items)
    whole, part = tokenize(batch), tokenize(batch.slice(low, high))
    start, stop = whole.offsets[low], whole.offsets[high]
    assert np.array_equal(whole.words[start:stop], part.words)
    assert np.array_equal(whole.stems[start:stop], part.stems)
    assert np.array_equal(whole.kinds[start:stop], part.kinds)


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), max_size=8), st.data())
def test_a_slice_of_what_was_read_is_what_is_read_of_a_slice(
    pairs: list[tuple[str, str]], data: st.DataObject
) -> None:
    """Texts that were read ahead may be cut at an epoch: tokens and n-grams of either side are the slice's own."""
    low = data.draw(st.integers(0, len(pairs)))
    high = data.draw(st.integers(low, len(pairs)))
    batch = PairBatch.pack([a for a, _ in pairs], [b for _, b in pairs], range(5, 5 + len(pairs)))
    part, own = TokenizedPairs.of(batch).slice(low, high), TokenizedPairs.of(batch.slice(low, high))
    assert len(part) == high - low
    assert part.batch.source.texts() == own.batch.source.texts()
    assert part.batch.positions.tolist() == list(range(5 + low, 5 + high))
    for side in ("source", "target"):
        one, other = getattr(part, side), getattr(own, side)
        for name in ("words", "stems", "kinds", "offsets"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
    assert np.array_equal(part.ngrams.indices, own.ngrams.indices)
    assert np.array_equal(part.ngrams.offsets, own.ngrams.offsets)


@pytest.mark.parametrize(
    ("upper", "lower"),
    [("HELLO World", "hello world"), ("ÉCOLE Çà", "école çà"), ("ΑΘΗΝΑ", "αθηνα"), ("МОСКВА", "москва")],
)
def test_case_is_folded(upper: str, lower: str) -> None:
    """Capitals of Latin, Greek and Cyrillic letters count as small ones."""
    tokens = tokenize(TextBatch.pack([upper, lower]))
    half = tokens.offsets[1]
    assert half > 0
    assert np.array_equal(tokens.words[:half], tokens.words[half:])


def test_kinds_of_tokens() -> None:
    """Words, numbers and marks are told apart, quotation marks and no-break spaces are none, CJK is cut by character."""
    tokens = tokenize(TextBatch.pack(["« Le 12 mai », 3.5 %", "日本語"]))
    assert tokens.kinds[: tokens.offsets[1]].tolist() == [
        WORD,
        NUMBER,
        WORD,
        MARK,
        NUMBER,
        MARK,
        NUMBER,
        MARK,
    ]
    assert tokens.offsets[2] - tokens.offsets[1] == 3


def test_a_danda_ends_a_sentence() -> None:
    """The full stop of Hindi is a mark, so that a word before it is the same word, with a space between or none."""
    tokens = tokenize(TextBatch.pack(["घर है।", "घर है ।", "घर है॥", "घर है."]))
    words = tokens.words.reshape(4, 3)
    assert tokens.kinds.reshape(4, 3).tolist() == [[WORD, WORD, MARK]] * 4
    assert (words[1:3] == words[0]).all()
    assert words[3, :2].tolist() == words[0, :2].tolist()
    assert words[3, 2] != words[0, 2]


def test_stems_join_inflections() -> None:
    """Words that share six characters share a stem and no word."""
    tokens = tokenize(TextBatch.pack(["translation translated"]))
    assert tokens.stems[0] == tokens.stems[1]
    assert tokens.words[0] != tokens.words[1]


def test_long_texts_are_bounded() -> None:
    """A text of 100,000 characters gives at most MAX_TOKENS tokens."""
    tokens = tokenize(TextBatch.pack(["a " * 50_000, "b" * 100_000, "." * 100_000]))
    assert np.diff(tokens.offsets).tolist() == [MAX_TOKENS, 1, MAX_TOKENS]


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), max_size=8))
def test_ngrams_are_distinct_and_at_most_three_a_word(pairs: list[tuple[str, str]]) -> None:
    """A pair's n-grams are distinct, below 2^NGRAM_BITS, the same in any batch, and as many as its words, bigrams and stems."""
    batch = PairBatch.pack([s for s, _ in pairs], [t for _, t in pairs])
    source, target = tokenize(batch.source), tokenize(batch.target)
    ngrams = word_ngrams(source, target)
    for i in range(len(batch)):
        found = ngrams.indices[ngrams.offsets[i] : ngrams.offsets[i + 1]].tolist()
        expected = set()
        for side, tokens in enumerate((source, target)):
            words = tokens.words[tokens.offsets[i] : tokens.offsets[i + 1]].tolist()
            stems = tokens.stems[tokens.offsets[i] : tokens.offsets[i + 1]].tolist()
            expected |= {(side, word) for word in words} | {(side, *two) for two in pairwise(["", *words])}
            expected |= {("stem", side, stem) for stem in stems}
        assert len(found) == len(set(found)) == len(expected)
        alone = word_ngrams(
            tokenize(batch.source.take(np.array([i]))), tokenize(batch.target.take(np.array([i])))
        )
        assert alone.indices.tolist() == found
    assert not len(ngrams.indices) or ngrams.indices.max() < 1 << NGRAM_BITS


def test_the_sides_do_not_share_ngrams() -> None:
    """The same word counts apart on the source and on the target side."""
    word = tokenize(TextBatch.pack(["word"]))
    ngrams = word_ngrams(word, word)
    assert len(set(ngrams.indices.tolist())) == 6


@given(texts)
def test_embeddings_are_unit_vectors(items: list[str]) -> None:
    """Every text with a token has a unit embedding, every other the zero vector; nothing is NaN."""
    lengths = np.linalg.norm(HashingEncoder().encode(items), axis=1)
    has_tokens = np.diff(tokenize(TextBatch.pack(items)).offsets) > 0
    assert np.all(np.abs(lengths - 1) < 1e-5, where=has_tokens)
    # Stems that cancel each other in every coordinate would give zero too; they need two colliding hashes.
    assert np.all(lengths[~has_tokens] == 0)


def test_encode_takes_one_text_or_many() -> None:
    """One text gives a vector, many a matrix, and the batch size has no influence."""
    encoder = HashingEncoder(64)
    many = encoder.encode(["a b c", "d e f", "a b c"], batch_size=2)
    assert many.shape == (3, 64)
    assert np.array_equal(encoder.encode("a b c"), many[0])
    assert np.array_equal(many[0], many[2])


def test_nearest_without_embeddings_is_nearest_with_them() -> None:
    """The sparse assignment finds the centroid of largest inner product."""
    rng = np.random.default_rng(0)
    items = [" ".join(str(x) for x in rng.integers(0, 500, 9)) for _ in range(200)]
    tokens = tokenize(TextBatch.pack(items))
    weights = rng.random(1 << STEM_BITS).astype(np.float32) + 0.1
    centroids = rng.standard_normal((64, 20)).astype(np.float32)
    dense = bags(tokens, np.arange(200), weights, 64) @ centroids
    found = nearest_bags(tokens, weights, centroids)
    assert np.allclose(dense[np.arange(200), found], dense.max(axis=1), atol=1e-5)


def signs(text: str) -> int:
    encoded = text.encode("utf-8", "replace")
    return int(mojibake_signs(np.frombuffer(encoded, np.uint8), 0, len(encoded)))


@pytest.mark.parametrize("text", ["déjà vu", "mañana", "Привет мир", "नमस्ते", "naïve “quoted” €5"])
def test_mojibake_is_found(text: str) -> None:
    """Text decoded as Windows-1252 or Latin-1 and encoded again shows signs; the original shows none."""
    assert signs(text) == 0
    for codec in ("cp1252", "latin-1"):
        garbled = text.encode().decode(codec, "replace")
        assert signs(garbled) > 0, codec


def test_mojibake_of_cjk_is_found_as_latin_1() -> None:
    """Japanese read as Latin-1 shows control characters; read as Windows-1252 it looks like French at the end of a line."""
    assert signs("日本語テキスト".encode().decode("latin-1")) > 0


@pytest.mark.parametrize("text", ["« à »", "Âge d’or", "à « bientôt »", "5 Å · m", "São Paulo", "Ça va ?"])
def test_ordinary_letters_are_no_mojibake(text: str) -> None:
    """Letters that also occur in mojibake are no sign by themselves."""
    assert signs(text) == 0
