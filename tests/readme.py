"""Documents as data: the README's commands, and the tables made from the code, which `python -m tests.readme` writes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import typer.main

from craft_stream import meanings
from craft_stream.cli import COMMANDS
from craft_stream.cli.config import markdown
from craft_stream.cli.help_text import examples
from craft_stream.observe.families import Metric
from craft_stream.observe.metrics import CRAWL, WORKER

PATH = Path(__file__).parents[1] / "README.md"
REFERENCE = PATH.parent / "docs" / "reference"


def commands(document: Path = PATH) -> list[str]:
    """The fenced `sh` blocks, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", document.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def _table(head: str, rows: Mapping[str, str]) -> str:
    lines = [f"| `{name}` | {text} |" for name, text in rows.items()]
    return "\n".join([f"| {head} | meaning |", "|---|---|", *lines, ""])


def _parts() -> str:
    lines = [f"| {part.title} | `{name}` | {part.meaning} |" for name, part in meanings.PARTS.items()]
    return "\n".join(["| part | name in JSON | meaning |", "|---|---|---|", *lines, ""])


def _options(params: Iterable[Any]) -> Iterator[str]:
    for param in params:
        if param.param_type_name == "argument" or param.name in ("help", "config", "overrides", "as_json"):
            continue
        value = param.metavar or ("" if param.is_flag else "VALUE")
        default = (
            ""
            if param.default in (None, False, ()) or callable(param.default)
            else f" (default {param.default})"
        )
        names = ", ".join((*param.opts, *param.secondary_opts))
        yield f"| `{f'{names} {value}'.strip()}` | {param.help or ''}{default} |"


def _command(name: str, command: Any, level: int) -> Iterator[str]:
    arguments = [
        (param.metavar or param.name).upper()
        for param in command.params
        if param.param_type_name == "argument"
    ]
    yield f"{'#' * level} {name}\n"
    yield f"{inspect.cleandoc(command.help or COMMANDS.get(name, ''))}\n"
    if inner := getattr(command, "commands", None):
        for own, one in inner.items():
            yield from _command(f"{name} {own}", one, level + 1)
        return
    yield f"`craft-stream {' '.join([name, *arguments])} [OPTIONS]`\n"
    if options := list(_options(command.params)):
        yield "\n".join(["| option | meaning |", "|---|---|", *options, ""])
    yield "\n".join(["```sh", *examples(command), "```", ""])


def _commands() -> str:
    """Every command: what it does, its options but for those that most have, an example."""
    made = ((name, import_module(f"craft_stream.cli.{name.replace('-', '_')}")) for name in COMMANDS)
    return "\n".join(
        line for name, module in made for line in _command(name, typer.main.get_command(module.app), 2)
    )


def _metrics(rows: Iterable[Metric]) -> str:
    lines = [f"| `{row.name}{{{','.join(row.labels)}}}` | {row.help} |".replace("{}", "") for row in rows]
    return "\n".join(["| metric | meaning |", "|---|---|", *lines, ""])


_METHODS = {
    "random": "a random choice",
    "dsir-both": "DSIR, both sides",
    "craft-batch": "CRAFT in batch",
    "craft-plus": "craft_stream, one pass",
    "ceiling": "the domain's own clean pairs",
}


def _figures(domains: Iterable[str] = ("medical", "finance", "fiction", "web")) -> str:
    """Good pairs and noise by method and domain, as docs/reference/benchmarks.md has them."""
    text = (
        (REFERENCE / "benchmarks.md")
        .read_text("utf-8")
        .partition("<!-- bench:quality -->")[2]
        .partition("<!-- /bench")[0]
    )
    found: dict[tuple[str, str], str] = {}
    for domain in domains:
        section = text.partition(f"### {domain},")[2].partition("###")[0]
        rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
        good, noise = rows[0].index("good"), rows[0].index("noise")
        found.update({(row[0], domain): f"{row[good]} / {row[noise]}" for row in rows if row[0] in _METHODS})
    lines = [
        f"| {title} | {' | '.join(found[method, domain] for domain in domains)} |"
        for method, title in _METHODS.items()
    ]
    head = f"| good / noise | {' | '.join(domains)} |"
    return "\n".join([head, "|---" * (len(_METHODS)) + "|", *lines, ""])


def _speed() -> str:
    """Pairs a second over files and in a worker, as docs/reference/performance.md has them."""
    text = (REFERENCE / "performance.md").read_text("utf-8")
    rows = [
        line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `craft-stream ")
    ]
    files = next(row[3] for row in rows if row[0] == "`craft-stream select`")
    worker = next(row[1].split()[0] for row in rows if row[0] == "`craft-stream run` (a)")
    return f"Over files it takes {files} pairs a second of two cores, in a Kafka worker {worker}, learning included.\n"


TABLES: Final[dict[Path, dict[str, Callable[[], str]]]] = {
    PATH: {"figures": _figures, "speed": _speed},
    REFERENCE / "command-line.md": {"commands": _commands},
    REFERENCE / "metrics.md": {"worker": lambda: _metrics(WORKER), "crawl": lambda: _metrics(CRAWL)},
    REFERENCE / "crawl.md": {"pages": lambda: _table("name", meanings.PAGES)},
    REFERENCE / "settings.md": {"settings": markdown},
    REFERENCE / "reasons.md": {
        "reasons": lambda: _table("reason", meanings.REASONS),
        "refusals": lambda: _table("reason", meanings.REFUSALS),
        "parts": _parts,
        "features": lambda: _table("feature", meanings.FEATURES),
        "decision": lambda: _table("field", meanings.DECISION),
        "summary": lambda: _table("figure", meanings.SUMMARY),
    },
}
"""By document, the tables between `<!-- made: NAME -->` and `<!-- end -->`."""


def with_tables(document: Path) -> str:
    """A document with its tables as they should be."""
    text = document.read_text("utf-8")
    for name, table in TABLES[document].items():
        pattern = re.compile(rf"(?<=<!-- made: {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)
        place = pattern.search(text)
        assert place, f"{document.name} has no place for {name}"
        text = f"{text[: place.start()]}\n{table()}\n{text[place.end() :]}"
    return text


if __name__ == "__main__":
    for path in TABLES:
        path.write_text(with_tables(path), "utf-8")
