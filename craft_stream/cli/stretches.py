"""`--from` and `--to`: which part of a group's log a command decides again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from craft_stream.cli.tell import tell
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.ports.transport import Reader
from craft_stream.recomputation import Stretch, look
from craft_stream.settings import Settings
from craft_stream.topics.ownership import check_group

_OFFSETS = "An offset for all partitions, or PARTITION:OFFSET[,...]."
From = Annotated[str | None, typer.Option("--from", metavar="OFFSETS", help=_OFFSETS)]
To = Annotated[str | None, typer.Option("--to", metavar="OFFSETS", help=f"End, exclusive. {_OFFSETS}")]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for of a partition: offsets [start, stop), of which some are decided.

    Attributes:
        stretch: what is known of the partition.
        start: 0 where nothing was said.
        stop: at most the committed offset.
    """

    stretch: Stretch
    start: int
    stop: int


def asked(
    reader: Reader,
    settings: Settings,
    from_: str | None,
    to: str | None,
    found: Callable[[Stretch], None] = lambda stretch: None,
) -> Iterator[Asked]:
    """Every partition with decided records between `--from` and `--to`; of the others a line says how far they are.

    Args:
        from_, to: `--from` and `--to`.
        found: is told of every partition, of the others too.

    Raises:
        ConfigurationError: an option holds no offsets, names a partition that is not there, or nothing is there in any; there
            is no such group.
        DataError: nothing was asked for, and the group has decided nothing.
    """
    topic = settings.kafka.input_topic
    partitions = reader.partitions(topic)
    begins, ends = (
        _offsets(option, text, topic, partitions) for option, text in (("--from", from_), ("--to", to))
    )
    nothing: list[str] = []
    for partition in partitions:
        stretch = look(reader, settings, partition)
        found(stretch)
        start, first = begins.get(partition, 0), stretch.first
        stop = min(ends.get(partition, stretch.committed), stretch.committed)
        if first is not None and max(start, first) < stop:
            yield Asked(stretch, start, stop)
        elif first is None:
            nothing.append(f"{topic}/{partition}: nothing is decided yet")
        else:
            nothing.append(
                f"{topic}/{partition}: nothing is there, decided are offsets {first} to {stretch.committed - 1}"
            )
    if begins or ends:
        for line in nothing:
            tell(line)
    if len(nothing) < len(partitions):
        return
    check_group(reader, settings.kafka)
    if begins or ends:
        raise ConfigurationError("nothing is there from --from to --to: give offsets that are decided")
    raise DataError(f"the group {settings.kafka.group_id} has decided nothing of {topic} yet")


def _offsets(option: str, text: str | None, topic: str, partitions: Collection[int]) -> dict[int, int]:
    """The offset that an option names for each partition; none for those that it does not name."""
    if text is None:
        return {}
    parts = [part.partition(":") for part in text.split(",")] if ":" in text else []
    named = {place: offset for place, _, offset in parts} or {str(place): text for place in partitions}
    if not all(
        number.isascii() and number.isdigit() and len(number) < 20
        for item in named.items()
        for number in item
    ):
        raise ConfigurationError(f'{option} "{text}" is no offset and no list of PARTITION:OFFSET')
    if unknown := [place for place in named if int(place) not in partitions]:
        raise ConfigurationError(f"{option}: {topic} has no partition {', '.join(unknown)}")
    return {int(place): int(offset) for place, offset in named.items()}
