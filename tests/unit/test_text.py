"""Tokens, n-grams, bags of stems, mojibake."""

from __future__ import annotations

import unicodedata
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_stream.encoders.hashing import HashingEncoder
from craft_stream.text.bags import STEM_BITS, bags, nearest_bags
from craft_stream.text.batch import PairBatch, TextBatch
from craft_stream.text.letters import character_table, compositions
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


def words(text: str) -> list[int]:
    return tokenize(TextBatch.pack([text])).words.tolist()


def test_the_table_of_characters_is_the_same_under_every_python() -> None:
    """Forms and compositions do not move with the Unicode of the Python that runs: a Model learned under one is read by all."""
    table = character_table()
    keys, values = compositions(table)
    assert (zlib.crc32(table.tobytes()), zlib.crc32(keys.tobytes() + values.tobytes())) == (
        0x37481DA6,
        0x5CD06220,
    )


@given(st.binary(max_size=80))
def test_bytes_that_are_no_utf8_are_tokens_too(data: bytes) -> None:
    """Whatever bytes come, there are no more tokens than bytes, and those of a text end where it does."""
    batch = TextBatch(
        np.frombuffer(data + b"\xe0\xb8\x81", np.uint8), np.array([0, len(data), len(data) + 3])
    )
    tokens = tokenize(batch)
    assert np.diff(tokens.offsets)[0] <= len(data)
    assert tokens.words[tokens.offsets[1] :].tolist() == words("ก")


accented = st.text(
    st.one_of(
        st.characters(min_codepoint=0xC0, max_codepoint=0x24F, categories=("L",)),
        st.characters(min_codepoint=0x1E00, max_codepoint=0x1EF9, categories=("L",)),
        st.sampled_from("abcXYZ 12.άέήίόύώϊйїўガギパぽ"),
    ),
    max_size=20,
)


@given(accented)
def test_an_accent_behind_its_letter_is_one_with_it(text: str) -> None:
    """Composed and decomposed letters are the same words, in Latin, Greek, Cyrillic and kana."""
    assert words(unicodedata.normalize("NFD", text)) == words(unicodedata.normalize("NFC", text))


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30))
def test_widths_are_folded(text: str) -> None:
    """Full-width forms, as of Chinese and Japanese keyboards, are the letters, digits and marks of ASCII."""
    assert words("".join(chr(ord(c) + 0xFEE0) for c in text)) == words(text)


@given(
    st.text(st.sampled_from("0123456789"), min_size=1, max_size=9),
    st.sampled_from("٠۰०০೦๐໐༠០၀߀"),
)
def test_digits_of_any_script_are_numbers(number: str, zero: str) -> None:
    """A number is the same token in the digits of Arabic, Persian, Hindi, Thai and others."""
    tokens = tokenize(TextBatch.pack([number, "".join(chr(ord(zero) + int(digit)) for digit in number)]))
    assert tokens.words[0] == tokens.words[1]
    assert tokens.kinds.tolist() == [NUMBER, NUMBER]


@given(st.text(st.sampled_from("aé1ñ字ကก中ب"), min_size=1, max_size=8), st.data())
def test_what_is_not_seen_is_not_there(text: str, data: st.DataObject) -> None:
    """Soft hyphens, joiners and marks of direction change no token, wherever they stand."""
    at = data.draw(st.integers(0, len(text)))
    hidden = data.draw(st.sampled_from("\u00ad\u200c\u200d\u200e\u2060\ufeff"))
    assert words(text[:at] + hidden + text[at:]) == words(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("acţiune şi Ţară Şi", "acțiune și țară și"),
        ("İstanbul", "istanbul"),
        ("ﬁn ﬃ", "fin ffi"),
        ("ﾃｽﾄ ｶﾞ", "テスト ガ"),
        ("مرحبا، ماذا؟ نعم؛", "مرحبا, ماذا? نعم;"),
        ("مُحَمَّد مـحـمـد", "محمد محمد"),
        ("日本語。中文，「话」", "日本語.中文,话"),
        ("¿Qué? ¡Sí!", "Qué? Sí!"),
        ("한글、", "한글,"),
        ("㎏ ⑫ ﻼ", "kg 12 لا"),
    ],
)
def test_one_text_in_two_forms(one: str, other: str) -> None:
    """What means the same letter or mark is the same token."""
    assert words(one) == words(other)


@pytest.mark.parametrize(
    "clusters",
    ["เก็ บ ไฟ ล์ ที่", "ກ ຳ ລັ ງ ເຮັ ດ", "ក ម្ពុ ជា ខ្ញុំ", "မြ န် မာ ဗု ဒ္ဓ"],
)
def test_a_cluster_of_letters_is_a_word_where_no_spaces_are_written(clusters: str) -> None:
    """In Thai, Lao, Khmer and Burmese a base is a token with its signs, the vowel written first, what is stacked below."""
    text = clusters.replace(" ", "")
    assert words(text) == words(clusters)
    assert len(words(text)) == clusters.count(" ") + 1
    assert words(f"x{text}5") == [*words("x"), *words(clusters), *words("5")]


@pytest.mark.parametrize(
    ("text", "count"), [("5€", 2), ("20°C", 3), ("a😀b", 3), ("Windows™", 2), ("𠮷野", 2)]
)
def test_signs_are_tokens_of_their_own(text: str, count: int) -> None:
    """A sign of currency or a picture does not stick to a number or a word."""
    assert len(words(text)) == count


def test_a_danda_ends_a_sentence() -> None:
    """The full stop of Hindi is a mark, so that a word before it is the same word, with a space between or none."""
    tokens = tokenize(TextBatch.pack(["घर है।", "घर है ।", "घर है॥", "घर है."]))
    found = tokens.words.reshape(4, 3)
    assert tokens.kinds.reshape(4, 3).tolist() == [[WORD, WORD, MARK]] * 4
    assert (found[1:3] == found[0]).all()
    assert found[3, :2].tolist() == found[0, :2].tolist()
    assert found[3, 2] != found[0, 2]


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
        # Of some dozens two may share one of 2^20 places; hypothesis found such.
        assert len(expected) - 1 <= len(found) == len(set(found)) <= len(expected)
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
