"""The model topic: versions of the Model, and which of them is to be in force.

They are split into chunks under the brokers' size limit. Partition 0 holds, in a few hundred bytes each,
`version/{n}` (the manifest: number, digest, size, where its chunks are) and `pin` (a version that everybody
must use; a tombstone lifts it), `settings/{group}/{n}` (a version of a group's settings, see `topics.settings_versions`) and
`use/{group}/{topic}/{partition}/{n}` (the offset from which, for the last time, the partition decided with version n; written
in the worker's transactions, so that whoever prunes knows what is needed).
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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from craft_stream.errors import IntegrityError, NewerReleaseError
from craft_stream.ports.transport import Reader
from craft_stream.schema import Number, Schema, check, has_type, is_number, read_json
from craft_stream.scoring.model import Model
from craft_stream.scoring.model_schema import LARGEST_VERSION
from craft_stream.topics.settings_versions import SettingsVersion
from craft_stream.topics.signatures import Signatures

MANIFESTS, CHUNKS = 0, 1
FORMAT = 1
_LOADED = 4  # in force, next, one for a partition that lags, one for a rollback: some 45 MB each

_YEAR_9999_MS = 253_370_764_800_000
_SCHEMA: Schema = {
    "format": Number(1, 1 << 31),
    "version": Number(1, LARGEST_VERSION),
    "size": Number(),
    "chunks": Number(1, 1 << 20),
    "first": Number(),
    "last": Number(),
    "published_at_ms": Number(0, _YEAR_9999_MS),
}

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
        signature: of its publisher, see `topics.signatures`; None: not signed.
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
    signature: str | None = None

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """From the value of a `version/` record.

        Raises:
            IntegrityError: not a manifest, or of a newer format.
        """
        values = read_json("a model's manifest", data)
        check("a model's manifest", values, {"format": _SCHEMA["format"]})
        if values["format"] > FORMAT:
            raise NewerReleaseError(f"its manifest is of format {values['format']}", FORMAT)
        check("a model's manifest", values, _SCHEMA)
        types = get_type_hints(cls)
        for name, value in values.items():
            if name not in types or not has_type(value, types[name]):
                raise IntegrityError(f"a model's manifest is damaged: its part {name} is {value!r:.50}")
        try:
            return cls(**values)
        except TypeError as error:
            raise IntegrityError(f"a model's manifest cannot be read: {error}") from error


class ModelStore:
    """Follows the topic and loads versions; keeps the last few. Several threads may use it.

    One version is one object while it is kept, so that partitions that share it share its memory.

    Attributes:
        topic: where they are.
        manifests: what there is, by version.
        pinned: the version that everybody must use; None when none is.
        uses: by partition (group/topic/partition) and version the offset from which it was last in force.
        refused: versions that are passed over, and why: not signed as `signatures` demands, or damaged.

    Args:
        signatures: what a version and a pin must be signed with.
    """

    def __init__(self, reader: Reader, topic: str, signatures: Signatures | None = None) -> None:
        self.refused: dict[int, str] = {}
        self._signatures = signatures or Signatures(topic)
        self.manifests: dict[int, Manifest] = {}
        self.pinned: int | None = None
        self.uses: dict[str, dict[int, int]] = {}
        self._settings: dict[str, dict[int, bytes]] = {}
        self._reader = reader
        self.topic = topic
        self._position: int | None = None
        self._loaded: OrderedDict[int, Model] = OrderedDict()
        self._given: dict[int, Model] = {}
        self._lock = threading.Lock()

    def give(self, model: Model) -> None:
        """Make a version known that is not on the topic (one from a file); it comes before one of its number."""
        self._given[model.version] = model

    def taken(self, model: Model) -> bool:
        """Whether the topic holds another Model of the same number: the ledgers, which name numbers, would mean either."""
        manifest = self.manifests.get(model.version)
        return manifest is not None and manifest.digest != model.digest

    def refresh(self) -> None:
        """Read what is new."""
        with self._lock:
            self._refresh()

    def _refresh(self) -> None:
        first, end = self._reader.bounds(self.topic, [MANIFESTS])[MANIFESTS]
        if self._position is not None and end < self._position:
            log.warning("%s is shorter than it was, so it was made anew: it is read again", self.topic)
            self._forget()
        position = first if self._position is None else max(self._position, first)
        if position >= end:
            return
        troubles: dict[str, str] = {}  # of records that no later one has made good: signed again, withdrawn
        for messages in self._reader.read(self.topic, MANIFESTS, position, end):
            for message in messages:
                key = (message.key or b"").decode("utf-8", "replace")
                troubles.pop(key, None)
                if trouble := self._note(key, message.value):
                    troubles[key] = trouble
        self._position = end
        for trouble in troubles.values():
            log.warning("%s", trouble)

    def _forget(self) -> None:
        """All that the topic has told."""
        for known in (self.manifests, self.refused, self.uses, self._settings, self._loaded):
            known.clear()
        self.pinned = self._position = None

    def _note(self, key: str, value: bytes | None) -> str | None:
        """Why a record is passed over, where it is."""
        if key == "pin":
            return self._note_pin(value)
        kind, _, number = key.partition("/")
        if kind == "settings":
            return self._note_settings(number, value)
        if kind == "use":
            return self._note_use(number, value)
        if kind == "version" and is_number(number):
            return self._note_version(int(number), value)
        return None

    def _note_pin(self, value: bytes | None) -> str | None:
        if value is None:
            self.pinned = None
            return None
        try:
            pin = read_json("the pin", value)
            check("the pin", pin, {"version": _SCHEMA["version"]})
            self._signatures.verify(pin)
            self.pinned = pin["version"]
        except IntegrityError as error:
            return f"{self.topic}: the pin is passed over: {error}"
        return None

    def _note_version(self, number: int, value: bytes | None) -> str | None:
        self.manifests.pop(number, None)
        self.refused.pop(number, None)
        if value is None:
            return None
        try:
            manifest = Manifest.decode(value)
            if manifest.version != number:
                raise IntegrityError(f"its manifest is that of model {manifest.version}")
            self._signatures.verify(read_json("a model's manifest", value))
            self.manifests[number] = manifest
        except IntegrityError as error:
            self.refused[number] = str(error)
            return f"model {number} is passed over: {error}"
        return None

    def _note_settings(self, key: str, value: bytes | None) -> str | None:
        group, _, number = key.rpartition("/")
        if not is_number(number) or value is None:
            return None
        try:
            self._signatures.verify(read_json("a version of the settings", value))
        except IntegrityError as error:
            return f"settings {number} of group {group} are passed over: {error}"
        # A new dictionary, as another thread may be reading the old one.
        self._settings[group] = {**self._settings.get(group, {}), int(number): value}
        return None

    def signed(self, values: Mapping[str, Any]) -> bytes:
        """A record as it is to be published on the topic."""
        return json.dumps(self._signatures.signed(values)).encode()

    def settings_numbers(self, group: str) -> list[int]:
        """Versions of the settings of a group, the oldest first."""
        return sorted(self._settings.get(group, {}))

    def settings_number(self, group: str) -> int:
        """The newest of them, which ought to be in force; 0 without one."""
        return max(self._settings.get(group, {}), default=0)

    def settings_version(self, group: str, number: int) -> SettingsVersion | None:
        """One of them; None if there is no such.

        Raises:
            IntegrityError: a newer release has published it, or it is damaged.
        """
        data = self._settings.get(group, {}).get(number)
        if data is None:
            return None
        version = SettingsVersion.decode(data)
        if version.number != number:
            raise IntegrityError(f"settings {number} of group {group} say that they are {version.number}")
        return version

    def newest_settings(self, group: str) -> SettingsVersion | None:
        """The newest; for errors see `settings_version`."""
        return self.settings_version(group, self.settings_number(group))

    def all_settings(self, group: str) -> Iterator[SettingsVersion]:
        """All, the oldest first; for errors see `settings_version`."""
        for number in self.settings_numbers(group):
            if version := self.settings_version(group, number):
                yield version

    def _note_use(self, key: str, value: bytes | None) -> str | None:
        prefix, _, version = key.rpartition("/")
        if not is_number(version):
            return None
        uses = self.uses.setdefault(prefix, {})
        if value is None:
            uses.pop(int(version), None)
            return None
        try:
            use = read_json("a use", value)
            check("a use", use, {"offset": Number()})
            uses[int(version)] = use["offset"]
        except IntegrityError as error:
            return f"{self.topic}: use/{key} is passed over: {error}"
        return None

    @property
    def last_number(self) -> int:
        """The greatest number that a version has here, one that is passed over or was decided with from a file too; else 0."""
        used = (version for uses in self.uses.values() for version in uses)
        return max([*self.manifests, *self.refused, *used], default=0)

    @property
    def newest(self) -> int:
        """The version that ought to be in force: the pinned one, else the newest; 0 when there is none."""
        if self.pinned is not None:
            return self.pinned
        return max(self.manifests, default=0)

    @property
    def groups(self) -> set[str]:
        """That have published settings here, or decided by versions of this topic."""
        return {*self._settings, *(prefix.rsplit("/", 2)[0] for prefix, uses in self.uses.items() if uses)}

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
        if version in self.refused:
            raise IntegrityError(
                f"model {version} is passed over: {self.refused[version]}; `craft-stream model sign {version}` signs it, if "
                "you know who made it"
            )
        if version not in self.manifests:
            pruned = " it was pruned," if self.manifests else ""
            raise IntegrityError(
                f"model {version} is not on {self.topic}:{pruned} the topic is not compacted as `craft-stream topics create` "
                "makes it, or the group has decided with `run --model FILE`: then give FILE by --model, too (to `replay` by "
                "--run-model)"
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
        first, end = self._reader.bounds(self.topic, [CHUNKS])[CHUNKS]
        if not first <= manifest.first <= manifest.last < end:
            raise IntegrityError(
                f"the chunks of model {manifest.version} should be at offsets {manifest.first} to {manifest.last}, but "
                f"partition {CHUNKS} of {self.topic} holds {first} to {end}"
            )
        for messages in self._reader.read(self.topic, CHUNKS, manifest.first, manifest.last + 1):
            for message in messages:
                key = (message.key or b"").decode("utf-8", "replace")
                number = key.removeprefix(start)
                if key.startswith(start) and is_number(number) and message.value is not None:
                    parts[int(number)] = message.value
        missing = [index for index in range(manifest.chunks) if index not in parts]
        if missing:
            raise IntegrityError(f"model {manifest.version} lacks {len(missing)} of {manifest.chunks} chunks")
        data = b"".join(parts[index] for index in range(manifest.chunks))
        if hashlib.sha256(data).hexdigest() != manifest.sha256:
            raise IntegrityError(f"model {manifest.version} is damaged: its checksum does not fit")
        return data
