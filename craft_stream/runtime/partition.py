"""An input partition whose ledger is restored."""

from __future__ import annotations

from dataclasses import dataclass

from craft_stream.runtime.ledger_log import LedgerPlaces, LedgerWriter
from craft_stream.selection.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Partition:
    """What a worker has of it, right only as long as every transaction commits: after any failure it is restored anew.

    Attributes:
        ledger, writer: of the thread that decides.
        places: of the thread that commits, which is a transaction behind.
    """

    ledger: Ledger
    writer: LedgerWriter
    places: LedgerPlaces
