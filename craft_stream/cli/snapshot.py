"""What a group has decided until now, as the rows of a report: made again from its log, or as it was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.kafka.transport import KafkaTransport
from craft_stream.cli.engine import give_model, load_selector
from craft_stream.cli.lists import known_lists
from craft_stream.cli.presence import require
from craft_stream.cli.written import written_rows
from craft_stream.ports.transport import Reader
from craft_stream.recomputation import Recomputation, Stretch, look
from craft_stream.report.rows import Rows
from craft_stream.scoring.model import Model
from craft_stream.settings import Settings
from craft_stream.topics.models import ModelStore
from craft_stream.topics.signatures import Signatures
from craft_stream.worker.group_settings import in_effect


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Of a group, or of files that were written.

    Attributes:
        rows: all that there is to show; records of all partitions count as one stream that takes from each in turn.
        facts: for the page.
        settings: in force.
        model: the newest that decided; None where that is not known. Of versions that number clusters otherwise none are shown.
    """

    rows: Iterator[Rows]
    facts: Mapping[str, Any]
    settings: Settings
    model: Model | None


@contextmanager
def recompute(settings: Settings, last: int, given: Model | None) -> Iterator[Snapshot]:
    """Decide the log again, from the first place that this can be done from that is at most `last` records back.

    Args:
        settings: of the group.
        last: records of each partition.
        given: the Model of a group that has it from a file.

    Raises:
        ConfigurationError: a topic is not there.
        LogTruncatedError: there is no place to begin at.
    """
    with ExitStack() as opened:
        reader, store, stretches = _open(settings, opened, given)
        selector, lists = load_selector(settings, store), known_lists(settings)
        model = _newest(stretches, store)

        def rows() -> Iterator[Rows]:
            for place, stretch in enumerate(stretches):
                work = Recomputation(reader, settings, selector, store, stretch, lists=lists)
                begun = work.begin(max(stretch.committed - last, 0))
                if begun is None:
                    continue
                for chunk, decisions in work.run(stretch.committed):
                    found = _comparable(Rows.of(chunk, decisions), decisions.model_version, store, model)
                    yield replace(found, positions=(found.positions - begun) * len(stretches) + place)

        committed = {str(stretch.partition): stretch.committed for stretch in stretches}
        yield Snapshot(rows(), _facts(settings, committed), _in_force(settings, store), model)


@contextmanager
def written(settings: Settings, last: int, given: Model | None) -> Iterator[Snapshot]:
    """Read the decisions topic; arguments and errors as for `recompute`, but for a log that is cut short."""
    kafka = settings.kafka
    with ExitStack() as opened:
        reader, store, stretches = _open(settings, opened, given, kafka.decisions_topic)
        model = _newest(stretches, store)
        bounds = reader.bounds(kafka.decisions_topic, reader.partitions(kafka.decisions_topic))

        def rows() -> Iterator[Rows]:
            for place, (number, (first, end)) in enumerate(bounds.items()):
                start = max(first, end - last)
                for messages in reader.read(kafka.decisions_topic, number, start, end):
                    if messages:
                        found = written_rows(messages, messages[0].offset - start)
                        own = [
                            found.record(row).get("model_version", 0) for row in range(len(found.positions))
                        ]
                        found = _comparable(found, np.array(own, np.int64), store, model)
                        yield replace(found, positions=found.positions * len(bounds) + place)

        ends = {str(number): end for number, (_, end) in bounds.items()}
        kept = f"a sample of {settings.decisions.rejected_sample:.3g}: decisions.rejected_sample"
        facts = _facts(settings, ends) | {"rejected pairs": kept}
        yield Snapshot(rows(), facts, _in_force(settings, store), model)


def _open(
    settings: Settings, opened: ExitStack, given: Model | None, *topics: str
) -> tuple[Reader, ModelStore, list[Stretch]]:
    """A reader, the store of Models, and what each partition's ledger topic holds."""
    kafka, transport = settings.kafka, KafkaTransport(settings.kafka)
    reader, evidence = (opened.enter_context(closing(transport.reader())) for _ in range(2))
    require(reader, kafka.input_topic, kafka.ledger_topic, kafka.model_topic, *topics)
    store = ModelStore(evidence, kafka.model_topic, Signatures.of(settings))
    store.refresh()
    if given is not None:
        give_model(store, given)
    stretches = [look(evidence, settings, number) for number in reader.partitions(kafka.input_topic)]
    return reader, store, stretches


def _newest(stretches: list[Stretch], store: ModelStore) -> Model | None:
    versions = [
        stretch.records.models[max(stretch.records.models)] for stretch in stretches if stretch.records.models
    ]
    return store.load(max(versions)) if versions else None


def _comparable(rows: Rows, versions: NDArray[np.int64], store: ModelStore, model: Model | None) -> Rows:
    """Rows without the clusters of versions that number them otherwise than a Model does."""
    alike = [
        version
        for version in np.unique(versions).tolist()
        if model is not None and (version == model.version or _clustering(store, version) == model.clustering)
    ]
    return replace(rows, cluster=np.where(np.isin(versions, alike), rows.cluster, -1).astype(np.int16))


def _clustering(store: ModelStore, version: int) -> int | None:
    manifest = store.manifests.get(version)
    return None if manifest is None else manifest.header.get("clustering")


def _in_force(settings: Settings, store: ModelStore) -> Settings:
    return in_effect(settings, store.newest_settings(settings.kafka.group_id))


def _facts(settings: Settings, ends: Mapping[str, int]) -> dict[str, Any]:
    until = ", ".join(f"{partition}: {end:,}" for partition, end in ends.items())
    return {"group": settings.kafka.group_id, "until, by partition": until}
