"""Trains a model on every selection and translates the test sets; torch, numpy and sentencepiece are all that it needs.

First one general model on a random half of the stream, then, from it with equal steps, one for every selection ("tuned"), and
one for every selection from nothing ("scratch"). A stack of three seeds is one job; several processes share one GPU. What is
done is in `results.jsonl` and is not done again; a domain that does not fit into the time left is left out whole, seeds
never are.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

from bench.translation import plan, prepared, results
from bench.translation.batches import batches
from bench.translation.decoding import bits, translate
from bench.translation.model import Shape, Translator
from bench.translation.prepared import PAD, Prepared

Row = dict[str, Any]

GENERAL_SHARE = 0.5
BEAM = 4
_SMOOTHING = 0.1
_BETAS, _DECAY = (0.9, 0.98), 0.01
_TELL_SECONDS = 15.0


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: Adam, the rate rising to `rate` over `warmup` steps, then falling to 0 in a line."""

    steps: int
    tokens: int
    rate: float
    warmup: int

    def scaled(self, factor: float) -> Schedule:
        """As many times the steps."""
        return replace(
            self, steps=max(2, round(factor * self.steps)), warmup=max(1, round(factor * self.warmup))
        )


@dataclass(frozen=True)
class Form:
    """A size of the whole experiment.

    Attributes:
        width, hidden, heads, layers: of the model; as many layers in encoder and decoder.
        general, tuned, scratch: the three kinds of training.
        sentences: most of each test set that are translated.
        rows: hypotheses that are computed at once.
        seeds, workers, threads: stack, processes, threads of each.
    """

    width: int
    hidden: int
    heads: int
    layers: int
    general: Schedule
    tuned: Schedule
    scratch: Schedule
    sentences: int
    rows: int
    seeds: int
    workers: int
    threads: int

    def scaled(self, factor: float) -> Form:
        """The same with as many times the steps."""
        kinds = ("general", "tuned", "scratch")
        return replace(self, **{kind: getattr(self, kind).scaled(factor) for kind in kinds})

    def shape(self, vocabulary: int) -> Shape:
        """The model's sizes."""
        return Shape(vocabulary, self.width, self.hidden, self.heads, self.layers, self.layers)


FORMS = {
    # 20 million parameters
    "gpu": Form(
        *(384, 1536, 6, 4),
        general=Schedule(2000, 12_288, 1e-3, 400),
        tuned=Schedule(200, 4096, 3e-4, 20),
        scratch=Schedule(1200, 4096, 1e-3, 200),
        sentences=1000,
        rows=1024,
        seeds=3,
        workers=4,
        threads=2,
    ),
    # 2 million parameters, two cores
    "small": Form(
        *(128, 512, 4, 3),
        general=Schedule(1000, 2048, 2e-3, 200),
        tuned=Schedule(200, 2048, 1e-3, 20),
        scratch=Schedule(400, 2048, 2e-3, 80),
        sentences=200,
        rows=128,
        seeds=1,
        workers=1,
        threads=2,
    ),
    # for tests: seconds
    "tiny": Form(
        *(64, 128, 2, 1),
        general=Schedule(150, 512, 5e-3, 20),
        tuned=Schedule(60, 512, 3e-3, 10),
        scratch=Schedule(60, 512, 5e-3, 10),
        sentences=50,
        rows=64,
        seeds=2,
        workers=1,
        threads=1,
    ),
}


class Trainer:
    """Trains and translates for one prepared folder, in one process."""

    def __init__(self, folder: Path, form: Form, general: Path, domains: Sequence[str]) -> None:
        import sentencepiece

        torch.set_num_threads(form.threads)
        self.prepared: Prepared = prepared.read(folder)
        self.form, self._general, self._domains = form, general, domains
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._processor = sentencepiece.SentencePieceProcessor(model_file=str(self.prepared.pieces))
        self._seeds = list(range(1, form.seeds + 1))

    def general(self) -> Row:
        """Train the general model, keep it, and translate every test set with it."""
        total = len(self.prepared.source)
        half = np.random.default_rng(1).choice(total, round(GENERAL_SHARE * total), replace=False)
        model = self._new()
        row = self._train(model, half, self.form.general)
        torch.save(model.state_dict(), self._general)
        mode, domain, method, budget = plan.GENERAL
        return (
            row
            | {"mode": mode, "domain": domain, "method": method, "budget": budget}
            | self._judge(model, self._domains)
        )

    def job(self, job: plan.Job) -> Row:
        """Train on one selection and translate the tests that it is judged by."""
        model, selected = self._new(), job.selected
        if job.mode == "tuned":
            model.load_state_dict(torch.load(self._general, map_location=self.device, weights_only=True))
        schedule = self.form.tuned if job.mode == "tuned" else self.form.scratch
        row = self._train(model, selected.chosen.astype(np.int64), schedule)
        own = [selected.domain] if selected.domain else self._domains
        mode, domain, method, budget = job.key
        return (
            row
            | {"mode": mode, "domain": domain, "method": method, "budget": budget}
            | self._judge(model, own)
        )

    def _new(self) -> Translator:
        shape = self.form.shape(self._processor.get_piece_size())
        model = Translator(shape, self._seeds)
        model.to(self.device)
        return model

    def _train(self, model: Translator, rows: NDArray[np.int64], schedule: Schedule) -> Row:
        begun = time.perf_counter()
        stream = batches(self.prepared.source, self.prepared.target, rows, schedule.tokens, self._seeds)
        seen, loss = fit(model, stream, schedule)
        return {
            "seeds": self._seeds,
            "parameters": sum(one.numel() for one in model.parameters()) // len(self._seeds),
            "steps": schedule.steps,
            "target_tokens": seen,
            "loss": round(loss, 4),
            "train_seconds": round(time.perf_counter() - begun, 1),
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
        }

    def _judge(self, model: Translator, domains: Sequence[str]) -> Row:
        """Translate the tests of these domains, greedily and with a beam, and the general ones greedily."""
        begun = time.perf_counter()
        model = model.eval()
        found: dict[str, dict[str, list[list[str]]]] = {}
        entropy: dict[str, list[float]] = {}
        with _precision(self.device):
            for name in self.prepared.judged_by(domains):
                texts, references = (side[: self.form.sentences] for side in self.prepared.tests[name])
                sources, wanted = self._processor.encode(texts), self._processor.encode(references)
                entropy[name] = [round(one, 4) for one in bits(model, sources, wanted, self.form.rows // 4)]
                found[name] = {
                    kind: [
                        self._processor.decode(own) for own in translate(model, sources, beam, self.form.rows)
                    ]
                    for kind, beam in (("greedy", 1), ("beam", BEAM))
                    if beam == 1 or name in domains
                }
        return {
            "bits": entropy,
            "hypotheses": found,
            "translate_seconds": round(time.perf_counter() - begun, 1),
        }


def fit(model: Translator, stream: Iterator[Any], schedule: Schedule) -> tuple[int, float]:
    """Train a stack; returns the target tokens that each model saw and its mean loss over the last tenth.

    How far it has come goes to standard error every 15 seconds.
    """
    model.train()
    begun = told = time.monotonic()
    device = model.embedding.device
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=schedule.rate, betas=_BETAS, weight_decay=_DECAY, fused=device.type == "cuda"
    )
    models, seen, last = len(model.seeds), 0, []
    for step in range(schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate * rate(step, schedule)
        source, target = next(stream)
        seen += int((target[0, :, 1:] != PAD).sum())
        x, y = (torch.from_numpy(side).to(device, non_blocking=True) for side in (source, target))
        with _precision(device):
            scores = model(x, y[:, :, :-1])
        loss = (
            models
            * F.cross_entropy(  # so that each model has the gradient that it would have alone
                scores.float().reshape(-1, scores.shape[-1]),
                y[:, :, 1:].reshape(-1),
                ignore_index=PAD,
                label_smoothing=_SMOOTHING,
            )
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step >= 0.9 * schedule.steps:
            last.append(loss.detach() / models)
        if (now := time.monotonic()) - told >= _TELL_SECONDS:
            told, done = now, step + 1
            left = (now - begun) / done * (schedule.steps - done)
            shown = f"step {done:,} of {schedule.steps:,}, loss {float(loss.detach()) / models:.2f}, {left:,.0f} s left"
            print(shown, file=sys.stderr, flush=True)
    return seen, float(torch.stack(last).mean()) if last else float("nan")


def rate(step: int, schedule: Schedule) -> float:
    """The share of the full rate at a step, counted from 0."""
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    return (schedule.steps - step) / max(1, schedule.steps - schedule.warmup)


def _precision(device: torch.device) -> Any:
    return torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda")


def run(
    folder: Path,
    out: Path,
    form: Form,
    blocks: Sequence[plan.Block],
    minutes: float,
    bring: Path | None = None,
    say: Callable[[str], None] = print,
) -> list[plan.Block]:
    """Everything that is not done yet and fits into the time.

    Args:
        folder: what `prepare` left.
        out: where results and the general model go, and from where they are resumed.
        form: sizes.
        blocks: what to train, in this order.
        minutes: of all of it.
        bring: where packed results go after every block.
        say: told how it goes.

    Returns:
        the blocks that did not fit.
    """
    deadline = time.monotonic() + 60 * minutes
    out.mkdir(parents=True, exist_ok=True)
    done, general = results.read(out), out / "general.pt"
    named = dict.fromkeys(block.domain for block in blocks if block.domain)
    domains = list(named or prepared.read(folder).domains)
    durations: dict[str, list[float]] = {}
    if not _covers(done.get(plan.GENERAL), domains) or not general.exists():
        row = Trainer(folder, form, general, domains).general()
        done[plan.GENERAL] = row
        results.append(out, row)
        say(f"general: {row['train_seconds']} s, loss {row['loss']}")
        if bring is not None:
            results.pack(bring, [row])
    for row in done.values():
        durations.setdefault(row["mode"], []).append(_seconds(row))
    left_out: list[plan.Block] = []
    with _Workers(folder, form, general, domains) as workers:
        for block in blocks:
            own = [block.domain] if block.domain else domains
            jobs = [job for job in block.jobs if not _covers(done.get(job.key), own)]
            if not jobs:
                continue
            known = durations.get(block.mode)
            expected = sum(known) / len(known) if known else _expected(done[plan.GENERAL], form, block.mode)
            if left_out or not plan.fits(len(jobs), form.workers, expected, deadline - time.monotonic()):
                left_out.append(block)
                continue
            rows = []
            for row in workers.map(jobs):
                results.append(out, row)
                durations.setdefault(block.mode, []).append(_seconds(row))
                rows.append(row)
                say(
                    f"{row['mode']} {row['domain'] or 'shared'} {row['method']} {row['budget']}: {_seconds(row):.0f} s, "
                    f"loss {row['loss']}, {deadline - time.monotonic():.0f} s left"
                )
                if time.monotonic() > deadline and len(rows) < len(jobs):
                    left_out.append(block)  # slower than expected: the rest of it another time
                    workers.cancel()
                    break
            if bring is not None:
                results.pack(bring, rows)
    for block in left_out:
        say(
            f"left out for want of time: {block.mode} {block.domain or 'shared'}, {len(block.jobs)} selections"
        )
    return left_out


def _covers(row: Row | None, tests: Sequence[str]) -> bool:
    """Whether a job is done, and its model has translated all of these."""
    return row is not None and all(test in row["hypotheses"] for test in tests)


def _expected(general: Row, form: Form, mode: str) -> float:
    """Seconds of a job of a kind that has not been measured, from those of the general model, which had a GPU alone."""
    kind = form.tuned if mode == "tuned" else form.scratch
    share = kind.steps * kind.tokens / (form.general.steps * form.general.tokens)
    return float(form.workers * share * general["train_seconds"] + general["translate_seconds"])


def _seconds(row: Mapping[str, Any]) -> float:
    return float(row["train_seconds"] + row["translate_seconds"])


class _Workers:
    """One trainer here, or several in processes of their own."""

    def __init__(self, folder: Path, form: Form, general: Path, domains: Sequence[str]) -> None:
        self._arguments, self._pool = (folder, form, general, domains), None
        self._own: Trainer | None = None
        if form.workers > 1:
            self._pool = ProcessPoolExecutor(
                form.workers, multiprocessing.get_context("spawn"), _start, self._arguments
            )

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Begin nothing more; what is running ends and is dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, jobs: Iterable[plan.Job]) -> Iterator[Row]:
        if self._pool is not None:
            yield from self._pool.map(_work, jobs)
            return
        if self._own is None:
            self._own = Trainer(*self._arguments)
        yield from map(self._own.job, jobs)


_trainer: Trainer | None = None


def _start(folder: Path, form: Form, general: Path, domains: Sequence[str]) -> None:
    global _trainer
    _trainer = Trainer(folder, form, general, domains)


def _work(job: plan.Job) -> Row:
    assert _trainer is not None  # noqa: S101
    return _trainer.job(job)
