"""What a command has to say beside its results."""

from __future__ import annotations

import typer


def counted(count: int, things: str) -> str:
    """A number of things, such as "1 pair" or "2,000 pairs"; of one the plural's last letter goes."""
    return f"{count:,} {things[:-1] if count == 1 else things}"


def tell(text: str) -> None:
    """Say something on standard error, under the program's name."""
    typer.echo(f"craft-stream: {text}", err=True)
