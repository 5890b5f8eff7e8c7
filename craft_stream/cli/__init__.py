"""The command line: each command is a module `craft_stream.cli.NAME` with an `app = typer.Typer()`.

It is imported when it is called, so `craft-stream --help` loads no engine and no client library, and a broken
command breaks no other.
"""

from __future__ import annotations

import codecs
import errno
import importlib
import io
import logging
import os
import signal
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from craft_stream import __version__
from craft_stream.cli.help_text import plain
from craft_stream.cli.tell import tell
from craft_stream.errors import CraftError, UnavailableError

SECTIONS = {
    "See it work": {
        "demo": "Select from real text that is brought along: no broker, no files of your own.",
    },
    "On files": {
        "select": "Take from files the pairs that are worth training on.",
        "explain": "Say why a pair is accepted or rejected.",
        "report": "Show what was selected, or scored, as one page for a browser.",
        "score": "Write scores beside every pair of files.",
        "take": "Take the best of files that were scored.",
    },
    "On Kafka": {
        "topics": "Create and check the topics.",
        "target": "Publish and withdraw the pairs that describe the domain.",
        "publish": "Put pairs of files on the crawl topic, each once.",
        "run": "Select from the crawl topic until stopped.",
        "learn": "Run the learner as a process of its own.",
        "export": "Write accepted pairs from their topic to files.",
    },
    "From a web crawl": {
        "crawl": "Make pairs of WARC files, while they grow, and publish them.",
        "simulate": "Serve and crawl a small bilingual site, to try a crawl with.",
    },
    "Look after it": {
        "doctor": "Check broker, topics, permissions and clock.",
        "config": "Show and check the settings in force.",
        "settings": "Show and change the settings of a group while it runs.",
        "model": "List versions of the model on their topic, go back to one.",
        "ledger": "Show how far each partition is and what it has accepted.",
        "dlq": "List records that could not be decided (dead letters) and send them again.",
        "audit": "Compute decisions again from the log and compare.",
        "replay": "Decide a log again under other settings and show the difference.",
        "warm-up": "Compile now what the first command would compile, 25 s of CPU.",
    },
}
"""Commands with what they do, as `craft-stream --help` has them."""

COMMANDS = {name: text for section in SECTIONS.values() for name, text in section.items()}

TRACE = "CRAFT_TRACE"  # in the environment: errors that nobody foresaw are raised as they are
INTERNAL = 70
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPIPE, errno.EROFS, errno.EIO, errno.EBADF)


class LazyGroup(typer.core.TyperGroup):
    """A group whose commands are named at once and imported when one is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Replace the placeholder that was found by its name with the command itself."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and name in self.commands:
            module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
            command = plain(typer.main.get_command(module.app))
            command.name = name
        return name, command, rest

    def format_commands(self, _: Any, formatter: Any) -> None:
        """List the commands by what they are for."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(8), text) for name, text in commands.items()])


app = typer.Typer(
    cls=LazyGroup,
    help="Select, from a stream of crawled sentence pairs, the training data that matches a target domain.",
    epilog=(
        "\b\n"
        "craft-stream COMMAND --help   has the options of a command, with examples.\n"
        "craft-stream demo             is the place to begin."
    ),
    rich_markup_mode=None,
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


def _replace_closed() -> None:
    """Put something in the place of standard streams that are closed, as a daemon's are.

    Lines for standard error go nowhere; of the others, reading and writing fail as on any closed file.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_WRONLY), closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _print_everything() -> None:
    """Let standard output take any character: in the locale C, which has ASCII only, as UTF-8."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        if codecs.lookup(sys.stdout.encoding).name == "ascii":
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        elif sys.stdout.errors == "strict":
            sys.stdout.reconfigure(errors="backslashreplace")


def _unforeseen(error: Exception) -> tuple[int, str]:
    """Exit code and text of an error that nobody has put into words: the broker client's, or a defect of ours."""
    name = type(error).__name__
    module = type(error).__module__
    said = f"{name}: {str(error) or 'no more is known'}".replace("\n", " ")
    if module.startswith("kafka.") or name == "TransactionError":
        return UnavailableError.exit_code, f"the brokers: {said}; `craft-stream doctor` looks for the cause"
    return (
        INTERNAL,
        f"a defect of craft-stream ({said}): please report it with what {TRACE}=1 prints in addition",
    )


def main() -> None:
    """Run the command line; errors of ours are one line on stderr and the exit code that they carry.

    SIGTERM unwinds as an error does, so that no half-written file stays; a command may stop another way (`stopping`).
    Whatever handles signals meanwhile, what did before does afterwards.
    """
    # The client's own lines say nothing to a user; what they mean is in our errors.
    logging.getLogger("kafka").addHandler(logging.NullHandler())
    logging.getLogger("kafka").propagate = False
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, _terminate)
    _replace_closed()
    _print_everything()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except CraftError as error:
        tell(str(error))
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        nowhere = "temporary directory" in str(error)  # as tempfile says it
        if error.errno not in _NO_ROOM and not nowhere:
            where = f"{error.filename}: " if error.filename else ""
            tell(f"{where}{error.strerror or error}")
            raise SystemExit(1) from None
        with suppress(OSError, ValueError):  # what is buffered cannot be written at the process's end either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        hint = "; set TMPDIR to one that can be written" if nowhere else ""
        tell(f"cannot write: {error.strerror}{hint}")
        raise SystemExit(1) from None
    except Exception as error:
        if os.environ.get(TRACE):
            raise
        code, text = _unforeseen(error)
        tell(text)
        raise SystemExit(code) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
