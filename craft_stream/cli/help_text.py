"""`--help` as plain text: paragraphs fill the line, brackets stay, examples can be copied as they are."""

from __future__ import annotations

import inspect
import re
from typing import Any, Final

_EXAMPLE: Final = re.compile(r"^Example: (.*)$", re.MULTILINE)


def examples(command: Any) -> list[str]:
    """The calls that a command's epilog shows, `Example: CALL` a line."""
    return _EXAMPLE.findall(command.epilog or "")


def _no_type(ctx: Any) -> str:
    """In place of the type of an argument, which typer 0.29 prints as Python writes it: `FILE <list[str]>`."""
    return ""


def plain(command: Any) -> Any:
    """Prepare a command, and those beneath it, to print its help as text without markup.

    Typer's boxes keep the line ends of docstrings, take `[learner]` for markup and break examples in the middle.

    Args:
        command: one that Typer made; it is changed.
    """
    command.rich_markup_mode = None
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    command.help = "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)
    command.short_help = paragraphs[0].replace("\n", " ")  # else it is cut at the width of the terminal
    if calls := examples(command):
        # \b keeps line ends
        command.epilog = "\b\n" + "\n".join(["Examples:" if len(calls) > 1 else "Example:", *calls])
    for parameter in getattr(command, "params", ()):
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = _no_type
    for inner in getattr(command, "commands", {}).values():
        plain(inner)
    return command
