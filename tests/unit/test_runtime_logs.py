"""The ledger topic's records, dead letters, and the breaker."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_stream.errors import DataError, IntegrityError
from craft_stream.events import Stage
from craft_stream.ports.messages import Message
from craft_stream.settings import ErrorsSettings
from craft_stream.topics.ledger_entries import Entry, Kind
from craft_stream.topics.ledger_index import read_restore_offset
from craft_stream.worker.batch_sizer import BatchSizer
from craft_stream.worker.breaker import CircuitBreaker
from craft_stream.worker.decider import sampled
from craft_stream.writing.dead_letters import DeadLetter, dead_letter_records


@given(st.sampled_from(Kind), st.integers(0, 2**60), st.integers(0, 2**60), st.binary(max_size=200))
def test_entries_come_back(kind: Kind, sequence: int, offset: int, payload: bytes) -> None:
    """What is encoded is decoded."""
    entry = Entry(kind, sequence, offset, payload, at=7)
    assert Entry.decode(entry.encode(), 7) == entry


@given(st.binary(min_size=1, max_size=60), st.data())
def test_any_flipped_bit_or_cut_is_found(payload: bytes, data: st.DataObject) -> None:
    """No damaged record is taken for a sound one."""
    encoded = bytearray(Entry(Kind.DELTA, 3, 4, payload).encode())
    place = data.draw(st.integers(0, 8 * len(encoded) - 1))
    encoded[place // 8] ^= 1 << place % 8
    with pytest.raises(IntegrityError):
        Entry.decode(bytes(encoded), 0)
    sound = Entry(Kind.DELTA, 3, 4, payload).encode()
    with pytest.raises(IntegrityError):
        Entry.decode(sound[: data.draw(st.integers(0, len(sound) - 1))], 0)


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"ledger": "x"}', '{"ledger": null}', "nonsense"])
def test_a_hint_that_says_nothing_is_the_beginning(note: str) -> None:
    """Anything else in an offset's note leads to the topic's beginning, never to an error."""
    assert read_restore_offset(note) == 0


def test_the_breaker_opens_above_its_limit_and_not_before() -> None:
    """Judged over the latest records only, and never by the first few."""
    limits = ErrorsSettings(dead_letter_limit=0.1, dead_letter_window=1000)
    CircuitBreaker(limits).count(50, 50)
    breaker = CircuitBreaker(limits)
    for _ in range(30):
        breaker.count(100, 5)
    assert breaker.share == pytest.approx(0.05)
    breaker.count(100, 50)
    with pytest.raises(DataError, match="dead_letter_limit"):
        breaker.count(100, 100)


def test_a_transaction_grows_until_it_takes_long_and_shrinks_to_what_is_in_time() -> None:
    """Doubled while full and in time, never above the most; after a slow one as many as would have been in time."""
    sizer, limits = BatchSizer(10_000, 1.0), []
    for _ in range(6):
        limits.append(sizer.limit)
        sizer.took(sizer.limit, 0.2)
    assert limits == [1024, 2048, 4096, 8192, 10_000, 10_000]
    sizer.took(10_000, 20.0)
    assert sizer.limit == 500
    sizer.took(20, 0.1)  # all that there was: nothing is known of more
    assert sizer.limit == 500
    sizer.took(20, 1.5)
    assert sizer.limit == 13
    sizer.took(1, 50.0)
    assert sizer.limit == 1
    assert BatchSizer(200, 1.0).limit == 200


def test_a_dead_letter_keeps_what_it_was() -> None:
    """Its own headers stay, what happened is added, and an older account of it is replaced."""
    message = Message(b"x", 5, "in", 2, headers=(("a", b"1"), ("craft-error-stage", b"old")))
    (record,) = dead_letter_records([DeadLetter(message, Stage.DECODE, "not_json", "é" * 5000)])
    assert record[:2] == (b"x", None)
    headers = [*record.shared, *record.headers]
    assert ("a", b"1") in headers
    assert [value for name, value in headers if name == "craft-error-stage"] == [b"decode"]
    assert dict(headers)["craft-error-offset"] == b"5"
    assert len(dict(headers)["craft-error-message"]) <= 2000


def test_dead_letters_share_what_they_have_alike_and_nothing_else() -> None:
    """Many at once are written as each is alone, whatever headers, stages, reasons and errors stand between them."""
    letters = [
        DeadLetter(Message(value, 9 * n + m, "in", 2, None, headers), stage, reason, error)
        for n, (headers, stage, reason, error) in enumerate(
            itertools.product(
                [(), (("a", b"1"),), (("craft-error-class", b"old"),)], list(Stage)[:2], "xy", ["", "e"]
            )
        )
        for m, value in enumerate([b"v", None])
    ]
    random.Random(1).shuffle(letters)
    together = dead_letter_records(letters)
    assert together == [record for letter in letters for record in dead_letter_records([letter])]
    assert [dict(record.shared)["craft-error-class"].decode() for record in together] == [
        letter.reason for letter in letters
    ]
    assert all(record.key == (b"" if record.value is None else None) for record in together)
    assert len({id(record.shared) for record in together}) == 24


@given(st.floats(0, 1), st.integers(0, 1000))
def test_the_sample_is_the_same_whenever_asked(share: float, partition: int) -> None:
    """It depends on the offset alone, not on the batch, and has the size that was asked for."""
    positions = np.arange(5_000)
    whole = sampled(positions, partition, share)
    pieces = [sampled(piece, partition, share) for piece in np.array_split(positions, 7)]
    assert (np.concatenate(pieces) == whole).all()
    assert abs(whole.mean() - share) < 0.04
