"""The files of `selection.decontaminate` and `selection.takedown`, read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import islice, product
from typing import Annotated, Any

import numpy as np
import orjson
import typer
from numpy.typing import NDArray

from connectors.files import ending, open_source
from connectors.files.entries import entries
from connectors.files.fields import sides, split_query
from connectors.files.open import STANDARD
from craft_stream.cli.choices import check_choice
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.hosts import listed_host
from craft_stream.parameters import lists_digest
from craft_stream.reading.chunk import Chunk
from craft_stream.reading.records import read_id
from craft_stream.recomputation import Lists
from craft_stream.selection.blocklist import Blocklist
from craft_stream.settings import RecordSettings, Settings
from craft_stream.settings.versioned import LISTS

_RUN = 4096
_HOST_FIELD = "host"


OlderLists = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=FILE",
        help="A list as it was before, such as selection.takedown=old.txt; one as a list of files: "
        'selection.takedown=["a.txt","b.txt"]. Repeatable.',
    ),
]


def _digest(path: str) -> bytes:
    with open(split_query(path)[0], "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def list_digests(settings: Settings, digest: Callable[[str], bytes] = _digest) -> dict[str, str]:
    """16 hexadecimal digits over the bytes of the files of each list that names some, by the name of its setting.

    Args:
        digest: of a file, by its path.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    found = {}
    for name, paths in _paths(settings).items():
        sha = hashlib.sha256()
        for path in paths:
            try:
                sha.update(digest(path))
            except OSError as error:
                raise ConfigurationError(f"{name}: cannot read {path}: {error.strerror}") from None
        if paths:
            found[name] = sha.hexdigest()[:16]
    return found


def _paths(settings: Settings) -> dict[str, tuple[str, ...]]:
    return dict(zip(LISTS, (settings.selection.decontaminate, settings.selection.takedown), strict=True))


def known_lists(settings: Settings, older: Sequence[str] | None = None) -> Lists:
    """The lists of settings, and every combination of these with older ones, of which are read what is asked for.

    Args:
        older: as `OlderLists`.

    Raises:
        ConfigurationError: an older one is of another setting, or as for `read_lists`.
    """
    choices = {name.partition(".")[2]: [paths] for name, paths in _paths(settings).items()}
    for text in older or ():
        name, equals, file = text.partition("=")
        if not equals or not file.strip():
            raise ConfigurationError(
                f'--older-lists takes NAME=FILE, such as {LISTS[-1]}=OLD.txt, and "{text}" is none'
            )
        name = name.strip()
        check_choice("--older-lists", name, LISTS)
        key = name.partition(".")[2]
        choices[key].append(getattr(Settings.load(None, [text]).selection, key))
    digest = cache(_digest)  # a file is in many combinations
    found = {}
    for files in islice(product(*choices.values()), 1, None):  # the first are the settings' own
        chosen: dict[str, Any] = dict(zip(choices, files, strict=True))
        each = settings.model_copy(update={"selection": replace(settings.selection, **chosen)})
        found[lists_digest(list_digests(each, digest))] = partial(_read_some, each)
    return Lists(read_lists(settings), found)


def _read_some(settings: Settings) -> Blocklist:
    found = read_lists(settings)
    assert found is not None  # noqa: S101  # older ones are files
    return found


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
    digests = list_digests(settings)
    if not digests:
        return None
    listed = Blocklist(digests)
    for (name, paths), add in zip(_paths(settings).items(), (_add_test_set, _add_takedown), strict=True):
        for path in paths:
            _read(path, settings.record, listed, add, name)
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
        raise ConfigurationError(f"{name}: a list is read by every process: name a file, not `-`")
    try:
        found: Iterator[dict[str, Any] | str] = (
            entries(path) if ending(path) == "txt" else _records(path, fields)
        )
        while run := list(islice(found, _RUN)):
            listed.entries[name] += len(run)
            add(listed, run, fields, path)
    except (DataError, ConfigurationError) as error:
        raise ConfigurationError(f"{name}: {error}") from None


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
