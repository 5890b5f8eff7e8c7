"""What a selection writes; every file appears at its place only when all of them are whole."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Self

import numpy as np

from connectors.files import open_sink
from connectors.files.open import OutputFile
from craft_stream.ports.files import Sink
from craft_stream.ports.messages import Message
from craft_stream.reading.chunk import Chunk
from craft_stream.scoring.model import Model
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.writing.decisions import decision_lines


class Outputs:
    """The files that a selection writes. A context manager that discards them when an error leaves it.

    Args:
        parameters: digest of the parameters in force.
        accepted: gets the accepted records, unchanged.
        rejected: gets all others, a line each: the reason, a tab, the place (`path/0/line`), a tab, the record
            as it came. `cut -f3-` gives the records back. None: they are not kept.
        decisions: gets a JSON object for each decision; None: they are not kept.
        model: gets the last version; None: it is not kept.

    Raises:
        ConfigurationError: one cannot be written.
    """

    def __init__(
        self,
        parameters: str,
        accepted: str,
        rejected: str | None = None,
        decisions: str | None = None,
        model: str | None = None,
    ) -> None:
        self._parameters = parameters
        with ExitStack() as opened:
            self._rejected = _open(rejected, opened)
            self._decisions = _open(decisions, opened)
            self._model = _open(model, opened)
            self._accepted = open_sink(accepted)
            opened.push(_leaving(self._accepted))
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)

    def write(self, chunk: Chunk, decisions: Decisions) -> None:
        """Write one chunk, in its order."""
        chosen = (chunk.message(pair).value for pair in np.flatnonzero(decisions.accepted).tolist())
        self._accepted.write([value for value in chosen if value is not None])
        if self._rejected:
            self._rejected.write(b"".join(_refusals(chunk, decisions)))
        if self._decisions:
            lines = decision_lines(chunk, decisions, np.arange(len(decisions)), self._parameters)
            self._decisions.write(b"\n".join([*lines, b""]))

    def save(self, model: Model | None) -> None:
        """Keep the version that decided last, where that was asked for."""
        if self._model and model:
            self._model.write(model.encode())


def _open(path: str | None, stack: ExitStack) -> OutputFile | None:
    return stack.enter_context(OutputFile(path)) if path else None


def _leaving(sink: Sink) -> Any:
    def leave(kind: object, *_: object) -> None:
        if kind is not None and hasattr(sink, "discard"):
            sink.discard()
        else:
            sink.close()

    return leave


def _refusals(chunk: Chunk, decisions: Decisions) -> list[bytes]:
    reasons = {row: str(refusal.reason) for row, refusal in chunk.refused}
    for index in np.flatnonzero(~decisions.accepted).tolist():
        reasons[int(chunk.rows[index])] = Reason(int(decisions.reason[index])).label
    return [_refusal(reasons[row], chunk.messages[row]) for row in sorted(reasons)]


def _refusal(reason: str, message: Message) -> bytes:
    place = message.location.encode("utf-8", "surrogateescape")
    # lines of a file have no newline; what another connector could not read may, and a line must stay a line
    record = (message.value or b"").replace(b"\n", b"\\n")
    return b"%s\t%s\t%s\n" % (reason.encode(), place, record)
