"""What settings there are: their names, defaults and texts, and the nearest to a name that does not exist."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from pydantic import BaseModel, ValidationError

from craft_stream.spelling import nearest_name

_EXAMPLES = {"budget.rate": ": it is a share, such as 0.05 for 5 %"}  # where a unit is easily mistaken


@dataclass(frozen=True, slots=True)
class Description:
    """One setting.

    Attributes:
        name: `section.key`.
        default: None: not set.
        text: what it is.
    """

    name: str
    default: Any
    text: str


def describe(section: Any, prefix: str = "") -> Iterator[Description]:
    """Every setting under `section`, in order."""
    if isinstance(section, BaseModel):
        texts = {name: field.description or "" for name, field in type(section).model_fields.items()}
    else:
        texts = {field.name: _attribute_text(type(section), field.name) for field in fields(section)}
    for key, text in texts.items():
        name, default = f"{prefix}{key}", getattr(section, key)
        if not prefix or isinstance(default, BaseModel):
            yield from describe(default, f"{name}.")
        else:
            yield Description(name, default, text)


def explain(error: ValidationError, whole: BaseModel) -> str:
    """What is wrong, one phrase for each setting; values are left out, as they may be secrets."""
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in problem["loc"])
        wrong = problem["type"] in ("extra_forbidden", "unexpected_keyword_argument")
        lines.append(
            unknown(name, whole) if wrong else f"{name}: {_words(problem['msg'])}{_EXAMPLES.get(name, '')}"
        )
    return "; ".join(lines)


def _words(message: str) -> str:
    """A message of pydantic's, as what must be."""
    return message.replace("Input should be", "must be").removeprefix("Value error, ")


def unknown(name: str, whole: BaseModel) -> str:
    """That there is no such setting under `whole`, and which is the nearest."""
    known = [setting.name for setting in describe(whole)] if "." in name else list(type(whole).model_fields)
    return f'unknown setting "{name}"; the nearest known one is "{nearest_name(name, known)}"'


def _attribute_text(owner: type, name: str) -> str:
    """What the docstring of a class, or of one that it inherits from, says of an attribute."""
    for kind in owner.__mro__:
        doc = inspect.cleandoc(kind.__doc__ or "")
        if match := re.search(rf"^    {name}: (.*(?:\n {{8}}.*)*)", doc, re.MULTILINE):
            return " ".join(match[1].split()).removesuffix(".")
    return ""
