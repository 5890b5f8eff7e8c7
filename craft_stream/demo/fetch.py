"""A fetcher that writes WARC files as it goes, for one small site."""

from __future__ import annotations

import http.client
import io
import re
import time
import uuid
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from fastwarc import GzipWriter, WarcRecord, WarcRecordType

from connectors.crawl.urls import canonical


def fetch(start: str, path: Path, rate: float | None = None) -> int:
    """Fetch a site by its links into a WARC file, each record written when its page has come.

    Args:
        start: URL to begin at; only its host is visited.
        path: the WARC file, `.warc.gz`; appended to.
        rate: pages a second, at most.

    Returns:
        How many pages were written.
    """
    host = urlsplit(start).netloc
    queue, seen = deque([canonical(start)]), {canonical(start)}
    connection = http.client.HTTPConnection(host, timeout=10)
    due, written = time.monotonic(), 0
    with path.open("ab") as file:
        while queue:
            if rate:
                time.sleep(max(0.0, due - time.monotonic()))
                due += 1 / rate
            url = queue.popleft()
            connection.request("GET", urlsplit(url).path)
            answer = connection.getresponse()
            body = answer.read()
            head = f"HTTP/1.1 {answer.status} {answer.reason}\r\n" + "".join(
                f"{name}: {value}\r\n" for name, value in answer.getheaders()
            )
            file.write(warc_record(url, head.encode("latin-1") + b"\r\n" + body, datetime.now(UTC)))
            file.flush()
            written += 1
            for link in re.findall(r'href="([^"]+)"', body.decode("utf-8", "replace")):
                found = canonical(link, url)
                if found not in seen and urlsplit(found).netloc == host:
                    seen.add(found)
                    queue.append(found)
    connection.close()
    return written


def warc_record(url: str, message: bytes, date: datetime) -> bytes:
    """A response record, a gzip member of its own.

    Args:
        url: that was asked for.
        message: status line, header and body as they came.
        date: when.
    """
    record = WarcRecord()
    record.init_headers(WarcRecordType.response, uuid.uuid4().urn.encode())
    record.record_date = date
    record.headers["WARC-Target-URI"] = url
    record.headers["Content-Type"] = "application/http; msgtype=response"
    record.is_http = True
    record.set_bytes_content(message)
    buffer = io.BytesIO()
    writer = GzipWriter(buffer)
    record.write(writer)
    writer.close()
    return buffer.getvalue()
