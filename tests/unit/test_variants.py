"""Generated variants of files in every format: none gives a wrong text, a silent loss or a traceback.

Each example is pairs, written in one of the ways that tools write a format, in one of the encodings and compressions that there
are, whole or with something broken in it.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import os
import tempfile
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import orjson
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.files import open_sink, open_source
from craft_stream.cli.outputs import remarks
from craft_stream.errors import CraftError
from craft_stream.ports.messages import Message
from craft_stream.settings import RecordSettings

RECORD = RecordSettings()
# CRAFT_VARIANTS=200 is what docs/reference/connectors.md tells of; the suite runs fewer, each time others
VARIANTS = settings(max_examples=int(os.environ.get("CRAFT_VARIANTS", "15")), deadline=None)
Pair = tuple[str, str]

# what breaks readers: marks, spaces, separators of other formats, quotes, markup, escapes, other planes
HARD = st.sampled_from(
    [
        *"aé?ß字 \"'&,;|", "\u00a0", "\u202f", "\u3000", "\u2028", "\u0085", "<b>", "\\n", "]]>", "\U0001f600", "&amp;", "--",
    ]
)  # fmt: skip
TEXT = st.lists(HARD, min_size=1, max_size=8).map("".join).filter(lambda text: bool(text.strip()))
PAIRS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5)
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]),
    ".zst": lambda data: (
        b"\x53\x2a\x4d\x18\x02\0\0\0xx" + zstandard.compress(data[:9]) + zstandard.compress(data[9:])
    ),
    ".xz": lambda data: lzma.compress(data[:9]) + lzma.compress(data[9:]),
    ".lzma": lambda data: lzma.compress(gzip.compress(data), format=lzma.FORMAT_ALONE),
    ".bz2": lambda data: bz2.compress(data[:9]) + bz2.compress(data[9:]),
}
PACKINGS = st.sampled_from(sorted(PACK))
# of text: with a mark, or so plain that none is needed
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le+", "utf-16-be+", "utf-32"])


def encoded(text: str, encoding: str) -> bytes:
    """Text with the byte order mark that tells its encoding; with `+`, of which the name says nothing."""
    return ("\ufeff" + text).encode(encoding[:-1]) if encoding.endswith("+") else text.encode(encoding)


def read_path(path: str) -> list[Message]:
    source = open_source(path, RECORD)
    try:
        messages: list[Message] = []
        while batch := source.read(3):
            messages += batch
        return messages
    finally:
        source.close()


def read(name: str, data: bytes, options: str = "", beside: dict[str, bytes] | None = None) -> list[Message]:
    """What is read of a file of that name, first from its place and then through a pipe: the same."""
    with tempfile.TemporaryDirectory() as folder:
        for file, content in {name: data, **(beside or {})}.items():
            Path(folder, file).write_bytes(content)
        path = os.path.join(folder, name)
        messages = read_path(path + options)
        if beside:
            return messages
        os.rename(path, f"{path}.kept")
        os.mkfifo(path)
        writer = threading.Thread(target=lambda: Path(path).write_bytes(data))
        writer.start()
        try:
            piped = read_path(path + options)
        finally:
            writer.join()
        assert [message.value for message in piped] == [message.value for message in messages]
    return messages


def pairs_of(messages: Sequence[Message]) -> list[Pair]:
    """The pairs, none of which may be a problem."""
    assert [message.problem for message in messages if message.problem] == []
    records = [orjson.loads(message.value or b"") for message in messages]
    return [(record["src"], record["tgt"]) for record in records]


def kept(pairs: Sequence[Pair], messages: Sequence[Message]) -> None:
    """Of a file that is damaged: no wrong pair, and a problem for what is missing."""
    found = pairs_of([message for message in messages if message.problem is None])
    assert all(pair in pairs for pair in found)
    assert len(found) == len(pairs) or any(message.problem for message in messages)


@VARIANTS
@given(PAIRS, ENCODINGS, PACKINGS, st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_json_lines(pairs: list[Pair], encoding: str, packing: str, spaced: bool, end: str) -> None:
    """In every encoding and compression, with either line end, escaped or not."""
    import json

    lines = [json.dumps({"src": a, "tgt": b}, ensure_ascii=spaced) for a, b in pairs]
    data = encoded(end.join([*lines, ""]), encoding)
    assert pairs_of(read(f"x.jsonl{packing}", PACK[packing](data))) == pairs


@VARIANTS
@given(PAIRS, PACKINGS, st.sampled_from(["translation", "flat", "deep", "deeper"]), st.booleans())
def test_json_lines_of_other_tools(pairs: list[Pair], packing: str, shape: str, turned: bool) -> None:
    """Sides by name, in an object or not, in either direction; every other field stays."""
    made = []
    for a, b in pairs:
        sides: dict[str, object] = {"en": a, "fr": b}
        inner = {
            "translation": {"translation": sides},
            "flat": sides,
            "deep": {"text": sides},
            "deeper": {"a": {"b.c": sides}},
        }[shape]
        made.append(orjson.dumps({"id": 7, "tags": ["x", None], **inner}))
    prefix = {"deep": "text.", "deeper": "a.b.c."}.get(shape, "")
    options = f"?src={prefix}{'fr' if turned else 'en'}&tgt={prefix}{'en' if turned else 'fr'}"
    messages = read(f"x.jsonl{packing}", PACK[packing](b"\n".join(made)), options)
    assert pairs_of(messages) == [(b, a) if turned else (a, b) for a, b in pairs]
    assert all(orjson.loads(message.value or b"")["tags"] == ["x", None] for message in messages)


@VARIANTS
@given(PAIRS, ENCODINGS, PACKINGS, st.booleans(), st.sampled_from(["\n", "\r\n"]), st.integers(0, 2))
def test_tsv(pairs: list[Pair], encoding: str, packing: str, header: bool, end: str, before: int) -> None:
    """With a header or by number, other columns before and between."""
    rows = [["x"] * before + [a, "0.5", b] for a, b in pairs]
    names = [f"c{number}" for number in range(before)] + ["src", "score", "tgt"]
    lines = ["\t".join(row) for row in ([names] if header else []) + rows]
    options = "" if header else f"?src={before + 1}&tgt={before + 3}"
    data = encoded(end.join([*lines, ""]), encoding)
    assert pairs_of(read(f"x.tsv{packing}", PACK[packing](data), options)) == pairs


@VARIANTS
@given(
    PAIRS, ENCODINGS, PACKINGS, st.sampled_from([",", ";", "\t", "|"]), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from(["\n", "\r\n"]), st.booleans(),
)  # fmt: skip
def test_csv(
    pairs: list[Pair], encoding: str, packing: str, delimiter: str, quoting: int, end: str, broken: bool
) -> None:
    """Quoted always or where needed, cells with line ends, any delimiter."""
    pairs = [(f"{a}\n{a}" if broken else a, b) for a, b in pairs]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerow(["id", "src", "tgt"])
    writer.writerows([str(number), a, b] for number, (a, b) in enumerate(pairs))
    data = encoded(text.getvalue(), encoding)
    assert pairs_of(read(f"x.csv{packing}", PACK[packing](data))) == pairs


@VARIANTS
@given(PAIRS, st.integers(0, 400), st.sampled_from([b'"', b"\xff", b"\n", b",", b"\0"]))
def test_csv_with_something_broken_in_it(pairs: list[Pair], at: int, wrong: bytes) -> None:
    """A byte too many costs the rows that it is in; it never joins rows that were apart without a word."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("src", "tgt"), *pairs])
    data = text.getvalue().encode()
    at = 13 + at % (len(data) - 12)
    messages = read("x.csv", data[:at] + wrong + data[at:])
    read_rows = sum(message.problem is None for message in messages)
    assert read_rows + sum(message.problem is not None for message in messages) >= 1
    sound = [message for message in messages if message.problem is None]
    for source, target in pairs_of(sound):
        assert source.count("\n") + target.count("\n") <= 1


@VARIANTS
@given(
    PAIRS, ENCODINGS, ENCODINGS, PACKINGS, st.sampled_from(["en-fr", "pt_BR-en", "zh-Hant-en", "sr_Latn-de"])
)
def test_pairs_of_files(pairs: list[Pair], one: str, other: str, packing: str, name: str) -> None:
    """Each side in an encoding of its own, named by languages in any spelling; also as members of one archive."""
    cut = name.rindex("-")
    source, target = name[:cut], name[cut + 1 :]
    sides = [encoded("".join(f"{pair[side]}\n" for pair in pairs), (one, other)[side]) for side in (0, 1)]
    files = {f"c.{name}.{source}{packing}": sides[0], f"c.{name}.{target}{packing}": sides[1]}
    with tempfile.TemporaryDirectory() as folder:
        for file, data in files.items():
            Path(folder, file).write_bytes(PACK[packing](data))
        assert pairs_of(read_path(f"{folder}/c.{name}")) == pairs
        a, b = files
        assert pairs_of(read_path(f"{folder}/{a}?with={folder}/{b}")) == pairs
        with zipfile.ZipFile(f"{folder}/x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file, data in files.items():
                archive.writestr(file.removesuffix(packing) if packing else file, data)
            archive.writestr("README", "x")
        assert sorted(pairs_of(read_path(f"{folder}/x.zip"))) == sorted(pairs)


TMX_ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le+", "gb18030", "utf-8!"])
SPELLINGS = st.sampled_from(
    [("en", "fr"), ("en_US", "fr_FR"), ("EN-us", "FR-fr"), ("eng", "fra"), ("en", "fre"), ("en-GB", "fr-CA")]
)
HEADERS = st.sampled_from(["en", "en-US", "*all*", "*", "und", "", "sv"])


def tmx(
    pairs: Sequence[Pair], encoding: str, tags: tuple[str, str], header: str, style: int
) -> tuple[bytes, int]:
    """A memory, and where its units begin in the text."""
    name = encoding.rstrip("+!")
    declared = {"utf-8-sig": "utf-8", "utf-16-le": "utf-16"}.get(name, name)
    head = "" if encoding.endswith("!") else f'<?xml version="1.0" encoding="{declared}"?>\n'
    head += '<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n' if style & 1 else ""
    head += f'<tmx version="1.4"><header srclang={quoteattr(header)} segtype="sentence"/><body>'
    units = []
    for number, texts in enumerate(pairs):
        unit = f'<tu tuid="{number}">' + ("<note>n</note>" if style & 2 else "")
        for tag, text in zip(tags, texts, strict=True):
            inner = f"<![CDATA[{text}]]>" if style & 4 and "]]>" not in text else escape(text)
            unit += f"<tuv xml:lang={quoteattr(tag)}><seg>{inner}</seg></tuv>"
        units.append(unit + "</tu>" + ("<!-- <tu> no unit </tu> -->\n" if style & 8 else "\n"))
    return encoded(head + "".join(units) + "</body></tmx>\n", encoding.rstrip("!")), len(head)


@VARIANTS
@given(PAIRS, TMX_ENCODINGS, PACKINGS, SPELLINGS, HEADERS, st.integers(0, 15))
def test_tmx(
    pairs: list[Pair], encoding: str, packing: str, tags: tuple[str, str], header: str, style: int
) -> None:
    """Encodings declared and marked, CDATA, comments, notes; languages spelt otherwise in header and units."""
    data, _ = tmx(pairs, encoding, tags, header, style)
    messages = read(f"x.tmx{packing}", PACK[packing](data))
    assert pairs_of(messages) == [(a.replace("\r", "\n"), b) for a, b in pairs]
    assert pairs_of(read(f"x.tmx{packing}", PACK[packing](data), "?langs=fr,en")) == [
        (b, a) for a, b in pairs
    ]


@VARIANTS
@given(
    PAIRS,
    TMX_ENCODINGS,
    st.integers(0, 10_000),
    st.sampled_from(["&#x1F;", "&eacute;", "<", "& ", "</tu>", "<tu>", "\x00"]),
)
def test_tmx_with_something_broken_in_it(pairs: list[Pair], encoding: str, at: int, wrong: str) -> None:
    """A unit that is not well-formed, in any encoding, costs itself; an entity is never left out of a text."""
    pairs = [(a.replace("]]>", ""), b.replace("]]>", "")) for a, b in pairs]
    pairs = [(a or "a", b or "b") for a, b in pairs]
    data, start = tmx(pairs, "utf-8", ("en", "fr"), "en", 0)
    text = data.decode()
    at = start + at % (len(text) - start - len("</body></tmx>\n"))
    broken = encoded(text[:at] + wrong + text[at:], encoding.rstrip("!")) if encoding != "gb18030" else None
    if broken is None:
        return
    if encoding.startswith("utf-16"):
        broken = encoded(
            (text[:at] + wrong + text[at:]).replace('encoding="utf-8"', 'encoding="utf-16"'), encoding
        )
    kept(pairs, read("x.tmx", broken))


@VARIANTS
@given(PAIRS, st.integers(1, 2_000))
def test_tmx_that_is_cut_off(pairs: list[Pair], left: int) -> None:
    """The end of a file that is cut off is said, wherever it is."""
    data, start = tmx(pairs, "utf-8", ("en", "fr"), "en", 0)
    cut = start + left % (len(data) - start - len("</body></tmx>\n"))
    messages = read("x.tmx", data[:cut])
    assert messages[-1].problem
    kept(pairs, messages)


COLUMN_TYPES = ["string", "large_string", "string_view", "binary", "large_binary", "dictionary"]


@VARIANTS
@given(
    PAIRS, st.sampled_from(COLUMN_TYPES), st.sampled_from(COLUMN_TYPES), st.sampled_from(["flat", "struct", "turned", "deep"]),
    st.sampled_from(["parquet", "file", "stream"]), PACKINGS,
)  # fmt: skip
def test_parquet_and_arrow(
    pairs: list[Pair], one: str, other: str, shape: str, container: str, packing: str
) -> None:
    """Every type that holds text, in columns or in a struct, in Parquet, files and streams of Arrow; other columns stay."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    def column(texts: list[str], kind: str) -> object:
        if kind == "dictionary":
            return pa.array(texts).dictionary_encode()
        if kind == "string_view" and container == "parquet":
            kind = "string"
        values = [text.encode() for text in texts] if "binary" in kind else texts
        return pa.array(values, getattr(pa, kind)())

    sides = [column([pair[side] for pair in pairs], kind) for side, kind in enumerate((one, other))]
    if shape == "flat":
        columns = {"src": sides[0], "tgt": sides[1]}
    else:
        flat = [pa.array([pair[side] for pair in pairs]) for side in (0, 1)]
        names = ["fr", "en"] if shape == "turned" else ["en", "fr"]
        inner = pa.StructArray.from_arrays(flat[::-1] if shape == "turned" else flat, names)
        columns = {"translation": pa.StructArray.from_arrays([inner], ["text"]) if shape == "deep" else inner}
    table = pa.table({"n": list(range(len(pairs))), "l": [[1, 2]] * len(pairs), **columns})
    buffer = io.BytesIO()
    if container == "parquet":
        pq.write_table(table, buffer)
    else:
        kind = pa.ipc.new_file if container == "file" else pa.ipc.new_stream
        with kind(buffer, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    name = f"x.{'parquet' if container == 'parquet' else 'arrow'}{packing}"
    prefix = "text." if shape == "deep" else ""
    options = f"?src={prefix}en&tgt={prefix}fr" if shape != "flat" else ""
    messages = read(name, PACK[packing](buffer.getvalue()), options)
    assert pairs_of(messages) == pairs
    assert [orjson.loads(message.value or b"")["n"] for message in messages] == list(range(len(pairs)))


def po(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@VARIANTS
@given(PAIRS, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]), PACKINGS)
def test_gettext(pairs: list[Pair], encoding: str, packing: str) -> None:
    """Catalogues in the encoding that they name, or mark."""
    pairs = [(f"{number} {a}", b) for number, (a, b) in enumerate(pairs)]
    pairs = [
        (a.replace("\u2028", " ").replace("\u0085", " "), b.replace("\u2028", " ").replace("\u0085", " "))
        for a, b in pairs
    ]
    named = {"utf-8-sig": "UTF-8"}.get(encoding, encoding)
    text = f'msgid ""\nmsgstr "Content-Type: text/plain; charset={named}\\n"\n\n'
    text += "".join(f"msgid {po(a)}\nmsgstr {po(b)}\n\n" for a, b in pairs)
    assert pairs_of(read(f"x.po{packing}", PACK[packing](text.encode(encoding)))) == pairs


@VARIANTS
@given(
    st.sampled_from(["jsonl", "tsv", "csv", "tmx", "parquet", "arrow", "po", "mo", "jsonl.gz", "tsv.zst", "csv.xz", "zip"]),
    st.binary(max_size=300),
    st.sampled_from(
        [
            b"", b"PAR1", b"ARROW1", b"\xff\xff\xff\xff", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\0", b"[{",
            b"PK\x03\x04", b"\xff\xfe", b"\xfe\xff\0", b"\xef\xbb\xbf", b"<tmx><body><tu>", b"\xde\x12\x04\x95",
        ]
    ),
)  # fmt: skip
def test_no_bytes_are_a_traceback(name: str, data: bytes, magic: bytes) -> None:
    """Any bytes under any name are read, with problems, or are one error of ours."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x.{name}")
        path.write_bytes(magic + data)
        try:
            read_path(str(path))
        except CraftError:
            return


@VARIANTS
@given(
    PAIRS,
    st.sampled_from(["jsonl", "csv", "tmx", "parquet", "tsv?columns=*"]),
    st.sampled_from([".gz", ".zst", ".xz", ".lzma", ".bz2", ""]),
)
def test_conversions_keep_every_field(pairs: list[Pair], name: str, packing: str) -> None:
    """What is written with fields and languages comes back with them, through every format that has room."""
    records = [
        {
            "id": f"n{number}",
            "src": a,
            "tgt": b,
            "src_lang": "en-GB",
            "tgt_lang": "fr",
            "src_url": "http://x?a=1&b=2",
            "score": "0.5",
            "k": "é",
        }
        for number, (a, b) in enumerate(pairs)
    ]
    bare, mark, options = name.partition("?")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/x.{bare}{packing if bare != 'parquet' else ''}"
        with open_sink(path + mark + options) as sink:  # type: ignore[attr-defined]
            sink.write(map(orjson.dumps, records))
        found = [orjson.loads(message.value or b"") for message in read_path(path)]
    for record, back in zip(records, found, strict=True):
        assert {key: back[key] for key in record} == record


def test_languages_that_nobody_names_are_remarked_on(tmp_path: Path) -> None:
    """TMX that calls its languages qaa and qab says what to type; with the option, or languages in records, nothing is said."""
    path, plain = str(tmp_path / "m.tmx"), b'{"src": "one", "tgt": "un"}'
    for name, value, said in (
        (
            path,
            plain,
            f"{path} calls its languages qaa and qab, as no record names them: type '{path}?langs=SOURCE,TARGET'",
        ),
        (f"{path}?langs=en,fr", plain, ""),
        (path, b'{"src": "one", "tgt": "un", "src_lang": "en", "tgt_lang": "fr"}', ""),
    ):
        with open_sink(name) as sink:
            sink.write([value])
        assert remarks(name, sink) == ([said] if said else [])


@pytest.mark.parametrize("left_out", [{"score", "id"}])
def test_what_a_format_leaves_out_is_known(tmp_path: Path, left_out: set[str]) -> None:
    """A sink of two columns, or of two files, says which fields it has no room for."""
    for name in ("x.tsv", "x.en-fr", "x.csv?columns=src,tgt"):
        sink = open_sink(str(tmp_path / name))
        sink.write([b'{"id": "1", "src": "a", "tgt": "b", "score": 1}'])
        sink.close()
        assert set(sink.left_out) == left_out  # type: ignore[attr-defined]


def test_sides_by_other_names_are_written(tmp_path: Path) -> None:
    """`?src=en&tgt=fr` on an output; without it a record without the usual names is an error, never an empty side."""
    for name in ("x.tsv", "x.csv", "x.tmx", "x.en-fr"):
        path = str(tmp_path / name)
        with open_sink(f"{path}?src=en&tgt=fr") as sink:  # type: ignore[attr-defined]
            sink.write([b'{"en": "a", "fr": "b"}'])
        options = "?src=en&tgt=fr" if name == "x.csv" else ""
        assert pairs_of(read_path(path + options)) == [("a", "b")]
        with pytest.raises(CraftError, match="en, fr"), open_sink(path) as sink:  # type: ignore[attr-defined]
            sink.write([b'{"en": "a", "fr": "b"}'])


def test_options_of_an_output_are_no_part_of_its_name(tmp_path: Path) -> None:
    """Also of formats that write every field under its own name; a wrong one is refused, and no file is made."""
    for name in ("x.jsonl", "x.parquet"):
        with open_sink(f"{tmp_path}/{name}?src=en&tgt=fr") as sink:  # type: ignore[attr-defined]
            sink.write([b'{"en": "a", "fr": "b"}'])
        assert pairs_of(read_path(f"{tmp_path}/{name}?src=en&tgt=fr")) == [("a", "b")]
        with pytest.raises(CraftError, match='unknown option "langs"'):
            open_sink(f"{tmp_path}/y{name}?langs=en,fr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.jsonl", "x.parquet"]


def test_parquet_refuses_names_that_no_row_has(tmp_path: Path) -> None:
    """As the other formats do, never columns of nothing; rows that lack a side here and there are written."""
    for record in (b'{"src": "a", "tgt": "b"}', b'{"en": "a", "tgt": "b"}', b'{"en": "a", "fr": null}'):
        with (
            pytest.raises(CraftError, match="a record has no en or no fr, but"),
            open_sink(f"{tmp_path}/x.parquet?src=en&tgt=fr") as sink,  # type: ignore[attr-defined]
        ):
            sink.write([record])
    assert not list(tmp_path.iterdir())
    with open_sink(f"{tmp_path}/x.parquet?src=en&tgt=fr") as sink:  # type: ignore[attr-defined]
        sink.write([b'{"en": "a"}', b'{"en": "a", "fr": "b"}'])
    with open_sink(f"{tmp_path}/none.parquet?src=en&tgt=fr"):  # type: ignore[attr-defined]
        pass


def test_a_full_disk_is_one_line_and_leaves_nothing() -> None:
    """`/dev/full` says what a full disk says: an error of ours."""
    for name in ("/dev/full", "/dev/full?format=tsv", "/dev/full?format=parquet"):
        with pytest.raises(CraftError, match="cannot write"), open_sink(name) as sink:  # type: ignore[attr-defined]
            sink.write([b'{"src": "a", "tgt": "b"}'] * 100_000)
