"""TSV layouts, Moses, TMX and Parquet: what is found in them, and what is kept of what is malformed."""

import gzip
import lzma
import re
import tracemalloc
import zipfile
from pathlib import Path

import orjson
import pytest
import zstandard

from connectors.files import open_sink, open_source
from connectors.files.places import refuse_overwriting
from craft_stream.errors import ConfigurationError, DataError
from craft_stream.ports.messages import Message
from craft_stream.reading.records import read_pair
from craft_stream.settings import RecordSettings

RECORD = RecordSettings()


def read(path: object) -> list[Message]:
    source = open_source(str(path), RECORD)
    try:
        return list(source.read(100_000))
    finally:
        source.close()


def values(path: object) -> list[dict[str, object]]:
    return [orjson.loads(message.value or b"") for message in read(path)]


@pytest.mark.parametrize(
    ("line", "options", "expected"),
    [
        ("a\tb", "", {"src": "a", "tgt": "b"}),
        ("a\tb\t0-0", "", {"src": "a", "tgt": "b", "column3": "0-0"}),
        ("n\ta\tb", "?src=2&tgt=3", {"src": "a", "tgt": "b"}),
        ("n\ta\tb", "?columns=n,src,tgt", {"n": "n", "src": "a", "tgt": "b"}),
        ("n\ta\tb", "?columns=-,src,tgt", {"src": "a", "tgt": "b"}),
        (
            "http://x/1\thttp://x/2\ta\tb\t0.5",
            "",
            {
                "src_url": "http://x/1",
                "trg_url": "http://x/2",
                "src": "a",
                "tgt": "b",
                "aligner_score": "0.5",
            },
        ),
    ],
)
def test_tsv_layouts(line: str, options: str, expected: dict[str, str], tmp_path: Path) -> None:
    """The two sides are found by layout, number and name; other columns stay fields."""
    path = tmp_path / "x.tsv"
    path.write_text(line + "\n")
    assert values(f"{path}{options}") == [expected]


def test_all_steps_of_bitextor(tmp_path: Path) -> None:
    """Paragraph ids, deferred hashes and scores of bifixer and bicleaner keep their names."""
    path = tmp_path / "en-fr.sent"
    path.write_text("\t".join(["http://x/1", "http://x/2", "a", "b", *(str(i) for i in range(11))]) + "\n")
    (found,) = values(path)
    assert found["src"] == "a"
    assert (found["src_paragraph_id"], found["trg_deferred_hash"]) == ("1", "4")
    assert (found["bicleaner_score"], found["num_tokens_trg"]) == ("7", "10")


def test_header_of_bitextor(tmp_path: Path) -> None:
    """A header that names the sides is no record."""
    path = tmp_path / "x.raw"
    path.write_text("src_url\ttrg_url\tsrc_text\ttrg_text\nhttp://x\thttp://y\ta\tb\n")
    assert values(path) == [{"src_url": "http://x", "trg_url": "http://y", "src": "a", "tgt": "b"}]


def test_malformed_lines_are_kept(tmp_path: Path) -> None:
    """Too few columns and wrong bytes become messages with a problem and the raw line, and reading goes on."""
    path = tmp_path / "x.tsv"
    path.write_bytes(b"a\tb\nonly one\n\xff\tb\nc\td\r\n")
    first, short, wrong, last = read(path)
    assert (short.value, short.problem) == (b"only one", "one column where at least 2 were expected")
    assert wrong.value == b"\xff\tb"
    assert "UTF-8" in (wrong.problem or "")
    assert read_pair(first, RECORD).target == "b"
    assert read_pair(last, RECORD).target == "d"


def test_wrong_options(tmp_path: Path) -> None:
    """A column that is not there and an option that is not known are refused by name."""
    path = tmp_path / "x.tsv"
    path.write_text("a\tb\n")
    with pytest.raises(ConfigurationError, match='"english"'):
        read(f"{path}?src=english&tgt=2")
    with pytest.raises(ConfigurationError, match='"sep"'):
        read(f"{path}?sep=x")


def test_moses_of_unequal_length(tmp_path: Path) -> None:
    """Lines without partner are kept with a problem, which says how many the shorter file has."""
    (tmp_path / "c.en").write_text("one\ntwo\nthree\n")
    (tmp_path / "c.fr").write_text("un\n")
    first, *rest = read(tmp_path / "c.en-fr")
    assert orjson.loads(first.value or b"") == {"src": "one", "tgt": "un", "src_lang": "en", "tgt_lang": "fr"}
    told = "file has only 1 line, the other goes on: do the two belong together?"
    assert [message.problem for message in rest] == [f"the target {told}"] * 2
    (tmp_path / "c.fr").write_text("".join(f"{number}\n" for number in range(5)))
    (tmp_path / "c.en").write_text("one\n")
    with open_source(str(tmp_path / "c.en-fr"), RecordSettings()) as source:
        assert source.read(9)[0].problem is None
        assert [message.problem for message in source.read(9)] == [f"the source {told}"] * 4


EN_FR = {"src_lang": "en-GB", "tgt_lang": "fr"}
TMX = """<?xml version="1.0" encoding="{encoding}"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en-GB" creationtool="x" creationtoolversion="1" segtype="sentence"
 o-tmf="x" adminlang="en" datatype="plaintext"/><body>
<tu tuid="1"><prop type="score">0.9</prop><tuv xml:lang="en-GB"><prop type="url">http://x</prop>
<seg>caf\u00e9 <bpt i="1">&lt;b&gt;</bpt><hi>bold</hi><ept i="1">&lt;/b&gt;</ept></seg></tuv>
<tuv xml:lang="fr"><seg>gras</seg></tuv></tu>
<tu><tuv xml:lang="en-GB"><seg>alone</seg></tuv></tu>
<tu><tuv xml:lang="fr"><seg>deux</seg></tuv><tuv xml:lang="en-GB"><seg>two</seg></tuv></tu>
</body></tmx>"""


@pytest.mark.parametrize("encoding", ["UTF-8", "ISO-8859-1", "UTF-16"])
def test_tmx(encoding: str, tmp_path: Path) -> None:
    """Sides go by language, markup of other formats goes, properties stay."""
    path = tmp_path / "x.tmx"
    path.write_bytes(TMX.format(encoding=encoding).encode(encoding))
    one, alone, two = read(path)
    expected = {
        "id": "1",
        "src": "caf\u00e9 bold",
        "tgt": "gras",
        "score": "0.9",
        "src_url": "http://x",
        **EN_FR,
    }
    assert orjson.loads(one.value or b"") == expected
    assert alone.problem == "a unit with en-GB where en-GB and fr were expected"
    assert orjson.loads(two.value or b"") == {"src": "two", "tgt": "deux", **EN_FR}


def test_tmx_goes_on_behind_damage(tmp_path: Path) -> None:
    """A unit that is not well-formed is one message with a problem; those around it are read."""
    units = [
        f'<tu><tuv xml:lang="en"><seg>s{i}</seg></tuv><tuv xml:lang="fr"><seg>t{i}</seg></tuv></tu>\n'
        for i in range(9)
    ]
    units[4] = '<tu><tuv xml:lang="en"><seg>a < b & c</seg></tuv></tu>\n'
    path = tmp_path / "x.tmx"
    path.write_text("<tmx><header srclang='en'/><body>" + "".join(units) + "</body></tmx>")
    messages = read(path)
    assert [message.offset for message in messages] == list(range(9))
    assert [index for index, message in enumerate(messages) if message.problem] == [4]
    assert b"a < b & c" in (messages[4].value or b"")


@pytest.mark.parametrize(
    "entity", ['<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">', '<!ENTITY a SYSTEM "file:///etc/passwd">']
)
def test_xml_bombs_are_refused(entity: str, tmp_path: Path) -> None:
    """A file that declares entities is refused, whatever they are."""
    path = tmp_path / "x.tmx"
    path.write_text(f"<!DOCTYPE tmx [{entity}]><tmx><body><tu><tuv><seg>&a;</seg></tuv></tu></body></tmx>")
    with pytest.raises(DataError, match="entity"):
        read(path)


def test_tmx_takes_constant_memory(tmp_path: Path) -> None:
    """Reading twice as much takes no more memory."""

    def peak(units: int) -> int:
        path = tmp_path / f"{units}.tmx"
        sink = open_sink(f"{path}?langs=en,fr")
        sink.write(b'{"src":"a sentence of some length","tgt":"une phrase"}' for _ in range(units))
        sink.close()
        source = open_source(str(path), RECORD)
        tracemalloc.start()
        while source.read(500):
            pass
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        source.close()
        return highest

    # of two: a thread that another test has left behind is measured too
    most = peak(5_000) + (1 << 19)
    assert any(peak(10_000) < most for _ in range(2))


def test_parquet_layouts(tmp_path: Path) -> None:
    """Columns by name, the translation column of Hugging Face, and columns that nobody can guess."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"translation": [{"en": "a", "fr": "b"}]}), tmp_path / "t.parquet")
    assert values(tmp_path / "t.parquet") == [{"src": "a", "tgt": "b", "src_lang": "en", "tgt_lang": "fr"}]
    pq.write_table(pa.table({"en": ["a"], "fr": ["b"], "n": [1]}), tmp_path / "n.parquet")
    assert values(f"{tmp_path}/n.parquet?src=en&tgt=fr") == [{"src": "a", "tgt": "b", "n": 1}]
    with pytest.raises(ConfigurationError, match="en, fr, n"):
        read(tmp_path / "n.parquet")


def test_parquet_sink_keeps_every_field(tmp_path: Path) -> None:
    """Numbers stay numbers, lists become JSON, and a field that only a later group has is kept in `more`."""
    pytest.importorskip("pyarrow")
    path = tmp_path / "x.parquet"
    sink = open_sink(str(path))
    first = [b'{"src":"a","tgt":"b","score":0.5,"block":[1,2]}'] * 50_000
    sink.write([*first, b'{"src":"c","tgt":"d","score":"high","late":true}'])
    sink.close()
    found = values(path)
    assert found[0] == {"src": "a", "tgt": "b", "score": 0.5, "block": "[1,2]", "more": None}
    assert orjson.loads(str(found[-1]["more"])) == {"score": "high", "late": True}


def test_damaged_parquet(tmp_path: Path) -> None:
    """A file that is none is refused with its name."""
    pytest.importorskip("pyarrow")
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=r"x\.parquet"):
        read(path)


def test_parquet_rows_as_json_writes_them(tmp_path: Path) -> None:
    """Quotes, backslashes, control characters, numbers, nulls and nested values all come back as they are."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    for name, source in (("plain", 'a "b" \\ c\\" é'), ("control", 'tab\t"new"\nline \\')):
        path = tmp_path / f"{name}.parquet"
        columns = {"src": [source, "x"], "tgt": ["t", None], "n": [1, None], "big": [2**62, -1]}
        pq.write_table(pa.table(columns), path)
        assert values(path) == [
            {"src": source, "tgt": "t", "n": 1, "big": 2**62},
            {"src": "x", "tgt": None, "n": None, "big": -1},
        ]
    nested = {"src": ["s"], "tgt": ["t"], "score": [0.5], "block": [[1, 2]], "on": [True]}
    pq.write_table(pa.table(nested), tmp_path / "nested.parquet")
    assert values(tmp_path / "nested.parquet") == [{key: value[0] for key, value in nested.items()}]


def test_views_of_text_in_dictionaries(tmp_path: Path) -> None:
    """Categories of polars: in Arrow a dictionary of views, which Arrow itself does not decode."""
    pa = pytest.importorskip("pyarrow")
    words = pa.DictionaryArray.from_arrays(
        pa.array([1, None, 0], pa.uint32()),
        pa.array(["b", "a long text that stands outside"], pa.string_view()),
    )
    table = pa.table({"src": words, "tgt": ["x", "y", "z"], "kind": words})
    for name, new in (
        ("x.arrow", pa.ipc.new_file),
        ("x.arrows", pa.ipc.new_stream),
        ("x.ipc", pa.ipc.new_file),
    ):
        with new(str(tmp_path / name), table.schema) as file:
            file.write_table(table)
        found = values(tmp_path / name)
        assert [record["src"] for record in found] == ["a long text that stands outside", None, "b"]
        assert all(record["kind"] == record["src"] for record in found)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.parquet", b"src\ttgt\n", "is neither Parquet nor Arrow, it begins with b'src"),
        ("x.arrow", b"", "is neither Parquet nor Arrow: it is empty"),
        ("x.feather", b"FEA1\0\0\0\0", "is Feather of version 1: pyarrow.feather.write_feather"),
        ("x.zip", b"PK\x05\x06" + bytes(18), "holds no"),
    ],
)
def test_what_is_none_of_its_format_says_so(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    """By its first bytes, not by what goes wrong behind them."""
    pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(data)
    with pytest.raises((DataError, ConfigurationError), match=re.escape(said)):
        read(tmp_path / name)


def test_names_of_sides_are_no_languages(tmp_path: Path) -> None:
    """`src` and `tgt` are codes of Sardinian and of a language of Palawan too."""
    (tmp_path / "a.src").write_text("one\n")
    (tmp_path / "a.tgt").write_text("un\n")
    assert values(f"{tmp_path}/a.src?with={tmp_path}/a.tgt") == [{"src": "one", "tgt": "un"}]
    (tmp_path / "b.jsonl").write_text('{"pair": {"src": "one", "tgt": "un"}}\n')
    assert not {"src_lang", "tgt_lang"} & values(f"{tmp_path}/b.jsonl?src=pair.src&tgt=pair.tgt")[0].keys()


def test_parquet_text_that_is_no_utf8(tmp_path: Path) -> None:
    """A row of wrong bytes is a message with a problem and those bytes; the rows around it are read."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    wrong = pa.Array.from_buffers(pa.string(), 3, pa.array([b"one", b"\xff\xfe", b"three"]).buffers())
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"src": wrong, "tgt": ["a", "b", "c"]}), path)
    first, bad, last = read(path)
    assert (bad.value, bad.problem) == (b"\xff\xfe", "byte 0 of a column is not valid UTF-8")
    assert [orjson.loads(message.value or b"")["tgt"] for message in (first, last)] == ["a", "c"]
    assert [message.offset for message in (first, bad, last)] == [0, 1, 2]


def test_a_unit_that_is_too_large_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is passed over in bounded memory, its beginning kept; the units around it are read."""
    monkeypatch.setattr("connectors.files.tmx._LARGEST_UNIT", 1 << 17)
    unit = '<tu><tuv xml:lang="en"><seg>{0}</seg></tuv><tuv xml:lang="fr"><seg>t</seg></tuv></tu>'
    path = tmp_path / "x.tmx"
    units = [unit.format(text) for text in ("a", "x" * (1 << 20), "b")]
    path.write_text(f'<tmx><header srclang="en"/><body>{"".join(units)}</body></tmx>')
    first, large, last = read(path)
    assert "more than 131072 bytes" in (large.problem or "")
    assert (large.value or b"").startswith(b"<tu><tuv")
    assert len(large.value or b"") < 1 << 13
    assert [orjson.loads(message.value or b"")["src"] for message in (first, last)] == ["a", "b"]


def test_tmx_of_other_elements(tmp_path: Path) -> None:
    """What stands where a unit should, such as `<TU>`, is a problem, not nothing; units around it are read."""
    unit = '<tu><tuv xml:lang="en"><seg>a</seg></tuv><tuv xml:lang="fr"><seg>b</seg></tuv></tu>'
    other = unit.replace("tu", "TU")
    path = tmp_path / "m.tmx"
    for body, problems, pairs in (
        (unit + other + unit, 1, 2),
        (other * 3, 1, 0),
    ):
        path.write_text(f'<tmx version="1.4"><header srclang="en"/><body>{body}</body></tmx>')
        with open_source(str(path), RecordSettings()) as source:  # type: ignore[attr-defined]
            messages = list(source.read(100))
        assert [message.problem is None for message in messages].count(True) == pairs
        assert sum("where <tu> was expected" in (message.problem or "") for message in messages) == problems


def sides_in(path: str) -> list[tuple[str, str]]:
    with open_source(path, RECORD) as source:  # type: ignore[attr-defined]
        rows = [orjson.loads(message.value) for message in source.read(100)]
    return [(row["src"], row["tgt"]) for row in rows]


def test_packed_in_ways_that_are_allowed(tmp_path: Path) -> None:
    """Zeros between and behind streams of xz; a packed member of an archive; one of OPUS (xml is a language's code)."""
    lines = b"a\tb\n"
    path = tmp_path / "p.tsv.xz"
    path.write_bytes(lzma.compress(lines) + bytes(4) + lzma.compress(lines) + bytes(8))
    assert sides_in(str(path)) == [("a", "b")] * 2
    archive = tmp_path / "p.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("p.tsv.gz", gzip.compress(lines))
    assert sides_in(str(archive)) == [("a", "b")]
    with zipfile.ZipFile(archive, "w") as opened:
        for name, text in (("fr", "b"), ("en", "a"), ("xml", "<x/>"), ("ids", "1")):
            opened.writestr(f"B.en-fr.{name}", f"{text}\n")
    assert sides_in(str(archive)) == [("a", "b")]


def test_columns_of_other_kinds(tmp_path: Path) -> None:
    """Bytes beside the sides are kept in base 64; a map is asked by language; two columns of one name are refused by it."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "p.parquet"
    digests = pa.array([b"\xff\xfe", b"text", None])
    parquet.write_table(
        pa.table({"src": ["a"] * 3, "tgt": ["b"] * 3, "digest": digests, "all": [[b"\xff"]] * 3}), path
    )
    with open_source(str(path), RECORD) as source:  # type: ignore[attr-defined]
        rows = [orjson.loads(message.value) for message in source.read(9)]
    assert [row["digest"] for row in rows] == ["//4=", "text", None]
    assert rows[0]["all"] == ["/w=="]
    kind = pa.map_(pa.string(), pa.string())
    parquet.write_table(pa.table({"translation": pa.array([[("en", "a"), ("fr", "b")]], kind)}), path)
    assert sides_in(f"{path}?src=en&tgt=fr") == [("a", "b")]
    parquet.write_table(pa.table({"en": ["a"], "fr": ["b"], "id": ["x"]}), path)
    with pytest.raises(ConfigurationError, match=r"add \?src=en&tgt=fr"):
        open_source(str(path), RECORD)
    columns = [pa.array(["a"]), pa.array(["b"]), pa.array(["c"])]
    parquet.write_table(pa.Table.from_arrays(columns, ["src", "tgt", "tgt"]), path)
    with pytest.raises(ConfigurationError, match="several columns are called tgt"):
        open_source(str(path), RECORD)


def test_what_cannot_be_read_says_what_to_type(tmp_path: Path) -> None:
    """A JSON array and an object over several lines: one line with the command that helps."""
    path = tmp_path / "p.jsonl"
    for text, command in (
        ('[{"src": "a", "tgt": "b"}]', "jq -c '.[]'"),
        ('[\n  {"src": "a"}\n]', "jq -c '.[]'"),
        ('{\n  "src": "a"\n}', "jq -c ."),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=re.escape(command)), open_source(str(path), RECORD) as source:  # type: ignore[attr-defined]
            source.read(1)


def test_dictionaries_of_zstd(tmp_path: Path) -> None:
    """One beside the file by the number that frames name, one that is given; frames with and without; else one plain line."""
    samples = [f'{{"src": "a{number}", "tgt": "b"}}\n'.encode() * 9 for number in range(500)]
    one, two = (zstandard.train_dictionary(1024, part) for part in (samples[::2], samples[1::2]))
    raw = zstandard.ZstdCompressionDict(samples[0], dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    path = tmp_path / "p.jsonl.zst"
    packed = [zstandard.ZstdCompressor(dict_data=made).compress(samples[0]) for made in (one, two)]
    path.write_bytes(packed[0] + zstandard.compress(samples[1]) + packed[1])

    def read(options: str = "") -> list[bytes | None]:
        with open_source(f"{path}{options}", RECORD) as source:  # type: ignore[attr-defined]
            return [message.value for message in source.read(99)]

    with pytest.raises(
        DataError, match=rf"dictionary {one.dict_id()}, which is not beside it: add \?dictionary=FILE"
    ):
        read()
    (tmp_path / "dictionary").write_bytes(one.as_bytes())
    (tmp_path / "other.dict").write_bytes(two.as_bytes())
    assert read() == [*samples[0].splitlines(), *samples[1].splitlines(), *samples[0].splitlines()]
    for written in ("dictionary", "other.dict"):
        with pytest.raises(ConfigurationError, match="which is read"):
            refuse_overwriting([str(tmp_path / written)], [str(path)])
    with pytest.raises(
        DataError, match=f"needs dictionary {two.dict_id()}, and .*dictionary is {one.dict_id()}"
    ):
        read(f"?dictionary={tmp_path}/dictionary")
    path.write_bytes(zstandard.ZstdCompressor(dict_data=raw).compress(samples[0]))
    with pytest.raises(DataError, match=r"was compressed with a dictionary: add \?dictionary=FILE"):
        read()
    (tmp_path / "d").write_bytes(samples[0])
    assert read(f"?dictionary={tmp_path}/d") == samples[0].splitlines()
    with pytest.raises(DataError, match="cannot read the dictionary"):
        read("?dictionary=none")
    path.write_bytes(samples[0])
    with pytest.raises(ConfigurationError, match="only what zstd has packed"):
        read(f"?dictionary={tmp_path}/d")


@pytest.mark.parametrize(
    ("name", "text", "first"),
    [
        ("a.csv", 'sep=;\r\nsource;target\r\n"a;1";b\r\n', ("a;1", "b")),
        ("a.csv", '"src", "tgt"\n"a, 1", "b"\n', ("a, 1", "b")),
        ("a.csv", "en,fr\na,b\n", ("a", "b")),
        ("a.csv", "id,English,French\n1,a,b\n", ("a", "b")),
        ("a.tsv", "fr-FR\ten\na\tb\r\r\n", ("a", "b")),
        ("a.tsv", "and\tet\na\tb\n", ("and", "et")),  # words, which are codes of languages too
        ("a.tsv", "Hello\tBonjour\ten\tfr\n", ("Hello", "Bonjour")),
        ("who?.tsv", "a\tb\n", ("a", "b")),
    ],
)
def test_tables_as_people_write_them(tmp_path: Path, name: str, text: str, first: tuple[str, str]) -> None:
    """Excel's first line, spaces before quotes, headers of languages, carriage returns too many, a question mark in a name."""
    path = tmp_path / name
    path.write_bytes(text.encode())
    [message] = [message for message in read(path) if message.problem is None][:1]
    record = orjson.loads(message.value or b"")
    assert (record["src"], record["tgt"]) == first


def test_sides_may_stand_behind_other_columns(tmp_path: Path) -> None:
    """As Bitextor's do: what must not be empty are the sides, wherever they stand."""
    path = tmp_path / "b.tsv"
    with open_sink(f"{path}?columns=url1,url2,src,tgt,score") as sink:  # type: ignore[attr-defined]
        sink.write([b'{"src": "a", "tgt": "b", "score": 1}'])
        with pytest.raises(DataError, match="no src or no tgt"):
            sink.write([b'{"src": "a", "tgt": "", "url1": "u", "url2": "u"}'])
    assert path.read_bytes() == b"\t\ta\tb\t1\n"


def test_a_memory_loses_nothing_silently(tmp_path: Path) -> None:
    """Two translations of one text, properties that are called like sides, a body without units."""
    path = tmp_path / "m.tmx"
    unit = (
        '<tu><prop type="src">P</prop><tuv xml:lang="en"><seg>a</seg></tuv><tuv xml:lang="fr"><seg>b</seg></tuv>'
        '<tuv xml:lang="fr "><seg>c</seg></tuv><tuv xml:lang="fr"><seg>d</seg></tuv></tu>'
    )
    path.write_text(f'<tmx><header srclang="en"/><body>{unit}</body></tmx>')
    [message] = read(path)
    record = orjson.loads(message.value or b"")
    assert (record["src"], record["tgt"], record["src_"], record["tgt_variants"]) == ("a", "b", "P", "c\nd")
    path.write_text('<tmx><header srclang="en"/><body/></tmx>')
    assert not read(path)


def test_what_is_no_corpus_says_so(tmp_path: Path) -> None:
    """A pointer of Git LFS, and a folder, as Spark writes: one line with what to do."""
    for name in ("a.parquet", "a.jsonl.gz", "a.tmx"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        with pytest.raises(DataError, match="git lfs pull"):
            read(tmp_path / name)
    (tmp_path / "b.parquet").mkdir()
    with pytest.raises(DataError, match="is a folder: name the files in it"):
        read(tmp_path / "b.parquet")


LINES = b'{"src": "a", "tgt": "b"}\n' * 3


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("a.jsonl.gz", gzip.compress(gzip.compress(LINES))),
        ("a.jsonl.gz.gz", gzip.compress(gzip.compress(LINES))),
        ("a.jsonl.xz.gz", gzip.compress(lzma.compress(LINES))),
        ("a.jsonl", gzip.compress(zstandard.compress(gzip.compress(LINES)))),
        ("a.jsonl.lzma", lzma.compress(LINES, format=lzma.FORMAT_ALONE)),
    ],
)
def test_packed_more_than_once(name: str, packed: bytes, tmp_path: Path) -> None:
    """Every layer is opened, whatever the name says; what never ends is refused."""
    path = tmp_path / name
    path.write_bytes(packed)
    assert sides_in(str(path)) == [("a", "b")] * 3
    for _ in range(4):
        packed = gzip.compress(packed)
    path.write_bytes(packed)
    with pytest.raises(DataError, match="more than 4 times"):
        read(path)


def test_lzma_is_written(tmp_path: Path) -> None:
    """An output is packed as its name says."""
    with open_sink(str(tmp_path / "a.jsonl.lzma")) as sink:  # type: ignore[attr-defined]
        sink.write([LINES[:-1].split(b"\n")[0]])
    assert lzma.decompress((tmp_path / "a.jsonl.lzma").read_bytes(), lzma.FORMAT_ALONE) == LINES[:25]


@pytest.mark.parametrize(
    ("name", "data", "command"),
    [
        ("a.jsonl", b"\x04\x22\x4d\x18" + bytes(9), "lz4 -dc"),
        ("a.jsonl.lz4", b"\x04\x22\x4d\x18" + bytes(9), "lz4 -dc"),
        ("a.tsv.lz", b"LZIP\x01" + bytes(9), "lzip -dc"),
        ("a.tar.gz", gzip.compress(bytes(512)), "tar -xOf"),
        ("a.tgz", gzip.compress(bytes(512)), "tar -xOf"),
    ],
)
def test_packings_that_are_not_read_name_what_unpacks_them(
    name: str, data: bytes, command: str, tmp_path: Path
) -> None:
    """By their names or their first bytes, never read as text."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises((ConfigurationError, DataError), match=command):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("record", "options", "expected"),
    [
        (
            {"a": {"b": {"en": "x", "fr": "y"}}, "k": 1},
            "src=a.b.en&tgt=a.b.fr",
            {"src": "x", "tgt": "y", "k": 1, "src_lang": "en", "tgt_lang": "fr"},
        ),
        (
            {"a": {"b": {"en": "x", "fr": "y"}, "id": 3}},
            "src=a.b.en&tgt=a.b.fr",
            {
                "src": "x", "tgt": "y", "a": {"b": {"en": "x", "fr": "y"}, "id": 3}, "src_lang": "en", "tgt_lang": "fr",
            },
        ),
        ({"a": {"en": "x", "id": 7}, "t": "y"}, "src=a.en&tgt=t", {"src": "x", "tgt": "y", "a": {"en": "x", "id": 7}}),
        (
            {"translation": {"text": {"en": "x", "fr": "y"}}},
            "src=text.en&tgt=text.fr",
            {"src": "x", "tgt": "y", "src_lang": "en", "tgt_lang": "fr"},
        ),
    ],
)  # fmt: skip
def test_sides_within_objects_at_any_depth(
    record: dict[str, object], options: str, expected: dict[str, object], tmp_path: Path
) -> None:
    """Dotted names lead to them in JSON lines and Parquet alike; an object goes only if it holds nothing else."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    (tmp_path / "a.jsonl").write_bytes(orjson.dumps(record) + b"\n")
    pq.write_table(pa.Table.from_pylist([record]), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        assert values(f"{tmp_path / name}?{options}") == [expected]


def test_marks_of_files_that_were_joined_side_by_side(tmp_path: Path) -> None:
    """`paste` of two files that begin with a byte order mark: neither is part of a text."""
    (tmp_path / "a.tsv").write_text("\ufeffa\t\ufeffb\nc\td\n", "utf-8")
    (tmp_path / "a.csv").write_text("\ufeffsrc,\ufefftgt\n\ufeffa,\ufeffb\nc,d\n", "utf-8")
    for name in ("a.tsv", "a.csv"):
        assert sides_in(str(tmp_path / name)) == [("a", "b"), ("c", "d")]
