"""Topics that a command reads, looked for before it waits for what is not there."""

from __future__ import annotations

from craft_stream.errors import ConfigurationError
from craft_stream.ports.transport import Reader


def require(reader: Reader, *topics: str) -> None:
    """That topics are there.

    Raises:
        ConfigurationError: one is not, with the command to type.
    """
    missing = [topic for topic in topics if not reader.partitions(topic)]
    if missing:
        raise ConfigurationError(
            f"there is no topic {', '.join(missing)}, or this user may not see it: `craft-stream topics create` makes it"
        )
