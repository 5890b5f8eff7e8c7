"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from craft_stream.errors import ConfigurationError
from craft_stream.settings import Settings

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file with settings.", envvar="CRAFT_CONFIG"),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting, such as budget.rate=0.01. Repeatable."),
]
RunModel = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="The version that `run --model` decided with.", exists=True, dir_okay=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Jobs = Annotated[
    int | None,
    typer.Option(metavar="NUMBER", min=1, help="Threads that score; one for each processor unless said."),
]
InputFormat = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Format of FILE where its name does not tell: tsv, parquet, ..."),
]
OutputFormat = Annotated[
    str | None, typer.Option(metavar="NAME", help="Format of --output where its name does not tell.")
]
Rejected = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="All other records, a line each: reason, place, and the record as it came."
    ),
]


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


def share(text: str) -> float:
    """A share as it is typed, 0 to 1.

    Raises:
        BadParameter: it is something else; the message says how a percentage is written.
    """
    percentage = text.rstrip().endswith("%")
    try:
        value = float(text.rstrip("% ")) / (100 if percentage else 1)
    except ValueError:
        value = -1.0
    if percentage and 0 <= value <= 1:
        raise typer.BadParameter(f"{text} is typed as {value:g}")
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{text} is no share between 0 and 1, such as 0.05 for 5 %")
    return value


def refuse_without_effect(options: Mapping[str, tuple[object, str, object]]) -> None:
    """Refuse options that do nothing without another that was not given.

    Args:
        options: by name: its value, what it needs (as it is typed), and the value of that.

    Raises:
        ConfigurationError: naming both.
    """
    for name, (given, needed, value) in options.items():
        if given and not value:
            raise ConfigurationError(f"{name} has no effect without {needed}: give both, or neither")
