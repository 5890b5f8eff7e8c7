"""Where settings come from: a TOML file, the environment, flags; each as nested tables, not yet checked."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsError

from craft_stream.errors import ConfigurationError
from craft_stream.settings.names import unknown

ENVIRONMENT_PREFIX = "CRAFT_"
NESTING = "__"


def read_toml(path: str | Path) -> dict[str, Any]:
    """A TOML file as nested tables."""
    try:
        return tomllib.loads(Path(path).read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None


def read_environment(cls: type[BaseSettings]) -> dict[str, Any]:
    """What the environment says of the sections of `cls`."""
    for name in os.environ:
        section, nested, _ = name.removeprefix(ENVIRONMENT_PREFIX).partition(NESTING)
        if name.startswith(ENVIRONMENT_PREFIX) and nested and section.lower() not in cls.model_fields:
            wrong = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace(NESTING, ".")
            raise ConfigurationError(f"environment {name}: {unknown(wrong, cls())}")
    try:
        return EnvSettingsSource(cls)()
    except SettingsError as error:
        raise ConfigurationError(f"environment: {error}") from None


def read_flags(overrides: Iterable[str]) -> dict[str, Any]:
    """`section.key=value` as nested tables."""
    flags: dict[str, Any] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        path = key.strip().split(".")
        if not equals or len(path) < 2 or not all(path):
            raise ConfigurationError(f'"{key.strip()}" was not given as section.key=value')
        nested: Any = value.strip()
        for name in reversed(path):
            nested = {name: nested}
        merge(flags, nested)
    return flags


def merge(base: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Put `layer` over `base`, table by table."""
    for key, value in layer.items():
        if isinstance(value, Mapping):
            inner = dict(base[key]) if isinstance(base.get(key), Mapping) else {}
            merge(inner, value)
            base[key] = inner
        else:
            base[key] = value
