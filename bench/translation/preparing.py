"""`prepare`: material, pieces, every method's selection, and the folder that travels; what is there is not made again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.translation import material, prepared, selections
from bench.translation.prepared import BEGIN, END, PAD, UNKNOWN, Selected, Side

PIECES = 8000
PIECES_FROM = 200_000  # sentences of both sides that the pieces are learned from
SHARED = ("random", "all")  # the same for every domain
_SHARED_DOMAIN = ""


@dataclass(frozen=True)
class Plan:
    """What to prepare.

    Attributes:
        corpus, real: folders of the texts.
        out: where everything goes: `corpus/`, `cache/`, `selections/`, and `prepared/`, which travels.
        domains, methods: to select for and by.
        shares: budgets, as shares of the stream's source tokens.
        records: of the corpus, drawn at random; None: all.
        variants: options of `craft-stream select` by the name of a variant.
        tsds, tarot: checkouts; None: that method is left out.
        tsds_python, tarot_python: interpreters that have what they need.
    """

    corpus: Path
    real: Path
    out: Path
    domains: Sequence[str]
    methods: Sequence[str]
    shares: Sequence[float]
    records: int | None
    variants: Mapping[str, Sequence[str]]
    tsds: Path | None
    tarot: Path | None
    tsds_python: str
    tarot_python: str


def run(plan: Plan, say: Callable[[str], None] = print) -> Path:
    """Prepare; returns the folder that travels."""
    stream, travels = plan.out / "corpus", plan.out / "prepared"
    if not (stream / "stream.jsonl.zst").exists():
        found = material.gather(plan.corpus, plan.real, plan.records)
        material.write(found, stream)
        say(f"stream of {len(found.stream)} pairs, contaminated and left out: {found.notes['contaminated']}")
    if not (stream / "tokens.npz.xz").exists():
        cut(stream)
    for domain in plan.domains:
        for method in plan.methods:
            if method not in SHARED and not _path(plan.out, domain, method).exists():
                _select(plan, domain, method)
                for one in _read(plan.out, domain, method):
                    say(f"{domain} {method} {one.budget}: {dict(one.notes)}")
    travels.mkdir(parents=True, exist_ok=True)
    chosen = _shared(plan, stream) + [
        one for path in sorted((plan.out / "selections").glob("*.npz")) for one in _load(path)
    ]
    notes = json.loads((stream / "notes.json").read_text()) | {"general": list(material.GENERAL)}
    prepared.write_selections(travels, chosen, notes)
    for name in ("pieces.model", "tokens.npz.xz"):
        shutil.copyfile(stream / name, travels / name)
    tests = {path.name.split(".")[0]: material.read_texts(path) for path in (stream / "test").iterdir()}
    prepared.write_tests(travels, dict(sorted(tests.items())))
    sizes = {path.name: path.stat().st_size for path in sorted(travels.iterdir())}
    say(f"{travels.name}: {sum(sizes.values()) / 2**20:.1f} MiB in all; {sizes}")
    return travels


def cut(stream: Path) -> None:
    """Learn pieces of both languages from the stream as it is, and cut it into them."""
    import sentencepiece

    sources, targets = material.read_texts(stream / "stream.jsonl.zst")
    rng = np.random.default_rng(0)
    drawn = [
        side[row]
        for side in (sources, targets)
        for row in rng.choice(len(side), min(PIECES_FROM // 2, len(side)), replace=False)
    ]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(drawn),
        model_prefix=str(stream / "pieces"),
        vocab_size=PIECES,
        model_type="bpe",
        character_coverage=0.9995,
        hard_vocab_limit=False,
        pad_id=PAD,
        unk_id=UNKNOWN,
        bos_id=BEGIN,
        eos_id=END,
        num_threads=1,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_file=str(stream / "pieces.model"))
    sides = [Side.of(processor.encode(side, num_threads=1)) for side in (sources, targets)]
    prepared.write_tokens(stream, *sides)


def select(task: selections.Task, method: str, shares: Sequence[float], out: Path) -> None:
    """Run one method in this process and keep what it selected."""
    found = selections.run(task, method, shares)
    path = _path(out, task.domain, method)
    path.parent.mkdir(parents=True, exist_ok=True)
    described = [{"budget": one.budget, "notes": dict(one.notes)} for one in found]
    path.with_suffix(".json").write_text(
        json.dumps({"domain": task.domain, "method": method, "found": described})
    )
    np.savez(path, allow_pickle=False, **{str(number): one.chosen for number, one in enumerate(found)})


def _select(plan: Plan, domain: str, method: str) -> None:
    """In a process of its own, so that memory and time are the method's."""
    command = [
        *(sys.executable, "-m", "bench.translation", "select", "--out", str(plan.out)),
        *("--domain", domain, "--method", method, "--shares", ",".join(map(str, plan.shares))),
        *("--tsds-python", plan.tsds_python, "--tarot-python", plan.tarot_python),
    ]
    for name, options in plan.variants.items():
        command += ["--variant", f"{name}={' '.join(options)}"]
    for flag, checkout in (("--tsds", plan.tsds), ("--tarot", plan.tarot)):
        if checkout is not None:
            command += [flag, str(checkout)]
    subprocess.run(command, check=True)


def _shared(plan: Plan, stream: Path) -> list[Selected]:
    tokens = prepared.read_tokens(stream)[0].lengths
    total = int(tokens.sum())
    found = []
    if "random" in plan.methods:
        for share in plan.shares:
            chosen = selections.at_random(tokens, round(share * total))
            notes = {
                "budget_tokens": round(share * total),
                "tokens": int(tokens[chosen].sum()),
                "pairs": len(chosen),
            }
            found.append(Selected(_SHARED_DOMAIN, "random", share, chosen.astype(np.int32), notes))
    if "all" in plan.methods:
        notes = {"budget_tokens": total, "tokens": total, "pairs": len(tokens)}
        found.append(Selected(_SHARED_DOMAIN, "all", 1.0, np.arange(len(tokens), dtype=np.int32), notes))
    return found


def _path(out: Path, domain: str, method: str) -> Path:
    return out / "selections" / f"{domain}.{method}.npz"


def _read(out: Path, domain: str, method: str) -> list[Selected]:
    return _load(_path(out, domain, method))


def _load(path: Path) -> list[Selected]:
    described = json.loads(path.with_suffix(".json").read_text())
    with np.load(path) as arrays:
        return [
            Selected(
                described["domain"], described["method"], one["budget"], arrays[str(number)], one["notes"]
            )
            for number, one in enumerate(described["found"])
        ]
