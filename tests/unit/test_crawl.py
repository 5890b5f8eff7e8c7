"""The crawl: URLs, pages, WARC files good and bad, pairing, and resuming after every kind of end."""

import gzip
import random
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

pytest.importorskip("fastwarc")

from connectors.crawl.blocks import NestingError, extract
from connectors.crawl.job import Crawl
from connectors.crawl.pages import SkippedError, decode, read_page
from connectors.crawl.publish import FilePublisher
from connectors.crawl.responses import Response
from connectors.crawl.store import Store
from connectors.crawl.takedown import Takedown
from connectors.crawl.urls import canonical, marked, neutral
from connectors.crawl.warc import WarcFile
from connectors.kafka.publisher import source_key
from craft_stream.cli import app
from craft_stream.demo.fetch import warc_record
from craft_stream.demo.site import Site
from craft_stream.errors import ConfigurationError, DataError

LANGUAGES = ("en", "fr")
START = datetime(2026, 1, 1, tzinfo=UTC)


def record(url: str, html: str | bytes, day: float = 0, status: str = "200 OK", headers: str = "") -> bytes:
    """One member of a WARC file."""
    body = html if isinstance(html, bytes) else html.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return warc_record(url, head.encode() + body, START + timedelta(days=day))


def site(pages: int = 12, seed: int = 1) -> list[bytes]:
    """Members of a crawl of the simulated site, its pages in an order of chance."""
    made = Site(pages)
    paths = [f"/{language}/plant-{number}.html" for language in LANGUAGES for number in range(pages)]
    random.Random(seed).shuffle(paths)
    return [record(f"http://site{path}", made.page(path) or "") for path in paths]


def crawl(
    folder: Path, *, store: str = "store", takedown: Path | None = None, wait: int = 30 * 86_400
) -> tuple[list[dict[str, object]], dict[str, int]]:
    """Pairs and counts of one pass over a folder's WARC files."""
    with Store(folder / store, LANGUAGES, wait=wait) as opened:
        with closing(FilePublisher(folder / f"{store}.jsonl", opened.identity)) as publisher:
            Crawl([folder], LANGUAGES, opened, publisher, takedown=Takedown(takedown)).run()
        counts = dict(opened.counts, waiting=opened.partners.waiting)
    lines = (folder / f"{store}.jsonl").read_bytes().splitlines()
    return [orjson.loads(line) for line in lines], counts


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("http://x.org/en/a.html", "http://x.org/fr/a.html"),
        ("http://x.org/en-US/a.html", "https://x.org/fr-FR/a.html"),
        ("http://x.org/a.html", "http://x.org/fr/a.html"),
        ("http://x.org/a.en.html", "http://x.org/a.fr.html"),
        ("http://x.org/a_en.html", "http://x.org/a_fr.html"),
        ("http://x.org/a.html.en", "http://x.org/a.html.fr"),
        ("http://www.x.org/a", "http://fr.x.org/a"),
        ("http://en.x.org/a", "http://fr.x.org/a"),
        ("http://x.org/a?lang=en&id=3", "http://x.org/a?id=3&lang=fr"),
        ("http://x.org/english/", "http://x.org/french/index.html"),
        ("http://x.org/us/en/a", "http://x.org/fr/fr/a"),
        ("http://x.org/US/en-us/a", "http://x.org/ca/fr/a"),
        ("http://x.org/us-en/a", "http://x.org/be-fr/a"),
        ("http://x.org/en/gb/a", "http://x.org/fr/be/a"),
        ("http://x.org/uk/en", "http://x.org/ch/fr"),
        ("http://x.org/a;lang=en", "http://x.org/a;lang=fr"),
        ("http://x.org/a?uselang=en", "http://x.org/a?uselang=fr"),
    ],
)
def test_translations_share_a_key(english: str, french: str) -> None:
    """Path segment, suffix, subdomain and query parameter tell a language, and taken out leave the same."""
    assert neutral(canonical(english), "en") == neutral(canonical(french), "fr")
    assert marked(canonical(french), "fr")


def test_other_pages_do_not_share_a_key() -> None:
    """A code that is part of a word, or of another language, stays."""
    assert neutral("http://x.org/french-fries.html", "fr") != neutral("http://x.org/fries.html", "fr")
    assert neutral("http://x.org/de/a", "fr") == "x.org/de/a"
    assert neutral("http://x.org/en/go/a", "en") == "x.org/go/a"
    assert neutral("http://x.org/a/us/en/b", "en") == "x.org/a/us/b"
    assert not marked("http://x.org/france/a", "fr")


def test_canonical() -> None:
    """Case, ports, fragments, escapes and tracking make no difference; what is no HTTP URL is empty."""
    assert canonical("HTTP://X.org:80/a b/%C3%A9?utm_source=q&k=1#top") == "http://x.org/a%20b/%C3%A9?k=1"
    assert canonical("../b?x", "http://x.org/a/c") == "http://x.org/b?x="
    assert [canonical(url) for url in ("mailto:a@b", "http://", "http://[x", "")] == [""] * 4


def test_blocks_know_their_place_and_links() -> None:
    """Inline elements run together, block elements stand apart, scripts go, links and anchors stay with their block."""
    found = extract(
        '<html lang="FR"><meta name="robots" content="NOINDEX"><link rel="alternate" hreflang="en" href="/en/">'
        "<body><p>a <b>b</b>c<br>d <a href='x.html'>e</a></p><script>no</script><ul><li id=a1>f"
        "<p><a name=g></a>g</p>h</li></ul>"
    )
    assert [(block.path, block.text) for block in found.blocks] == [
        ("p", "a bc d e"),
        ("ul/li", "f"),
        ("ul/li/p", "g"),
        ("ul/li", "h"),
    ]
    assert found.blocks[0].links == ("x.html",)
    assert [block.anchors for block in found.blocks] == [(), ("a1",), ("g",), ()]
    assert (found.language, found.alternates, found.robots) == ("fr", [("en", "/en/")], ["NOINDEX"])


@pytest.mark.parametrize(
    "html", ["<div>" * 50_000, "<div>" * 50_000 + "</div>" * 150_000, "<b><i>x</b>" * 150_000]
)
@pytest.mark.timeout(20)
def test_deep_pages_are_refused_in_time(html: str) -> None:
    """What would keep the parser busy for hours is refused at once."""
    with pytest.raises(NestingError):
        extract(html)


@pytest.mark.parametrize(
    ("body", "declared"),
    [
        ("é".encode(), None),
        ("é".encode(), "iso-8859-1"),
        ("é".encode("latin-1"), "iso-8859-1"),
        ("é".encode("latin-1"), "no-such-charset"),
        ("é".encode("utf-16"), None),
        (b'<meta charset="windows-1252">' + "é".encode("cp1252"), "utf-8"),
    ],
)
def test_charsets(body: bytes, declared: str | None) -> None:
    """Right, wrong, unknown and missing declarations all give the text."""
    assert "é" in decode(body, declared)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": 404}, "not_found"),
        ({"url": "ftp://x"}, "no_url"),
        ({"content_type": "application/pdf"}, "not_html"),
        ({"robots": ("noarchive",)}, "forbidden"),
        ({"robots": ("noai",)}, "opted_out"),
        ({"reserved": True}, "opted_out"),
        ({"body": b'<meta name="TDM-Reservation" content="1"><p>text'}, "opted_out"),
        ({"body": b'<meta name="robots" content="none"><p>text'}, "forbidden"),
        ({"body": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"}, "binary"),
        ({"body": b"<p>" * 3}, "no_text"),
        ({"body": b"<div>" * 2_000}, "too_deep"),
        ({"body": b"<p>" + b"Das ist ein deutscher Text, wie man ihn in Zeitungen lesen kann. " * 5}, "other_language"),
        (
            {"url": "http://x/fr/a", "body": b"<p>" + b"This is an English text as one reads it in newspapers. " * 5},
            "language_mismatch",
        ),
    ],
)  # fmt: skip
def test_what_is_no_page(change: dict[str, object], reason: str) -> None:
    """Every response that cannot be used is refused with its reason."""
    usual: dict[str, object] = {
        "url": "http://x/a", "date": 0, "status": 200, "content_type": "text/html", "charset": None, "robots": (),
        "reserved": False, "links": (), "digest": "", "body": b"<p>text",
    }  # fmt: skip
    with pytest.raises(SkippedError, match=f"^{reason}$"):
        read_page(Response(**{**usual, **change}), LANGUAGES)  # type: ignore[arg-type]


def cut(members: list[bytes]) -> Iterator[tuple[bytes, str]]:
    """Files that are damaged in one place, and how it is counted."""
    whole = b"".join(members)
    at = len(b"".join(members[:5]))
    yield whole[: len(whole) - 40], "truncated"
    yield whole[: at + 150] + whole[at + len(members[5]) :], "damaged"
    yield whole[: at + 60] + bytes(90) + whole[at + 150 :], "damaged"
    yield b"\xff" * 100 + whole, "damaged"
    plain = [gzip.decompress(member) for member in members]
    promised = plain[5].split(b"\r\nContent-Length: ")[1].split(b"\r\n")[0]
    wrong = plain[5].replace(
        b"\r\nContent-Length: " + promised, b"\r\nContent-Length: %d" % (int(promised) - 30), 1
    )
    yield b"".join([*plain[:5], wrong, *plain[6:]]), "damaged"


@pytest.mark.parametrize("which", range(5))
def test_damaged_files(which: int, tmp_path: Path) -> None:
    """Cut members, overwritten bytes and wrong lengths cost their record, are counted once, and end nothing."""
    members = site()
    data, reason = list(cut(members))[which]
    path = tmp_path / "a.warc"
    path.write_bytes(data)
    warc = WarcFile(path)
    found = [response.url for response in warc.responses()]
    assert len(members) - 1 <= len(found) <= len(members)
    assert dict(warc.skipped) == {reason: 1}


def with_line_feeds(record: bytes) -> bytes:
    """A plain record as ClueWeb writes it: the lines of its header, and those behind it, end by line feeds."""
    head, _, block = record.partition(b"\r\n\r\n")
    return head.replace(b"\r\n", b"\n") + b"\n\n" + block.removesuffix(b"\r\n\r\n") + b"\n\n"


def test_growing_file_that_is_kept_open(tmp_path: Path) -> None:
    """How its header lines are written is told once its first header is there, whatever part of it came first."""
    data = b"".join(map(gzip.decompress, site(2))).replace(b"Content-Length:", b"content-length:")
    path = tmp_path / "a.warc"
    for first in (1, 9, 31, 60):
        path.write_bytes(data[:first])
        warc = WarcFile(path)
        assert not list(warc.responses(final=False))
        path.write_bytes(data)
        assert len(list(warc.responses())) == len(site(2))
        assert not warc.skipped


@pytest.mark.parametrize(
    "form", [lambda data: data, gzip.decompress, lambda data: with_line_feeds(gzip.decompress(data))]
)
def test_growing_file(form: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """A file that is cut anywhere while it grows gives each response once, whatever the cuts, and nothing is counted."""
    data = b"".join(map(form, site(2)))
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"")
    warc, found = WarcFile(path), list[str]()
    for end in range(0, len(data) + 1, 7):
        path.write_bytes(data[:end])
        found.extend(response.url for response in warc.responses(final=False))
        warc = WarcFile(path, warc.position)
    path.write_bytes(data)
    found.extend(response.url for response in warc.responses())
    assert len(found) == len(set(found)) == 4
    assert not warc.skipped


@pytest.mark.parametrize("form", [bytes, with_line_feeds])
@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_files_without_members(
    packed: Callable[[bytes], bytes], form: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """Plain files, and files compressed as one whole, are read and resumed as well; with line feeds, too."""
    path = tmp_path / "a.warc"
    path.write_bytes(packed(b"".join(form(gzip.decompress(record)) for record in site())))
    warc, found = WarcFile(path), []
    for response in warc.responses():
        found.append(response.url)
        if len(found) == 7:
            break
    found.extend(response.url for response in WarcFile(path, warc.position).responses())
    assert len(found) == len(set(found)) == 24


def test_large_pages_and_bombs(tmp_path: Path) -> None:
    """A page of 50 MB, as it is or compressed to 50 kB, is counted and skipped."""
    page = b"<p>" + b"text " * 10_000_000
    path = tmp_path / "a.warc.gz"
    bomb = record("http://x/b", gzip.compress(page), headers="Content-Encoding: gzip\r\n")
    path.write_bytes(record("http://x/a", page) + bomb + record("http://x/c", "<p>text"))
    warc = WarcFile(path)
    assert [response.url for response in warc.responses()] == ["http://x/c"]
    assert dict(warc.skipped) == {"too_large": 2}


def test_brackets_of_wget(tmp_path: Path) -> None:
    """Angle brackets around the target URI go."""
    path = tmp_path / "a.warc.gz"
    path.write_bytes(record("<http://x/a>", "<p>text"))
    assert [response.url for response in WarcFile(path).responses()] == ["http://x/a"]


def test_pairs_have_their_provenance(tmp_path: Path) -> None:
    """Each pair says where it comes from, and no pair comes twice."""
    (tmp_path / "a.warc.gz").write_bytes(b"".join(site()))
    pairs, counts = crawl(tmp_path)
    assert counts["paired"] == 24
    assert counts["waiting"] == 0
    assert len({pair["id"] for pair in pairs}) == len(pairs) == counts["pairs"] > 60
    planted = next(pair for pair in pairs if str(pair["src"]).startswith("Cut back"))
    assert str(planted["tgt"]).startswith("Coupez les branches")
    assert str(planted["src_url"]).replace("/en/", "/fr/") == planted["tgt_url"]
    assert str(planted["src_digest"]).startswith("sha1:")
    assert planted["crawled"] == "2026-01-01T00:00:00Z"
    assert 0 < float(str(planted["alignment"])) <= 1


def test_order_of_pages_does_not_matter(tmp_path: Path) -> None:
    """The same pages in two orders give the same pairs."""
    found = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / "a.warc.gz").write_bytes(b"".join(site(seed=seed)))
        found.append(sorted(orjson.dumps(pair) for pair in crawl(folder)[0]))
    assert found[0] == found[1]


def test_second_pass_publishes_nothing(tmp_path: Path) -> None:
    """What has been read is not read again, and pages fetched again unchanged are duplicates."""
    (tmp_path / "a.warc.gz").write_bytes(b"".join(site()))
    first, _ = crawl(tmp_path)
    (tmp_path / "b.warc.gz").write_bytes(b"".join(site(seed=5)))
    second, counts = crawl(tmp_path)
    assert second == first
    assert counts["duplicate"] == 24


def test_pages_wait_for_their_time(tmp_path: Path) -> None:
    """A partner that comes after the time limit finds nobody, and who waited in vain is counted."""
    made = Site(3)
    members = [record("http://s/en/plant-1.html", made.page("/en/plant-1.html") or "", day=0)]
    members += [record(f"http://s/x/{k}", made.page("/en/plant-2.html") or "", day=9) for k in range(300)]
    members.append(record("http://s/fr/plant-1.html", made.page("/fr/plant-1.html") or "", day=9))
    (tmp_path / "a.warc.gz").write_bytes(b"".join(members))
    pairs, counts = crawl(tmp_path, wait=5 * 86_400)
    assert not [pair for pair in pairs if str(pair["src_url"]).endswith("plant-1.html")]
    assert counts["expired"] == 1
    assert crawl(tmp_path, store="patient")[1]["paired"] == 2


def test_store_is_bounded(tmp_path: Path) -> None:
    """Beyond its bound the store drops the page that waits longest, and counts it."""
    made = Site(6)
    with Store(tmp_path / "s", LANGUAGES, most_waiting=3) as store:
        store.begin()
        for number in range(6):
            path = f"/en/plant-{number}.html"
            body = (made.page(path) or "").encode()
            store.partners.take(
                read_page(
                    Response(f"http://s{path}", number, 200, "text/html", None, (), False, (), "", body),
                    LANGUAGES,
                )
            )
        assert store.partners.waiting == 3
        assert store.counts["crowded_out"] == 3


def test_paired_pages_are_forgotten_at_last(tmp_path: Path) -> None:
    """Of pages that are paired a bounded number is known: the file does not grow for ever."""
    (tmp_path / "a.warc.gz").write_bytes(b"".join(site(100)))
    with Store(tmp_path / "s", LANGUAGES, most_waiting=1) as store:
        for page in (
            read_page(response, LANGUAGES) for response in WarcFile(tmp_path / "a.warc.gz").responses()
        ):
            store.begin()
            store.partners.take(page)
            store.commit({}, [])
    import sqlite3

    with closing(sqlite3.connect(tmp_path / "s")) as database:
        (rows,) = database.execute("SELECT count(*) FROM pages").fetchone()
    assert rows < 60


def test_hreflang_comes_before_the_key(tmp_path: Path) -> None:
    """A page whose link names another page as its translation is not paired by its URL."""
    text = "<p>" + "This is an English text as one reads it in a newspaper. " * 3
    autre = "<p>" + "Ceci est un texte français comme on en lit dans un journal. " * 3
    members = [
        record("http://s/fr/a", autre),
        record("http://s/en/a", f'<link rel="alternate" hreflang="fr" href="/fr/b">{text}'),
        record("http://s/fr/b", autre),
    ]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(members))
    pairs, _ = crawl(tmp_path)
    assert {pair["tgt_url"] for pair in pairs} == {"http://s/fr/b"}


def test_takedown(tmp_path: Path) -> None:
    """Hosts, pages and beginnings on the list give no pair, nor do pages that wait when they are listed."""
    (tmp_path / "a.warc.gz").write_bytes(b"".join(site()))
    rules = tmp_path / "takedown.txt"
    rules.write_text("# asked on 3 May\nhttp://site/en/plant-1.html\nhttps://site/fr/plant-2*\nother.org\n")
    pairs, counts = crawl(tmp_path, takedown=rules)
    urls = {str(pair["src_url"]) for pair in pairs}
    assert counts["taken_down"] == 2
    assert not urls & {"http://site/en/plant-1.html", "http://site/en/plant-2.html"}
    rules.write_text("site\n")
    assert crawl(tmp_path, store="second", takedown=rules)[0] == []
    assert Takedown(rules).covers("https://www.site/")
    rules.unlink()
    with pytest.raises(ConfigurationError, match="takedown"):
        Takedown(rules)


class DiesError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("moment", ["commit", "publish", "published", "mark"])
def test_killed_at_every_moment(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed again and again before or after each durable step, the pairs are those of one undisturbed pass."""
    import connectors.crawl.job as job

    monkeypatch.setattr(job, "STEP_PAGES", 3)
    (tmp_path / "a.warc.gz").write_bytes(b"".join(site(20)))
    expected, _ = crawl(tmp_path, store="undisturbed")
    owner, name = {
        "commit": (Store, "commit"),
        "publish": (FilePublisher, "publish"),
        "published": (Store, "published"),
        "mark": (Path, "replace"),
    }[moment]
    real = getattr(owner, name)
    deaths = 0

    def once_in_a_while(*args: object, **kwargs: object) -> object:
        nonlocal deaths
        if deaths < 20 and chance.random() < 0.5:
            deaths += 1
            if chance.random() < 0.5:
                real(*args, **kwargs)
            raise DiesError
        return real(*args, **kwargs)

    chance = random.Random(moment)
    monkeypatch.setattr(owner, name, once_in_a_while)
    found: list[dict[str, object]] = []
    for _ in range(60):
        try:
            found, _ = crawl(tmp_path)
            break
        except DiesError:
            continue
    assert deaths >= 3
    assert found == expected


def test_store_and_output_belong_together(tmp_path: Path) -> None:
    """An output of another store, and a store of other languages, are refused."""
    (tmp_path / "a.warc.gz").write_bytes(b"".join(site(2)))
    crawl(tmp_path)
    (tmp_path / "store").unlink()
    with pytest.raises(ConfigurationError, match="another store"):
        crawl(tmp_path)
    with pytest.raises(ConfigurationError, match="en,fr"):
        Store(tmp_path / "store", ("en", "de"))


def test_an_old_copy_of_the_store_is_noticed(tmp_path: Path) -> None:
    """More published than the store knows of: it stops rather than publish twice."""
    with Store(tmp_path / "s", LANGUAGES) as store, pytest.raises(DataError, match="old copy"):
        store.unpublished(7)


def test_copies_of_a_sentence_share_a_key() -> None:
    """The key does not depend on case, spaces, or the other side."""
    one, other = b'{"src":"Hello  World","tgt":"a"}', b'{"src":"hello world","tgt":"b"}'
    assert source_key(one, "src") == source_key(other, "src") != source_key(b'{"src":"x"}', "src")


def test_a_crawl_that_follows_can_be_scraped(tmp_path: Path) -> None:
    """What /metrics says of a crawl under way is what is in its files, store and output."""
    import os
    import re
    import signal
    import time
    from http.client import HTTPConnection

    from prometheus_client.parser import text_string_to_metric_families

    made = Site(4)
    pages = [
        (f"http://s/{code}/plant-{k}.html", f"/{code}/plant-{k}.html") for code in LANGUAGES for k in range(4)
    ]
    members = [record(url, made.page(path) or "") for url, path in pages[:-1]]
    members += [
        record("http://s/gone", "<p>gone", status="404 Not Found"),
        record(pages[0][0], made.page(pages[0][1]) or ""),
    ]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(members))
    command = [
        sys.executable, "-c", "from craft_stream.cli import main; main()", "crawl", "--warc", str(tmp_path), "--follow",
        "--langs", "en,fr", "--store", str(tmp_path / "store"), "--output", str(tmp_path / "o.jsonl"), "--metrics-port", "0",
    ]  # fmt: skip
    begun = time.time()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        assert process.stderr is not None
        found = re.search(rb"http://127\.0\.0\.1:(\d+)", process.stderr.readline())
        assert found is not None

        def asked(path: str) -> str:
            with closing(HTTPConnection("127.0.0.1", int(found[1]))) as connection:
                connection.request("GET", path)
                return connection.getresponse().read().decode()

        def scraped() -> dict[str, float]:
            text = asked("/metrics")
            return {
                sample.name.removeprefix("craft_crawl_") + "".join(sample.labels.values()): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.name.startswith("craft_crawl_")
            }

        while (seen := scraped())["responses_total"] < len(members):
            time.sleep(0.1)
        outcomes = {
            name.removeprefix("pages_total"): value for name, value in seen.items() if "pages_total" in name
        }
        assert {name: value for name, value in outcomes.items() if value} == {
            "paired": 6,
            "not_found": 1,
            "duplicate": 1,
        }
        assert {"expired", "crowded_out", "damaged", "failed"} <= outcomes.keys()
        assert seen["pairs_total"] == len((tmp_path / "o.jsonl").read_bytes().splitlines()) > 10
        assert seen["waiting_pages"] == 1
        bodies = [made.page(path) or "" for _, path in [*pages[:-1], pages[0]]]
        assert seen["read_bytes_total"] == sum(len(body.encode()) for body in bodies) + len("<p>gone")
        assert begun <= seen["last_publish_timestamp_seconds"] <= time.time()
        assert asked("/livez") == "ok\n"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        process.stderr and process.stderr.close()


@pytest.mark.timeout(60)
def test_hostile_pages_are_counted(tmp_path: Path) -> None:
    """Pages of every hostile kind in one file: each is counted by its name, none ends the crawl, the good ones are paired."""
    made = Site(1)
    english, french = (made.page(f"/{code}/plant-0.html") or "" for code in LANGUAGES)
    members = [
        record("http://s/deep", "<div>" * 100_000),
        record("http://s/attributes", b"<p " + b'a="b" ' * 200_000 + b">"),
        record("http://s/distinct", "<p " + " ".join(f"a{k}='>'" for k in range(100_000)) + ">"),
        record("http://s/slashes", "<p " + "/".join(f"a{k}" for k in range(100_000)) + ">"),
        record("http://s/open", b"<" * 500_000),
        record("http://s/quotes", b"<a '\"" * 200_000),
        record("http://s/binary", bytes(range(256)) * 1_000),
        record("http://s/cut", gzip.compress(b"<p>text")[:-9], headers="Content-Encoding: gzip\r\n"),
        record("http://[s/url", "<p>text"),
        record("http://s/en/plant-0.html", english.encode("utf-16"), headers="X-Charset: none\r\n"),
        record("http://s/fr/plant-0.html", french.encode("latin-1", "xmlcharrefreplace")),
        record("http://s/links", "<p>" + "".join(f'<a href="/{k}" name="n{k}">x</a>' for k in range(20_000))),
    ]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(members))
    pairs, counts = crawl(tmp_path)
    assert counts["paired"] == 2
    assert {str(pair["tgt"]) for pair in pairs} >= {"Accueil", "Plantation et entretien"}
    assert counts["too_deep"] == 5
    assert counts["binary"] == counts["no_url"] == 1
    assert counts.get("failed", 0) == 0
    assert counts["responses"] + counts.get("not_http", 0) == len(members)


def german(number: int) -> bytes:
    text = f"Das ist die Seite {number} über Pflanzen, die im Garten wachsen und viel Wasser brauchen, wenn es heiß ist."
    return record(f"http://s/{number}.html", f"<html><body><p>{text}</p><p>{text}</p></body></html>")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no page was found: one WARC file holds no record"),
        (b"junk, of no format at all\n" * 50, "no page was found: one WARC file holds"),
        (
            b"".join(map(german, range(10))),
            "no pair was found in 10 pages: 10 other_language; pages in other languages than en and fr are in de (10): "
            "give --langs",
        ),
        (site()[0], "no pair was found in 1 page: 1 wait for a translation"),
    ],
)
def test_a_run_that_finds_nothing_says_what_it_found(tmp_path: Path, content: bytes, told: str) -> None:
    """Other languages, no WARC at all, no translation: a line on standard error, and another where all was read before."""
    (tmp_path / "a.warc").write_bytes(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    call = [
        "crawl", "--warc", str(tmp_path / "a.warc"), "--langs", "en,fr", "--store", str(tmp_path / "store"),
        "--output", str(tmp_path / "o.jsonl"),
    ]  # fmt: skip
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.stderr
    assert told in done.stderr
    assert ("craft-stream: nothing new" in CliRunner().invoke(app, call).stderr) == ("pair" in told)


def test_a_file_behind_standard_output_keeps_what_it_held(tmp_path: Path) -> None:
    """`crawl --output /dev/stdout >> FILE` adds its pairs, makes no mark, and says how it went on standard error."""
    made = Site(2)
    pages = [f"/{code}/plant-{k}.html" for code in LANGUAGES for k in range(2)]
    (tmp_path / "a.warc.gz").write_bytes(
        b"".join(record(f"http://s{page}", made.page(page) or "") for page in pages)
    )
    (tmp_path / "all.jsonl").write_text("before\n")
    craft = [sys.executable, "-c", "from craft_stream.cli import main; main()", "crawl", "--warc", "a.warc.gz",
             "--langs", "en,fr", "--store", "store", "--output", "/dev/stdout"]  # fmt: skip
    done = subprocess.run(
        ["sh", "-c", f"{shlex.join(craft)} >> all.jsonl"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    first, *rest = (tmp_path / "all.jsonl").read_text().splitlines()
    assert first == "before"
    assert len(rest) > 2
    assert all(orjson.loads(line)["src"] for line in rest)
    assert "pairs" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.warc.gz", "all.jsonl", "store"]
