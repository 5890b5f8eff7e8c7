"""Options whose value is a name out of a closed list."""

from __future__ import annotations

from collections.abc import Collection

from craft_stream.errors import ConfigurationError
from craft_stream.spelling import nearest_name


def check_choice(option: str, value: str | None, known: Collection[str]) -> None:
    """That an option names one of those that there are, or nothing.

    Args:
        option: as it is typed, such as `--reason`.
        value: None: it was not given.
        known: names, in the order in which they are told; at least one.

    Raises:
        ConfigurationError: it does not, with the nearest and all of them.
    """
    if value is not None and value not in known:
        raise ConfigurationError(
            f'{option}: there is no "{value}"; the nearest is "{nearest_name(value, known)}" of {", ".join(known)}'
        )
