"""What is read from topics and files with valid checksums over damaged contents: refused, or such that it does no harm."""

from __future__ import annotations

import json
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import Toy, stream, versions

from craft_stream import codec
from craft_stream.encoders import load_encoder
from craft_stream.errors import IntegrityError
from craft_stream.parameters import Parameters, SelectionParameters
from craft_stream.ports.messages import Message
from craft_stream.schema import Array
from craft_stream.scoring import model as models
from craft_stream.scoring.model import Model
from craft_stream.scoring.model_schema import SCHEMA
from craft_stream.scoring.scorer import Scorer
from craft_stream.selection import ledger_format, segments
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.settings import KafkaSettings
from craft_stream.testing.memory import MemoryBroker, MemoryTransport
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.topics.ledger_entries import Entry
from craft_stream.topics.ledger_index import read_restore_offset
from craft_stream.topics.ledger_reader import LedgerRecords
from craft_stream.topics.models import MANIFESTS, Manifest, ModelStore
from craft_stream.topics.retained_snapshots import RetainedSnapshots

# 10,000 in the long form, `make damages`: minutes.
TRIES = int(os.environ.get("CRAFT_TEST_DAMAGES", "300"))
PARAMETERS = Parameters()
Parts = dict[str, Any]
# No value for any number.
NONSENSE = [None, "7", [], {}, True, -5, 0.5, 1 << 70, 10**400, float("nan"), float("inf"), -1e300]


@cache
def model() -> Model:
    return versions()[1]


@cache
def batch() -> TokenizedPairs:
    return TokenizedPairs.of(stream(Toy(), 400, seed=9).batch)


# Damages that must be refused: each takes what is sound, changes one part and names it.


def cut(rng: random.Random, parts: Parts, name: str) -> bool:
    """One of its dimensions is a 64th, or shorter or longer by one."""
    array = parts[name]
    axis = rng.randrange(array.ndim)
    free = name in FREE and axis == 0
    if free or not array.shape[axis]:
        return False
    size = rng.choice([array.shape[axis] // 64, array.shape[axis] - 1, array.shape[axis] + 1])
    parts[name] = np.resize(array, (*array.shape[:axis], size, *array.shape[axis + 1 :]))
    return True


def retyped(rng: random.Random, parts: Parts, name: str) -> bool:
    """It is of another type."""
    kinds = {"uint8", "uint32", "int16", "int64", "float32", "float64"} - {parts[name].dtype.name}
    with np.errstate(invalid="ignore"):
        parts[name] = parts[name].astype(rng.choice(sorted(kinds)))
    return True


def reshaped(rng: random.Random, parts: Parts, name: str) -> bool:
    """It has a dimension more."""
    parts[name] = parts[name][..., None]
    return True


def infinite(rng: random.Random, parts: Parts, name: str) -> bool:
    """One of its numbers is none, or without an end."""
    value = rng.choice([np.nan, np.inf, -np.inf])
    if parts[name].dtype.kind != "f" or not parts[name].size or name in ENDLESS:
        return False
    parts[name] = parts[name].copy()
    parts[name].flat[rng.randrange(parts[name].size)] = value
    return True


def missing(rng: random.Random, parts: Parts, name: str) -> bool:
    """It is not there."""
    del parts[name]
    return True


def one_more(rng: random.Random, parts: Parts, name: str) -> bool:
    """There is another one that is not known."""
    parts[f"{name}.more"] = parts[name]
    return True


def no_number(rng: random.Random, parts: Parts, name: str) -> bool:
    """A number of the header is something else."""
    name = rng.choice([n for n, wanted in SCHEMA.items() if not isinstance(wanted, Array)])
    value = rng.choice([v for v in NONSENSE if v not in (0.5, -5)])
    parts[name] = value
    return True


DAMAGES: list[Callable[[random.Random, Parts, str], bool]] = [
    cut, cut, retyped, reshaped, infinite, infinite, missing, one_more, no_number,
]  # fmt: skip
# Of any length, and of any numbers.
FREE = {"target_keys"}
ENDLESS = {"calibration.quality", "translation.judgement.thresholds"}


def damaged(rng: random.Random) -> Iterator[tuple[str, Parts]]:
    sound = model().header | model().arrays
    names = list(model().arrays)
    while True:
        parts, name, damage = dict(sound), rng.choice(names), rng.choice(DAMAGES)
        if damage(rng, parts, name):
            yield f"{damage.__name__} {name}", parts


def refused(make: Callable[[Any], object], given: object) -> bool:
    """Whether it ends in a refusal by name."""
    try:
        make(given)
    except IntegrityError:
        return True
    return False


def test_every_array_of_a_model_has_a_schema() -> None:
    """What learning comes to put into a Model is checked, or this test says so."""
    assert set(model().arrays) <= set(SCHEMA)
    assert Model.of(model().header | model().arrays).digest == model().digest


def test_a_damaged_model_is_refused() -> None:
    """Whatever array is cut, longer, of another type, not finite, missing or unknown: by its name, and before it is used."""
    source = damaged(random.Random(1))
    for _ in range(TRIES):
        what, parts = next(source)
        assert refused(Model.of, parts), what


def test_a_damaged_model_is_refused_as_bytes() -> None:
    """The same with checksum and digest made for it: what a topic or a file would hold."""
    source = damaged(random.Random(2))
    for _ in range(max(3, TRIES // 100)):
        what, parts = next(source)
        header = {name: value for name, value in parts.items() if not isinstance(value, np.ndarray)}
        arrays = {name: value for name, value in parts.items() if isinstance(value, np.ndarray)}
        digest = codec.digest(arrays, {**header, "version": 0})
        data = codec.encode(models.MAGIC, {**header, "format": models.FORMAT, "digest": digest}, arrays, 1)
        assert refused(Model.decode, data), what


def noise(rng: random.Random, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array with some of its bytes thrown."""
    if not array.size:
        return array
    raw = bytearray(np.ascontiguousarray(array).tobytes())
    for _ in range(rng.choice([1, 3, 100])):
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    return np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)


def test_what_is_not_refused_decides_without_harm() -> None:
    """Any bytes in any arrays: the model is refused, or every score that decides is a number."""
    rng, taken = random.Random(3), 0
    for _ in range(max(10, TRIES // 30)):
        parts: Parts = model().header | model().arrays
        for name in rng.sample(list(model().arrays), rng.choice([1, 1, 4])):
            parts[name] = noise(rng, parts[name])
        try:
            found = Model.of(parts)
            ledger = Ledger(PARAMETERS)
            decided = Selector(PARAMETERS, load_encoder()).decide(batch(), ledger, found)
        except IntegrityError:
            continue
        taken += 1
        assert not np.isnan(decided.domain).any()
        assert not np.isnan(decided.threshold).any()
        judged = np.isfinite(decided.quality)
        assert not np.isnan(decided.score[judged]).any()
        assert Ledger.restore(PARAMETERS, ledger.snapshot()).next_offset == len(batch())
    assert taken


# Ledgers.


@cache
def ledger_bytes() -> dict[str, tuple[bytes, bytes]]:
    """What a ledger writes, by kind, with its magic."""
    ledger = Ledger(PARAMETERS)
    selector = Selector(PARAMETERS, load_encoder())
    pairs = TokenizedPairs.of(stream(Toy(), 1500, share=0.5, seed=9).batch)
    selector.decide(pairs, ledger, model())
    waiting = ledger.snapshot()
    ((_, segment), *_) = ledger.closed_segments()
    return {
        "snapshot": (ledger_format.MAGIC, waiting), "delta": (ledger_format.MAGIC, delta()),
        "segment": (segments.MAGIC, segment),
    }  # fmt: skip


def delta() -> bytes:
    ledger = Ledger(PARAMETERS)
    Selector(PARAMETERS, load_encoder()).decide(batch(), ledger, model())
    return ledger.delta()


def read(kind: str, data: bytes) -> None:
    if kind == "segment":
        segments.Segment.decode(data, 0)
    elif kind == "delta":
        Ledger(PARAMETERS).apply(data)
    else:
        ledger = Ledger.restore(PARAMETERS, data)
        Ledger.first_segment(data)
        ledger.preview(model()).allowance()


@pytest.mark.parametrize("kind", ["snapshot", "delta", "segment"])
def test_a_damaged_ledger_is_refused_or_sound(kind: str) -> None:
    """Whatever bytes, shapes, types and numbers it holds: it is refused, or its counters fit together and are finite."""
    magic, data = ledger_bytes()[kind]
    header, arrays = codec.decode(magic, data)
    read(kind, data)
    rng, refused = random.Random(4), 0
    for _ in range(TRIES):
        parts: Parts = {**header, **arrays}
        name = rng.choice(list(arrays))
        change = rng.choice([cut, retyped, reshaped, missing, infinite, noise, None])
        if change is None:
            parts[rng.choice(list(header))] = rng.choice([*NONSENSE, 3])
        elif change is noise:
            parts[name] = noise(rng, parts[name])
        else:
            change(rng, parts, name)
        try:
            read(
                kind,
                codec.encode(
                    magic,
                    {n: v for n, v in parts.items() if not isinstance(v, np.ndarray)},
                    {n: v for n, v in parts.items() if isinstance(v, np.ndarray)},
                    1,
                ),
            )
        except IntegrityError:
            refused += 1
    assert refused > TRIES / 2


def test_a_delta_is_applied_to_no_ledger_under_other_parameters() -> None:
    """Before it and after a snapshot, under other values or another number: it names what it was made from."""
    ledger, other = Ledger(PARAMETERS), replace(PARAMETERS, selection=SelectionParameters(rate=0.2))
    later = Ledger(other.numbered(1))
    whole, otherwise = ledger.snapshot(), later.snapshot()
    Selector(PARAMETERS, load_encoder()).decide(batch(), ledger, model())
    after = ledger.delta()
    Ledger.restore(PARAMETERS, whole).apply(after)
    for snapshot in (otherwise, Ledger(PARAMETERS.numbered(1)).snapshot()):
        with pytest.raises(IntegrityError, match="under other parameters"):
            Ledger.restore(PARAMETERS, snapshot).apply(after)
    header, arrays = codec.decode(ledger_format.MAGIC, after)
    del header["after"]
    with pytest.raises(IntegrityError, match="does not say under which parameters"):
        Ledger.restore(PARAMETERS, whole).apply(codec.encode(ledger_format.MAGIC, header, arrays))


# The codec, and what stands beside it on topics.


def test_whatever_stands_behind_a_checksum_is_refused_by_name() -> None:
    """Headers that are no JSON, describe no arrays or claim what is not there, arrays that cannot be unpacked."""
    rng = random.Random(5)
    _, sound = ledger_bytes()["delta"]
    for _ in range(TRIES * 3):
        body = bytearray(sound[:-16])
        match rng.randrange(4):
            case 0:
                body = body[: rng.randrange(8, len(body))]
            case 1:
                body[8:12] = struct.pack("<I", rng.choice([0, 1, 1 << 31, rng.randrange(2000)]))
            case 2:
                for _ in range(rng.choice([1, 20])):
                    body[rng.randrange(8, len(body))] = rng.randrange(256)
            case _:
                size = int.from_bytes(body[8:12], "little")
                head = json.loads(body[12 : 12 + size])
                rng.choice(head["arrays"])[rng.choice(["name", "dtype", "shape"])] = rng.choice(
                    [*NONSENSE, [1 << 62], [0, 1 << 62], [-1], [1] * 40, "float16", "object", ["a"]]
                )
                raw = json.dumps(head).encode()
                body = bytearray(body[:8] + struct.pack("<I", len(raw)) + raw + body[12 + size :])
        data = bytes(body) + codec.hashlib.sha256(body).digest()[:16]
        try:
            Ledger(PARAMETERS).apply(data)
        except IntegrityError:
            continue


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
MANIFEST = {
    "version": 1, "digest": "d", "sha256": "s", "size": 3, "chunks": 1, "first": 0, "last": 0,
    "published_at_ms": 5, "header": {}, "format": 1,
}  # fmt: skip


@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_json_of_ours_is_passed_over(value: bytes) -> None:
    """A pin, a use, a manifest, a list of snapshots, a note of an offset: none ends in anything but a refusal by name."""
    broker = MemoryBroker({"model": 2})
    for key in (b"pin", b"use/g/t/0/1", b"use/g/t/0/99999999999999999999", b"version/1", b"version/\xb2"):
        broker.append("model", MANIFESTS, value, key)
    store = ModelStore(MemoryTransport(broker, KafkaSettings()).reader(), "model")
    store.refresh()
    assert store.manifests == {}
    assert store.pinned is None or store.pinned > 0
    with pytest.raises(IntegrityError):
        RetainedSnapshots.decode(value + b"{")
    assert read_restore_offset(value.decode("utf-8", "replace")) >= 0


@given(st.sampled_from(sorted(MANIFEST)), st.sampled_from(NONSENSE))
def test_a_manifest_holds_what_it_must(name: str, value: object) -> None:
    """One wrong number or text and it is refused."""
    Manifest.decode(json.dumps(MANIFEST).encode())
    wrong = json.dumps({**MANIFEST, name: value}).encode()
    if (name in ("digest", "sha256") and value == "7") or (name == "header" and value == {}):
        return
    with pytest.raises(IntegrityError):
        Manifest.decode(wrong)


@given(
    st.integers(0, 255), st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1), st.binary(max_size=20)
)
def test_a_record_of_the_ledger_topic_is_refused_or_noted(
    kind: int, sequence: int, offset: int, payload: bytes
) -> None:
    """Any kind, numbers and payload under a right checksum: the partition's records say what is damaged."""
    head = struct.pack("<8sHBQQI", b"CRAFTLOG", 2, kind, sequence, offset, len(payload))
    value = head + payload + zlib.crc32(head + payload).to_bytes(4, "little")
    records = LedgerRecords("g/t/0")
    keys = [f"g/t/0/{word}/0".encode() for word in ("whole", "delta", "page", "anchor", "anchors", "model")]
    records.add([Message(value, at, key=key) for at, key in enumerate(keys)])
    if refused(lambda data: Entry.decode(data, 0), value):
        assert len(records.damaged) == len(keys)
    refused(records.restore, PARAMETERS)


@pytest.mark.parametrize("name", ["dimensions", "expensive"])
def test_a_scorer_refuses_what_is_not_of_its_encoder(name: str) -> None:
    """A model that names the encoder and is of another width, or of an expensive one: kernels would read past an end."""
    encoder = load_encoder()
    encoder.digest, value = "another", {"dimensions": 64, "expensive": True}[name]
    setattr(encoder, name, value)
    claimed = replace(model(), translation=replace(model().translation, encoder="another"))
    with pytest.raises(IntegrityError, match="its encoder"):
        Scorer(claimed, encoder)
