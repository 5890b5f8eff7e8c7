"""Frames of zstd, and the dictionaries that they may have been compressed with."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, cast

import zstandard

from craft_stream.errors import DataError

HEADER = 18  # bytes of a frame that tell what it needs
MAGIC = b"\x28\xb5\x2f\xfd"
_NUMBERED = b"\x37\xa4\x30\xec"  # begins a dictionary that has a number
_NAMES = ("dictionary", "*.dict", "*.zdict")  # the first is what `zstd --train` calls it
_LARGEST_WINDOW = 1 << 31  # of `zstd --long=31`; memory is taken as the content fills it


class Frame(Protocol):
    """What unpacks one frame of zstd or stream of xz."""

    @property
    def eof(self) -> bool:
        """Whether its end has come."""

    @property
    def unused_data(self) -> bytes:
        """What came behind its end."""

    def decompress(self, data: bytes, /) -> bytes:
        """What comes of more of it."""


def dictionaries(path: str) -> dict[int, Path]:
    """The dictionaries beside a file, by their numbers."""
    found = {}
    for place in sorted(place for name in _NAMES for place in Path(path).parent.glob(name)):
        try:
            with place.open("rb") as file:
                head = file.read(8)
        except OSError:
            continue
        if head.startswith(_NUMBERED):
            found[int.from_bytes(head[4:], "little")] = place
    return found


class ZstdFrames:
    """Makes what unpacks a frame, by the frame's first bytes.

    Args:
        path: of the file, beside which a dictionary may lie.
        dictionary: the file of the one to use; None: that beside the file which has the number that a frame names.

    Raises:
        DataError: the dictionary cannot be read, or is none.
    """

    def __init__(self, path: str, dictionary: str | None = None) -> None:
        self._path, self._name = path, dictionary
        self._known: dict[int, zstandard.ZstdCompressionDict] = {}
        self._given = _read(Path(dictionary)) if dictionary is not None else None

    def __call__(self, head: bytes) -> Frame:
        """What unpacks a frame.

        Raises:
            DataError: its dictionary is not there.
        """
        number = number_of(head)
        dictionary = self._dictionary(number) if number or self._given else None
        if dictionary is None:
            packer = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        else:
            packer = zstandard.ZstdDecompressor(dictionary, max_window_size=_LARGEST_WINDOW)
        return cast(Frame, packer.decompressobj())

    def _dictionary(self, number: int) -> zstandard.ZstdCompressionDict:
        if self._given is not None:
            own = self._given.dict_id()
            if number and own and own != number:
                raise DataError(f"{self._path} needs dictionary {number}, and {self._name} is {own}")
            return self._given
        if number not in self._known:
            place = dictionaries(self._path).get(number)
            if place is None:
                raise DataError(
                    f"{self._path} was compressed with dictionary {number}, which is not beside it: add ?dictionary=FILE"
                )
            self._known[number] = _read(place)
        return self._known[number]


def number_of(head: bytes) -> int:
    """The number of the dictionary that a frame names; 0 for none."""
    if not head.startswith(MAGIC):  # a skippable one
        return 0
    try:
        return int(zstandard.get_frame_parameters(head).dict_id)
    except zstandard.ZstdError:  # it is cut off
        return 0


def _read(place: Path) -> zstandard.ZstdCompressionDict:
    try:
        return zstandard.ZstdCompressionDict(place.read_bytes())
    except (OSError, ValueError, zstandard.ZstdError) as error:
        raise DataError(f"cannot read the dictionary {place}: {error}") from None
