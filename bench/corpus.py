"""An evaluation corpus: stream, labels, target and test sets, and what is prepared from them once.

The labels (`domain`, `noise`) are kept apart from the pairs: a selector is handed a `PairBatch` and never
sees them. What takes seconds to prepare is written to a cache folder outside the repository, under the digest
of the stream's file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import zstandard
from numpy.typing import NDArray

from bench.embedding import Embedding
from craft_stream.text.batch import PairBatch, TextBatch

NOISE = ("clean", "misaligned", "copy", "wronglang", "garbled", "duplicate")
_STREAM = "stream.jsonl.zst"


def default_cache() -> Path:
    """Where prepared data go unless told otherwise: `$XDG_CACHE_HOME/craft-stream-bench`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "craft-stream-bench"


@dataclass(frozen=True)
class Labels:
    """What only the evaluation knows.

    Attributes:
        domain: the names of the domains, in the order of their codes.
        domains: uint8 [n], the domain's code of every record.
        noise: uint8 [n], an index into `NOISE`, as labelled.
        keys: uint64 [n], equal where source and target are equal.
    """

    domain: tuple[str, ...]
    domains: NDArray[np.uint8]
    noise: NDArray[np.uint8]
    keys: NDArray[np.uint64]

    def of(self, domain: str) -> NDArray[np.bool_]:
        """Bool [n]: records of the domain; none where the stream has never heard of it."""
        if domain not in self.domain:
            return np.zeros(len(self.domains), bool)
        found: NDArray[np.bool_] = self.domains == self.domain.index(domain)
        return found

    @cached_property
    def sound(self) -> NDArray[np.bool_]:
        """Bool [n]: translations of one another, copies of earlier records included."""
        found: NDArray[np.bool_] = np.isin(self.noise, (NOISE.index("clean"), NOISE.index("duplicate")))
        return found

    def take(self, indices: NDArray[np.int64]) -> Labels:
        """The labels of the records at `indices`."""
        return Labels(self.domain, self.domains[indices], self.noise[indices], self.keys[indices])


@dataclass(frozen=True)
class Texts:
    """Pairs of a target or test set, in the file's order."""

    sources: list[str]
    targets: list[str]

    def pairs(self) -> PairBatch:
        """The same as a batch."""
        return PairBatch.pack(self.sources, self.targets)


class Corpus:
    """A corpus folder: `stream.jsonl.zst`, `target/DOMAIN.jsonl.zst`, `test/DOMAIN.jsonl.zst`."""

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        self.folder = folder
        with open(folder / _STREAM, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        self.cache = (cache or default_cache()) / digest
        self.cache.mkdir(parents=True, exist_ok=True)

    @cached_property
    def pairs(self) -> PairBatch:
        """The stream, whole, in its order."""
        self._prepare()
        source, target = (
            TextBatch(self._load(f"{side}-bytes"), self._load(f"{side}-offsets"))
            for side in ("source", "target")
        )
        return PairBatch(source, target, np.arange(len(source)))

    @cached_property
    def labels(self) -> Labels:
        """The stream's labels; for metrics only."""
        self._prepare()
        names = tuple(str(name) for name in self._load("domain-names"))
        return Labels(names, self._load("domains"), self._load("noise"), self._load("keys"))

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Where each record stood in its documents, int64 [n]: the number in its id; in the stream's order without one."""
        return self._ids[0]

    @cached_property
    def copies(self) -> NDArray[np.bool_]:
        """Records that are copies from elsewhere, bool [n]: their ids end in `-d`."""
        return self._ids[1]

    @cached_property
    def _ids(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        path = self.cache / "ids.npz"
        if not path.exists():
            names = [str(record.get("id", "")) for record in _records(self.folder / _STREAM)]
            copies = [name.endswith("-d") for name in names]
            numbers = [name.removesuffix("-d").rpartition("-")[2] for name in names]
            places = [int(text) if text.isdigit() else row for row, text in enumerate(numbers)]
            np.savez(path, places=np.array(places, np.int64), copies=np.array(copies, np.bool_))
        with np.load(path) as stored:
            return stored["places"], stored["copies"]

    def target(self, domain: str) -> Texts:
        """The clean in-domain pairs that describe the domain."""
        return _texts(self.folder / "target" / f"{domain}.jsonl.zst")

    def test(self, domain: str) -> Texts:
        """The clean in-domain pairs for the downstream figures; in neither stream nor target."""
        return _texts(self.folder / "test" / f"{domain}.jsonl.zst")

    @cached_property
    def source_embedding(self) -> Embedding:
        """The evaluation's embedding, its weights from the first 50,000 sources."""
        return Embedding.fit(self.pairs.source.slice(0, min(50_000, len(self.pairs))).texts())

    @cached_property
    def target_embedding(self) -> Embedding:
        """The same of the target sides."""
        return Embedding.fit(self.pairs.target.slice(0, min(50_000, len(self.pairs))).texts())

    @cached_property
    def source_vectors(self) -> NDArray[np.float32]:
        """float32 [n, 256], embedded source sides; mapped from the cache."""
        return self._vectors("source-vectors", lambda: self.source_embedding, self.pairs.source)

    @cached_property
    def target_vectors(self) -> NDArray[np.float32]:
        """float32 [n, 256], embedded target sides; mapped from the cache."""
        return self._vectors("target-vectors", lambda: self.target_embedding, self.pairs.target)

    def clusters(self, domain: str) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Clusters of the evaluation: uint8 [n] of the stream, and the target's shares, float64 [K]."""
        path = self.cache / f"clusters-{domain}.npz"
        if not path.exists():
            vectors = self.source_embedding(self.target(domain).sources)
            centroids = spherical_kmeans(vectors, 64)
            assigned = nearest(self.source_vectors, centroids).astype(np.uint8)
            shares = np.bincount(nearest(vectors, centroids), minlength=len(centroids)) / len(vectors)
            np.savez(path, assigned=assigned, shares=shares)
        with np.load(path) as stored:
            return stored["assigned"], stored["shares"]

    def _vectors(self, name: str, embedding: Callable[[], Embedding], side: TextBatch) -> NDArray[np.float32]:
        path = self.cache / f"{name}.npy"
        if not path.exists():
            embed, step = embedding(), 50_000
            parts = [
                embed(side.slice(i, min(i + step, len(side))).texts()) for i in range(0, len(side), step)
            ]
            np.save(path, np.concatenate(parts))
        mapped: NDArray[np.float32] = np.load(path, mmap_mode="r")
        return mapped

    def _load(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(self.cache / f"{name}.npy")
        return array

    def _prepare(self) -> None:
        if (self.cache / "complete").exists():
            return
        records = list(_records(self.folder / _STREAM))
        sides = {"source": "src", "target": "tgt"}
        for side, field in sides.items():
            batch = TextBatch.pack([record[field] for record in records])
            np.save(self.cache / f"{side}-bytes.npy", batch.buffer)
            np.save(self.cache / f"{side}-offsets.npy", batch.offsets)
        names = sorted({record["domain"] for record in records})
        np.save(self.cache / "domain-names.npy", np.array(names))
        np.save(
            self.cache / "domains.npy",
            np.array([names.index(record["domain"]) for record in records], np.uint8),
        )
        kinds = [NOISE.index(record["noise"] or "clean") for record in records]
        np.save(self.cache / "noise.npy", np.array(kinds, np.uint8))
        keys = [hashlib.blake2b(f"{r['src']}\0{r['tgt']}".encode(), digest_size=8).digest() for r in records]
        np.save(self.cache / "keys.npy", np.frombuffer(b"".join(keys), np.uint64))
        (self.cache / "complete").touch()


def spherical_kmeans(vectors: NDArray[np.float32], clusters: int) -> NDArray[np.float32]:
    """Unit centroids float32 [K, d] of unit vectors (faiss, 15 rounds, a fixed seed)."""
    import faiss

    faiss.omp_set_num_threads(1)
    # faiss warns where a cluster has under 39 points; the smallest target sets have 8 a cluster, as
    # ALGORITHM.md's had
    kmeans = faiss.Kmeans(
        vectors.shape[1],
        min(clusters, len(vectors)),
        niter=15,
        spherical=True,
        seed=1,
        min_points_per_centroid=1,
    )
    kmeans.train(vectors)
    return np.asarray(kmeans.centroids, np.float32)


def nearest(vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int64]:
    """int64 [n], the centroid with the largest inner product."""
    step = 1 << 16
    parts = [(vectors[i : i + step] @ centroids.T).argmax(1) for i in range(0, len(vectors), step)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, "rb") as file:
        for line in zstandard.ZstdDecompressor().stream_reader(file).read().splitlines():
            yield orjson.loads(line)


def _texts(path: Path) -> Texts:
    records = list(_records(path))
    return Texts([record["src"] for record in records], [record["tgt"] for record in records])
