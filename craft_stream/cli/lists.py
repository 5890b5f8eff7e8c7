"""The files of `selection.decontaminate` and `selection.takedown`, read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from connectors.files import ending, open_source
from connectors.files.entries import entries
from connectors.files.fields import sides, split_query
from connectors.files.open import STANDARD
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.hosts import listed_host
from craft_stream.reading.chunk import Chunk
from craft_stream.reading.records import read_id
from craft_stream.selection.blocklist import Blocklist
from craft_stream.settings import RecordSettings, Settings

_RUN = 4096
_HOST_FIELD = "host"


def lists_digest(settings: Settings) -> str:
    """16 hexadecimal digits over the names of the lists and the bytes of their files; empty where nothing is listed.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    chosen = settings.selection
    if not chosen.decontaminate and not chosen.takedown:
        return ""
    sha = hashlib.sha256()
    for name, paths in (("decontaminate", chosen.decontaminate), ("takedown", chosen.takedown)):
        for path in paths:
            sha.update(f"{name}\0".encode())
            try:
                with open(split_query(path)[0], "rb") as file:
                    sha.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise ConfigurationError(f"selection.{name}: cannot read {path}: {error.strerror}") from None
    return sha.hexdigest()[:16]


def matching(settings: Settings) -> Callable[[Chunk], NDArray[np.bool_] | None]:
    """What says which pairs of a chunk the settings' lists name; raises as `read_lists` does."""
    listed = read_lists(settings)

    def matches(chunk: Chunk) -> NDArray[np.bool_] | None:
        return None if listed is None else listed.matches(chunk.pairs, chunk.origins)

    return matches


def read_lists(settings: Settings) -> Blocklist | None:
    """What the settings list; None where they list nothing.

    Raises:
        ConfigurationError: a file cannot be read, a record of it says nothing that can be listed, or there are too many.
    """
    chosen = settings.selection
    digest = lists_digest(settings)
    if not digest:
        return None
    listed = Blocklist(digest)
    for path in chosen.decontaminate:
        _read(path, settings.record, listed, _add_test_set, "decontaminate")
    for path in chosen.takedown:
        _read(path, settings.record, listed, _add_takedown, "takedown")
    listed.seal()
    return listed


def _read(
    path: str,
    fields: RecordSettings,
    listed: Blocklist,
    add: Callable[[Blocklist, Sequence[dict[str, Any] | str], RecordSettings, str], None],
    name: str,
) -> None:
    if path == STANDARD:
        raise ConfigurationError(f"selection.{name}: a list is read by every process: name a file, not `-`")
    try:
        found: Iterator[dict[str, Any] | str] = (
            entries(path) if ending(path) == "txt" else _records(path, fields)
        )
        while run := list(islice(found, _RUN)):
            add(listed, run, fields, path)
    except (DataError, ConfigurationError) as error:
        raise ConfigurationError(f"selection.{name}: {error}") from None


def _records(path: str, fields: RecordSettings) -> Iterator[dict[str, Any] | str]:
    source = open_source(path, fields)
    try:
        while messages := source.read(_RUN):
            for message in messages:
                found = None
                if message.problem is None and message.value is not None:
                    try:
                        found = orjson.loads(message.value)
                    except orjson.JSONDecodeError:
                        found = None
                if type(found) is not dict:
                    problem = message.problem or "not a JSON object"
                    raise DataError(
                        f"{path}, record {message.offset}: {problem}; nothing of a list is passed over"
                    )
                yield found
    finally:
        source.close()


def _texts(entry: dict[str, Any], fields: RecordSettings) -> list[str]:
    """The sides of a record, one or both."""
    names = list(entry)
    found = sides(names, fields)
    chosen = [names[place] for place in found] if found else [fields.source_field, fields.target_field]
    texts = [entry.get(field) for field in chosen]
    return [text for text in texts if type(text) is str and text and not text.isspace()]


def _add_test_set(
    listed: Blocklist, entries: Sequence[dict[str, Any] | str], fields: RecordSettings, path: str
) -> None:
    texts: list[str] = []
    for entry in entries:
        own = [entry] if isinstance(entry, str) else _texts(entry, fields)
        if not own:
            raise DataError(f"{path}: a record has neither {fields.source_field} nor {fields.target_field}")
        texts += own
    listed.add_test_set(texts)


def _add_takedown(
    listed: Blocklist, entries: Sequence[dict[str, Any] | str], fields: RecordSettings, path: str
) -> None:
    identifiers: list[str] = []
    hosts: list[str] = []
    texts: list[str] = []
    for entry in entries:
        if isinstance(entry, str):
            # A line may be an id, the URL of a page, a text, or a host: what it is not, no record will have.
            identifiers.append(entry)
            texts.append(entry)
            if (found := listed_host(entry)) and ("." in found or ":" in found):
                hosts.append(found)
            continue
        identifier, host, own = read_id(entry, fields), entry.get(_HOST_FIELD), _texts(entry, fields)
        if identifier:
            identifiers.append(identifier)
        if type(host) is str and host:
            hosts.append(listed_host(host) or host)
        texts += own
        if not own and not identifier and not host:
            raise DataError(f"{path}: a record has no {fields.id_field}, {_HOST_FIELD} or text")
    listed.add_identifiers(identifiers)
    listed.add_hosts(hosts)
    listed.add_texts(texts)
