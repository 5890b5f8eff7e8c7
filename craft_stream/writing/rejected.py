"""Records that were not accepted, as `--rejected` keeps them."""

from __future__ import annotations

import numpy as np

from craft_stream.ports.messages import Message
from craft_stream.reading.chunk import Chunk
from craft_stream.selection.decisions import Decisions, Reason


def rejected_lines(chunk: Chunk, decisions: Decisions) -> list[bytes]:
    """A line for each record that was rejected or holds no pair, in their order, with its newline.

    The reason, a tab, the place (`path/0/line`), a tab, the record as it came: `cut -f3-` gives the records back.
    """
    reasons = {row: str(refusal.reason) for row, refusal in chunk.refused}
    for pair in np.flatnonzero(~decisions.accepted).tolist():
        reasons[int(chunk.rows[pair])] = Reason(int(decisions.reason[pair])).label
    return [_line(reasons[row], chunk.messages[row]) for row in sorted(reasons)]


def _line(reason: str, message: Message) -> bytes:
    place = message.location.encode("utf-8", "surrogateescape")
    # lines of a file have no newline; what another connector could not read may, and a line must stay a line
    record = (message.value or b"").replace(b"\n", b"\\n")
    return b"%s\t%s\t%s\n" % (reason.encode(), place, record)
