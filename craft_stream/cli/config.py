"""`craft-stream config`: the settings in force, secrets masked."""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import replace
from typing import Any

import orjson
import typer

from craft_stream.cli.options import Config, Json, Overrides, load_settings
from craft_stream.settings import Settings, describe

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Show and check the settings in force.")


@app.command(epilog="Example: craft-stream config show --set budget.rate=0.02")
def show(config: Config = None, overrides: Overrides = None, as_json: Json = False) -> None:
    """Print every setting in force as TOML, secrets masked, what is unset as a comment."""
    settings = load_settings(config, overrides)
    if as_json:
        print(orjson.dumps(settings.model_dump(mode="json"), option=orjson.OPT_INDENT_2).decode())
    else:
        print(toml(settings), end="")


@app.command(epilog="Example: craft-stream config check --config craft.toml")
def check(config: Config = None, overrides: Overrides = None) -> None:
    """Read the settings, load the encoder and say whether they can be used; exit code 2 if not."""
    from craft_stream.cli.engine import load_engine  # numba: a second that `show` is spared
    from craft_stream.cli.lists import read_lists

    settings = load_settings(config, overrides)
    parameters, _ = load_engine(settings)
    print("the settings are valid")
    print(f"digest of the parameters, as `settings ls` has it: {replace(parameters, listed='').digest}")
    if listed := read_lists(settings):
        for name, digest in listed.digests.items():
            print(f"{name}: {_entries(listed.entries[name])}; digest {digest}, as `settings diff` has it")
        print(f"digest of the parameters and lists together, as decisions have it: {parameters.digest}")


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


@app.command(epilog="Example: craft-stream config table")
def table() -> None:
    """Print every setting with its default as a Markdown table."""
    print(markdown(), end="")


def markdown() -> str:
    """The table of all settings in docs/reference/settings.md."""
    rows = [f"| `{item.name}` | {_default(item.default)} | {item.text} |" for item in describe()]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows, ""])


def _default(value: Any) -> str:
    return "" if value is None or value == {} else f"`{_value(value)}`"


def toml(settings: Settings, sections: Container[str] | None = None) -> str:
    """The settings, or some sections of them, as TOML text: a table for each; secrets masked, what is unset as a comment."""
    tables = settings.model_dump(mode="json").items()
    return "\n".join(_table(name, table) for name, table in tables if sections is None or name in sections)


def _table(name: str, table: dict[str, Any]) -> str:
    inner = {key: value for key, value in table.items() if isinstance(value, dict)}
    lines = [f"[{name}]"]
    for key, value in table.items():
        if key in inner:
            continue
        lines.append(f"# {key} = (not set)" if value is None else f"{key} = {_value(value)}")
    own = "\n".join(lines) + "\n"
    return "\n".join([own, *(_table(f"{name}.{key}", value) for key, value in inner.items())])


def _value(value: Any) -> str:
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return orjson.dumps(value).decode()  # JSON's strings, numbers and booleans are TOML's
