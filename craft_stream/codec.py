"""Named arrays and a header as one checksummed, compressed byte string; how Models and Ledgers travel.

Layout: 8 bytes of magic, uint32 length of the header, the header (UTF-8 JSON: the caller's fields and, under "arrays",
name, dtype and shape of each), the arrays end to end in little-endian order, compressed with zstd, and the first 16 bytes
of SHA-256 over all before. Nothing in it is ever executed, so it is safe to read from a topic that others may write to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from craft_stream.errors import IntegrityError

# What errors call the kinds that people meet.
_NAMES = {b"CRAFTMDL": "model", b"CRAFTLDG": "ledger"}
_CHECKSUM = 16
# A Model is some 45 MB loaded and a Ledger under 1 MB; a header that claims more is damaged or hostile.
_LARGEST = 1 << 30
_KINDS = frozenset({"uint8", "uint16", "uint32", "uint64", "int8", "int16", "int64", "float32", "float64"})

Arrays = Mapping[str, NDArray[Any]]


def encode(magic: bytes, header: Mapping[str, Any], arrays: Arrays, level: int = 3) -> bytes:
    """Encode; equal inputs give equal bytes (for one version of zstd)."""
    described = [
        {"name": name, "dtype": array.dtype.name, "shape": list(array.shape)}
        for name, array in arrays.items()
    ]
    head = json.dumps({**header, "arrays": described}, sort_keys=True, separators=(",", ":")).encode()
    raw = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    body = magic + len(head).to_bytes(4, "little") + head + zstandard.ZstdCompressor(level).compress(raw)
    return body + hashlib.sha256(body).digest()[:_CHECKSUM]


def decode(magic: bytes, data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Decode what `encode` made: the header's fields and the arrays, writable.

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
    header = json.loads(body[start:stop])
    described = header.pop("arrays")
    sizes = []
    for item in described:
        if item["dtype"] not in _KINDS:
            raise IntegrityError(f"the {name} holds an array of unknown type {item['dtype']!r}")
        sizes.append(int(np.prod(item["shape"], dtype=np.int64)) * np.dtype(item["dtype"]).itemsize)
    if sum(sizes) > _LARGEST:
        raise IntegrityError(f"the {name} claims {sum(sizes)} bytes of arrays; at most {_LARGEST} are read")
    raw = zstandard.ZstdDecompressor().decompress(body[stop:], max_output_size=max(sum(sizes), 1))
    if len(raw) != sum(sizes):
        raise IntegrityError(f"the {name} holds {len(raw)} bytes of arrays, its header says {sum(sizes)}")
    arrays = {}
    at = 0
    for item, size in zip(described, sizes, strict=True):
        array = np.frombuffer(
            raw, np.dtype(item["dtype"]), count=int(np.prod(item["shape"], dtype=np.int64)), offset=at
        )
        arrays[item["name"]] = array.reshape(item["shape"]).copy()
        at += size
    return header, arrays


def digest(arrays: Arrays, header: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of SHA-256 over header and arrays, uncompressed, so that no version of zstd enters."""
    sha = hashlib.sha256(json.dumps(header, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(arrays):
        sha.update(name.encode())
        sha.update(np.ascontiguousarray(arrays[name]).view(np.uint8).reshape(-1).data)
    return sha.hexdigest()[:16]
