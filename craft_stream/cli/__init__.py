"""The command line: each command is a module `craft_stream.cli.NAME` with an `app = typer.Typer()`.

It is imported when it is called, so `craft-stream --help` loads no engine and no client library, and a broken
command breaks no other.
"""

from __future__ import annotations

import codecs
import errno
import importlib
import io
import os
import signal
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from craft_stream import __version__
from craft_stream.errors import CraftError

COMMANDS = {
    "demo": "See it work on real text: no broker, no files of your own.",
    "select": "Select from files into files.",
    "score": "Score every pair of files.",
    "take": "Take the best of files that were scored.",
    "run": "Select on Kafka, from one topic into another, until stopped.",
    "learn": "Run the learner as a process of its own.",
    "topics": "Create and check the topics.",
    "publish": "Put pairs of files on the crawl topic, each once.",
    "target": "Publish and withdraw the pairs that describe the domain.",
    "crawl": "Make pairs from a crawl and publish them.",
    "simulate": "Serve and crawl a small bilingual site, to try a crawl with.",
    "export": "Write accepted pairs from their topic to files.",
    "model": "List, show, pin and roll back versions of the model on its topic.",
    "settings": "Show and change the settings of a group while it runs.",
    "ledger": "Show how far each partition is and what it has accepted.",
    "audit": "Compute decisions again from the log and compare.",
    "replay": "Decide a log again under other parameters and show the difference.",
    "explain": "Say why a pair is accepted or rejected.",
    "dlq": "List records that could not be decided (dead letters) and send them again.",
    "warm-up": "Compile now what the first command would compile, 25 s of CPU.",
    "doctor": "Check broker, topics, permissions and clock.",
    "config": "Show and check the settings in force.",
}


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPIPE, errno.EROFS, errno.EIO)


class LazyGroup(typer.core.TyperGroup):
    """A group whose commands are named at once and imported when one is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Replace the placeholder that was found by its name with the command itself."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and name in self.commands:
            module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
            command = typer.main.get_command(module.app)
            command.name = name
        return name, command, rest


app = typer.Typer(
    cls=LazyGroup,
    help="Select, from a stream of crawled sentence pairs, the training data that matches a target domain.",
    no_args_is_help=True,
    add_completion=False,  # its two options would stand before every command's
    pretty_exceptions_enable=False,  # they would print local variables, and with them secrets
)

for _name, _help in COMMANDS.items():
    app.command(_name, help=_help)(lambda: None)


def _version(asked: bool) -> None:
    if asked:
        print(f"craft-stream {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None: ...


def _terminate(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _print_everything() -> None:
    """Let standard output take any character: in the locale C, which has ASCII only, as UTF-8."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        if codecs.lookup(sys.stdout.encoding).name == "ascii":
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        elif sys.stdout.errors == "strict":
            sys.stdout.reconfigure(errors="backslashreplace")


def main() -> None:
    """Run the command line; errors of ours are one line on stderr and the exit code that they carry.

    SIGTERM unwinds as an error does, so that no half-written file stays; a command may stop another way (`stopping`).
    Whatever handles signals meanwhile, what did before does afterwards.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, _terminate)
    _print_everything()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except CraftError as error:
        print(f"craft-stream: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        nowhere = "temporary directory" in str(error)  # as tempfile says it
        if error.errno not in _NO_ROOM and not nowhere:
            raise
        with suppress(OSError, ValueError):  # what is buffered cannot be written at the process's end either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        hint = "; set TMPDIR to one that can be written" if nowhere else ""
        print(f"craft-stream: cannot write: {error.strerror}{hint}", file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
