"""Signatures of what decides: who may write to the model topic is not who may say what is accepted.

With a key (`models.key`) the learner signs every version that it publishes and `craft-stream model pin` every pin, by
HMAC-SHA256 over the topic's name and the record's fields in canonical JSON; the manifest's `sha256` covers the Model's bytes.
What is not signed, or not by this key, is passed over. Without a key nothing is signed and everything is taken.

Withdrawals (tombstones) carry no signature: whoever may write can delete, but not make anybody decide by anything.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from craft_stream.errors import IntegrityError
from craft_stream.settings import Settings

FIELD = "signature"


class Signatures:
    """Signs and verifies records of one topic.

    Args:
        topic: a signature made for another one is worth nothing.
        key: None: nothing is signed, and everything is taken.
    """

    def __init__(self, topic: str, key: bytes | None = None) -> None:
        self._topic, self._key = topic, key

    @classmethod
    def of(cls, settings: Settings) -> Signatures:
        """Those that the settings ask for, of the model topic."""
        return cls(settings.kafka.model_topic, settings.models.signing_key())

    def __repr__(self) -> str:
        return f"Signatures({self._topic!r}, {'a key' if self._key else 'no key'})"

    def signed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a record with their signature."""
        plain = {name: value for name, value in values.items() if name != FIELD}
        return plain if self._key is None else {**plain, FIELD: self._digest(self._key, plain)}

    def verify(self, values: Mapping[str, Any]) -> None:
        """Raise IntegrityError where the fields of a record are not signed by the key."""
        if self._key is None:
            return
        signature = values.get(FIELD)
        if not signature:
            raise IntegrityError("it is not signed, and models.key is set")
        wanted = self._digest(self._key, {name: value for name, value in values.items() if name != FIELD})
        if not isinstance(signature, str) or not hmac.compare_digest(signature.encode(), wanted.encode()):
            raise IntegrityError("its signature is not that of models.key")

    def _digest(self, key: bytes, values: Mapping[str, Any]) -> str:
        canonical = json.dumps([self._topic, values], sort_keys=True, separators=(",", ":"))
        return hmac.new(key, canonical.encode(), hashlib.sha256).hexdigest()
