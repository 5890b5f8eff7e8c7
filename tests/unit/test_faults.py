"""What is no pair is told together: one line a kind, whatever the number of records."""

from __future__ import annotations

from craft_stream.cli.faults import Faults
from craft_stream.ports.messages import Message
from craft_stream.reading.chunk import Chunk
from craft_stream.settings import RecordSettings


def told(values: list[bytes]) -> list[str]:
    faults = Faults()
    for start in range(0, len(values), 1000):
        messages = [Message(value, start + n, "f") for n, value in enumerate(values[start : start + 1000])]
        faults.add(Chunk.read(messages, RecordSettings(), start))
    return faults.lines()


def test_equal_faults_are_one_line() -> None:
    """5,000 of them: their number, what is wrong and what to type, and three places."""
    (line,) = told([b'{"en": "a", "fr": "b"}'] * 5000)
    assert line.startswith(
        '5,000 records: "src" is missing, the record has en, fr: name the sides by FILE?src=en&tgt=fr'
    )
    assert line.endswith("(f/0/0, f/0/1, f/0/2, ...)")


def test_numbers_make_no_kinds_and_kinds_are_bounded() -> None:
    """A place in a record is no kind of fault; of very many kinds the rest is counted."""
    value = b'{"src": "a", "tgt": "b", "n": NaN}'
    two, one = told([value, b" " + value, b'{"src": " ", "tgt": "b"}'])
    assert two.startswith(
        "2 records: not JSON: NaN is no number of JSON, write null at character 30 (f/0/0, f/0/1)"
    )
    assert one == '1 record: "src" is empty (f/0/2)'
    letters = "abcdefghijklmnopqrstuvwxyz"
    assert told([f'{{"{letter}": 1}}'.encode() for letter in letters])[-1] == "6 records: for other reasons"
    assert told([b'{"src": "a", "tgt": "b"}']) == []
