"""The settings that decisions follow from: they are published for a consumer group, as versions, and change while it runs.

They are `budget.rate`, `[selection]` but for its lists, `[learner]` but for where it runs, and `[encoder]`. What a record is
must stay as it is (`FIXED`): the log would be read in two ways, and nothing could be recomputed. What a process takes from its
own machine (`common_values`) is published, too, so that a worker that was given something else is found out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from craft_stream.parameters import Parameters
from craft_stream.settings import Settings

# Tables that they stand in.
SECTIONS = ("budget", "selection", "learner", "encoder")
# Of every worker of a group the same, and for ever.
FIXED = (
    "record.source_field", "record.target_field", "record.id_field", "record.url_fields", "record.max_bytes",
)  # fmt: skip
SIGNALS = ("record.signals", "record.computed_signals")
LISTS = ("selection.decontaminate", "selection.takedown")


def named_values(parameters: Parameters) -> dict[str, Any]:
    """Every parameter under the name of its setting."""
    selection, learning = asdict(parameters.selection), asdict(parameters.learning)
    rate = selection.pop("rate")
    return {
        "budget.rate": rate,
        **{f"selection.{name}": value for name, value in selection.items()},
        **{f"learner.{name}": value for name, value in learning.items()},
    }


def differences(before: Parameters, after: Parameters) -> Iterator[str]:
    """What is different, a line each."""
    old, new = named_values(before), named_values(after)
    yield from (f"{name}: {old[name]} -> {new[name]}" for name in new if old[name] != new[name])
    if before.encoder != after.encoder:
        yield f"encoder: {before.encoder} -> {after.encoder}"


def with_named(parameters: Parameters, named: Sequence[str], settings: Settings) -> Parameters:
    """Parameters of the selector, with those that are named as settings have them.

    The learner's reach decisions through versions of the Model alone, and stay.
    """
    wanted = named_values(settings.parameters())
    chosen = {
        name.partition(".")[2]: wanted[name]
        for name in named
        if name == "budget.rate" or (name.startswith("selection.") and name in wanted)
    }
    return replace(parameters, selection=replace(parameters.selection, **chosen))


def fixed_values(settings: Settings) -> dict[str, Any]:
    """What cannot change, by name."""
    return _of_record(settings, FIXED)


def common_values(settings: Settings, lists: Mapping[str, str]) -> dict[str, Any]:
    """What changes by new files and a restart of every worker, by name: which signals are read, and the digest of each list.

    Args:
        lists: digests of those that there are, by the names of their settings.
    """
    return {**_of_record(settings, SIGNALS), **{name: lists.get(name, "none") for name in LISTS}}


def lists_of(common: Mapping[str, Any]) -> dict[str, str]:
    """The digests of lists that `common_values` names."""
    return {name: str(common[name]) for name in LISTS if common.get(name, "none") != "none"}


def _of_record(settings: Settings, names: Sequence[str]) -> dict[str, Any]:
    found = {name: getattr(settings.record, name.partition(".")[2]) for name in names}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def contradictions(known: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """What is other here than it is known to be; what only one of them names contradicts nothing."""
    return [
        f"{name} = {own[name]} (it is {value})"
        for name, value in known.items()
        if own.get(name, value) != value
    ]
