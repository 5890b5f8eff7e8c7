"""Which fields of a row are the two sides, and options that a path may carry: `pairs.tsv?src=3&tgt=4`."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import parse_qsl

import orjson

from connectors.files.compression import Packing
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.language_tags import is_name, nearest, parse_tag
from craft_stream.settings import RecordSettings
from craft_stream.spelling import nearest_name

# names that tools give the two sides, in the order in which they are looked for
SIDES = (
    ("src", "tgt"),
    ("source", "target"),
    ("src_text", "trg_text"),
    ("text1", "text2"),
    ("sent1", "sent2"),
    ("sentence1", "sentence2"),
    ("source_text", "target_text"),
    ("src", "trg"),
)
# fields that hold the languages of the sides, where a format tells them
LANGUAGES = ("src_lang", "tgt_lang")
TRANSLATION = "translation"  # the object, or struct, with a text for each language of Hugging Face's datasets
_NO_LANGUAGES = frozenset(
    {"id", "no", "url", "doc", "set", "tag"}
)  # names of fields that are codes of languages too
# of every format: which it is, a zip archive's member, a text's encoding, the dictionary of zstd
COMMON = ("format", "member", "encoding", "dictionary")
_BREAKS = re.compile("\r\n|[\t\r\n]")  # what would end a field or a line of TSV; other spaces are text
# codecs of Python that make other text of a text
_NOT_ENCODINGS = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined"})


def split_options(path: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """A path and the options behind its question mark, which may be part of the name of a file that exists.

    Raises:
        ConfigurationError: an option is not among `known`.
    """
    name, query = split_query(path)
    options, every = dict(parse_qsl(query, keep_blank_values=True)), sorted({*known, *COMMON})
    for option in options:
        if option not in every:
            raise ConfigurationError(
                f'{path}: unknown option "{option}"; the nearest is "{nearest_name(option, every)}" of {", ".join(every)}'
            )
    return name, options


def split_query(path: str) -> tuple[str, str]:
    """A path and what stands behind its question mark, which may be part of the name of a file that exists."""
    name, mark, query = path.partition("?")
    return (path, "") if mark and os.path.exists(path) else (name, query)


def text_options(path: str, options: dict[str, str]) -> tuple[Packing, str | None]:
    """Packing and encoding that options name.

    Raises:
        ConfigurationError: there is no such encoding.
    """
    encoding = options.get("encoding")
    if encoding is not None and not is_encoding(encoding):
        raise ConfigurationError(f'{path}: encoding "{encoding}" is not known')
    return packing(options), encoding


def packing(options: dict[str, str]) -> Packing:
    """What options say of how a file is packed."""
    return Packing(options.get("member"), options.get("dictionary"))


def is_encoding(name: str) -> bool:
    """Whether bytes can be decoded by an encoding of this name."""
    try:
        "".encode(name)
        return codecs.lookup(name).name not in _NOT_ENCODINGS
    except (LookupError, ValueError, UnicodeError):
        return False


def refuse_no_language(where: str, *tags: str) -> None:
    """Refuse tags that name no language, with the nearest that does; those for private use (`x-...`) are what they are.

    Args:
        where: they stand, for the message.
        tags: any.

    Raises:
        ConfigurationError: naming the first of them.
    """
    for tag in tags:
        if parse_tag(tag) is None and not tag.lower().startswith("x-"):
            near = nearest(tag)
            hint = f"did you mean {near}?" if near else "give a code such as en, pt-BR or zh-Hant"
            raise ConfigurationError(f'{where}: "{tag}" is no language: {hint}')


def sides(columns: Sequence[str], fields: RecordSettings) -> tuple[int, int] | None:
    """Numbers of the two sides among named columns: the record's own names, else those in `SIDES`."""
    lower = [column.strip().lower() for column in columns]
    for source, target in ((fields.source_field.lower(), fields.target_field.lower()), *SIDES):
        if source in lower and target in lower:
            return lower.index(source), lower.index(target)
    return None


def likely_sides(record: dict[str, Any]) -> tuple[str, str] | None:
    """Names of the fields of a record that are its sides, by the names that tools use, or languages; None if none seem so."""
    if found := sides(list(record), RecordSettings()):
        names = list(record)
        return names[found[0]], names[found[1]]
    nested = record.get(TRANSLATION)
    texts = nested if isinstance(nested, dict) else record
    names = [name for name, text in texts.items() if isinstance(text, str)]
    found = language_columns(names)
    return (names[found[0]], names[found[1]]) if found else None


def language_columns(columns: Sequence[str]) -> tuple[int, int] | None:
    """Numbers of the two columns that are called by languages (`en`, `fr-FR`, `English`); None if not two of them are."""
    found = [
        number
        for number, name in enumerate(columns)
        if name.strip().lower() not in _NO_LANGUAGES and (parse_tag(name) or is_name(name))
    ]
    return (found[0], found[1]) if len(found) == 2 else None


def rename(record: dict[str, Any], chosen: tuple[str, str], fields: RecordSettings) -> str | None:
    """Make the fields that `chosen` names, or their parts (`translation.en`), the sides of a record; or say what is missing."""
    paths = [_path(record, name) for name in chosen]
    found = [_value(record, path) for path in paths]
    for name, value in zip(chosen, found, strict=True):
        if value is None:
            return f'"{name}" is missing or null'
    nested = all(len(path) > 1 for path in paths)
    spent = [name for name in {path[0] for path in paths} if _holds_only({name: record[name]}, paths)]
    for name in spent:
        del record[name]
    for name in (fields.source_field, fields.target_field):
        if name in record:
            record[free_name(name, record)] = record.pop(name)
    record[fields.source_field], record[fields.target_field] = found
    if nested:
        languages = [path[-1] for path in paths]
        if all(map(tells_language, languages)):
            for name, language in zip(LANGUAGES, languages, strict=True):
                record.setdefault(name, language)
    return None


def tells_language(name: str) -> bool:
    """Whether a part's or file's name is that of a language; `src`, `tgt` and `trg` are codes of small ones, and name sides."""
    return parse_tag(name) is not None and not any(name.lower() in names for names in SIDES)


def _path(record: dict[str, Any], name: str) -> tuple[str, ...]:
    """Names, the outermost first, of what a dotted name stands for; empty where a record has no such."""
    if name in record:
        return (name,)
    for outer, inner in splits(name):
        if isinstance(record.get(outer), dict) and (rest := _path(record[outer], inner)):
            return outer, *rest
    inside = record.get(TRANSLATION)
    if isinstance(inside, dict) and (rest := _path(inside, name)):
        return TRANSLATION, *rest
    return ()


def splits(name: str) -> list[tuple[str, str]]:
    """What a dotted name may be: a name, and one within it; names may have dots themselves."""
    places = [place for place, character in enumerate(name) if character == "."]
    return [(name[:place], name[place + 1 :]) for place in places]


def _value(record: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        record = record[name]
    return record if path else None


def _holds_only(value: Any, paths: Sequence[tuple[str, ...]]) -> bool:
    """Whether a value holds nothing beside what stands at `paths` within it."""
    if () in paths:
        return True
    return (
        isinstance(value, dict)
        and bool(value)
        and all(
            _holds_only(part, [path[1:] for path in paths if path[:1] == (name,)])
            for name, part in value.items()
        )
    )


def free_name(name: str, taken: Collection[str]) -> str:
    """A name like this one that is not taken."""
    while name in taken:
        name += "_"
    return name


def side_names(options: dict[str, str]) -> tuple[str, str]:
    """Fields of a record to be written that are its sides: as the options `src` and `tgt` say, else the usual ones."""
    default = RecordSettings()
    return options.get("src", default.source_field), options.get("tgt", default.target_field)


def no_sides(path: str, names: tuple[str, str], record: dict[str, object]) -> DataError:
    """What is wrong with a record to be written that has not both sides."""
    held = ", ".join(record)[:200] or "no fields"
    return DataError(
        f"{path}: a record has no {' or no '.join(names)}, but {held}: add ?src=NAME&tgt=NAME to the output"
    )


def as_text(field: object) -> str:
    """A field of a record as text: what is no text as JSON, nothing for null."""
    return field if isinstance(field, str) else "" if field is None else orjson.dumps(field).decode()


def one_line(text: str) -> str:
    """A text without what would end its line or field: tabs and line ends become spaces, NUL goes; other spaces stay."""
    if text.isprintable():
        return text
    return _BREAKS.sub(" ", text.strip("\t\r\n")).replace("\0", "")


def decoded(value: bytes, path: str) -> dict[str, object]:
    """A record to be written, as a dictionary.

    Raises:
        DataError: it is no JSON object.
    """
    try:
        record = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path}: a record to be written is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise DataError(f"{path}: a record to be written is no JSON object")
    return record
