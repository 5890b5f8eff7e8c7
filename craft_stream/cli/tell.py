"""What a command has to say beside its results."""

from __future__ import annotations

import typer


def tell(text: str) -> None:
    """Say something on standard error, under the program's name."""
    typer.echo(f"craft-stream: {text}", err=True)
