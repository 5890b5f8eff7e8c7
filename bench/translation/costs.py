"""What one run of a method costs, from embeddings on, at growing sizes of one stream: TSDS, TAROT, and the product beside them.

`prepare` counts what it takes to fill budgets of tokens, several runs for most methods; here each runs once, in a process
whose CPU and memory nobody else shares. The product reads texts and brings its own encoder: all of that is counted. TSDS and
TAROT begin with vectors: those are timed by themselves, embedding of both sides, and belong to neither.
"""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.translation import material, published, selections
from bench.translation.selections import Task

EMBEDDING = "embedding"
Row = dict[str, Any]


def measure(task: Task, methods: Sequence[str], sizes: Sequence[int], share: float) -> Iterator[Row]:
    """Rows of method, pairs, CPU and wall seconds and MB of the largest process, size by size.

    Args:
        task: as `prepare` left it; its stream is cut to its first pairs.
        methods: "tsds", "tarot" and variants of the product.
        sizes: pairs of the stream; those that it lacks are left out.
        share: of the pairs, to select.
    """
    with tempfile.TemporaryDirectory() as name:
        for size in sizes:
            folder = Path(name) / str(size)
            pairs = material.head(task.folder, size, folder)
            own = replace(task, folder=folder, cache=folder / "cache")
            for method in (EMBEDDING, *methods):
                # a process each: the memory of children is that of the largest ever, which never falls
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                    cost = process.submit(_one, own, method, round(share * pairs)).result()
                yield {"method": method, "pairs": pairs, **cost}
            shutil.rmtree(folder)


def _one(task: Task, method: str, count: int) -> Row:
    run, who = _runner(task, method, count)
    before, begun = resource.getrusage(who), time.perf_counter()
    run()
    seconds, used = time.perf_counter() - begun, resource.getrusage(who)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return {
        "cpu_seconds": round(cpu, 2),
        "seconds": round(seconds, 2),
        "peak_mb": round(used.ru_maxrss / 1024),
    }


def _runner(task: Task, method: str, count: int) -> tuple[Callable[[], object], int]:
    """What is timed, and whose resources count; what it reads is ready."""
    children = resource.RUSAGE_CHILDREN
    if method == EMBEDDING:
        _ = task.corpus.pairs
        return task.embedded, resource.RUSAGE_SELF
    if method in task.variants:
        _ = task.corpus.pairs
        return lambda: selections.accepted(task, count, task.variants[method]), children
    query, candidates = task.embedded()
    if method == "tsds" and task.tsds:
        checkout, python = task.tsds, task.tsds_python
        return lambda: published.tsds(checkout, query, candidates, count, python), children
    if method == "tarot" and task.tarot:
        checkout, python = task.tarot, task.tarot_python
        return lambda: published.tarot(checkout, query, candidates, count, python), children
    raise ValueError(f"no program that can be timed: {method}")
