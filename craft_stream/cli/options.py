"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from craft_stream.settings import Settings

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file with settings.", envvar="CRAFT_CONFIG"),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting, such as budget.rate=0.01. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def load_settings(config: Path | None, overrides: Iterable[str] | None, **flags: object) -> Settings:
    """Settings by all means that the command line has.

    Args:
        config: value of `--config`.
        overrides: values of `--set`.
        flags: a command's own flags for settings, `budget_rate=.1` spelt `section__key`; None was not given.
            They come before `--set`.
    """
    own = [f"{name.replace('__', '.')}={value}" for name, value in flags.items() if value is not None]
    return Settings.load(config, [*(overrides or []), *own])
