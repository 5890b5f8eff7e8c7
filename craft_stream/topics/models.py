"""The model topic: versions of the Model, and which of them is to be in force.

They are split into chunks under the brokers' size limit. Partition 0 holds, in a few hundred bytes each,
`version/{n}` (the manifest: number, digest, size, where its chunks are) and `pin` (a version that everybody
must use; a tombstone lifts it) and `use/{group}/{topic}/{partition}/{n}` (the offset from which, for the last time, the
partition decided with version n; written in the worker's transactions, so that whoever prunes knows what is needed).
Partition 1 holds the chunks, `chunk/{n}/{i}`. A worker follows partition 0 and fetches only the versions that it needs. A
version is one transaction, its manifest the last record; both partitions are compacted, and the learner drops what no
ledger, pin or audit can need (`topics.unused_models`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from craft_stream.errors import IntegrityError
from craft_stream.ports.transport import Reader
from craft_stream.scoring.model import Model

MANIFESTS, CHUNKS = 0, 1
FORMAT = 1
_LOADED = 4  # in force, next, one for a partition that lags, one for a rollback: some 45 MB each

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the topic says about a version.

    Attributes:
        version: its number.
        digest: of the Model.
        sha256: of its encoded bytes.
        size: of the same.
        chunks: how many records they are in.
        first, last: offsets in the chunks' partition between which these are.
        published_at_ms: by the publisher's clock.
        header: of the Model.
        format: of this manifest.
    """

    version: int
    digest: str
    sha256: str
    size: int
    chunks: int
    first: int
    last: int
    published_at_ms: int
    header: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """From the value of a `version/` record.

        Raises:
            IntegrityError: not a manifest, or of a newer format.
        """
        try:
            values = json.loads(data)
            if values["format"] > FORMAT:
                raise IntegrityError(f"manifest of format {values['format']}: upgrade craft_stream")
            return cls(**values)
        except (ValueError, TypeError, KeyError) as error:
            raise IntegrityError(f"a model's manifest cannot be read: {error}") from error


class ModelStore:
    """Follows the topic and loads versions; keeps the last few. Several threads may use it.

    One version is one object while it is kept, so that partitions that share it share its memory.

    Attributes:
        manifests: what there is, by version.
        pinned: the version that everybody must use; None when none is.
        uses: by partition (group/topic/partition) and version the offset from which it was last in force.
    """

    def __init__(self, reader: Reader, topic: str) -> None:
        self.manifests: dict[int, Manifest] = {}
        self.pinned: int | None = None
        self.uses: dict[str, dict[int, int]] = {}
        self._reader = reader
        self._topic = topic
        self._position: int | None = None
        self._loaded: OrderedDict[int, Model] = OrderedDict()
        self._given: dict[int, Model] = {}
        self._lock = threading.Lock()

    def give(self, model: Model) -> None:
        """Make a version known that is not on the topic (one from a file)."""
        self._given[model.version] = model

    def refresh(self) -> None:
        """Read what is new."""
        with self._lock:
            self._refresh()

    def _refresh(self) -> None:
        first, end = self._reader.bounds(self._topic, [MANIFESTS])[MANIFESTS]
        position = first if self._position is None else max(self._position, first)
        if position >= end:
            return
        for messages in self._reader.read(self._topic, MANIFESTS, position, end):
            for message in messages:
                self._note((message.key or b"").decode("utf-8", "replace"), message.value)
        self._position = end

    def _note(self, key: str, value: bytes | None) -> None:
        if key == "pin":
            self.pinned = json.loads(value)["version"] if value else None
            return
        kind, _, number = key.partition("/")
        if kind == "use":
            self._note_use(number, value)
            return
        if kind != "version" or not number.isdigit():
            return
        if value is None:
            self.manifests.pop(int(number), None)
            return
        try:
            self.manifests[int(number)] = Manifest.decode(value)
        except IntegrityError as error:
            log.warning("model %s: %s", number, error)

    def _note_use(self, key: str, value: bytes | None) -> None:
        prefix, _, version = key.rpartition("/")
        if not version.isdigit():
            return
        uses = self.uses.setdefault(prefix, {})
        if value is None:
            uses.pop(int(version), None)
        else:
            uses[int(version)] = int(json.loads(value)["offset"])

    @property
    def newest(self) -> int:
        """The version that ought to be in force: the pinned one, else the newest; 0 when there is none."""
        if self.pinned is not None:
            return self.pinned
        return max(self.manifests, default=0)

    def in_use(self, group: str) -> set[int]:
        """Versions that partitions of `group/topic` decided with last."""
        return {
            max(uses, key=lambda version: uses[version])
            for prefix, uses in self.uses.items()
            if uses and prefix.rpartition("/")[0] == group
        }

    def load(self, version: int) -> Model:
        """A version.

        Raises:
            IntegrityError: it is not there, or damaged.
        """
        with self._lock:
            if version in self._given:
                return self._given[version]
            if version in self._loaded:
                self._loaded.move_to_end(version)
                return self._loaded[version]
            return self._load(version)

    def _load(self, version: int) -> Model:
        if version not in self.manifests:
            raise IntegrityError(
                f"model {version} is not on {self._topic}: it was pruned, or the topic is not compacted as "
                "`craft-stream topics create` makes it"
            )
        model = Model.decode(self._fetch(self.manifests[version]))
        if model.version != version:
            raise IntegrityError(f"the chunks of model {version} hold model {model.version}")
        self._loaded[version] = model
        while len(self._loaded) > _LOADED:
            self._loaded.popitem(last=False)
        return model

    def _fetch(self, manifest: Manifest) -> bytes:
        start = f"chunk/{manifest.version}/"
        parts: dict[int, bytes] = {}
        for messages in self._reader.read(self._topic, CHUNKS, manifest.first, manifest.last + 1):
            for message in messages:
                key = (message.key or b"").decode("utf-8", "replace")
                number = key.removeprefix(start)
                if key.startswith(start) and number.isdigit() and message.value is not None:
                    parts[int(number)] = message.value
        missing = [index for index in range(manifest.chunks) if index not in parts]
        if missing:
            raise IntegrityError(f"model {manifest.version} lacks {len(missing)} of {manifest.chunks} chunks")
        data = b"".join(parts[index] for index in range(manifest.chunks))
        if hashlib.sha256(data).hexdigest() != manifest.sha256:
            raise IntegrityError(f"model {manifest.version} is damaged: its checksum does not fit")
        return data
