"""`craft-stream warm-up`: compiles what a machine compiles once, so that no later command waits for it."""

from __future__ import annotations

import io
import random
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import typer

from craft_stream import kernel_cache
from craft_stream.cli.kernels import Compiled
from craft_stream.cli.select import select
from craft_stream.errors import ConfigurationError

_PAIRS = 2_500  # two chunks: the first is learned from and decided, then the second
_SYLLABLES = ("ba", "ko", "ri", "tu", "mé", "sa", "lo", "ni", "ve", "pà", "du", "ge")

app = typer.Typer(add_completion=False)


@app.command("warm-up", epilog="Example: craft-stream warm-up")
def warm_up() -> None:
    """Compile the kernels, by selecting from made-up words, and keep them for later commands.

    For images and fresh machines. The first `select` on a machine does it by itself.
    """
    place = kernel_cache.place()
    if place is None:
        raise ConfigurationError(
            "nothing can be kept: no folder can be written. Set NUMBA_CACHE_DIR to one that can"
        )
    began = time.monotonic()
    with Compiled() as compiled, TemporaryDirectory() as folder:
        _select(Path(folder))
    if compiled.count:
        typer.echo(f"compiled {compiled.count} kernels in {time.monotonic() - began:.0f} s; kept in {place}")
    else:
        typer.echo(f"all kernels are compiled; kept in {place}")


def _select(folder: Path) -> None:
    """Select with everything that can be asked for, then again by the Model that was kept."""
    rng = random.Random(0)
    words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(2, 4))) for _ in range(400)]
    stream, target = folder / "stream.jsonl", folder / "target.jsonl"
    for path, count, known in ((target, 200, words[:150]), (stream, _PAIRS, words)):
        path.write_bytes(b"".join(_record(rng.choices(known, k=rng.randint(4, 12))) for _ in range(count)))
    listed = f'["{target}"]'
    learning = {
        "target": [str(target)],
        "overrides": [f"selection.decontaminate={listed}", f"selection.takedown={listed}"],
        "save_model": str(folder / "model"),
    }
    for chosen in (learning, {"model": folder / "model"}):
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            select(
                inputs=[str(stream)],
                output=str(folder / "accepted.jsonl"),
                rejected=str(folder / "rejected.tsv"),
                decisions=str(folder / "decisions.jsonl"),
                as_json=True,
                **chosen,
            )


def _record(words: list[str]) -> bytes:
    translated = " ".join(word[::-1] + "x" for word in words)
    return orjson.dumps({"src": f"{' '.join(words)}.", "tgt": f"{translated} \\u2013."}) + b"\n"
