"""Records and chunks: what is a pair, what is refused and why."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_stream.errors import RecordError
from craft_stream.ports.messages import Message
from craft_stream.reading.chunk import Chunk
from craft_stream.reading.objects import find_sides
from craft_stream.reading.records import DecodeReason, Pair, Refusal, examine, read_pair
from craft_stream.settings import RecordSettings

RECORD = RecordSettings()

POISON: dict[str, tuple[bytes | None, DecodeReason]] = {
    "tombstone": (None, DecodeReason.TOMBSTONE),
    "empty": (b"", DecodeReason.NOT_JSON),
    "blank": (b"  \r", DecodeReason.NOT_JSON),
    "text": (b"hello", DecodeReason.NOT_JSON),
    "cut off": (b'{"src": "a", "tg', DecodeReason.NOT_JSON),
    "two objects": (b'{"src": "a", "tgt": "b"} {}', DecodeReason.NOT_JSON),
    "lone surrogate": (rb'{"src": "\ud800", "tgt": "b"}', DecodeReason.NOT_JSON),
    "nested arrays": (b"[" * 100_000, DecodeReason.NOT_JSON),
    "nested objects": (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, DecodeReason.NOT_JSON),
    "array": (b'["a", "b"]', DecodeReason.NOT_OBJECT),
    "number": (b"17", DecodeReason.NOT_OBJECT),
    "null": (b"null", DecodeReason.NOT_OBJECT),
    "no source": (b'{"tgt": "b"}', DecodeReason.MISSING_SIDE),
    "no target": (b'{"src": "a"}', DecodeReason.MISSING_SIDE),
    "number as side": (b'{"src": 1, "tgt": "b"}', DecodeReason.NOT_TEXT),
    "null as side": (b'{"src": "a", "tgt": null}', DecodeReason.NOT_TEXT),
    "list as side": (b'{"src": ["a"], "tgt": "b"}', DecodeReason.NOT_TEXT),
    "empty side": (b'{"src": "", "tgt": "b"}', DecodeReason.EMPTY_SIDE),
    "blank side": ('{"src": "a", "tgt": " \u00a0\u3000 "}'.encode(), DecodeReason.EMPTY_SIDE),
    "latin-1": ('{"src": "a", "tgt": "é"}'.encode("latin-1"), DecodeReason.INVALID_UTF8),
    "binary": (bytes(range(256)), DecodeReason.INVALID_UTF8),
    "too large": (b'{"src": "' + b"a" * (1 << 20) + b'", "tgt": "b"}', DecodeReason.TOO_LARGE),
}


@pytest.mark.parametrize("kind", POISON)
def test_poison_is_refused_with_its_reason(kind: str) -> None:
    """Each kind of bad record has one reason of the closed list, and a message."""
    value, reason = POISON[kind]
    with pytest.raises(RecordError) as error:
        read_pair(Message(value, 1, "t"), RECORD)
    assert error.value.reason == reason
    assert str(error.value)


def test_unreadable_input_of_a_connector() -> None:
    """What a connector could not turn into a record is refused with what it said."""
    with pytest.raises(RecordError, match="three columns") as error:
        read_pair(Message(b'{"src": "a", "tgt": "b"}', 1, problem="three columns"), RECORD)
    assert error.value.reason == DecodeReason.UNREADABLE


@pytest.mark.parametrize(
    ("id_json", "expected"),
    [('"x"', "x"), ("7", "7"), ('""', "t/0/1"), ("null", "t/0/1"), ("[1]", "t/0/1"), ("true", "t/0/1")],
)
def test_id(id_json: str, expected: str) -> None:
    """An id is a string or a whole number; a record without one is known by its place."""
    value = f'{{"id": {id_json}, "src": "a", "tgt": "b"}}'.encode()
    assert read_pair(Message(value, 1, "t"), RECORD).id == expected
    assert read_pair(Message(b'{"src": "a", "tgt": "b"}', 1, "t"), RECORD).id == "t/0/1"


def test_field_names_are_settings() -> None:
    """The sides stand where the settings say, and the message of a missing one names it."""
    record = RecordSettings(source_field="en", target_field="fr", id_field="key")
    assert read_pair(Message(b'{"en": "a", "fr": "b", "key": "k"}', 0), record) == Pair("k", "a", "b")
    with pytest.raises(RecordError, match='"fr" is missing'):
        read_pair(Message(b'{"en": "a"}', 0), record)


def test_size_limit_is_exact() -> None:
    """A record of exactly the limit is decoded, one byte more is not."""
    record = RecordSettings(max_bytes=1024)
    value = b'{"src": "a", "tgt": "%s"}' % (b"b" * (1024 - 23))
    assert len(value) == 1024
    read_pair(Message(value, 0), record)
    with pytest.raises(RecordError, match="1025 bytes"):
        read_pair(Message(value + b" ", 0), record)
    assert Chunk.read([Message(value, 0), Message(value + b" ", 1)], record).rows.tolist() == [0]


@given(st.binary(max_size=200))
def test_any_bytes_give_a_pair_or_a_reason(value: bytes) -> None:
    """No bytes raise anything but RecordError with a reason of the list."""
    reason = ""
    try:
        read_pair(Message(value, 1, "t"), RECORD)
    except RecordError as error:
        reason = error.reason
    assert not reason or reason in list(DecodeReason)


text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda value: not value.isspace())


@given(
    text, text, st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.booleans())
)
def test_texts_come_through_unchanged(source: str, target: str, rest: dict[str, object]) -> None:
    """Whatever else a record holds, its two texts are read as they were written."""
    value = json.dumps({**rest, "src": source, "tgt": target, "id": "i"}).encode()
    assert read_pair(Message(value, 0), RECORD) == Pair("i", source, target)


PLAIN = st.text(st.characters(codec="utf-8"), min_size=1)
ANY_VALUE = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([value for value, _ in POISON.values() if value is not None and len(value) < 10_000]),
    st.dictionaries(
        st.sampled_from(["src", "tgt", "id", "noise", "s\u0072c"]) | PLAIN,
        st.recursive(PLAIN | st.integers() | st.floats() | st.booleans() | st.none(), st.lists, max_leaves=3),
    ).map(lambda record: json.dumps(record).encode()),
    st.tuples(PLAIN, PLAIN, st.booleans(), st.sampled_from([None, 1, -2, 1.5, 10**16, "x"])).map(
        lambda made: json.dumps(
            {"site": made[3], "src": made[0], "tgt": made[1]}, ensure_ascii=made[2], indent=2
        ).encode("utf-8")
    ),
)


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A value with a byte changed, taken out or put in."""
    value = bytearray(draw(ANY_VALUE)) or bytearray(b"{")
    place = draw(st.integers(0, len(value) - 1))
    piece = draw(
        st.sampled_from(
            [b"", b'"', b"\\", b"\\u00e9", b"\\ud83d", b"{", b",", b"0", b"-", b"\xed\xa0\x80", b"\xff"]
        )
    )
    value[place : place + draw(st.integers(0, 1))] = piece
    return bytes(value)


def check_read_as_one_by_one(values: Sequence[bytes | None], record: RecordSettings = RECORD) -> None:
    """The pairs and refusals of a chunk are those that `examine` gives of each message, in their places."""
    messages = [Message(value, offset, "t") for offset, value in enumerate(values)]
    chunk = Chunk.read(messages, record)
    batch = chunk.pairs.batch
    one_by_one = dict(enumerate(examine(message, record) for message in messages))
    pairs = {row: found for row, found in one_by_one.items() if isinstance(found, Pair)}
    assert chunk.rows.tolist() == batch.positions.tolist() == list(pairs)
    assert batch.source.texts() == [found.source for found in pairs.values()]
    assert batch.target.texts() == [found.target for found in pairs.values()]
    assert chunk.refused == [(row, found) for row, found in one_by_one.items() if isinstance(found, Refusal)]


@given(st.lists(ANY_VALUE | spoilt() | st.none(), max_size=8), st.sampled_from(["tgt", "src"]))
def test_read_together_as_one_by_one(values: list[bytes | None], target: str) -> None:
    """Many records at once give the very pairs and reasons that each gives alone."""
    check_read_as_one_by_one(values, RecordSettings(target_field=target))


def test_whatever_a_byte_makes_of_a_record() -> None:
    """Cut off anywhere, or with a byte of each kind in place of another or before it: what the parser says, to the letter."""
    wholes = [
        '{"src": "a\\n", "tgt": "é"} ',
        ' {"n": -1.5, "ok": true,"src" : "😀","tgt":"b", "x": null}',
        '{"src": "a", "m": {"b": [1, {}], "c": {"d": []}}, "tgt": "b"}',
        "[{}]",
    ]
    values = []
    for whole in map(str.encode, wholes):
        for place in range(len(whole) + 1):
            values.append(whole[:place])
            for byte in (*range(128), 0x80, 0xC2, 0xE0, 0xE3, 0xED, 0xF0, 0xF4, 0xFF):
                values.append(whole[:place] + bytes([byte]) + whole[place:])
                values.append(whole[:place] + bytes([byte]) + whole[place + 1 :])
    check_read_as_one_by_one(values)


SIDES = b'"src": "a", "tgt": "b"'
NUMBERS = [
    b"0",
    b"-0",
    b"01",
    b"-",
    b"1.",
    b".5",
    b"+1",
    b"1e3",
    b"1E400",
    b"9" * 15,
    b"9" * 400,
    b"-1.25",
    b"1.2.3",
    b"Infinity",
]
NOT_UTF8 = [
    b"\xc0\x80",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xf0\x80\x80\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    b"\x80",
]
SPACES = [character for character in map(chr, range(0x3100)) if character.isspace()]


@pytest.mark.parametrize(
    "values",
    [
        [b'{"src": "x", %s}' % SIDES, b'{%s, "tgt": "y"}' % SIDES, b'{"src": 1, %s}' % SIDES],
        [b'{"x": {"src": "n"}, %s}' % SIDES, b'{%s, "x": [{"tgt": "n"}]}' % SIDES, b'{"x": {%s}}' % SIDES],
        [b'{"s\\u0072c": "x", %s}' % SIDES, b'{"s\\u0072c": "x", "tgt": "b"}'],
        [b'{"n": %s, %s}' % (number, SIDES) for number in NUMBERS],
        [b'{"n": "%s", %s}' % (wrong, SIDES) for wrong in NOT_UTF8],
        [f'{{"src": "{space}", "tgt": "b"}}'.encode() for space in SPACES],
        [f'{{"src": "a", "tgt": "{space}x"}}'.encode() for space in SPACES],
        [b'{"n": %s, %s}' % (b"[" * levels + b"]" * levels, SIDES) for levels in (58, 59, 60, 61, 65, 1022, 1030)],
        [b'{"n": %s%s, %s}' % (b'{"m":' * levels, b"1" + b"}" * levels, SIDES) for levels in (59, 60, 65)],
        [b'{"a": [1], "b": {"c": 1}, %s}' % SIDES, b'{"a": [1}, %s}' % SIDES, b'{"a": {"b": 1], %s}' % SIDES],
        [b'{"a\x1f": 1, %s}' % SIDES, b'{"a": "\x1f", %s}' % SIDES, b'{"": 1, %s}' % SIDES, b"{%s,}" % SIDES],
        [b'{"n": truely, %s}' % SIDES, b'{"n": nul, %s}' % SIDES, b'{"n": null, "f": false, %s}' % SIDES],
    ],
)  # fmt: skip
def test_what_is_hard_to_read(values: list[bytes]) -> None:
    """Sides that come twice or stand deeper, numbers, bytes, spaces and nesting at their bounds: what the parser says."""
    check_read_as_one_by_one(values)


def test_ordinary_records_need_no_parser() -> None:
    """What a crawl writes is found in bulk, whatever its script and other fields; what is escaped or may be blank is not."""
    texts = [
        "Hello.",
        "Bonjour, « monde » !",
        "Привет",
        "ありがとう",
        "你好",
        "😀",
        "\u00a0é",
        "\u2003→",
        "\u0965",
    ]
    more = {
        "id": "p",
        "block": [1, [2, -3.25]],
        "x": None,
        "ok": True,
        "page": {"url": "https://example.org", "a": {}},
    }
    records = [
        json.dumps({**more, "src": text, "tgt": text}, ensure_ascii=False, indent=indent).encode()
        for text in texts
        for indent in (None, 2)
    ]
    buffer, spans = find_sides(records, ("src", "tgt"), 1000)
    for row, text in enumerate(text for text in texts for _ in range(2)):
        for side in (0, 2):
            assert bytes(buffer[spans[side, row] : spans[side + 1, row]]).decode() == text
    left = [
        b'{"src": "a\\n", "tgt": "b"}',
        '{"src": "\u3000", "tgt": "b"}'.encode(),
        b'{"src": "a", "tgt": "b", "n": 1e3}',
    ]
    assert (find_sides(left, ("src", "tgt"), 1000)[1] == -1).all()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "the record has no value"),
        (b'{"src": "a", "tgt": "\xff"}', "byte 21 is not valid UTF-8"),
        (b'{"src" "a"}', "not JSON: unexpected character, expected ':' after key at character 7"),
        (
            b'{"src": "a", "tgt": "b", "n": NaN}',
            "not JSON: NaN is no number of JSON, write null at character 30",
        ),
        (b"[1]", "a JSON array where an object was expected"),
        (b"true", "a JSON boolean where an object was expected"),
        (b"1.5", "a JSON number where an object was expected"),
        (b'{"tgt": "b"}', '"src" is missing, the record has tgt'),
        (b'{"src": null, "tgt": "b"}', '"src" is a JSON null, not a string'),
        (b'{"src": "a", "tgt": {}}', '"tgt" is a JSON object, not a string'),
        (b'{"src": "a", "tgt": " "}', '"tgt" is empty'),
    ],
)
def test_a_refusal_says_what_is_wrong(value: bytes | None, text: str) -> None:
    """Whoever reads a dead letter learns the field, the place and what stood there."""
    found = examine(Message(value, 0), RECORD)
    assert isinstance(found, Refusal)
    assert found.text == text


MIXED = [
    b'{"id": "one", "src": "a", "tgt": "b", "url": "https://example.org/1"}',
    b"broken",
    rb'{"src": "\u00e9", "tgt": "d"}',
    None,
    b'{"id": 5, "src": "e", "tgt": "f", "src_url": "https://example.org/2", "tgt_url": "https://example.com/3"}',
    b"{}",
]


def test_a_chunk_of_a_topic() -> None:
    """Pairs stand at the offsets of their messages, which may leave some out, and know message, id and URLs."""
    offsets = [3, 4, 7, 8, 11, 20]
    messages = [Message(value, offset, "t", 2) for value, offset in zip(MIXED, offsets, strict=True)]
    chunk = Chunk.read(messages, RECORD)
    assert chunk.rows.tolist() == [0, 2, 4]
    assert chunk.pairs.batch.positions.tolist() == [3, 7, 11]
    assert chunk.pairs.batch.source.texts() == ["a", "é", "e"]
    assert [(row, reason) for row, (reason, _) in chunk.refused] == [
        (1, DecodeReason.NOT_JSON),
        (3, DecodeReason.TOMBSTONE),
        (5, DecodeReason.MISSING_SIDE),
    ]
    assert chunk.end == 21
    assert chunk.message(1) is messages[2]
    assert chunk.identifiers() == ["one", "t/2/7", "5"]
    assert chunk.identifiers([2]) == ["5"]
    assert list(chunk.origins()) == [
        ("one", ("https://example.org/1",)),
        ("t/2/7", ()),
        ("5", ("https://example.org/2", "https://example.com/3")),
    ]
    assert chunk.size > sum(len(value or b"") for value in MIXED)


def test_a_chunk_of_files_counts_records() -> None:
    """Where files follow one another, positions go on counting, whatever the offsets in each."""
    messages = [Message(value, 0, "t") for value in MIXED]
    chunk = Chunk.read(messages, RECORD, 100)
    assert chunk.pairs.batch.positions.tolist() == [100, 102, 104]
    assert chunk.end == 106


@pytest.mark.parametrize(("start", "end"), [(None, 0), (7, 7)])
def test_a_chunk_of_nothing(start: int | None, end: int) -> None:
    """No messages are no pairs, and nothing moves."""
    chunk = Chunk.read([], RECORD, start)
    assert len(chunk.pairs) == 0
    assert chunk.end == end


def test_a_chunk_without_a_pair() -> None:
    """A pair that is taken out leaves its message; the others keep positions, tokens and messages."""
    chunk = Chunk.read([Message(value, n, "t") for n, value in enumerate(MIXED)], RECORD)
    less = chunk.without([1])
    assert less.pairs.batch.positions.tolist() == [0, 4]
    assert less.identifiers() == ["one", "5"]
    assert (less.messages, less.refused, less.end) == (chunk.messages, chunk.refused, chunk.end)
    assert len(less.pairs.source) == len(less.pairs.ngrams) == 2
