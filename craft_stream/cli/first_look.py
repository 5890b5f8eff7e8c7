"""What can be known of a selection from its first records, and is said while it runs: what is wrong, and what to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import parse_qsl, urlencode

import numpy as np
from numpy.typing import NDArray

from connectors.files import ending
from connectors.files.fields import split_query
from connectors.files.places import same_file
from craft_stream.cli.faults import Faults
from craft_stream.cli.tell import tell
from craft_stream.errors import DataError
from craft_stream.reading.chunk import Chunk
from craft_stream.reading.records import DecodeReason
from craft_stream.settings import Settings
from craft_stream.text.batch import Side, TextBatch
from craft_stream.text.keys import pair_keys
from craft_stream.text.profiles import profile
from craft_stream.text.tokenized import TokenizedPairs

LOOKED = 4_096  # records of the stream, and pairs of the target
_FEW = 30  # pairs below which a target, or its languages, are a guess
_OWN = 0.5  # share of the stream that may be the target's own
# Cosine of two texts' profiles above which they are of one language. One language in two domains (law, subtitles, software,
# news, the Quran) has 0.76 to 0.95; two languages 0.57 in the middle, 0.76 at most where a crawl did not mix them.
_ALIKE = 0.75
# numbers and marks, an address, an identifier
_NO_TEXT = re.compile(r"[\W\d_]*|\w+://\S*|(?=\S*\d)[A-Za-z0-9_.:/#-]*")
# formats whose sides are numbered columns, and those that have no others to choose from
_COLUMNS = frozenset({"tsv", "txt", "csv", "raw", "sent"})
_FIXED = frozenset({"moses", "tmx", "po", "mo"})


class FirstLook:
    """Looks at the first pairs of target and stream, and tells on standard error what is wrong with them.

    Args:
        settings: names of the sides, and the budget.
        stream: paths of the input.
        target: paths of the target.
    """

    def __init__(self, settings: Settings, stream: Sequence[str], target: Sequence[str]) -> None:
        self._fields, self._stream = settings.record, stream
        self._target: list[TokenizedPairs] = []
        self._keys: list[NDArray[np.uint64]] = []  # of all pairs of the target
        self._targets = 0  # pairs of the target
        self._side: Side | None = None  # that the target is texts of
        self._told = False
        if settings.budget.rate == 0:
            tell("the budget is 0, so nothing can be accepted: give --budget-rate, 0.05 perhaps")
        self._same = [path for path in stream if any(same_file(path, other) for other in target)]
        if self._same:
            tell(f"{self._same[0]} is the target and the stream: all of it is of its own domain")

    def target(self, pairs: TokenizedPairs, side: Side | None = None) -> None:
        """Look at pairs of the target, or texts of one side."""
        if self._targets < LOOKED:
            self._target.append(pairs)
        self._keys.append(_keys(pairs))
        self._targets += len(pairs)
        self._side = side

    def over(self, stream: Iterable[Chunk]) -> Iterator[Chunk]:
        """The stream as it comes.

        Raises:
            DataError: none of its first 4,096 records has the two sides.
        """
        if 0 < self._targets < _FEW:
            kind = "text" if self._side else "pair"
            pairs = f"one {kind}" if self._targets == 1 else f"{self._targets} {kind}s"
            say = "says" if self._targets == 1 else "say"
            tell(f"the target is {pairs}, which {say} next to nothing about a domain: a few hundred do")
        head: list[Chunk] = []
        read = 0
        for chunk in stream:
            if not self._told:
                head.append(chunk)
                read += len(chunk.messages)
                if read >= LOOKED:
                    self._look(head, ended=False)
                    head = []
            yield chunk
        if not self._told:
            self._look(head, ended=True)

    def _look(self, head: list[Chunk], ended: bool) -> None:
        self._told = True
        read = sum(len(chunk.messages) for chunk in head)
        if not read:
            tell(f"the stream is empty: {', '.join(self._stream)} holds no record")
        elif not any(len(chunk.pairs) for chunk in head):
            if not ended and all(_has_no_sides(chunk) for chunk in head):
                faults = Faults()
                for chunk in head:
                    faults.add(chunk)
                raise DataError(f"none of the first {read:,} records is a pair: {'; '.join(faults.lines())}")
        else:
            seen = _texts(chunk.pairs for chunk in head)
            if not self._tell_no_texts(seen) and self._target:
                self._compare(head, seen)

    def _tell_no_texts(self, seen: tuple[list[str], list[str]]) -> bool:
        """Say that a side of the stream is numbers, addresses or identifiers, as in the wrong column; whether it is."""
        for side, texts in zip(("sources", "targets"), seen, strict=True):
            if len(texts) >= _FEW and sum(map(_is_no_text, texts)) > _OWN * len(texts):
                told = f"the stream's {side} are no texts, they begin with {' | '.join(text[:60] for text in texts[:3])}"
                path = self._stream[0]
                if ending(path) in _FIXED:
                    tell(f"{told}: is it the right file?")
                else:
                    tell(f"{told}: name the sides, as --input {_with(path, *_others(path, side))}")
                return True
        return False

    def _compare(self, head: list[Chunk], seen: tuple[list[str], list[str]]) -> None:
        known = _texts(self._target)
        if len(seen[0]) >= _FEW and not self._same:
            shared = int(
                np.isin(
                    np.concatenate([_keys(chunk.pairs) for chunk in head]), np.concatenate(self._keys)
                ).sum()
            )
            if shared > _OWN * len(seen[0]):
                tell(
                    f"of the stream's first {len(seen[0]):,} pairs {shared:,} are the target's own, which are not selected "
                    "again (in_target): is it the same file? Give another stream, or --set selection.duplicates=false"
                )
        if min(len(known[0]), len(seen[0])) < _FEW:
            return
        if self._side:
            self._compare_texts(known[self._side == "target"], seen, self._side)
            return
        profiles = [[profile(TextBatch.pack(side)) for side in sides] for sides in (known, seen)]
        alike = np.array([[float(one @ other) for other in profiles[1]] for one in profiles[0]])
        if min(alike[0, 0], alike[1, 1]) >= _ALIKE and np.trace(alike) > alike[0, 1] + alike[1, 0]:
            return
        self._tell_languages(known, seen)

    def _compare_texts(self, known: list[str], seen: tuple[list[str], list[str]], side: Side) -> None:
        """Say what language texts of one side are in, where it is not that of the stream's side."""
        own = int(side == "target")
        texts = profile(TextBatch.pack(known))
        alike = [float(texts @ profile(TextBatch.pack(other))) for other in seen]
        if alike[own] >= _ALIKE and alike[own] > alike[1 - own]:
            return
        from craft_stream.language_identification import majority

        wanted, found = majority(known), [majority(texts) for texts in seen]
        if not wanted or not all(found) or wanted == found[own]:
            return
        what = f"the target's texts seem to be in {wanted}, the stream in {found[0]} and {found[1]}"
        if wanted == found[1 - own]:
            other = "source" if side == "target" else "target"
            tell(f"{what}: give them by --target-{other}")
        else:
            tell(f"{what}: nothing can be selected by them. They begin with: {known[0][:60]}")

    def _tell_languages(self, known: tuple[list[str], list[str]], seen: tuple[list[str], list[str]]) -> None:
        """Say what languages the sides are in, where those of the stream are not those of the target."""
        from craft_stream.language_identification import (
            majority,  # .8 s, and most streams are as they should be
        )

        wanted, found = ([majority(side) for side in sides] for sides in (known, seen))
        if not all(wanted) or not all(found) or wanted == found:
            return
        what = (
            f"the stream seems to be in {found[0]} and {found[1]}, the target in {wanted[0]} and {wanted[1]}"
        )
        if found == wanted[::-1]:
            tell(f"{what}: their sides are swapped. {self._how_to_swap(found)}")
        else:
            shown = " | ".join(side[0][:60] for side in seen)
            tell(
                f"{what}: pairs of other languages cannot be selected by it. The stream begins with: {shown}"
            )

    def _how_to_swap(self, languages: Sequence[str]) -> str:
        path = self._stream[0]
        kind, (source, target) = ending(path), _chosen(path)
        if kind == "moses":
            return "Give --input-source and --input-target the other way round"
        if kind in ("po", "mo"):
            return "Take a target whose sides stand in the same order"
        if kind == "tmx":
            return f"Type --input {_with(path, langs=f'{languages[1]},{languages[0]}')}"
        default = ("1", "2") if kind in _COLUMNS else (self._fields.source_field, self._fields.target_field)
        return f"Type --input {_with(path, target or default[1], source or default[0])}"


def _chosen(path: str) -> tuple[str | None, str | None]:
    """What a path's options say of its sides."""
    options = dict(parse_qsl(split_query(path)[1]))
    return options.get("src"), options.get("tgt")


def _others(path: str, side: str) -> tuple[str, str]:
    """Sides to look at next, where those of a path are no texts on one side: the next column, if they are numbered."""
    source, target = (given or default for given, default in zip(_chosen(path), "12", strict=True))
    if ending(path) not in _COLUMNS or not (source.isdecimal() and target.isdecimal()):
        return "NAME", "NAME"
    following = str(max(int(source), int(target)) + 1)
    return (target, following) if side == "sources" else (source, following)


def _with(path: str, source: str | None = None, target: str | None = None, langs: str | None = None) -> str:
    """A path with options beside those that it has, in place of others that say the same, as a word for the shell."""
    name, query = split_query(path)
    options = dict(parse_qsl(query, keep_blank_values=True))
    new = {key: text for key, text in (("src", source), ("tgt", target), ("langs", langs)) if text}
    if source:
        options.pop("columns", None)
    return shlex.quote(f"{name}?{urlencode({**options, **new}, safe='/,*:')}")


def _keys(pairs: TokenizedPairs) -> NDArray[np.uint64]:
    return pair_keys(pairs, np.arange(len(pairs)))


def _is_no_text(text: str) -> bool:
    return _NO_TEXT.fullmatch(text.strip()) is not None


def _has_no_sides(chunk: Chunk) -> bool:
    return all(refusal.reason is DecodeReason.MISSING_SIDE for _, refusal in chunk.refused)


def _texts(parts: Iterable[TokenizedPairs]) -> tuple[list[str], list[str]]:
    """Texts of both sides."""
    sides: tuple[list[str], list[str]] = ([], [])
    for pairs in parts:
        sides[0].extend(pairs.batch.source.texts())
        sides[1].extend(pairs.batch.target.texts())
    return sides
