"""Mutation tests: the code is changed in one place at a time, and some test must notice.

`python -m tests.mutants [--sample N] [ROOM ...]` clones HEAD, lets cosmic-ray make the changes and runs for each the tests of
its room. It prints the share of the changes that were noticed and those that were not; survivors that change nothing that
anyone could see are named in `tests/mutants.toml` with the reason; it fails where one of these is out of date. All mutants
take a night.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
ACCEPTED = ROOT / "tests" / "mutants.toml"
# Seconds of CPU, and by the clock, after which a change that makes a test hang counts as noticed. Other work on the machine
# stretches the clock: by it alone, on two busy cores, changes that no test noticed counted as noticed.
CPU_PATIENCE = 300
PATIENCE = 1800.0


class Room(NamedTuple):
    """Code and the tests that must notice changes to it.

    Attributes:
        code: files and folders.
        tests: that are run for each change.
    """

    code: tuple[str, ...]
    tests: tuple[str, ...]


def rooms() -> dict[str, Room]:
    """The rooms of `tests/mutants.toml`, by name."""
    found = tomllib.loads(ACCEPTED.read_text("utf-8"))["rooms"]
    return {name: Room(tuple(room["code"]), tuple(room["tests"])) for name, room in found.items()}


class Accepted(NamedTuple):
    """A survivor of `tests/mutants.toml`: a change that nobody could notice.

    Attributes:
        module, line: where, the line by its text.
        becomes: what it is changed to, of several changes each; of several lines the first.
        reason: why nobody could notice.
    """

    module: str
    line: str
    becomes: list[str]
    reason: str

    @property
    def places(self) -> set[tuple[str, str, str]]:
        """Each as `Change.place`."""
        return {(self.module, self.line, _bare(line)) for line in self.becomes}


def accepted() -> list[Accepted]:
    """The survivors of `tests/mutants.toml`."""
    return [Accepted(**row) for row in tomllib.loads(ACCEPTED.read_text("utf-8"))["survivors"]]


def _bare(line: str) -> str:
    return "".join(line.split())


def stale(known: list[Accepted], root: Path) -> list[str]:
    """What is wrong with accepted survivors whose line is gone, is there more than once, or belongs to no room."""
    code = [root / path for room in rooms().values() for path in room.code]
    wrong = []
    for one in known:
        path = root / one.module
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()] if path.exists() else []
        if (count := lines.count(one.line)) != 1:
            wrong.append(f"{one.module} has {count} lines {one.line!r}")
        if not any(path.is_relative_to(place) for place in code):
            wrong.append(f"{one.module} belongs to no room")
    return wrong


class Change(NamedTuple):
    """A change that was tried.

    Attributes:
        module, line: where.
        text: of the line.
        operator: what was done to it.
        diff: the change itself.
    """

    module: str
    line: int
    text: str
    operator: str
    diff: str

    @property
    def place(self) -> tuple[str, str, str]:
        """Where it is and what it makes of its line, without blanks."""
        made = re.findall(r"^\+(?!\+\+ )(.*)", self.diff, re.MULTILINE)
        return self.module, self.text, _bare(made[0]) if made else ""


def pointless(path: Path) -> Iterator[tuple[int, int, int, int]]:
    """(line, column, last line, last column) of what may change without any effect at all.

    Annotations are never evaluated (`from __future__ import annotations`), and decorators' arguments (`cache`, `nogil`,
    `slots`, `frozen`) are about speed and memory. Messages of errors are for people to read.
    """
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.arg) and node.annotation:
            spans: list[ast.expr] = [node.annotation]
        elif isinstance(node, ast.AnnAssign):
            spans = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            spans = [*node.decorator_list, *([node.returns] if node.returns else [])]
        elif isinstance(node, ast.ClassDef):
            spans = list(node.decorator_list)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            spans = list(node.exc.args)
        else:
            continue
        for span in spans:
            yield span.lineno, span.col_offset, span.end_lineno or 0, span.end_col_offset or 0


def within(place: tuple[int, int], spans: list[tuple[int, int, int, int]]) -> bool:
    """Whether a (line, column) lies in one of the spans."""
    return any((a, b) <= place < (c, d) for a, b, c, d in spans)


def choose(session: Path, clone: Path, sample: int, seed: int) -> tuple[int, int]:
    """Leave out of a cosmic-ray session what is pointless, and all but a random sample; how many are left, and of how many."""
    from cosmic_ray.work_db import use_db
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    spans: dict[Path, list[tuple[int, int, int, int]]] = {}
    with use_db(str(session)) as db:
        kept: list[str] = []
        left: list[str] = []
        for item in db.pending_work_items:
            spec = item.mutations[0]
            path = clone / spec.module_path
            known = spans.setdefault(path, list(pointless(path)))
            (left if within(spec.start_pos, known) else kept).append(item.job_id)
        possible = len(kept)
        random.Random(seed).shuffle(kept)
        if sample:
            left += kept[sample:]
            kept = kept[:sample]
        db.set_multiple_results(left, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))
    return len(kept), possible


def results(session: Path, clone: Path) -> tuple[list[Change], list[Change]]:
    """The changes that some test noticed, and those that none did."""
    from cosmic_ray.work_db import use_db
    from cosmic_ray.work_item import WorkerOutcome

    noticed: list[Change] = []
    survivors: list[Change] = []
    with use_db(str(session)) as db:
        for item, result in db.completed_work_items:
            if result.worker_outcome is WorkerOutcome.SKIPPED:
                continue
            spec = item.mutations[0]
            line = (clone / spec.module_path).read_text("utf-8").splitlines()[spec.start_pos[0] - 1]
            (noticed if result.is_killed else survivors).append(
                Change(
                    str(spec.module_path),
                    spec.start_pos[0],
                    line.strip(),
                    spec.operator_name.removeprefix("core/"),
                    result.diff or "",
                )
            )
    return noticed, survivors


def nearest_first(tests: tuple[str, ...], changed: list[str]) -> list[str]:
    """The tests in an order that notices soon: those that import a changed module first, the shortest of them before others."""
    modules = [Path(path).with_suffix("").as_posix().replace("/", ".") for path in changed]

    def far(test: str) -> tuple[bool, int]:
        text = (ROOT / test).read_text("utf-8")
        return not any(f"from {module} import" in text for module in modules), len(text)

    return sorted(tests, key=far)


def test(name: str) -> int:
    """Run a room's tests on the code as it is now; kernels that a change may be in are never taken from the cache.

    numba keeps a kernel for as long as its own file stays as it is, whatever happens to kernels that it calls.
    """
    room = rooms()[name]
    diff = subprocess.run(
        ["git", "diff", "--name-only"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    changed = [path for path in diff.stdout.splitlines() if path.endswith(".py")]
    base = Path(os.environ["CRAFT_MUTANTS_CACHE"])
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_PATIENCE, CPU_PATIENCE))
    with tempfile.TemporaryDirectory(prefix="kernels-") as cache:
        shutil.copytree(base, cache, dirs_exist_ok=True, copy_function=os.link)
        compiled = [path for path in changed if "njit" in (ROOT / path).read_text("utf-8")]
        packages = {Path(path).with_suffix("").parts[1] for path in compiled}
        for folder in Path(cache).iterdir():
            if folder.name.split("_")[0] in packages:
                shutil.rmtree(folder)
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-x",
                "-q",
                "-p",
                "no:randomly",
                "-p",
                "no:cacheprovider",
                *nearest_first(room.tests, changed),
            ],
            env={**os.environ, "NUMBA_CACHE_DIR": cache},
            stdout=subprocess.DEVNULL,
            check=False,
        ).returncode


def mutate(
    name: str, room: Room, clone: Path, sample: int, seed: int, known: set[tuple[str, str, str]]
) -> dict[str, Any]:
    """Try the changes of a room; `known`: places of survivors that change nothing."""
    config, session = clone / f"{name}.toml", clone / f"{name}.sqlite"
    command = f"{sys.executable} -m tests.mutants --test {name}"
    config.write_text(
        f"[cosmic-ray]\nmodule-path = {json.dumps(room.code)}\ntimeout = {PATIENCE}\nexcluded-modules = []\n"
        f"test-command = {json.dumps(command)}\n[cosmic-ray.distributor]\nname = 'local'\n"
    )
    cosmic = [sys.executable, "-m", "cosmic_ray.cli"]
    subprocess.run([*cosmic, "init", config.name, session.name], cwd=clone, check=True)
    count, possible = choose(session, clone, sample, seed)
    print(f"{name}: {count} of {possible} changes", flush=True)
    subprocess.run([*cosmic, "exec", config.name, session.name], cwd=clone, check=True)
    noticed, survivors = results(session, clone)
    found = [change for change in survivors if change.place not in known]
    wrong = sorted({change.place for change in noticed} & known)
    return {
        "room": name,
        "possible": possible,
        "tried": len(noticed) + len(survivors),
        "noticed": len(noticed),
        "known": len(survivors) - len(found),
        "survivors": [change._asdict() for change in found],
        "wrong": [f"{module}: {made!r} for {line!r} was noticed" for module, line, made in wrong],
    }


def main() -> None:
    """Parse the command line and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help="all of tests/mutants.toml by default")
    parser.add_argument("--sample", type=int, default=0, help="changes a room, drawn at random; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, help="append a line of JSON for each room")
    parser.add_argument("--test", metavar="ROOM", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.test:
        sys.exit(test(arguments.test))
    known = rooms()
    if unknown := set(arguments.rooms) - set(known):
        parser.error(f"unknown rooms {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    survivors = accepted()
    if wrong := stale(survivors, ROOT):
        parser.error("tests/mutants.toml: " + "; ".join(wrong))
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        clone, cache = Path(folder) / "craft", Path(folder) / "kernels"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        os.environ |= {"PYTHONPATH": str(clone), "CRAFT_MUTANTS_CACHE": str(cache), "CRAFT_MUTANTS": "1"}
        share, places = 1.0, {place for one in survivors for place in one.places}
        for name in arguments.rooms or known:
            baseline = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", *known[name].tests]
            subprocess.run(baseline, cwd=clone, env={**os.environ, "NUMBA_CACHE_DIR": str(cache)}, check=True)
            found = mutate(name, known[name], clone, arguments.sample, arguments.seed, places)
            for survivor in found["survivors"]:
                print(f"\n{survivor['module']}:{survivor['line']} {survivor['operator']}\n{survivor['diff']}")
            share = min(share, (found["noticed"] + found["known"]) / max(found["tried"], 1))
            print(
                f"{name}: {found['noticed']} of {found['tried']} noticed, {found['known']} more change nothing, "
                f"{len(found['survivors'])} survive",
                flush=True,
            )
            wrong += found["wrong"]
            if arguments.report:
                with arguments.report.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found) + "\n")
    for entry in wrong:
        print(f"tests/mutants.toml: {entry}")
    sys.exit(share < 0.85 or bool(wrong))


if __name__ == "__main__":
    main()
