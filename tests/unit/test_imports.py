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

# A name stands for itself and all beneath it. Each room may import itself, craft_stream and `__future__` too.
# Data goes downhill: a record is read, judged (scoring), decided (selection) and written.
ENGINE = {"craft_stream.errors", "craft_stream.parameters", "craft_stream.codec", "numpy", "numba"}
SCORING = ENGINE | {"craft_stream.text", "craft_stream.scoring"}
PORTS = {"craft_stream.errors", "craft_stream.settings", "craft_stream.ports"}
READING = PORTS | {
    "craft_stream.text",
    "craft_stream.reading",
    "numpy",
    "numba",
    "orjson",
}
INSIDE = READING | SCORING | {
    "craft_stream.concurrency", "craft_stream.learning", "craft_stream.selection", "craft_stream.encoders",
    "craft_stream.events", "craft_stream.writing", "craft_stream.topics",
}  # fmt: skip
ALLOWED = {
    "craft_stream.errors": set(),
    "craft_stream.concurrency": set(),
    "craft_stream.parameters": {"craft_stream.errors"},
    "craft_stream.settings": {"craft_stream.errors", "craft_stream.parameters", "pydantic", "pydantic_settings"},
    "craft_stream.codec": ENGINE | {"zstandard"},
    "craft_stream.text": ENGINE,
    "craft_stream.text.languages": ENGINE | {"craft_stream.text", "eldc"},
    "craft_stream.ports": PORTS,
    "craft_stream.events": {"craft_stream.selection.decisions"},
    "craft_stream.reading": READING,
    "craft_stream.scoring": SCORING,
    "craft_stream.learning": SCORING | {"faiss", "river", "threadpoolctl"},
    "craft_stream.selection": SCORING | {"river"},
    "craft_stream.encoders": SCORING | {"faiss", "sentence_transformers", "torch"},
    "craft_stream.writing": READING | {"craft_stream.events", "craft_stream.selection.decisions"},
    "craft_stream.session": SCORING | {
        "craft_stream.concurrency", "craft_stream.learning", "craft_stream.selection",
    },
    "craft_stream.estimators": ENGINE | {
        "craft_stream.text", "craft_stream.selection.ledger", "craft_stream.session", "craft_stream.encoders", "river",
    },
    "craft_stream.topics": INSIDE,
    "craft_stream.recomputation": INSIDE,
    "craft_stream.worker": INSIDE | {"craft_stream.worker"},
    "craft_stream.observe": INSIDE | {"craft_stream.observe", "prometheus_client"},
    "craft_stream.testing": INSIDE,
    "craft_stream.demo": {
        "craft_stream.errors", "connectors.crawl.urls", "connectors.gettext", "fastwarc", "orjson", "rich",
    },
    "connectors": PORTS | {"craft_stream.reading", "connectors", "numpy", "orjson", "zstandard"},
}  # fmt: skip
# Client libraries of the connectors, each in its own room.
CLIENTS = {
    "connectors.kafka": {"kafka", "numba"},
    "connectors.gettext": {"polib"},
    "connectors.files": {"pyarrow", "lxml", "defusedxml"},
    "connectors.crawl": {"fastwarc", "selectolax", "galechurch", "icu4py", "pycld2", "resiliparse"},
}
# What the engine may not know: time, files, threads, logging, the outside.
PURE = ("text", "scoring", "learning", "selection", "codec", "parameters", "errors")
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


MODULES = dict(modules())


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_table(module: str) -> None:
    """A module imports what its room may, and no more."""
    room = room_of(module, set(ALLOWED))
    if room is None:
        assert within(module, {"craft_stream.cli"}) or module == "craft_stream"
        return
    allowed = ALLOWED[room] | {room, "craft_stream.__version__"} | set(sys.stdlib_module_names)
    client = room_of(module, set(CLIENTS))
    allowed |= CLIENTS[client] if client else set()
    wrong = sorted({name for name in imports(MODULES[module]) if not within(name, allowed)})
    assert not wrong, f"{module} imports {', '.join(wrong)}"


@pytest.mark.parametrize(
    "module", [name for name in MODULES if within(name, {f"craft_stream.{p}" for p in PURE})]
)
def test_the_engine_knows_no_time_files_or_threads(module: str) -> None:
    """Decisions depend on arguments only: the engine imports nothing that tells the time, waits or reads."""
    wrong = sorted({name for name in imports(MODULES[module]) if within(name, IMPURE)})
    assert not wrong, f"{module} imports {', '.join(wrong)}"


def test_nobody_imports_the_command_line() -> None:
    """The command line is imported by its own modules only."""
    wrong = [
        module
        for module, path in MODULES.items()
        if not within(module, {"craft_stream.cli"})
        and any(within(name, {"craft_stream.cli"}) for name in imports(path))
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import craft_stream", {"numpy", "numba", "faiss", "river", "kafka", "pydantic", "torch"}),
        ("import craft_stream.cli", {"numpy", "numba", "faiss", "river", "kafka", "pydantic", "torch"}),
        ("import craft_stream.settings", {"numpy", "numba", "faiss", "river", "kafka", "torch"}),
        ("import craft_stream.reading.records", {"numba", "faiss", "river", "kafka", "torch"}),
        ("import craft_stream.selection.selector", {"faiss", "river", "kafka", "torch", "pydantic"}),
        ("import craft_stream.cli.run", {"scipy.stats", "sklearn", "torch"}),
    ],
)
def test_what_is_light_stays_light(statement: str, heavy: set[str]) -> None:
    """An import of the outside loads no library that it does not need."""
    code = f"{statement}; import sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not heavy & set(loaded)


def test_importing_takes_no_time() -> None:
    """`import craft_stream` takes less than half a second of CPU time, whatever else the machine does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import craft_stream"], check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
