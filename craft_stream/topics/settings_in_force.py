"""Under which settings, beside which lists and by which release a partition was decided, as the ledger topic tells it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from craft_stream import __version__
from craft_stream.errors import ConfigurationError, IntegrityError
from craft_stream.parameters import Parameters


@dataclass(frozen=True, slots=True)
class SettingsInForce:
    """What was in force.

    Attributes:
        parameters: with the version under which they were published.
        release: of craft_stream.
        listed: digest of the lists, empty without any; None where it was not noted.
    """

    parameters: Parameters
    release: str = __version__
    listed: str | None = None

    def encode(self, offset: int) -> bytes:
        """As JSON, in force from an offset of the input on."""
        values = {
            "offset": offset,
            "release": self.release,
            "parameters": self.parameters.encode(),
            "listed": self.listed,
        }
        return json.dumps(values).encode()

    @classmethod
    def decode(cls, data: bytes) -> SettingsInForce:
        """From `encode`.

        Raises:
            IntegrityError: it is something else, or of a newer release.
        """
        try:
            values = json.loads(data)
            listed = values.get("listed")
            return cls(
                Parameters.decode(values["parameters"]),
                str(values["release"]),
                None if listed is None else str(listed),
            )
        except (ValueError, KeyError, TypeError, ConfigurationError) as error:
            raise IntegrityError(f"the settings that were in force cannot be read: {error}") from error
