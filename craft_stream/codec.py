"""Named arrays and a header as one checksummed, compressed byte string; how Models and Ledgers travel.

Layout: 8 bytes of magic, uint32 length of the header, the header (UTF-8 JSON: the caller's fields and, under "arrays",
name, dtype and shape of each), the arrays end to end in little-endian order, compressed with zstd, and the first 16 bytes
of SHA-256 over all before. Nothing in it is ever executed. Whether the arrays are what they must be its reader asks (`schema`):
a checksum says that nothing was changed by accident, not who wrote it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from craft_stream.errors import IntegrityError
from craft_stream.schema import read_json

# What errors call the kinds that people meet.
_NAMES = {b"CRAFTMDL": "model", b"CRAFTLDG": "ledger"}
_CHECKSUM = 16
# A Model is some 45 MB loaded and a Ledger under 1 MB; a header that claims more is damaged or hostile.
_LARGEST = 1 << 30
_DIMENSIONS = 4
_KINDS = frozenset({"uint8", "uint16", "uint32", "uint64", "int8", "int16", "int64", "float32", "float64"})

Arrays = Mapping[str, NDArray[Any]]


def encode(magic: bytes, header: Mapping[str, Any], arrays: Arrays, level: int = 3) -> bytes:
    """Encode; equal inputs give equal bytes (for one version of zstd)."""
    described = [
        {"name": name, "dtype": array.dtype.name, "shape": list(array.shape)}
        for name, array in arrays.items()
    ]
    head = json.dumps({**header, "arrays": described}, sort_keys=True, separators=(",", ":")).encode()
    raw = b"".join(_bytes(array) for array in arrays.values())
    body = magic + len(head).to_bytes(4, "little") + head + zstandard.ZstdCompressor(level).compress(raw)
    return body + hashlib.sha256(body).digest()[:_CHECKSUM]


def _bytes(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def decode(magic: bytes, data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Decode what `encode` made: the header's fields and the arrays, writable.

    Of what the fields and arrays must be it knows nothing: hold them against a `schema` before they are used.

    Raises:
        IntegrityError: the bytes are of another kind, damaged, or claim more than 1 GiB.
    """
    name = _NAMES.get(magic, magic.decode("ascii", "replace").strip())
    if data[: len(magic)] != magic:
        raise IntegrityError(f"not a {name} of craft_stream: it begins with {bytes(data[: len(magic)])!r}")
    body, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
    if len(data) < len(magic) + 4 + _CHECKSUM or hashlib.sha256(body).digest()[:_CHECKSUM] != checksum:
        raise IntegrityError(f"the {name} is damaged: its checksum does not match ({len(data)} bytes)")
    start = len(magic) + 4
    stop = start + int.from_bytes(data[len(magic) : start], "little")
    header = read_json(f"the header of the {name}", body[start:stop])
    described = [_described(name, item) for item in _list(name, header.pop("arrays", None))]
    if len({one.name for one in described}) < len(described):
        raise IntegrityError(f"the {name} holds two arrays of one name")
    total = sum(one.size for one in described)
    if total > _LARGEST:
        raise IntegrityError(f"the {name} claims {total} bytes of arrays; at most {_LARGEST} are read")
    raw = _decompressed(name, body[stop:], total)
    arrays = {}
    at = 0
    for one in described:
        array = np.frombuffer(raw, one.dtype, count=math.prod(one.shape), offset=at)
        arrays[one.name] = array.reshape(one.shape).copy()
        at += one.size
    return header, arrays


class _Described(NamedTuple):
    """What a header says of an array."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def _list(name: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise IntegrityError(f"the header of the {name} does not say which arrays it holds")
    return value


def _described(name: str, item: object) -> _Described:
    match item:
        case {"name": str(called), "dtype": str(dtype), "shape": list(shape)}:
            if dtype not in _KINDS:
                raise IntegrityError(f"the {name} holds an array of unknown type {dtype!r}")
            if len(shape) <= _DIMENSIONS and all(
                type(size) is int and 0 <= size <= _LARGEST for size in shape
            ):
                return _Described(called, np.dtype(dtype), tuple(shape))
    raise IntegrityError(f"the header of the {name} describes an array that there cannot be")


def _decompressed(name: str, packed: bytes, size: int) -> bytes:
    """Exactly so many bytes; what claims to be more is not unpacked."""
    try:
        claimed = zstandard.frame_content_size(packed)
        if claimed in (-1, size):  # -1: it does not say
            raw = zstandard.ZstdDecompressor().decompress(
                packed, max_output_size=max(size, 1), allow_extra_data=False
            )
            claimed = len(raw)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"the arrays of the {name} cannot be unpacked: {error}") from error
    if claimed != size:
        raise IntegrityError(f"the {name} holds {claimed} bytes of arrays, its header says {size}")
    return raw


def planes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values of 8 bytes, all first bytes, then all second ones, uint8 [8, n]: in most planes there is little to write."""
    return np.ascontiguousarray(values).view(np.uint8).reshape(-1, 8).T


def joined(split: NDArray[np.uint8], dtype: type) -> NDArray[Any]:
    """The values of `planes` again."""
    return np.ascontiguousarray(split.T).view(dtype).reshape(-1)


def digest(arrays: Arrays, header: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of SHA-256 over header and arrays, uncompressed, so that no version of zstd enters."""
    sha = hashlib.sha256(json.dumps(header, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(arrays):
        sha.update(name.encode())
        sha.update(_bytes(arrays[name]))
    return sha.hexdigest()[:16]
