"""The page of a running worker in a real browser: it lives, it answers, and it reads well."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson
import pytest
from playwright.sync_api import Page

from craft_stream.cli.config import toml
from craft_stream.encoders import load_encoder
from craft_stream.errors import DataError
from craft_stream.observe import page as pages
from craft_stream.observe.http import Server
from craft_stream.observe.recorder import Recorder
from craft_stream.settings import Settings
from craft_stream.testing.memory import MemoryBroker, MemoryTransport
from craft_stream.topics.model_writer import publish
from craft_stream.topics.models import ModelStore
from craft_stream.worker.model_follower import ModelFollower
from craft_stream.worker.worker import Worker
from tests.browser.conftest import Open, picture, reads_well
from tests.browser.test_report import HOSTILE
from tests.unit.toy import Toy, versions


class Running(NamedTuple):
    """A worker and its page; `feed` appends so many pairs to its stream."""

    address: str
    feed: Callable[[int], None]


class Questions:
    """Those of a worker; a search of its log would need a broker, see tests/integration/test_explain.py."""

    def __init__(self, worker: Worker) -> None:
        self.explain = worker.explain

    def find(self, identifier: str | None, place: str | None) -> Mapping[str, Any]:
        """Says so."""
        raise DataError(f"no record has the id {identifier or place}")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """A worker on a broker in memory, whose stream has hostile pairs."""
    settings = Settings(kafka={"max_poll_records": 200, "commit_interval_ms": 1}, learner={"mode": "off"})
    kafka, stop, recorder, toy, rng = settings.kafka, threading.Event(), Recorder(), Toy(), random.Random(3)
    several = (kafka.input_topic, kafka.accepted_topic, kafka.decisions_topic, kafka.dead_letter_topic)
    topics = dict.fromkeys([*several, kafka.ledger_topic, kafka.model_topic], 2)
    broker = MemoryBroker(topics | {kafka.target_topic: 1})
    number = itertools.count()

    def append(at: int, source: str, translation: str, host: str = "host.example") -> None:
        record = {"id": f"r{at}", "src": source, "tgt": translation, "url": f"https://{host}/"}
        broker.append(kafka.input_topic, at % 2, orjson.dumps(record), b"")

    def feed(count: int) -> None:
        for at in itertools.islice(number, count):
            append(at, *toy.pair(rng, rng.random() < 0.1))
        for at in itertools.islice(number, 2):
            append(at, HOSTILE, f"{HOSTILE} {at}", HOSTILE)

    transport = MemoryTransport(broker, kafka, {}, lambda: None)
    store = ModelStore(transport.reader(), kafka.model_topic)
    models, output = ModelFollower(store, recorder, 0.05), transport.output("learner")
    publish(output, kafka.model_topic, versions()[0])
    feed(2_000)
    worker = Worker(settings, transport, load_encoder(), models, recorder, stop)
    thread = threading.Thread(target=worker.run)
    thread.start()
    while not broker.done(kafka.input_topic):
        time.sleep(0.05)
    publish(output, kafka.model_topic, versions()[1])
    time.sleep(0.5)
    feed(4_000)
    page = pages.Page(
        recorder, toml(settings), False, lambda: [pages.Trouble(1e9, "ERROR", HOSTILE)], Questions(worker)
    )
    server = Server(recorder, "127.0.0.1", 0, page)
    yield Running(f"http://127.0.0.1:{server.port}/", feed)
    server.close()
    stop.set()
    thread.join(60)


@pytest.fixture
def page(opened: Open, running: Running) -> Page:
    """The page, once everything is decided."""
    found = opened(running.address)
    found.wait_for_function("document.querySelectorAll('#live-pairs .pair').length > 12", timeout=60_000)
    return found


def test_it_is_read_at_every_width_by_everyone(page: Page) -> None:
    """Nothing runs over the side, axe-core finds nothing, hostile text has done nothing, also while an answer is shown."""
    reads_well(page)
    assert page.title() == "craft"
    assert page.get_by_text("What each version decided here").is_visible()
    assert page.locator("main img, main iframe").count() == 0
    picture(page, "page")


def test_it_lives(page: Page, running: Running) -> None:
    """What is decided shows without a reload; a pause holds it, until it is over."""
    before = page.locator("#live-reasons").text_content()
    running.feed(400)
    page.wait_for_function(
        "before => document.querySelector('#live-reasons').textContent !== before",
        arg=before,
        timeout=20_000,
    )
    button = page.get_by_role("button", name="Pause")
    button.click()
    held = page.locator("#head").text_content()
    running.feed(400)
    page.wait_for_timeout(5_000)
    assert page.locator("#head").text_content() == held
    page.get_by_role("button", name="Go on").click()
    page.wait_for_function(
        "held => document.querySelector('#head').textContent !== held", arg=held, timeout=20_000
    )


def test_it_says_why(page: Page) -> None:
    """Two sentences that are typed are judged by the worker; what cannot be found is said; both read well."""
    page.get_by_label("Source").fill("Close it <b>now</b>.")
    page.get_by_label("Target").fill("Fermez-le maintenant.")
    page.get_by_role("button", name="Ask").first.click()
    answer = page.locator(".answer")
    answer.wait_for(timeout=20_000)
    assert "On partition 0 it would be" in (answer.text_content() or "")
    assert "nearness to the domain" in (answer.text_content() or "")
    assert answer.locator(".side b").count() == 0
    reads_well(page)
    for number, (label, asked) in enumerate(
        {"Id of a record": "nothing", "Its place": "crawl/0/7"}.items(), 1
    ):
        page.get_by_label(label).fill(asked)
        page.get_by_role("button", name="Ask").nth(number).click()
        page.get_by_text(f"no record has the id {asked}").wait_for(timeout=20_000)
