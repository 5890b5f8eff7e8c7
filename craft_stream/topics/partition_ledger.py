"""An input partition whose ledger is restored."""

from __future__ import annotations

from dataclasses import dataclass

from craft_stream.selection.ledger import Ledger
from craft_stream.topics.ledger_index import LedgerIndex
from craft_stream.topics.ledger_writer import LedgerWriter


@dataclass(frozen=True, slots=True)
class PartitionLedger:
    """What a worker has of it, right only as long as every transaction commits: after any failure it is restored anew.

    Attributes:
        ledger, writer: of the thread that decides.
        index: of the thread that commits, which is a transaction behind.
    """

    ledger: Ledger
    writer: LedgerWriter
    index: LedgerIndex
