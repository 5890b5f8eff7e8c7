"""What must hold of values from outside before they are used: types, shapes, ranges, finiteness.

What is read from a topic or a file may have the right checksum and still be wrong: by a mistake, or because others may write
there. Kernels look up arrays without asking where these end, and a NaN decides silently. So everything that is read is
held against a schema: a table of names with what each must be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import IntegrityError, NewerReleaseError

# Of offsets, counts and sequence numbers: sums of some of them stay within 64 bits.
LARGEST_NUMBER = 1 << 60


@dataclass(frozen=True, slots=True)
class Number:
    """A number of the given range, whole unless said; NaN is in none."""

    low: float = 0
    high: float = LARGEST_NUMBER
    whole: bool = True

    def problem(self, value: object) -> str | None:
        """What is wrong with a value."""
        kind = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind):
            return "is no whole number" if self.whole else "is no number"
        return None if self.low <= value <= self.high else f"is not between {self.low:g} and {self.high:g}"


@dataclass(frozen=True, slots=True)
class Array:
    """An array.

    Attributes:
        dtype: of its elements.
        shape: sizes: numbers, names, and names with what is added, as in `("K", "D+1")`. A name means one size in all arrays of
            a schema.
        low, high: the range of its elements; None: whatever the type holds, infinities and NaN too.
        nan: NaN is allowed beside the range.
        ascending: no element is below the one before it.
    """

    dtype: str
    shape: tuple[int | str, ...]
    low: float | None = None
    high: float | None = None
    nan: bool = False
    ascending: bool = False

    def problem(self, value: object, sizes: dict[str, int]) -> str | None:
        """What is wrong with a value; sizes that it settles are noted."""
        if not isinstance(value, np.ndarray):
            return "is no array"
        if value.dtype.name != self.dtype:
            return f"is of {value.dtype.name}, not {self.dtype}"
        if not self._fits(value.shape, sizes):
            return f"has the shape {value.shape}, not ({', '.join(self._known(sizes))})"
        return self._out_of_range(value)

    def _fits(self, shape: tuple[int, ...], sizes: dict[str, int]) -> bool:
        if len(shape) != len(self.shape):
            return False
        for size, wanted in zip(shape, self.shape, strict=True):
            if isinstance(wanted, int):
                fits = size == wanted
            else:
                name, _, more = wanted.partition("+")
                rest = size - int(more or 0)
                fits = rest >= 0 and sizes.setdefault(name, rest) == rest
            if not fits:
                return False
        return True

    def _known(self, sizes: Mapping[str, int]) -> list[str]:
        return [
            f"{size} ({n})" if (n := sizes.get(str(size))) is not None else str(size) for size in self.shape
        ]

    def _out_of_range(self, value: NDArray[Any]) -> str | None:
        if self.low is not None and self.high is not None and value.size:
            low, high = value.min(), value.max()
            if self.nan and np.isnan(low):
                rest = value[~np.isnan(value)]
                low, high = rest.min(initial=self.high), rest.max(initial=self.low)
            if not (low >= self.low and high <= self.high):
                return f"holds values from {low:g} to {high:g}, not between {self.low:g} and {self.high:g}"
        if self.ascending and (value[1:] < value[:-1]).any():
            return "is not in ascending order"
        return None


Schema = Mapping[str, Array | Number]


def check(what: str, values: Mapping[str, Any], schema: Schema, **sizes: int) -> dict[str, int]:
    """Hold values against a schema; names that it does not have are none of its business.

    Args:
        what: they are of, as in "the model".
        values: by name.
        schema: by name.
        **sizes: that are known beforehand.

    Returns:
        The sizes of arrays, by their names in the schema.

    Raises:
        IntegrityError: one is missing, or is not as it must be; names it.
    """
    for name, wanted in schema.items():
        if name not in values:
            raise IntegrityError(f"{what} lacks its part {name}")
        value = values[name]
        problem = wanted.problem(value, sizes) if isinstance(wanted, Array) else wanted.problem(value)
        if problem:
            raise IntegrityError(f"{what} is damaged: its part {name} {problem}")
    return sizes


def check_format(what: str, written: int, formats: range, remedy: str) -> None:
    """That something is of a format that this release reads.

    Args:
        what: is read, for the message.
        written: its format.
        formats: that are read.
        remedy: what to do about one that is too old.

    Raises:
        IntegrityError: it is older.
        NewerReleaseError: it is newer.
    """
    if written >= formats.stop:
        raise NewerReleaseError(f"{what} is of format {written}", formats.stop - 1)
    if written < formats.start:
        raise IntegrityError(
            f"{what} is of format {written}, which an older release wrote; this one reads {formats.start} to "
            f"{formats.stop - 1}: {remedy}"
        )


def has_type(value: object, wanted: Any) -> bool:
    """Whether a value from JSON is of the type that a dataclass gives its field; of an array it says nothing."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    # `NDArray` of NumPy 2.5 is an alias by `type`.
    if np.ndarray in (origin, get_origin(getattr(origin, "__value__", None))):
        return True
    if origin is Literal:
        return value in arguments
    if origin is UnionType:
        return any(has_type(value, one) for one in arguments)
    if origin is tuple:
        return isinstance(value, tuple | list) and all(has_type(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            has_type(key, arguments[0]) and has_type(item, arguments[1]) for key, item in value.items()
        )
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return wanted is Any or isinstance(value, wanted)


def read_json(what: str, data: bytes | str | None) -> dict[str, Any]:
    """An object in JSON.

    Raises:
        IntegrityError: it is something else.
    """
    try:
        values = json.loads(data or "")
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{what} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise IntegrityError(f"{what} cannot be read: it is no JSON object")
    return values


def is_number(text: str) -> bool:
    """Whether a text is a number of at most 18 decimal digits, as in the keys of records."""
    return text.isascii() and text.isdecimal() and len(text) <= 18
