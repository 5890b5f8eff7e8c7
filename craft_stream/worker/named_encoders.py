"""Encoders by their digests: the one that a process was started with, and those that versions of the settings have named."""

from __future__ import annotations

import threading
from collections.abc import Callable

from craft_stream.errors import IntegrityError
from craft_stream.scoring.embedding import Embedder
from craft_stream.topics.models import ModelStore


def no_other(kind: str, **options: object) -> Embedder:
    """For a process that has one encoder only.

    Raises:
        IntegrityError: always.
    """
    raise IntegrityError(f"this process can load no encoder but its own: {kind} is asked for")


class NamedEncoders:
    """Loads an encoder when a Model or the learner asks for it, once.

    Args:
        store: of the model topic; versions of the settings stand there.
        group: whose settings they are.
        own: of this process.
        make: loads one by its kind and options.
    """

    def __init__(self, store: ModelStore, group: str, own: Embedder, make: Callable[..., Embedder]) -> None:
        self._store, self._group, self._make = store, group, make
        self._loaded = {own.digest: own}
        self._lock = threading.Lock()

    def load(self, digest: str) -> Embedder:
        """The encoder of a digest.

        Raises:
            IntegrityError: no version of the settings names it, or what they name is another one on this machine.
            ConfigurationError: it cannot be loaded here.
        """
        with self._lock:
            if digest not in self._loaded:
                self._loaded[digest] = self._load(digest)
            return self._loaded[digest]

    def _load(self, digest: str) -> Embedder:
        for version in self._store.all_settings(self._group):
            if version.parameters.encoder == digest:
                made = self._make(version.encoder.kind, **version.encoder.options)
                if made.digest == digest:
                    return made
                raise IntegrityError(
                    f"settings {version.number} ask for the encoder {digest}; with encoder.kind = {version.encoder.kind} this "
                    f"machine has {made.digest}: install the same packages and weights everywhere"
                )
        raise IntegrityError(
            f"the encoder {digest} is not the one of these settings, and no version of the group's settings names it: set "
            "encoder.kind and its options as they were"
        )
