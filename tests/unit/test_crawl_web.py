"""The web as it is: HTTP bodies, dates and record types of every writer, links to translations in every spelling, opt-outs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sqlite3
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastwarc")

from connectors.crawl.http import parse_http
from connectors.crawl.job import Crawl, warc_files
from connectors.crawl.pages import Page, SkippedError, decode, read_page
from connectors.crawl.permission import is_forbidden, is_reserved
from connectors.crawl.publish import FilePublisher
from connectors.crawl.reservations import Rule, read_reservations
from connectors.crawl.responses import Response
from connectors.crawl.sitemaps import Told, read_sitemap
from connectors.crawl.store import Store
from connectors.crawl.takedown import Takedown
from connectors.crawl.urls import address, canonical, neutral, site_key
from connectors.crawl.warc import WarcFile, WarcStream
from craft_stream.errors import ConfigurationError, DataError, IntegrityError
from craft_stream.language_identification import is_surely, shares, two_languages

LANGUAGES = ("en", "fr")
SENTENCES = {
    "en": [
        "The old mill by the river was built of grey stone.",
        "Nobody remembers who lived there before the war.",
        "In summer the children swim where the water is calm.",
    ],
    "fr": [
        "Le vieux moulin au bord de la rivière fut construit en pierre grise.",
        "Personne ne se souvient de qui y vivait avant la guerre.",
        "En été, les enfants nagent là où l'eau est calme.",
    ],
}


def html(language: str, head: str = "", lang: str | None = None) -> str:
    text = "".join(f"<p>{sentence}</p>" for sentence in SENTENCES[language])
    return f'<html lang="{lang or language}"><head><title>x</title>{head}</head><body>{text}</body></html>'


def warc(
    url: str,
    body: bytes | str,
    *,
    headers: str = "",
    date: str = "WARC-Date: 2026-02-03T04:05:06Z\r\n",
    kind: str = "response",
    block: bytes | None = None,
    content: str = "application/http; msgtype=response",
) -> bytes:
    """One record, plain."""
    payload = body if isinstance(body, bytes) else body.encode()
    if block is None:
        block = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{headers}\r\n".encode() + payload
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{abs(hash(url)):032x}>\r\n{date}"
        f"WARC-Target-URI: {url}\r\nContent-Type: {content}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def crawled(
    folder: Path, *records: bytes, name: str = "a.warc"
) -> tuple[list[dict[str, object]], dict[str, int]]:
    """Pairs and counts of a crawl of one file."""
    (folder / name).write_bytes(b"".join(records))
    return crawled_inputs(folder, [folder])


def crawled_inputs(
    folder: Path, inputs: list[Path | WarcStream]
) -> tuple[list[dict[str, object]], dict[str, int]]:
    with Store(folder / "store", LANGUAGES) as store:
        with closing(FilePublisher(folder / "pairs.jsonl", store.identity)) as publisher:
            Crawl(inputs, LANGUAGES, store, publisher).run()
        counts = dict(store.counts, waiting=store.partners.waiting)
    return [orjson.loads(line) for line in (folder / "pairs.jsonl").read_bytes().splitlines()], counts


def chunked(body: bytes, extension: str = "", last: bool = True) -> bytes:
    parts = [body[at : at + 40] for at in range(0, len(body), 40)]
    made = b"".join(f"{len(part):X}{extension}\r\n".encode() + part + b"\r\n" for part in parts)
    return made + (b"0\r\nTrailer: x\r\n\r\n" if last else b"")


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


BODIES: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("Transfer-Encoding: chunked", chunked),
    ("transfer-encoding: Chunked", lambda body: chunked(body, ";name=value")),
    ("Transfer-Encoding: chunked", lambda body: chunked(body, last=False)),
    ("Transfer-Encoding: chunked", bytes),
    ("Content-Encoding: gzip", gzip.compress),
    ("Content-Encoding: x-gzip", gzip.compress),
    ("Content-Encoding: gzip", bytes),
    ("Content-Encoding: gzip", lambda body: gzip.compress(body) + b"trailing"),
    ("Content-Encoding: gzip", lambda body: gzip.compress(body[:50]) + gzip.compress(body[50:])),
    ("Content-Encoding: gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
    ("Content-Encoding: deflate", zlib.compress),
    ("Content-Encoding: deflate", raw_deflate),
    ("Content-Encoding: deflate", bytes),
    ("Content-Encoding: br", bytes),
    ("Content-Encoding: zstd", bytes),
    ("Content-Encoding: utf-8", bytes),
    ("Content-Encoding: none", bytes),
    ("Server: names no coding", gzip.compress),
    ("Server: names no coding", zstandard.compress),
    ("Content-Encoding: br", gzip.compress),
    ("Content-Encoding: deflate", gzip.compress),
    ("Content-Encoding: gzip", zlib.compress),
    ("Content-Encoding:", bytes),
    ("Transfer-Encoding: chunked\r\nContent-Encoding: gzip", lambda body: chunked(gzip.compress(body))),
    ("Transfer-Encoding: chunked\r\nContent-Encoding: gzip", gzip.compress),
    ("Transfer-Encoding: chunked\r\nContent-Encoding: gzip", bytes),
]


@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
@pytest.mark.parametrize(("header", "pack"), BODIES)
def test_a_body_that_is_not_as_its_headers_say(
    header: str, pack: Callable[[bytes], bytes], line_end: str
) -> None:
    """Packed or not, by one coding or two, with extensions, trailers and rubbish behind it: the same body."""
    body = html("fr").encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: Text/HTML;Charset='utf-8'\r\n{header}\r\n\r\n".replace(
        "\r\n", line_end
    )
    message = parse_http(head.encode() + pack(body), 1 << 20)
    assert message is not None
    assert (message.body, message.content_type, message.charset) == (body, "text/html", "utf-8")


@given(st.binary(max_size=200), st.sampled_from([header for header, _ in BODIES]), st.booleans())
def test_no_bytes_break_the_http_reader(body: bytes, header: str, framed: bool) -> None:
    """Any bytes give a message no longer than the limit, or none."""
    head = f"HTTP/1.1 200 OK\r\n{header}\r\n\r\n".encode() if framed else b""
    message = parse_http(head + body, 100)
    assert message is None or len(message.body) <= 100


@pytest.mark.parametrize("charset", ["utf-16le", "UTF-16BE", "utf-32le"])
def test_wide_encodings_are_read_where_the_header_names_them(charset: str) -> None:
    """Without a byte order mark; without that name, or where it does not hold, zeros are no text."""
    assert decode("<p>été".encode(charset), charset) == "<p>été"
    for body, named in (("<p>été".encode(charset), None), (b"\0" * 7, charset), (b"GIF89a\0\0\xd8", charset)):
        with pytest.raises(SkippedError, match="binary"):
            decode(body, named)


@pytest.mark.parametrize("order", ["le", "be"])
@pytest.mark.parametrize(("width", "named"), [("16", "UTF-16"), ("16", "utf16"), ("32", "utf-32")])
def test_wide_encodings_whose_order_nobody_names(width: str, named: str, order: str) -> None:
    """By the mark, that of UTF-32 too, whatever the header says; without one by where the zeros stand."""
    text = "<p>цена 100"
    assert decode(text.encode(f"utf-{width}-{order}"), named) == text
    assert decode(f"\ufeff{text}".encode(f"utf-{width}-{order}"), None) == text


def test_unpacking_is_bounded() -> None:
    """A body that would fill the memory is cut at the limit."""
    bomb = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(1 << 24))
    message = parse_http(bomb, 1000)
    assert message is not None
    assert len(message.body) == 1000


@pytest.mark.parametrize(
    "date",
    [
        "", "WARC-Date:\r\n", "WARC-Date: yesterday\r\n", "WARC-Date: 20260203040506\r\n", "WARC-Date: 2026-02-03\r\n",
        "WARC-Date: 2026-02-03 04:05:06\r\n", "WARC-Date: 2026-02-03T04:05:06\r\n", "WARC-Date: 9999-99-99T00:00:00Z\r\n",
        "WARC-Date: 2026-02-03T04:05:06.789123Z\r\n", "WARC-Date: Tue, 03 Feb 2026 04:05:06 GMT\r\n",
        "WARC-Date: 0001-01-01T00:00:00Z\r\n",
    ],
)  # fmt: skip
def test_dates_of_every_writer(tmp_path: Path, date: str) -> None:
    """What is no date takes that of the record before; nothing is lost, and nothing is raised."""
    records = [
        warc("http://s/en/a", html("en")),
        warc("http://s/en/b", html("en"), date=date),
        warc("http://s/fr/b", html("fr")),
        warc("http://s/fr/a", html("fr")),
    ]
    pairs, counts = crawled(tmp_path, *records)
    assert len(pairs) == 6
    assert counts["responses"] == 4


def test_a_first_record_without_a_date_is_counted(tmp_path: Path) -> None:
    """There is no neighbour to take it from."""
    pairs, counts = crawled(
        tmp_path, warc("http://s/en/a", html("en"), date=""), warc("http://s/fr/a", html("fr"))
    )
    assert (pairs, counts["no_date"], counts["waiting"]) == ([], 1, 1)


def test_records_of_other_kinds(tmp_path: Path) -> None:
    """Pages kept as resources are read; text, visits that found nothing new and unknown types are counted by name."""
    pages = [
        warc(
            f"http://s/{code}/a",
            "",
            kind="resource",
            block=html(code).encode(),
            content="text/html; charset=utf-8",
        )
        for code in LANGUAGES
    ]
    others = [
        warc("http://s/en/b", "", kind="conversion", block=b"text", content="text/plain"),
        warc("http://s/en/c", "", kind="revisit"),
        warc("urn:pageinfo:x", "", kind="resource", block=b"{}", content="application/json"),
        warc("http://s/en/a", "", kind="request", block=b"GET / HTTP/1.1\r\n\r\n"),
        warc("http://s/en/a", "", kind="Metadata", block=b"x: y"),
    ]
    pairs, counts = crawled(tmp_path, *pages, *others)
    assert len(pairs) == 3
    assert (counts["responses"], counts["not_response"]) == (2, 2)


def test_files_of_a_folder_are_found_in_every_packing(tmp_path: Path) -> None:
    """Whatever is read when it is named is found where its folder is; notes, indexes and unfinished files are not."""
    for number, (ending, pack) in enumerate(
        [("warc", bytes), ("warc.xz", lzma.compress), ("Warc.BZ2", bz2.compress), ("arc.gz", gzip.compress)]
    ):
        (tmp_path / f"{number}.{ending}").write_bytes(pack(warc(f"http://s/en/{number}", html("en"))))
    for name in ("a.warc.gz.open", "a.cdx.gz", "warc", "a.warc.md5"):
        (tmp_path / name).write_bytes(b"x")
    assert crawled_inputs(tmp_path, [tmp_path])[1]["responses"] == 4


def test_archives_within_archives_and_damaged_ones(tmp_path: Path) -> None:
    """Several WACZ in one, as Browsertrix makes them; a member that is no WARC is damage, and those behind it are read."""

    def archive(members: dict[str, bytes]) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as made:
            for name, data in members.items():
                made.writestr(name, data)
        return packed.getvalue()

    one, other = ({"archive/data.warc": warc(f"http://s/{code}/a", html(code))} for code in LANGUAGES)
    junk = {"archive/0.warc.gz": b"no WARC at all", "1.wacz": b"PK", "archive/2.warc": b""}
    deep = archive({"d.wacz": archive({"e.wacz": archive(one)})})
    (tmp_path / "a.wacz").write_bytes(
        archive({**junk, "2.wacz": archive(one), "3.WACZ": archive(other), "4.wacz": deep})
    )
    pairs, counts = crawled_inputs(tmp_path, [tmp_path])
    assert (len(pairs), counts["damaged"]) == (3, 3)


def test_a_member_whose_packing_is_damaged(tmp_path: Path) -> None:
    """However a zip archive packs it, it is counted as damage, and members behind it are read."""
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", method) as made:
            made.writestr("0.warc", warc("http://s/en/x", html("en")))
            place = made.start_dir
            for code in LANGUAGES:
                made.writestr(
                    f"{code}.warc", warc(f"http://s/{code}/{method}", html(code)), zipfile.ZIP_STORED
                )
        data = bytearray(packed.getvalue())
        data[60:place] = b"\xff" * (place - 60)
        (tmp_path / f"{method}.wacz").write_bytes(data)
    pairs, counts = crawled_inputs(tmp_path, [tmp_path])
    assert (len(pairs), counts["damaged"]) == (9, 3)


def test_a_packed_body_is_no_record_that_is_cut_off(tmp_path: Path) -> None:
    """A plain WARC whose last body is gzip ends where it ends."""
    bodies = [(code, gzip.compress(html(code).encode())) for code in LANGUAGES]
    packed = "Content-Encoding: gzip\r\n"
    pairs, counts = crawled(
        tmp_path, *(warc(f"http://s/{code}/a", body, headers=packed) for code, body in bodies)
    )
    assert (len(pairs), counts.get("truncated", 0)) == (3, 0)


@pytest.mark.parametrize(
    "before",
    [
        "HTTP/1.1 100 Continue",
        "HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload",
        "HTTP/1.0 200 Connection established",
    ],
)
def test_what_is_said_before_an_answer(before: str) -> None:
    """The last of several messages is the answer."""
    message = parse_http(
        f"{before}\r\n\r\nHTTP/1.1 404 Gone\r\nContent-Type: text/html, text/x\r\n\r\n<p>".encode(), 99
    )
    assert message is not None
    assert (message.status, message.content_type, message.body) == (404, "text/html", b"<p>")


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Content-Type: text/html", "HTTP/1.1 200 OK\r\nServer: x\r\n\r\n<p>"),
        ("content-length : 99", "HTTP/1.1 200 OK\nServer: x\n\n<p>"),
        ("X-Robots-Tag: noindex", "HTTP/1.1 200 OK\r\nServer: x\r\n\r\n<p>"),
        ("Server: x", "HTTP/1.1 200 OK is what a server says\n<p>: so it is"),
    ],
)
def test_a_page_that_begins_as_an_answer_does(head: str, body: str) -> None:
    """It keeps its own status and header: a text about HTTP is no message."""
    message = parse_http(f"HTTP/1.1 203 Mine\r\n{head}\r\n\r\n{body}".encode(), 999)
    assert message is not None
    assert (message.status, message.body) == (203, body.encode())
    assert len(message.headers) == 1


def test_files_in_capitals_and_archives(tmp_path: Path) -> None:
    """`.WARC.GZ` is found in a folder, and so are the members of a WACZ."""
    (tmp_path / "A.WARC.GZ").write_bytes(gzip.compress(warc("http://s/en/a", html("en"))))
    with zipfile.ZipFile(tmp_path / "b.wacz", "w") as archive:
        archive.writestr("archive/data.warc.gz", gzip.compress(warc("http://s/fr/a", html("fr"))))
        archive.writestr("pages/pages.jsonl", "{}")
    (tmp_path / "note.txt").write_text("x")
    assert [path.name for path in warc_files(tmp_path)] == ["A.WARC.GZ", "b.wacz"]
    pairs, counts = crawled_inputs(tmp_path, [tmp_path])
    assert (len(pairs), counts["responses"]) == (3, 2)


class Pipe(io.RawIOBase):
    """Bytes that come a few at a time and cannot be read again."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:  # noqa: D102
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # noqa: D102
        return self._data.readinto(buffer[:100])


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_pipe(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """A WARC that comes through a pipe is read; one that is none is an error."""
    data = b"".join(pack(warc(f"http://s/{code}/a", html(code))) for code in LANGUAGES)
    pairs, _ = crawled_inputs(tmp_path, [WarcStream(io.BufferedReader(Pipe(data)))])
    assert len(pairs) == 3
    with pytest.raises(DataError, match="no WARC"):
        list(WarcStream(io.BufferedReader(Pipe(b"what is this\n" * 20))).responses())


@pytest.mark.parametrize(
    "rule",
    [
        "s.org", "S.ORG.", "*.s.org", ".s.org", "http://s.org", "https://www.s.org/", "www.s.org:443", "*://s.org/*",
        "||s.org^", "s.org # asked for on 3 March",
        "s.org\u200b", "\uff53.org", "org", "//www.s.org", "www.s.org/a*", "HTTP://WWW.s.org/about/#top",
        "s.org/about",
    ],
)  # fmt: skip
def test_takedown_rules_in_every_spelling(tmp_path: Path, rule: str) -> None:
    """Hosts as lists, browsers' filters and addresses write them; pages with and without scheme: one page, none beside it."""
    path = tmp_path / "rules"
    path.write_text(f"{rule}\n")
    takedown = Takedown(path)
    assert takedown.covers("https://www.s.org/about")
    assert not takedown.covers("https://www.other.net/about")


def test_takedown_of_names_in_other_scripts(tmp_path: Path) -> None:
    """A name in its own letters, composed or not, is what DNS calls it, in rules and in addresses; IPv6."""
    path = tmp_path / "rules"
    for rule in ("bücher.example", "BU\u0308CHER.example", "xn--bcher-kva.example"):
        path.write_text(rule)
        takedown = Takedown(path)
        assert takedown.covers(canonical("http://www.bücher.example/x"))
        assert takedown.covers(canonical("http://xn--bcher-kva.example/"))
    path.write_text("[2001:db8::1]")
    assert Takedown(path).covers(canonical("http://[2001:DB8::1]:8080/x"))


@pytest.mark.parametrize(
    "rule", ["0.0.0.0 s.org", "s.org,", "'s.org'", "mailto:me@s.org", "s.org/a page", "*"]
)
def test_takedown_rules_that_can_cover_nothing(tmp_path: Path, rule: str) -> None:
    """They are refused by name: who wrote them wanted something taken down."""
    path = tmp_path / "rules"
    path.write_text(f"good.org\n{rule}\n")
    with pytest.raises(ConfigurationError, match="would cover nothing"):
        Takedown(path)


def arc(url: str, block: bytes, kind: str = "text/html", between: str = "") -> bytes:
    """One record of ARC; `between`: the fields that version 2 has before the length."""
    return f"{url} 93.184.216.34 20040613022511 {kind} {between}{len(block)}\n".encode() + block + b"\n"


ARC = [
    arc(
        "filedesc://old.arc",
        b"1 0 Archive\nURL IP-address Archive-date Content-type Archive-length\n",
        "text/plain",
    ),
    arc("dns:www.s.org", b"20040613\nwww.s.org. 300 IN A 93.184.216.34\n", "text/dns"),
    *(
        arc(
            f"http://www.s.org/{code}/old page",
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + html(code).encode(),
            between="200 - - 1234 old.arc " if code == "fr" else "",
        )
        for code in LANGUAGES
    ),
]


@pytest.mark.parametrize("name", ["old.arc", "old.arc.gz", "whole.arc.gz", "-"])
def test_arc(tmp_path: Path, name: str) -> None:
    """What was written before there was WARC, in both versions, plain, packed by record or as one, through a pipe."""
    records = [gzip.compress(one) for one in ARC] if name == "old.arc.gz" else ARC
    data = b"".join(records) if name != "whole.arc.gz" else gzip.compress(b"".join(records))
    if name == "-":
        pairs, counts = crawled_inputs(tmp_path, [WarcStream(io.BufferedReader(Pipe(data)))])
    else:
        pairs, counts = crawled(tmp_path, data, name=name)
    assert (len(pairs), counts["paired"]) == (3, 2)
    assert pairs[0]["crawled"] == "2004-06-13T02:25:11Z"
    assert pairs[0]["src_url"] == "http://www.s.org/en/old%20page"


def renamed(record: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A record with other letters in the names of its header's fields."""
    head, blank, block = record.partition(b"\r\n\r\n")
    version, *lines = head.split(b"\r\n")
    parts = [line.partition(b":") for line in lines]
    return (
        b"\r\n".join([version, *(change(name) + colon + value for name, colon, value in parts)])
        + blank
        + block
    )


def with_dictionary(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(dict_data=DICTIONARY).compress(data)


PAGES = [warc(f"http://s/{code}/a", html(code)) for code in LANGUAGES]
DICTIONARY = zstandard.train_dictionary(1024, [PAGES[number % 2] + bytes([number]) for number in range(250)])


@pytest.mark.parametrize("change", [bytes.lower, bytes.upper, bytes])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, with_dictionary])
@pytest.mark.parametrize("pipe", [False, True])
def test_headers_and_packings_of_other_writers(
    tmp_path: Path, change: Callable[[bytes], bytes], pack: Callable[[bytes], bytes], pipe: bool
) -> None:
    """Names of fields in small or large letters, which are equal; bzip2, xz, and zstd with a dictionary that lies beside it."""
    data = b"".join(pack(renamed(page, change)) for page in PAGES)
    (tmp_path / "dictionary").write_bytes(DICTIONARY.as_bytes())
    if pipe:
        pairs, counts = crawled_inputs(
            tmp_path, [WarcStream(io.BufferedReader(Pipe(data)), path=tmp_path / "-")]
        )
    else:
        pairs, counts = crawled(tmp_path, data)
    assert (len(pairs), counts["paired"]) == (3, 2)
    assert counts.get("damaged", 0) == 0


def test_what_is_no_archive(tmp_path: Path) -> None:
    """A WACZ that is no zip archive, or whose member is damaged, costs itself; pages without an address are counted."""
    (tmp_path / "a.wacz").write_bytes(b"PK\x03\x04 or so")
    with zipfile.ZipFile(tmp_path / "b.wacz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.warc", b"".join(PAGES))
    data = (tmp_path / "b.wacz").read_bytes()
    (tmp_path / "b.wacz").write_bytes(data[:300] + bytes(20) + data[320:])
    page = warc("file:///en/a.html", "", kind="resource", content="text/html", block=html("en").encode())
    (tmp_path / "c.warc").write_bytes(page + b"".join(PAGES))
    pairs, counts = crawled_inputs(tmp_path, [tmp_path])
    assert (len(pairs), counts["damaged"], counts["not_response"]) == (3, 2, 1)


def test_damaged_arc(tmp_path: Path) -> None:
    """Rubbish between records is counted once by name, what is cut off once; a file that grows gives each page once."""
    path = tmp_path / "a.arc"
    data = b"".join([*ARC[:3], b"rubbish\nand more\n", ARC[3]])
    path.write_bytes(data + b"http://www.s.org/ 1.2.3.4 2004061302")
    file = WarcFile(path)
    assert len(list(file.responses())) == 2
    assert file.skipped == {"not_response": 1, "truncated": 1}
    file, found = WarcFile(path), list[str]()
    for end in range(0, len(data) + 1, 5):
        path.write_bytes(data[:end])
        found += [response.url for response in file.responses(final=False)]
        file = WarcFile(path, file.position)
    assert len(found) == 2


HERE, THERE = "https://www.s.org/about", "https://www.s.org/a-propos"


@pytest.mark.parametrize(
    ("hreflang", "href"),
    [
        ("fr", THERE), ("FR-fr", THERE), ("fr_FR", THERE), (" fr ", f" {THERE} "), ("fra", THERE), ("fr-CA", "/a-propos"),
        ("fr", "http://www.s.org/a-propos"), ("fr", "https://s.org/a-propos"), ("fr", f"{THERE}/"),
        ("fr", "https://WWW.S.org/A-Propos"), ("fr", "a-propos?utm_source=x"), ("fr", "//www.s.org/a-propos#top"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", ["en", "fr"])
@pytest.mark.parametrize("by", ["link", "header"])
def test_links_to_translations(tmp_path: Path, hreflang: str, href: str, first: str, by: str) -> None:
    """Other scheme, slash, `www`, case, region, underscore; in the page or in a Link header; whichever page comes first."""
    link = f'<link rel="Alternate" hreflang="{hreflang}" href="{href}"><link rel=alternate hreflang=x-default href=/>'
    header = f'Link: </style.css>; rel=preload, <{href}>; rel="alternate"; hreflang="{hreflang}"\r\n'
    records = {
        "en": warc(HERE, html("en", link if by == "link" else ""), headers=header if by == "header" else ""),
        "fr": warc(THERE, html("fr")),
    }
    ordered = [records[first], *(record for code, record in records.items() if code != first)]
    assert len(crawled(tmp_path, *ordered)[0]) == 3


def test_one_page_for_several_regions(tmp_path: Path) -> None:
    """Of the pages that a link each names, the one that was fetched is the translation."""
    head = "".join(
        f'<link rel=alternate hreflang="fr-{region}" href="/{region}/x">' for region in ("be", "ca", "ch")
    )
    pairs, _ = crawled(
        tmp_path, warc("http://s.org/x", html("en", head)), warc("http://s.org/ca/x", html("fr"))
    )
    assert {pair["tgt_url"] for pair in pairs} == {"http://s.org/ca/x"}


def test_a_domain_for_each_language(tmp_path: Path) -> None:
    """`s.com/x` and `s.fr/x` are one page where nothing else says so; front pages of other owners are not."""
    pairs, counts = crawled(
        tmp_path, warc("http://www.s.com/x", html("en")), warc("http://s.fr/x", html("fr"))
    )
    assert (len(pairs), counts["waiting"]) == (3, 0)
    assert site_key(neutral("http://a.co.uk/x", "en"), "en") == site_key(neutral("http://a.ca/x", "fr"), "fr")
    assert site_key(neutral("http://a.com/", "en"), "en") is None
    assert site_key(neutral("http://a.de/x", "fr"), "fr") is None


@pytest.mark.parametrize(
    ("one", "language", "other"),
    [
        ("/eng/a", "fr", "/fre/a"),
        ("/eng/a", "de", "/deu/a"),
        ("/a.eng.html", "de", "/a.ger.html"),
        ("/a?l=en", "es", "/a?l=spa"),
    ],
)
def test_codes_of_three_letters_in_addresses(one: str, language: str, other: str) -> None:
    """Those of ISO 639-2, of terminology and of libraries."""
    assert neutral(f"http://s{one}", "en") == neutral(f"http://s{other}", language)


def test_a_template_that_names_another_language(tmp_path: Path) -> None:
    """A page whose markup says English and all of whose text is French is French; one whose URL says so is not."""
    link = '<link rel=alternate hreflang=fr href="http://s/x-2">'
    pairs, _ = crawled(
        tmp_path, warc("http://s/x-1", html("en", link)), warc("http://s/x-2", html("fr", lang="en"))
    )
    assert len(pairs) == 3
    other, counts = crawled(tmp_path, warc("http://s/en/y", html("fr", lang="en")), name="b.warc")
    assert counts["language_mismatch"] == 1
    assert len(other) == 3


@pytest.mark.parametrize(
    ("value", "forbidden", "reserved"),
    [
        ("", False, False), ("index, follow", False, False), ("noindex", True, False), ("NoIndex,nofollow", True, False),
        ("none", True, False), ("max-image-preview:none", False, False), ("max-image-preview: none", False, False),
        ("noarchive", True, False), ("otherbot: noindex, nofollow", False, False), ("*: noindex", True, False),
        ("unavailable_after: 25 Jun 2030 15:00:00 PST", False, False), ("noai, noimageai", False, True),
        ("all, noai", False, True), ("nosnippet noindex", True, False), ("noindexing", False, False),
        ("noindex;nofollow", True, False), ("follow / no-index", True, False), ("nocache", True, False), ("no-ai", False, True),
    ],
)  # fmt: skip
def test_robots_are_read_as_they_are_meant(value: str, forbidden: bool, reserved: bool) -> None:
    """Words are whole, values behind a colon are no words, and what is for another robot is not for us."""
    assert (is_forbidden([value]), is_reserved([value])) == (forbidden, reserved)


TDMREP = "http://s/.well-known/tdmrep.json"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"


@pytest.mark.parametrize(
    ("rules", "path", "reserved"),
    [
        ([("/", 1)], "/en/a", True), ([("/", 0), ("/en/", 1)], "/en/a", False), ([("/en/", 1), ("/", 0)], "/en/a", True),
        ([("/EN/", 1)], "/en/a", False), ([("*", "1")], "/en/a", True), ([("/*/a$", 1)], "/en/a", True),
        ([("/*/a$", 1)], "/en/a/b", False), ([("/*.html", 1)], "/en/a.html?x=1", True), ([("/en/a$", 1)], "/en/a", True),
        ([("/e%6E/%61", 1)], "/en/a", True), ([("/a%24", 1)], "/a$", True), ([("/a%24", 1)], "/a", False),
        ([("/é", 1)], "/%C3%A9", True), ([("en/", True)], "/en/a", True), ([("http://s/en/", 1)], "/en/a", True),
        ([("/", 2)], "/en/a", True), ([("/", "")], "/en/a", False), ([("/", None), (3, 1), ("/", 1)], "/en/a", True),
        ([], "/en/a", False),
        ([("/view?*", 1)], "/view?id=7", True), ([("/view?id=7$", 1)], "/view?id=7", True),
        ([("/view?id=7$", 1)], "/view?id=77", False),
        ([("/view?", 1)], "/view", False), ([("/*?*p=a/b", 1)], "/v?x=1&p=a%2Fb", True),
        ([("/v?p=é b", 1)], "/v?p=%C3%A9+b", True),
        ([("/v%3Fp", 1)], "/v%3Fp", True), ([("/v%3Fp", 1)], "/v?p=1", False), ([("/a%2Ab", 1)], "/a/b", False),
        ([("https://b/", 0), ("/", 1)], "/en/a", True), ([("HTTPS://www.s/", 0), ("/", 1)], "/en/a", False),
        ([("http://s:80*", 1)], "/en/a", True), ([("http://b/", 1)], "/en/a", False), ([("https://s?id", 1)], "/?id=7", True),
        ([("/go/https://b/", 1)], "/", False), ([("/go/https://b/", 1)], "/go/https://b/", True),
        ([("/**n***a$", 1)], "/en/a", True),
        ([(f"/{n}", 0) for n in range(1_000)], "/en/a", False), ([(f"/{n}", 0) for n in range(1_001)], "/en/a", True),
        ([(f"/{n}", 0) for n in range(1_001)], "/7", False), ([("/" + "a" * (500 << 10), 0)], "/en/a", True),
        ([("/" + "*" * 10_001, 0)], "/en/a", True),
        ([("/*a*a*a*a*a*a*a*a*a*a*a*a*b$", 1)], "/" + "a" * 2_000, False),
    ],
)  # fmt: skip
def test_a_site_reserves_text_and_data_mining_by_a_file(
    tmp_path: Path, rules: list[tuple[str, object]], path: str, reserved: bool
) -> None:
    """The first rule whose pattern fits holds; patterns are those of robots.txt."""
    said = [{"location": location, "tdm-reservation": value} for location, value in rules]
    response = next(responses(tmp_path, warc(TDMREP, b"", block=JSON + b"\xef\xbb\xbf" + orjson.dumps(said))))
    found = read_reservations(response)
    assert found is not None
    with Store(tmp_path / "store", LANGUAGES) as store:
        store.reservations.tell(TDMREP, found, 1)
        store.reservations.tell(TDMREP, [], 0)  # an older file changes nothing
        assert store.reservations.covers(canonical(f"https://www.s{path}")) == reserved
        assert not store.reservations.covers(canonical(f"http://other{path}"))


def test_either_host_of_a_site_may_reserve(tmp_path: Path) -> None:
    """What `www.s` says does not undo what `s` has said; a newer file of the same host does, and says so."""
    closed, opened = [Rule(["/"], False, True)], list[Rule]()
    with Store(tmp_path / "store", LANGUAGES) as store:
        told = store.reservations
        assert told.tell(TDMREP, closed, 1)
        assert told.tell(TDMREP.replace("//", "//www."), opened, 2)
        assert told.covers("http://s/a")
        assert told.covers("https://www.s/a")
        assert not told.tell(TDMREP, closed, 3)
        assert not told.tell(TDMREP, opened, 2)
        assert told.covers("http://s/a")
        assert told.tell(TDMREP, opened, 4)
        assert not told.covers("http://s/a")


def test_what_a_page_says_of_mining_comes_before_its_site_s_file(tmp_path: Path) -> None:
    """Pages that wait when the file comes go, whatever they say; later ones that say 0, in header or text, are used."""
    said = JSON + b'{"location": "/", "tdm-reservation": 1}'
    open_ = '<meta property="tdm-reservation" content="0">'
    pairs, counts = crawled(
        tmp_path,
        warc("http://s/en/early", html("en"), headers="tdm-reservation: 0\r\n"),
        warc("http://other/en/a", html("en")),
        warc(TDMREP, b"", block=said),
        warc("http://s/fr/early", html("fr")),
        warc("http://s/en/b", html("en"), headers="tdm-reservation: 0\r\n"),
        warc("http://s/fr/b", html("fr", open_)),
        warc("http://other/fr/a", html("fr")),
    )
    named = {name: counts.get(name) for name in ("reservations", "opted_out", "paired", "waiting")}
    assert named == {"reservations": 1, "opted_out": 2, "paired": 4, "waiting": 0}
    assert len(pairs) == 6


def test_what_is_no_file_of_reservations(tmp_path: Path) -> None:
    """A page that says that nothing was found, with status 200, and JSON of something else."""
    bodies = [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>Nothing here</p>",
        JSON + b"3",
        JSON + b'{"a": '[:4],
    ]
    bodies.append(b"HTTP/1.1 404 Gone\r\n\r\n[]")
    bodies.append(JSON + b"<p>" + b"x" * (500 << 10))
    found = responses(tmp_path, *(warc(TDMREP, b"", block=body) for body in bodies))
    assert [read_reservations(response) for response in found] == [None] * 5
    elsewhere = warc("http://s/en/tdmrep.json", b"", block=JSON + b"[]")
    assert [read_reservations(response) for response in responses(tmp_path, elsewhere)] == [None]


def responses(folder: Path, *records: bytes) -> Iterator[Response]:
    """Of a file of these records."""
    (folder / "r.warc").write_bytes(b"".join(records))
    return WarcFile(folder / "r.warc").responses()


def test_opt_outs_are_counted(tmp_path: Path) -> None:
    """Pages whose servers or authors reserve text and data mining are not used."""
    pairs, counts = crawled(
        tmp_path,
        warc("http://s/en/a", html("en"), headers="tdm-reservation: 1\r\n"),
        warc("http://s/en/b", html("en"), headers="X-Robots-Tag: noai\r\n"),
        warc("http://s/en/c", html("en", '<meta name="robots" content="noimageai">')),
        warc("http://s/en/e", html("en", '<meta name="TDM-Reservation" content="true">')),
        warc("http://s/en/f", html("en"), headers='TDM-Reservation: "1"\r\n'),
        warc("http://s/en/g", html("en", '<meta property="tdm-reservation" content="1">')),
        warc("http://s/en/h", html("en", '<meta http-equiv="X-Robots-Tag" content="noai">')),
        *(warc(f"http://s/{code}/d", html(code), headers="tdm-reservation: 0\r\n") for code in LANGUAGES),
    )
    assert (len(pairs), counts["opted_out"]) == (3, 7)


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        ("en,he", ("en", "he")), ("en,iw", ("en", "he")), ("EN-gb, fr_FR", ("en", "fr")), ("eng,fra", ("en", "fr")),
        ("en,no", ("en", "nb")), ("nb,en", ("nb", "en")), ("en,tl", ("en", "fil")), ("en,jw", ("en", "jv")),
        ("en,zh-Hant", ("en", "zh")),
    ],
)  # fmt: skip
def test_languages_are_understood_in_every_spelling(given: str, codes: tuple[str, str]) -> None:
    """Regions, underscores, three letters, codes of yesterday."""
    assert two_languages(given) == codes


@pytest.mark.parametrize(
    ("given", "hint"),
    [("en,xx", "xx"), ("en,fre", "did you mean fr"), ("en", "two"), ("en,en-US", "same"), ("en,*", r"\*"), ("en,fr,de", "two")],
)  # fmt: skip
def test_languages_that_can_never_be_found_are_refused(given: str, hint: str) -> None:
    """With the nearest that can."""
    with pytest.raises(ConfigurationError, match=hint):
        two_languages(given)


def test_a_text_has_shares() -> None:
    """Of two languages, by how much there is of each; a word or two tell nothing for sure."""
    found = shares([*SENTENCES["en"] * 4, *SENTENCES["fr"] * 4])
    assert set(found) == {"en", "fr"}
    assert 30 < found["fr"] < 70
    assert shares(["123 456"]) == {}
    assert is_surely(" ".join(SENTENCES["fr"]), "fr")
    assert not is_surely("Non", "fr")


def page(url: str, language: str) -> Page:
    body = html(language).encode()
    return read_page(Response(url, 1_770_000_000, 200, "text/html", None, (), None, (), "", body), LANGUAGES)


def test_links_of_the_text_name_translations(tmp_path: Path) -> None:
    """`rel="alternate"` with a language, as switchers of languages have it; without `rel` it is any link."""
    for rel, count in (('rel="alternate"', 3), ("", 0)):
        (tmp_path / f"{count}").mkdir()
        link = f'<p><a {rel} hreflang="fr" href="/propos">x</a></p></body>'
        english = html("en").replace("</body>", link)
        pairs, _ = crawled(
            tmp_path / f"{count}", warc("http://s/about", english), warc("http://s/propos", html("fr"))
        )
        assert len(pairs) == count


def sitemap(*entries: tuple[str, dict[str, str]]) -> str:
    """A sitemap with the links of each URL by language."""
    urls = "".join(
        f"<url><loc> {url} </loc>"
        + "".join(
            f'<xhtml:link rel="alternate" hreflang="{code}" href="{href}"/>' for code, href in links.items()
        )
        + "</url>"
        for url, links in entries
    )
    return (
        '<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" '
        f'xmlns:xhtml="http://www.w3.org/1999/xhtml">{urls}</urlset>'
    )


def utf_16(text: str) -> bytes:
    """With the encoding that the declaration then names."""
    return text.replace('"1.0"', '"1.0" encoding="UTF-16"').encode("utf-16")


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("entries", "kind", "pack"),
    [
        ((("http://s/about", {"en": "http://s/about", "fr-FR": "http://s/propos"}),), "text/xml", bytes),
        ((("http://s/about", {"fr": "/propos", "x-default": "/"}),), "application/xml", bytes),
        (
            (("http://s/about", {"fr": "/propos"}),),
            "text/html",
            lambda data: b"\n<!-- --><!-- x -->" * 99 + data[21:],
        ),
        ((("https://www.s/propos/", {"en_US": "https://s/About"}),), "application/x-gzip", gzip.compress),
        ((("http://s/about", {"fr": "/propos"}),), "text/xml", lambda data: utf_16(data.decode())),
    ],
)
def test_sitemaps_name_translations(
    tmp_path: Path,
    place: int,
    entries: tuple[tuple[str, dict[str, str]], ...],
    kind: str,
    pack: Callable[[bytes], bytes],
) -> None:
    """Before the pages, between them or behind them; packed, and with either side left out or spelt otherwise."""
    pages = [warc("http://s/about", html("en")), warc("http://s/propos", html("fr"))]
    block = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode() + pack(sitemap(*entries).encode())
    pages.insert(place, warc("http://s/sitemap.xml", b"", block=block))
    pairs, counts = crawled(tmp_path, *pages)
    assert len(pairs) == 3
    assert (counts["paired"], counts["sitemaps"], counts["waiting"]) == (2, 1, 0)


@pytest.mark.parametrize(
    "body",
    [
        sitemap(("http://other/about", {"en": "http://s/about", "fr": "http://s/propos"})),
        sitemap(("http://s/about", {"en": "http://s/about", "de": "http://s/propos"})),
        sitemap(("http://s/about", {"fr": "http://s/propos"})).replace("<urlset", "<sitemapindex"),
        "<urlset><url><loc>http://s/about</loc><<<",
    ],
)
def test_sitemaps_that_say_nothing(tmp_path: Path, body: str) -> None:
    """Of another site, for other languages, an index, or damaged: the pages wait."""
    pages = [warc("http://s/about", html("en")), warc("http://s/propos", html("fr"))]
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n" + body.encode()
    pairs, counts = crawled(tmp_path, warc("http://s/sitemap.xml", b"", block=block), *pages)
    assert (pairs, counts["waiting"]) == ([], 2)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_sitemap_that_never_ends_a_declaration(encoding: str) -> None:
    """Beginnings of declarations without an end cost no more than the bytes that they have (9 s for 10 MiB before)."""
    response = Response(
        "http://s/x", 1, 200, "text/xml", None, (), None, (), "", ("<?xml " * 500_000).encode(encoding)
    )
    before = time.process_time()
    assert read_sitemap(response, LANGUAGES, 1 << 24) is None
    assert time.process_time() - before < 1


def test_what_sitemaps_say_is_bounded(tmp_path: Path) -> None:
    """Ten times as much as pages may wait is kept, and nothing beyond the time that pages wait."""
    with Store(tmp_path / "s", LANGUAGES, most_waiting=2, wait=100) as store:
        store.begin()
        for day in range(3):
            told = [Told(f"http://s/{day}/{n}", "fr", f"http://s/{day}/{n}.fr") for n in range(15)]
            assert list(store.partners.tell(told, 1_000 + 200 * day)) == []
        assert store.partners.take(replace(page("http://s/2/3.fr", "fr"), key="x", date=1_400)) is None
        assert store.partners.take(replace(page("http://s/2/3", "en"), date=1_400)) is not None
        (kept,) = store._db.execute("SELECT count(*) FROM told").fetchone()
    assert kept <= 20


def test_a_paired_page_is_not_paired_again(tmp_path: Path) -> None:
    """A third page with the same key waits: what has its translation is no translation of another."""
    with Store(tmp_path / "s", LANGUAGES) as store:
        store.begin()
        assert store.partners.take(page("http://s/fr/a", "fr")) is None
        partner = store.partners.take(page("http://s/en/a", "en"))
        assert partner is not None
        assert partner.url == "http://s/fr/a"
        assert store.partners.take(page("http://s/a.fr.html", "fr")) is None
        assert store.partners.take(page("http://fr.s/a/", "fr")) is None
        assert store.partners.waiting == 2
        assert store.counts["paired"] == 2


def test_a_store_that_cannot_be_opened_is_closed(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Whatever is wrong with it: no connection is left, which Python 3.13 warns of when it is collected."""
    (tmp_path / "none").write_bytes(b"no database" * 100)
    with pytest.raises(IntegrityError):
        Store(tmp_path / "none", LANGUAGES)
    Store(tmp_path / "other", ("en", "de")).close()
    with pytest.raises(ConfigurationError):
        Store(tmp_path / "other", LANGUAGES)
    opened = [found for found in map(id, _connections()) if found]
    assert not opened


def _connections() -> list[sqlite3.Connection]:
    """Connections that are open, of all objects that the interpreter knows."""
    import gc

    found = []
    for one in gc.get_objects():
        if type(one) is sqlite3.Connection:
            try:
                _ = one.total_changes
            except sqlite3.ProgrammingError:
                continue
            found.append(one)
    return found


def test_addresses() -> None:
    """What spellings of one URL have in common."""
    assert {address(url) for url in ("http://s.org/A", "https://www.s.org/a/")} == {"s.org/a"}
    assert address("http://s.org/a?x=1") != address("http://s.org/a")


def test_nothing_is_raised_by_damage(tmp_path: Path) -> None:
    """Every byte of a file set to zero in turn: a record is lost at most, and what is lost is counted."""
    records = [warc(f"http://s/{code}/{name}", html(code)) for name in "ab" for code in LANGUAGES]
    whole = b"".join(map(gzip.compress, records))
    for at in range(0, len(whole), 23):
        path = tmp_path / f"{at}.warc.gz"
        path.write_bytes(whole[:at] + b"\0" + whole[at + 1 :])
        file = WarcFile(path)
        found = len(list(file.responses()))
        assert found >= 3, at
        assert found == 4 or file.skipped, (at, sys.version)


@pytest.mark.parametrize(
    "between",
    [
        b"\0" * 500 + b"rubbish\r\n",
        b"\0" * 5000,
        warc("http://s/en/b", html("en")).replace(b"Content-Length", b"X-Length"),
        warc("http://s/en/b", html("en")).replace(b"Content-Length: ", b"Content-Length: -"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damage_costs_what_is_damaged(tmp_path: Path, between: bytes, packed: bool) -> None:
    """Rubbish between records, and a record that does not say how long it is: the next one is read."""
    records = [warc("http://s/en/a", html("en")), between, warc("http://s/fr/a", html("fr"))]
    if packed:
        records = [gzip.compress(record) for record in records]
    pairs, counts = crawled(tmp_path, *records, name="a.warc.gz" if packed else "a.warc")
    assert len(pairs) == 3
    assert counts["damaged"] == 1


def test_a_base_is_what_links_stand_beneath(tmp_path: Path) -> None:
    """`<base>` moves a page's own links, and not those of its headers."""
    link = '<base href="/y/"><link rel="alternate" hreflang="fr" href="deux">'
    pairs, _ = crawled(
        tmp_path, warc("http://s/x/one", html("en", link)), warc("http://s/y/deux", html("fr"))
    )
    assert len(pairs) == 3


def test_one_address_in_two_languages(tmp_path: Path) -> None:
    """A server that answers by the reader's language: both answers are a pair, and nothing waits any more."""
    pairs, counts = crawled(tmp_path, warc("http://s/a", html("en")), warc("http://s/a", html("fr")))
    assert len(pairs) == 3
    assert counts["waiting"] == 0
