"""Writing to the model topic, whose layout `topics.models` tells: versions, pins, uses, and what is withdrawn."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import asdict

from craft_stream.ports.transport import Output
from craft_stream.scoring.model import Model
from craft_stream.topics.models import CHUNKS, MANIFESTS, Manifest, ModelStore
from craft_stream.topics.signatures import FIELD, Signatures

CHUNK_BYTES = 900_000  # brokers take 1 MiB by default, headers included


def publish(output: Output, topic: str, model: Model, signatures: Signatures | None = None) -> Manifest:
    """Write a version in one transaction.

    Args:
        signatures: that its manifest is signed with, if any.

    Raises:
        TransactionError: it is not there; another learner may have taken over.
    """
    data = model.encode()
    parts = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
    output.begin()
    receipts = [
        output.send(topic, CHUNKS, part, f"chunk/{model.version}/{i}".encode())
        for i, part in enumerate(parts)
    ]
    output.flush()
    offsets = [receipt.offset() for receipt in receipts]
    manifest = Manifest(
        version=model.version,
        digest=model.digest,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        chunks=len(parts),
        first=min(offsets),
        last=max(offsets),
        published_at_ms=int(time.time() * 1000),
        header=model.header,
    )
    _send_manifest(output, topic, manifest, signatures or Signatures(topic))
    output.commit({}, None)
    return manifest


def sign(output: Output, topic: str, manifests: Iterable[Manifest], signatures: Signatures) -> None:
    """Sign versions that are on the topic already."""
    output.begin()
    for manifest in manifests:
        _send_manifest(output, topic, manifest, signatures)
    output.commit({}, None)


def _send_manifest(output: Output, topic: str, manifest: Manifest, signatures: Signatures) -> None:
    # A release that knows no signatures refuses manifests that have the field.
    plain = {name: value for name, value in asdict(manifest).items() if name != FIELD}
    value = json.dumps(signatures.signed(plain)).encode()
    output.send(topic, MANIFESTS, value, f"version/{manifest.version}".encode())


def pin(output: Output, topic: str, version: int | None, signatures: Signatures | None = None) -> None:
    """Make every worker use a version from its next epoch on; None lifts it."""
    signed = (signatures or Signatures(topic)).signed({"version": version})
    value = None if version is None else json.dumps(signed).encode()
    output.begin()
    output.send(topic, MANIFESTS, value, b"pin")
    output.commit({}, None)


def write_use(output: Output, topic: str, prefix: str, version: int, offset: int) -> None:
    """Say, within a transaction, from which offset on the partition `prefix` (group/topic/partition) uses a version."""
    output.send(topic, MANIFESTS, json.dumps({"offset": offset}).encode(), _use_key(prefix, version))


def _use_key(prefix: str, version: int) -> bytes:
    return f"use/{prefix}/{version}".encode()


def prune(output: Output, topic: str, store: ModelStore, versions: Iterable[int]) -> None:
    """Withdraw versions, and what is known of their uses: their decisions cannot be audited any more."""
    output.begin()
    for version in versions:
        for prefix in [prefix for prefix, uses in store.uses.items() if version in uses]:
            output.send(topic, MANIFESTS, None, _use_key(prefix, version))
        output.send(topic, MANIFESTS, None, f"version/{version}".encode())
        for index in range(store.manifests[version].chunks):
            output.send(topic, CHUNKS, None, f"chunk/{version}/{index}".encode())
    output.commit({}, None)
