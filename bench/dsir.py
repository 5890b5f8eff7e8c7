"""DSIR (Xie et al. 2023) by its authors' package `data-selection`: hashed n-gram importance resampling.

The package reads JSON lines from files and draws without replacement by Gumbel top-k. Only its fit of the raw
stream is remembered, since it is the same for every target; and its minimum of 100 words a record, made for
web documents, is 1.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from data_selection import HashedNgramDSIR
from numpy.typing import NDArray

from bench.corpus import Corpus
from bench.scenarios import Scenario
from bench.selection import Selection


class _Dsir(HashedNgramDSIR):  # type: ignore[misc]
    """The package's class, with the fit of the raw stream kept in a file."""

    raw_fit: Path

    def _fit_bow(self, paths: list[str], *args: Any, **kwargs: Any) -> Any:
        if paths != self.raw_datasets:
            return super()._fit_bow(paths, *args, **kwargs)
        if not self.raw_fit.exists():
            np.save(self.raw_fit, super()._fit_bow(paths, *args, **kwargs))
        return np.load(self.raw_fit)


def select(
    corpus: Corpus, scenario: Scenario, both_sides: bool, top_k: bool = False, seed: int = 0
) -> Selection:
    """Draw the budget by importance; the whole selection is cached, since it takes minutes.

    Args:
        corpus: the corpus.
        scenario: the stream and the budget.
        both_sides: features of source and target side together, else of the source alone.
        top_k: take the heaviest instead of drawing.
        seed: of the draw.
    """
    result, sides = Selection(), "both" if both_sides else "source"
    name = f"{scenario.name}-{scenario.domain}" if scenario.name != "plain" else "plain"
    folder = corpus.cache / "dsir" / f"{name}-{sides}".replace(":", "-")
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / f"{scenario.domain}-{scenario.budget}-{top_k}-{seed}.npz"
    if not done.exists():
        with result.stage("select"):
            chosen = _run(corpus, scenario, folder, both_sides, top_k, seed)
        np.savez(done, chosen=chosen, seconds=result.seconds["select"])
    with np.load(done) as stored:
        return Selection(stored["chosen"], {"select": float(stored["seconds"])})


def ranked(corpus: Corpus, scenario: Scenario, both_sides: bool, seed: int = 0) -> NDArray[np.int64]:
    """int64 [n], the stream in the order of the package's draw: any beginning of it is what a smaller budget draws."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        dsir = _fitted(corpus, scenario, folder, folder, both_sides)
        weights = np.load(dsir.log_importance_weights_dir / "0.npy")
    # Gumbel top-k, as the package's `resample`, which keeps the set and drops the order
    drawn = weights + np.random.default_rng(seed).gumbel(size=len(weights))
    return np.argsort(-drawn, kind="stable")


def _run(corpus: Corpus, scenario: Scenario, folder: Path, both_sides: bool, top_k: bool, seed: int) -> Any:
    with tempfile.TemporaryDirectory() as scratch:
        dsir = _fitted(corpus, scenario, folder, Path(scratch), both_sides)
        np.random.seed(seed)
        with open(os.devnull, "w") as silence, contextlib.redirect_stderr(silence):
            dsir.resample(f"{scratch}/out", scenario.budget, cache_dir=f"{scratch}/resampled", top_k=top_k)
        out = next(Path(scratch, "out").rglob("*.jsonl"))
        lines = out.read_text(encoding="utf-8").splitlines()
        return np.array([json.loads(line)["index"] for line in lines], np.int64)


def _fitted(corpus: Corpus, scenario: Scenario, folder: Path, scratch: Path, both_sides: bool) -> _Dsir:
    """The package, its weights computed into `scratch`; what the target does not change is kept in `folder`."""
    raw = folder / "raw.jsonl"
    if not raw.exists():
        pairs = corpus.pairs.take(scenario.order)
        _write(raw, pairs.source.texts(), pairs.target.texts(), both_sides)
    target, texts = scratch / "target.jsonl", corpus.target(scenario.domain)
    _write(target, texts.sources, texts.targets, both_sides)
    dsir = _Dsir([str(raw)], [str(target)], cache_dir=str(scratch), num_proc=1, min_example_length=1)
    dsir.raw_fit = folder / "raw-fit.npy"
    with open(os.devnull, "w") as silence, contextlib.redirect_stderr(silence):
        dsir.fit_importance_estimator(num_tokens_to_fit="all")
        dsir.compute_importance_weights()
    return dsir


def _write(path: Path, sources: list[str], targets: list[str], both_sides: bool) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for index, (source, target) in enumerate(zip(sources, targets, strict=True)):
            text = f"{source} {target}" if both_sides else source
            file.write(json.dumps({"text": text, "index": index}) + "\n")
