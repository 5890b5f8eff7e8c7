"""`craft-stream audit`: every decision recomputed and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import typer

from connectors.kafka.transport import KafkaTransport
from craft_stream import __version__
from craft_stream.cli.engine import give_model, load_model, load_selector
from craft_stream.cli.lists import OlderLists, known_lists
from craft_stream.cli.options import Config, Overrides, RunModel, load_settings
from craft_stream.cli.presence import require
from craft_stream.cli.stretches import Asked, From, To, asked
from craft_stream.errors import DataError, IntegrityError
from craft_stream.ports.transport import Reader
from craft_stream.recomputation import Lists, Recomputation, Stretch
from craft_stream.schema import is_number, read_json
from craft_stream.selection.decisions import Decisions
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings
from craft_stream.settings.versioned import LISTS, lists_of
from craft_stream.topics.models import ModelStore
from craft_stream.topics.signatures import Signatures
from craft_stream.writing.decisions import decision_lines, release_of, unlike

app = typer.Typer(add_completion=False)


@dataclass(slots=True)
class Findings:
    """Of an audit.

    Attributes:
        decided: pairs recomputed within the stretch.
        compared: of these, decisions that were written down.
        wrong: what differs, in words.
        missed: offsets asked for that nothing is left to recompute from.
        other_releases: decisions that are other than this release would make them, by the release that made them.
        from_here: by partition, from which offset on this release has decided beside lists that are at hand, and a
            recomputation can begin.
        other_lists: what was decided beside lists that are not at hand, in words.
    """

    decided: int = 0
    compared: int = 0
    wrong: list[str] = field(default_factory=list)
    missed: int = 0
    other_releases: Counter[str] = field(default_factory=Counter)
    from_here: dict[int, int] = field(default_factory=dict)
    other_lists: list[str] = field(default_factory=list)


@app.command(epilog="Example: craft-stream audit --config craft.toml --from 0:20000 --to 0:30000")
def audit(
    from_: From = None,
    to: To = None,
    older_lists: OlderLists = None,
    model: RunModel = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Recompute every decision of a stretch of the log; exit code 1 if any differs from what was written.

    Accepted ones are compared both ways, rejected ones as far as they were written
    (decisions.rejected_sample). Wherever a snapshot of the ledger was written, and at the end of the log, the
    recomputed ledger is compared with it, bit by bit. It begins at the group's first offset, or where the log no longer
    reaches that far, at a snapshot that was kept (ledger.retained_snapshots); each partition's line says where.

    What was decided beside other lists (selection.decontaminate, selection.takedown) than the settings name now is audited with
    the files of then (--older-lists); without them it is named, and left out.
    """
    settings = load_settings(config, overrides)
    reader, evidence = (KafkaTransport(settings.kafka).reader() for _ in range(2))
    try:
        kafka = settings.kafka
        require(reader, kafka.input_topic, kafka.ledger_topic, kafka.model_topic, kafka.decisions_topic)
        store = ModelStore(evidence, settings.kafka.model_topic, Signatures.of(settings))
        store.refresh()
        if model is not None:
            give_model(store, load_model(model))
        selector = load_selector(settings, store)
        lists = known_lists(settings, older_lists)
        total = Findings()
        for part in asked(evidence, settings, from_, to):
            work = Recomputation(reader, settings, selector, store, part.stretch, lists=lists)
            found = _audit(work, evidence, settings, selector, part, lists, store)
            total.decided += found.decided
            total.compared += found.compared
            total.wrong += found.wrong
            total.missed += found.missed
            total.other_lists += found.other_lists
            total.other_releases += found.other_releases
            total.from_here |= found.from_here
    finally:
        reader.close()
        evidence.close()
    for line in total.wrong[:20]:
        print(line)
    print(f"recomputed {total.decided} decisions, compared {total.compared}: {len(total.wrong)} differ")
    if not total.decided and not total.wrong and not total.other_lists:
        raise DataError("nothing of this stretch can be recomputed any more")
    _tell_of_lists(total)
    _tell_of_releases(total)
    if total.wrong:
        raise DataError(f"{len(total.wrong)} decisions are not what the log and the models say")
    if total.other_lists:
        raise DataError(f"of {len(total.other_lists)} stretches the lists are not at hand")
    if total.missed and from_ is not None:
        raise DataError(f"{total.missed} of the offsets asked for cannot be recomputed any more")


def _tell_of_lists(total: Findings) -> None:
    for line in total.other_lists:
        print(line)
    if total.other_lists:
        print(
            "they are audited with the files of then: `craft-stream audit --older-lists selection.takedown=OLD.txt`"
        )
        _tell_from_here(total)


def _tell_from_here(total: Findings) -> None:
    if places := ",".join(f"{partition}:{offset}" for partition, offset in sorted(total.from_here.items())):
        print(f"the rest can be audited from {places} on: `craft-stream audit --from {places}`")


def _tell_of_releases(total: Findings) -> None:
    """Say what to install for decisions of other releases.

    Raises:
        DataError: there are some that only their release can audit.
    """
    if not total.other_releases:
        return
    for release, count in total.other_releases.items():
        print(
            f"{count} decisions of release {release} are not those that this one ({__version__}) makes: audit them with "
            f"craft_stream {release}, installed in an environment of its own (the CHANGELOG names its revision), and with "
            "--to: the offsets from which on this one has decided (`craft-stream ledger show PARTITION`), as it "
            "cannot read the ledger behind them"
        )
    _tell_from_here(total)
    raise DataError(f"{total.other_releases.total()} decisions must be audited by the release that made them")


def _audit(
    work: Recomputation,
    evidence: Reader,
    settings: Settings,
    selector: Selector,
    part: Asked,
    lists: Lists,
    store: ModelStore,
) -> Findings:
    """One partition."""
    found = Findings()
    stretch, start, stop = part.stretch, part.start, part.stop
    topic, partition = settings.kafka.input_topic, stretch.partition
    begun = work.begin(start)
    assert begun is not None  # noqa: S101  # something is decided
    since = stretch.records.since(lambda one: one.release == __version__ and lists.knows(one.listed))
    if since is not None:
        # An earlier place would lead over decisions that are not to be had here, to another ledger.
        begins = (place for place in stretch.records.starts() if place >= since)
        found.from_here[partition] = next(begins, since)
    if unknown := list(work.unknown_lists(stop)):
        for first, end, digest in unknown:
            which = _changed(store, settings, digest, lists)
            found.other_lists.append(
                f"{topic}/{partition}: offsets {first} to {end - 1} were decided beside {which}"
            )
        return found
    earliest = max(start, stretch.first or 0)
    found.missed = max(0, min(begun, stop) - earliest)
    print(
        f"{topic}/{partition}: recomputed from offset {begun} to {stop}, compared from {max(begun, start)}"
        + (f"; {found.missed} offsets before cannot be recomputed any more" if found.missed else "")
    )
    places = list(evidence.partitions(settings.kafka.decisions_topic))
    home = partition % len(places)
    # Where it had fewer partitions once, decisions are in others; a look there costs as much as all of the topic.
    elsewhere = [place for place in places if place != home]
    written = _written(evidence, settings, stretch, max(begun, start), stop, [home])
    for chunk, decisions in work.run(stop):
        accepted = decisions.positions[decisions.accepted]
        if elsewhere and any(offset not in written for offset in accepted[accepted >= start].tolist()):
            written |= _written(evidence, settings, stretch, int(accepted[0]), stop, elsewhere)
            elsewhere = []
        found.decided += int((decisions.positions >= start).sum())
        for row in _noteworthy(decisions, written, start):
            identity = chunk.message(row).location
            line = written.pop(int(decisions.positions[row]), None)
            (text,) = decision_lines(chunk, decisions, np.array([row]))
            made = orjson.loads(text)
            found.compared += 1
            if line is None:
                found.wrong.append(f"{identity}: should have been accepted, and no decision is written")
            elif (names := unlike(line, made)) and release_of(line) != __version__:
                found.other_releases[release_of(line)] += 1
            elif names:
                found.wrong.append(
                    f"{identity}: {', '.join(f'{n} {line.get(n)} should be {made[n]}' for n in names)}"
                )
    if found.other_releases:  # what follows from a ledger that is another one differs, too
        found.wrong = []
        return found
    found.wrong += [
        f"{topic}/{partition}: the ledger written at offset {offset} is not the recomputed one"
        for offset in work.disagreeing
    ]
    found.wrong += [f"{topic}/{partition}/{offset}: written, but not to be decided" for offset in written]
    if stop == stretch.committed:
        restored = stretch.records.restore(selector.parameters, stop)
        if restored is None or restored.ledger.digest() != work.ledger.digest():
            found.wrong.append(f"{topic}/{partition}: the recomputed ledger is not the committed one")
    return found


def _changed(store: ModelStore, settings: Settings, digest: str, lists: Lists) -> str:
    """Which lists are others than those at hand, by the version of the group's settings that named them."""
    own = lists.own.digests if lists.own else {}
    for version in store.all_settings(settings.kafka.group_id):
        if version.listed == digest:
            then = lists_of(version.common)
            names = [
                f"another {name} ({then.get(name, 'none')}, now {own.get(name, 'none')})"
                for name in LISTS
                if then.get(name) != own.get(name)
            ]
            return f"{' and '.join(names)}, that of settings {version.number}"
    return f"other lists ({digest}, now {lists.digest or 'none'}), which no version of the settings names"


def _noteworthy(decisions: Decisions, written: dict[int, dict[str, Any]], start: int) -> list[int]:
    """Rows that were accepted or whose decision is written down."""
    known = np.isin(decisions.positions, np.fromiter(written, np.int64, len(written)))
    return np.flatnonzero((decisions.accepted | known) & (decisions.positions >= start)).tolist()


def _written(
    reader: Reader, settings: Settings, stretch: Stretch, start: int, stop: int, places: Iterable[int]
) -> dict[int, dict[str, Any]]:
    """Decisions of this ledger in partitions of the topic, by the offset of their record."""
    topic = settings.kafka.decisions_topic
    prefix = f"{settings.kafka.input_topic}/{stretch.partition}/".encode()
    found = {}
    for place, (first, end) in reader.bounds(topic, places).items():
        begun = max(first, stretch.records.origin.decisions_from.get(place, 0))
        for messages in reader.read(topic, place, begun, end):
            for message in messages:
                if message.value and message.key and message.key.startswith(prefix):
                    name = message.key[len(prefix) :].decode("utf-8", "replace")
                    if is_number(name) and start <= int(name) < stop:
                        found[int(name)] = _decision(message.value)
    return found


def _decision(value: bytes) -> dict[str, Any]:
    """What a decision says; nothing, which differs from all, where it cannot be read."""
    try:
        return read_json("a decision", value)
    except IntegrityError:
        return {}
