"""Every method under one signature: from a corpus and a domain to a selection of each budget of source tokens."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from bench.corpus import NOISE, Corpus
from bench.scenarios import Scenario
from bench.translation import material, prepared
from bench.translation.budgets import asked, prefix
from bench.translation.prepared import Selected, Side

Chosen = NDArray[np.int64]

# of the product's variants: what is added to `craft-stream select`
BUILT_IN = {"craft": ("--set", "selection.method=craft"), "craft-plus": ()}
# they begin with embeddings, which `cost` times by themselves
EMBEDDED = ("craft-batch", "craft-batch-regression", "tsds", "tarot")


@dataclass
class Task:
    """A stream to select from for a domain.

    Attributes:
        folder: a corpus folder as `material.write` leaves it, its pieces beside it.
        cache: where what is prepared once goes.
        domain: of the target.
        tsds, tarot: checkouts of theirs; None: not at hand.
        tsds_python, tarot_python: interpreters that have what they need.
        variants: options of `craft-stream select` by the name of a variant.
    """

    folder: Path
    cache: Path
    domain: str
    tsds: Path | None = None
    tarot: Path | None = None
    tsds_python: str = sys.executable
    tarot_python: str = sys.executable
    variants: Mapping[str, Sequence[str]] = field(default_factory=lambda: dict(BUILT_IN))

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus, as the other benchmarks read it."""
        return Corpus(self.folder, self.cache)

    @cached_property
    def pieces(self) -> tuple[Side, Side]:
        """The stream's pieces."""
        return prepared.read_tokens(self.folder)

    @property
    def tokens(self) -> NDArray[np.int64]:
        """Source tokens of every pair."""
        return self.pieces[0].lengths

    @cached_property
    def stream(self) -> tuple[list[str], list[str]]:
        """Both sides of the stream."""
        pairs = self.corpus.pairs
        return pairs.source.texts(), pairs.target.texts()

    @cached_property
    def target(self) -> tuple[list[str], list[str]]:
        """Both sides of the target."""
        texts = self.corpus.target(self.domain)
        return texts.sources, texts.targets

    @cached_property
    def target_pieces(self) -> tuple[Side, Side]:
        """The target's pieces."""
        import sentencepiece

        processor = sentencepiece.SentencePieceProcessor(model_file=str(self.folder / "pieces.model"))
        return Side.of(processor.encode(self.target[0])), Side.of(processor.encode(self.target[1]))

    @property
    def expected(self) -> float:
        """Source tokens of a pair as the target has them: what methods that count pairs are asked for at first."""
        return float(self.target_pieces[0].lengths.mean())

    def scenario(self, count: int) -> Scenario:
        """The whole stream, and a budget in pairs."""
        return Scenario("plain", self.domain, np.arange(len(self.tokens)), count)

    def embedded(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Target and stream in the embedding of batch CRAFT, both sides of a pair end to end, of unit length."""
        sources, targets = self.target
        sides = (
            (self.corpus.source_embedding(sources), self.corpus.target_embedding(targets)),
            (self.corpus.source_vectors, self.corpus.target_vectors),
        )
        query, candidates = (np.hstack(pair) / np.sqrt(2) for pair in sides)
        return query.astype(np.float32), candidates.astype(np.float32)


# Returns the selection of every budget (source tokens).
Method = Callable[[Task, Sequence[int]], list[Chosen]]


def run(task: Task, method: str, shares: Sequence[float]) -> list[Selected]:
    """Select by a method at every share of the stream's source tokens, and say what it cost and what it holds."""
    budgets = [round(share * int(task.tokens.sum())) for share in shares]
    if method in EMBEDDED:
        task.embedded()  # cached: else the first of them would pay for all
    begun, cpu = time.perf_counter(), _cpu()
    selections = methods(task)[method](task, budgets)
    cost = {
        "cpu_seconds": round(_cpu() - cpu, 1),
        "seconds": round(time.perf_counter() - begun, 1),
        "peak_mb": round(max(_peak(resource.RUSAGE_SELF), _peak(resource.RUSAGE_CHILDREN))),
    }
    labels = task.corpus.labels
    found = []
    for share, budget, chosen in zip(shares, budgets, selections, strict=True):
        noise = np.bincount(labels.noise[chosen], minlength=len(NOISE)) / max(len(chosen), 1)
        notes = {
            "budget_tokens": budget,
            "tokens": int(task.tokens[chosen].sum()),
            "pairs": len(chosen),
            "in_domain": round(float(labels.of(task.domain)[chosen].mean()), 4) if len(chosen) else 0.0,
            "noise": round(float(noise[1:5].sum()), 4),
            **cost,
        }
        found.append(Selected(task.domain, method, share, chosen.astype(np.int32), notes))
    return found


def methods(task: Task) -> dict[str, Method]:
    """Name to method, of all that can run here."""
    found: dict[str, Method] = {
        "dsir": _dsir,
        "craft-batch": _batch(regression=False),
        "craft-batch-regression": _batch(regression=True),
        "cross-entropy": _afternoon(classifier=False),
        "classifier": _afternoon(classifier=True),
        "ceiling": _ceiling,
    }
    if task.tsds is not None:
        found["tsds"] = _tsds
    if task.tarot is not None:
        found["tarot"] = _tarot
    return found | {name: _product(options) for name, options in task.variants.items()}


def at_random(tokens: NDArray[np.int64], budget: int) -> Chosen:
    """Pairs at random, whatever the domain, up to the budget."""
    return prefix(np.random.default_rng(0).permutation(len(tokens)), tokens, budget)


def _ceiling(task: Task, budgets: Sequence[int]) -> list[Chosen]:
    """The domain's own clean pairs at random, once each: by the labels, so no selector."""
    labels = task.corpus.labels
    clean = np.flatnonzero(labels.of(task.domain) & labels.sound)
    clean = clean[np.unique(labels.keys[clean], return_index=True)[1]]
    order = np.random.default_rng(0).permutation(clean)
    return [prefix(order, task.tokens, budget) for budget in budgets]


def _dsir(task: Task, budgets: Sequence[int]) -> list[Chosen]:
    from bench import dsir

    order = dsir.ranked(task.corpus, task.scenario(1), both_sides=True)
    return [prefix(order, task.tokens, budget) for budget in budgets]


def _batch(regression: bool) -> Method:
    def select(task: Task, budgets: Sequence[int]) -> list[Chosen]:
        from bench import craft_batch

        def of(count: int) -> Chosen:
            return craft_batch.select(task.corpus, task.scenario(count), regression=regression).chosen

        return [asked(of, task.tokens, budget, task.expected) for budget in budgets]

    return select


def _afternoon(classifier: bool) -> Method:
    def select(task: Task, budgets: Sequence[int]) -> list[Chosen]:
        from bench.translation import afternoon

        if classifier:
            score = afternoon.logistic(task.target, task.stream)
        else:
            size = 1 + max(int(side.pieces.max()) for side in (*task.pieces, *task.target_pieces))
            score = afternoon.cross_entropy_difference(task.target_pieces, task.pieces, size)
        filters = afternoon.Filters.learn(
            task.target, task.target_pieces, task.stream, task.pieces, material.bicleaner(task.folder)
        )
        order = np.argsort(-score, kind="stable")
        ranked = filters.ranked(order, task.stream, task.pieces, task.tokens, max(budgets))
        return [prefix(ranked, task.tokens, budget) for budget in budgets]

    return select


def _tsds(task: Task, budgets: Sequence[int]) -> list[Chosen]:
    from bench.translation import published

    assert task.tsds is not None  # noqa: S101
    query, candidates = task.embedded()
    count = round(2 * max(budgets) / task.tokens.mean())
    drawn = published.tsds(task.tsds, query, candidates, count, task.tsds_python)
    # one run for all budgets: its draws are independent, so any of them at random are a smaller sample
    order = np.random.default_rng(0).permutation(drawn)
    return [prefix(order, task.tokens, budget) for budget in budgets]


def _tarot(task: Task, budgets: Sequence[int]) -> list[Chosen]:
    from bench.translation import published

    query, candidates = task.embedded()

    def of(count: int) -> Chosen:
        assert task.tarot is not None  # noqa: S101
        return published.tarot(task.tarot, query, candidates, count, task.tarot_python)

    return [asked(of, task.tokens, budget, task.expected) for budget in budgets]


def _product(options: Sequence[str]) -> Method:
    """`craft-stream select` with its defaults and these options, as a user runs it."""

    def select(task: Task, budgets: Sequence[int]) -> list[Chosen]:
        def of(count: int) -> Chosen:
            return accepted(task, count, options)

        return [asked(of, task.tokens, budget, task.expected) for budget in budgets]

    return select


def accepted(task: Task, count: int, options: Sequence[str]) -> Chosen:
    """What `craft-stream select` accepts of the stream, asked for so many pairs, with these options."""
    program = str(Path(sys.executable).with_name("craft-stream"))
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "accepted.jsonl"
        command = [
            *(program, "select", "--target", str(task.folder / "target" / f"{task.domain}.jsonl.zst")),
            *("--input", str(task.folder / "stream.jsonl"), "--output", str(output)),
            *("--budget-rate", repr(min(1.0, count / len(task.corpus.pairs))), *options),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
        lines = output.read_bytes().splitlines()
    return np.array([int(orjson.loads(line)["id"]) for line in lines], np.int64)


def _cpu() -> float:
    """CPU seconds of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _peak(who: int) -> float:
    return resource.getrusage(who).ru_maxrss / 1024
