"""The bytes in which a ledger's state travels: which they are, and how those of older releases are read."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from craft_stream import codec, schema
from craft_stream.errors import ConfigurationError, IntegrityError
from craft_stream.parameters import Parameters
from craft_stream.schema import Number
from craft_stream.selection.ledger_schema import DELTA_WITHOUT_CONTEXTS, SNAPSHOT
from craft_stream.selection.older_ledgers import OLDEST, upgrade

MAGIC = b"CRAFTLDG"
FORMAT = 8
# Of revisions between 0.1.0 and 0.2.0 only: other numbers at the same places.
_UNRELEASED = 7


def decode(
    data: bytes, kind: str, parameters: Parameters, remembered: int
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays as this format has them.

    Args:
        data: a snapshot or a delta.
        kind: which of the two, `whole` or `delta`.
        parameters: in force, for a format that does not hold them.
        remembered: pairs, before a delta.

    Raises:
        IntegrityError: damaged, of a format that is not read, or of the other kind.
    """
    header, arrays = codec.decode(MAGIC, data)
    schema.check("the ledger", header, {"format": Number()})
    written = header["format"]
    remedy = "begin a new group, or go on with that release"
    schema.check_format("the ledger", written, range(OLDEST, FORMAT + 1), remedy)
    if written == _UNRELEASED:
        raise IntegrityError(
            f"the ledger is of format {written}, which no release has written, but a revision before 0.2.0: begin a new one "
            "with `craft-stream run --rebuild`"
        )
    if header.get("kind") != kind:
        raise IntegrityError(f"this is a ledger's {header.get('kind')}, not a {kind}")
    if written == FORMAT:
        return header, arrays
    schema.check("the ledger", header | arrays, DELTA_WITHOUT_CONTEXTS if kind == "delta" else SNAPSHOT)
    return upgrade(header, arrays, parameters, remembered)


def decode_parameters(values: Any) -> Parameters:
    """Parameters that a header holds.

    Raises:
        IntegrityError: they cannot be read.
    """
    try:
        return Parameters.decode(values)
    except ConfigurationError as error:
        raise IntegrityError(
            f"the ledger's parameters cannot be read: {error}; a newer release may"
        ) from error
