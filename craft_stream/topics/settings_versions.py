"""Versions of a consumer group's settings, as they stand on the model topic under `settings/{group}/{n}`; see ADR 44."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from craft_stream import __version__
from craft_stream.errors import ConfigurationError, IntegrityError, NewerReleaseError
from craft_stream.parameters import Parameters, lists_digest
from craft_stream.settings import EncoderSettings, Settings
from craft_stream.settings.versioned import common_values, differences, fixed_values, lists_of

FORMAT = 1


@dataclass(frozen=True, slots=True)
class SettingsVersion:
    """One version.

    Attributes:
        parameters: with its number.
        encoder: that the learner is to use from here on.
        fixed: what cannot change, by the names of the settings.
        published_at_ms: by the publisher's clock.
        release: of craft_stream, that published it.
        common: what every worker must take from its own machine, by the names of the settings.
        restores: number of the version that `settings rollback` published again as this one; 0: it is no other's.
    """

    parameters: Parameters
    encoder: EncoderSettings
    fixed: Mapping[str, Any]
    published_at_ms: int
    release: str = __version__
    common: Mapping[str, Any] = field(default_factory=dict)
    restores: int = 0

    @classmethod
    def of(
        cls,
        settings: Settings,
        encoder: str,
        number: int,
        now_ms: int,
        lists: Mapping[str, str] = MappingProxyType({}),
    ) -> SettingsVersion:
        """What settings say, with the digests of the encoder that they ask for and of each of their lists."""
        return cls(
            settings.parameters(encoder).numbered(number),
            settings.encoder,
            fixed_values(settings),
            published_at_ms=now_ms,
            common=common_values(settings, lists),
        )

    def changes(self, before: SettingsVersion) -> Iterator[str]:
        """What is different from another one, a line each."""
        yield from differences(before.parameters, self.parameters)
        for name, value in self.common.items():
            if (old := before.common.get(name, value)) != value:
                yield f"{name}: {old} -> {value}"

    @property
    def number(self) -> int:
        """1, 2, ..."""
        return self.parameters.version

    @property
    def listed(self) -> str:
        """Digest of the lists that it names, all together; empty without any."""
        return lists_digest(lists_of(self.common))

    @property
    def origin(self) -> int:
        """Number of the version that first said what this one does, as far as roll-backs tell."""
        return self.restores or self.number

    def values(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "format": FORMAT,
            "release": self.release,
            "published_at_ms": self.published_at_ms,
            "parameters": self.parameters.encode(),
            "encoder": self.encoder.model_dump(mode="json"),
            "fixed": dict(self.fixed),
            "common": dict(self.common),
            "restores": self.restores,
        }

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(self.values()).encode()

    @classmethod
    def decode(cls, data: bytes) -> SettingsVersion:
        """From `encode`, whatever else stands beside.

        Raises:
            IntegrityError: it is something else, or of a newer release.
        """
        release = "?"
        try:
            values = json.loads(data)
            release = str(values["release"])
            if values["format"] > FORMAT:
                raise NewerReleaseError(
                    f"settings of release {release} are of format {values['format']}", FORMAT
                )
            return cls(
                Parameters.decode(values["parameters"]),
                EncoderSettings(**values["encoder"]),
                {str(name): value for name, value in values["fixed"].items()},
                int(values["published_at_ms"]),
                release,
                {str(name): value for name, value in values.get("common", {}).items()},
                int(values.get("restores", 0)),
            )
        except (ValueError, KeyError, TypeError, AttributeError, ConfigurationError) as error:
            raise IntegrityError(
                f"settings that release {release} published cannot be read by this one ({__version__}): {error}"
            ) from error
