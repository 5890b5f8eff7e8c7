"""`craft-stream demo`: the main job on real text, with no broker and no network."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import orjson
import typer
from rich.console import Console

from connectors.files.open import OutputFile
from craft_stream.cli.engine import load_model
from craft_stream.cli.options import Json
from craft_stream.cli.select import select
from craft_stream.demo.catalogues import Catalogues
from craft_stream.demo.report import Report
from craft_stream.errors import ConfigurationError

app = typer.Typer(add_completion=False)

RATE = 0.05
FILES = ("stream.jsonl", "target.jsonl", "accepted.jsonl", "rejected.tsv", "decisions.jsonl", "model.bin")


@app.command(epilog="Example: craft-stream demo --keep demo/")
def demo(
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Leave stream, target and outputs there; other files stay."),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="NUMBER", help="Seed of the split, the noise and the engine.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Select sentences about a bug tracker from a stream of software messages, a third of it spoilt.

    English-French message catalogues of installed packages; half of one package's is the target, the rest is the
    stream, with noise injected as a crawl has it. `craft-stream select` reads the two texts and nothing else; which
    package a pair came from and what was done to it is used for the report only.
    """
    with TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report = _select(Catalogues.installed(seed), folder, seed)
    if as_json:
        print(orjson.dumps(report.values()).decode())
        return
    console = Console(highlight=False)
    report.print(console)
    if keep:
        kept = ", ".join(sorted(path.name for path in keep.iterdir()))
        console.print(f"kept in {keep}: {kept}", markup=False)


def _select(catalogues: Catalogues, folder: Path, seed: int) -> Report:
    """Run the command as a user would, over files."""
    stream, target, accepted, rejected, decisions, model = (folder / name for name in FILES)
    texts = {
        path: b"".join(pair.record() + b"\n" for pair in pairs)
        for path, pairs in ((stream, catalogues.stream), (target, catalogues.target))
    }
    if not all(path.is_file() and path.read_bytes() == text for path, text in texts.items()):
        for name in FILES:
            if (folder / name).exists():
                raise ConfigurationError(
                    f"{folder / name} is there, and not of this demo: name another folder"
                )
    for path, text in texts.items():
        with OutputFile(str(path)) as file:
            file.write(text)
    with redirect_stdout(io.StringIO()) as summary:
        select(
            inputs=[str(stream)],
            target=[str(target)],
            output=str(accepted),
            rejected=str(rejected),
            decisions=str(decisions),
            save_model=str(model),
            budget_rate=RATE,
            seed=seed,
            as_json=True,
        )
    return Report(
        catalogues,
        [orjson.loads(line) for line in decisions.read_bytes().splitlines()],
        load_model(model).shares.tolist(),
        orjson.loads(summary.getvalue()),
    )
