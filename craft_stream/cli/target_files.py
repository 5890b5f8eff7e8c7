"""The target as files: pairs, or texts of one side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from connectors.files.moses import pair_of
from craft_stream.cli.faults import Faults
from craft_stream.cli.files import read_chunks, read_texts
from craft_stream.cli.first_look import FirstLook
from craft_stream.cli.tell import tell
from craft_stream.errors import ConfigurationError, TargetError
from craft_stream.settings import RecordSettings
from craft_stream.text.batch import PairBatch, Side
from craft_stream.text.tokenized import TokenizedPairs


class Learns(Protocol):
    """What a target is shown to."""

    def observe_target(self, identifiers: Sequence[str], batch: PairBatch) -> None: ...  # noqa: D102
    def check_target(self) -> dict[str, int]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class TargetFiles:
    """Which files a target is read from.

    Attributes:
        paths: of the files.
        side: the one that they are texts of; None: they are pairs.
    """

    paths: list[str]
    side: Side | None = None

    @classmethod
    def named(
        cls, pairs: list[str] | None, source: list[str] | None, target: list[str] | None
    ) -> TargetFiles:
        """As options name them: `--target`, or `--target-source` and `--target-target`, or one of these alone.

        Raises:
            ConfigurationError: they do not go together.
        """
        if pairs and (source or target):
            raise ConfigurationError("give --target, or --target-source and --target-target, not both")
        if not (source and target):
            side: Side | None = "source" if source else "target" if target else None
            return cls(pairs or source or target or [], side)
        if len(source) != len(target):
            raise ConfigurationError(
                "--target-source and --target-target together are pairs, line by line: give as many of each, or one of the two"
            )
        return cls([pair_of(*files) for files in zip(source, target, strict=True)])

    def read(self, learner: Learns, fields: RecordSettings, look: FirstLook) -> None:
        """Show them to a learner; what is no pair, or no text, is named on standard error.

        Raises:
            TargetError: they hold none, or nothing can be learned from them.
        """
        kind = "texts" if self.side else "pairs"
        count, faults = 0, Faults()
        for identifiers, pairs in self._read(fields, faults):
            look.target(pairs, self.side)
            learner.observe_target(identifiers, pairs.batch)
            count += len(pairs)
        for line in faults.lines():
            tell(f"target, {line}")
        if not count:
            raise TargetError(
                f"the target is empty: {', '.join(self.paths)} holds no {kind.removesuffix('s')}"
            )
        for finding, left_out in learner.check_target().items():
            tell(f"target, {left_out:,} of {count:,} {kind} left out: {finding}")

    def _read(self, fields: RecordSettings, faults: Faults) -> Iterator[tuple[list[str], TokenizedPairs]]:
        if self.side is None:
            for chunk in read_chunks(self.paths, fields):
                faults.add(chunk)
                yield chunk.identifiers(), chunk.pairs
            return
        field = fields.source_field if self.side == "source" else fields.target_field
        for found in read_texts(self.paths, field, fields, faults):
            batch = PairBatch.of_side([text for _, text in found], self.side)
            yield [name for name, _ in found], TokenizedPairs.of(batch)
