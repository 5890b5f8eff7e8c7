"""The page of a worker: what it shows, who may see it, what it answers, and that hostile text is shown as text."""

from __future__ import annotations

import http.client
import math
import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import pytest
from test_report import HOSTILE, Elements
from test_runtime_worker import PARTITIONS, VALUES, configuration, filled, learned

from craft_stream.cli.questions import WorkerQuestions
from craft_stream.encoders import load_encoder
from craft_stream.errors import DataError
from craft_stream.events import PartitionState, Stage
from craft_stream.observe.http import Server
from craft_stream.observe.page import Page, Trouble
from craft_stream.observe.recent import PAIRS, Recent
from craft_stream.observe.recorder import Recorder
from craft_stream.ports.messages import Message
from craft_stream.reading.chunk import Chunk
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.settings import RecordSettings
from craft_stream.testing.memory import MemoryTransport
from craft_stream.topics.models import ModelStore
from craft_stream.worker.model_follower import FixedModel
from craft_stream.worker.worker import Worker


class Answers:
    """A worker's, and what stands for a search of its log."""

    def __init__(self, worker: Worker | None = None) -> None:
        self.worker, self.asked = worker, list[tuple[str | None, str | None]]()

    def explain(self, source: str, target: str) -> Mapping[str, Any]:
        """The worker's answer."""
        assert self.worker is not None
        return self.worker.explain(source, target)

    def find(self, identifier: str | None, place: str | None) -> Mapping[str, Any]:
        """Nothing."""
        self.asked.append((identifier, place))
        raise DataError(f"no record has the id {identifier}")


class Stopping(Recorder):
    """Lets the worker be asked once all is decided, and ends it then."""

    def __init__(self, ask: Any) -> None:
        super().__init__()
        self.ask, self.answered = ask, list[Any]()

    def beat(self) -> None:
        """Ask."""
        super().beat()
        self.ask(self)


@pytest.fixture(scope="module")
def watched() -> tuple[Recorder, Mapping[str, Any], Mapping[str, Any]]:
    """The recorder of a worker that decided everything, its answer on a pair, and that of a selector on a ledger of its own."""
    configured, hostile = configuration(), {"id": HOSTILE, "src": HOSTILE, "tgt": HOSTILE + "x" * 100_000}
    broker = filled(configured)
    for partition in range(PARTITIONS):
        broker.append(configured.kafka.input_topic, partition, orjson.dumps(hostile), b"")
    model, stop, answers = learned(), threading.Event(), list[Mapping[str, Any]]()

    def ask(recorder: Recorder) -> None:
        if broker.done(configured.kafka.input_topic) and not answers and recorder.ready() is None:
            thread = threading.Thread(
                target=lambda: answers.append(worker.explain("Close it.", "Fermez-le."))
            )
            thread.start()
            thread.join()
            stop.set()

    recorder = Stopping(ask)
    transport = MemoryTransport(broker, configured.kafka, {}, stop.set)
    store = ModelStore(transport.reader(), configured.kafka.model_topic)
    worker = Worker(
        configured, transport, load_encoder(), FixedModel(store, recorder, model, 1), recorder, stop
    )
    guard = threading.Timer(240, stop.set)
    guard.start()
    worker.run()
    guard.cancel()
    parameters = configured.parameters()
    fresh = Selector(parameters, load_encoder()).explain("Close it.", "Fermez-le.", Ledger(parameters), model)
    return recorder, answers[0], fresh


def page(recorder: Recorder, questions: Any = None, everyone: bool = False) -> Page:
    return Page(
        recorder, '[kafka]\ngroup_id = "craft"\n', everyone, lambda: [Trouble(0, "ERROR", HOSTILE)], questions
    )


@pytest.fixture
def served(watched: tuple[Recorder, Any, Any]) -> Iterator[Server]:
    server = Server(watched[0], "127.0.0.1", 0, page(watched[0], Answers()))
    yield server
    server.close()


def get(server: Server, path: str, **headers: str) -> tuple[int, Mapping[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request(
        "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read().decode()
    connection.close()
    return found


def test_it_shows_what_the_worker_did(watched: tuple[Recorder, Any, Any], served: Server) -> None:
    """Group, partitions, reasons with their meanings, pairs of both outcomes, versions: the numbers of the metrics."""
    status, headers, html = get(served, "/")
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert not re.search(r"(src|href)=\"?(https?:)?//", html)
    text = " ".join(Elements(html).text)
    decided = watched[0].registry.get_sample_value(
        "craft_decisions_total", {"outcome": "accepted", "reason": "accepted"}
    )
    assert decided
    assert f"{int(decided):,}" in text
    assert "Its words are not those of the target" in text
    assert "What each version decided" in text
    assert html.count('class="pair"') > 10


def test_a_look_costs_less_than_a_hundredth_of_a_core(watched: tuple[Recorder, Any, Any]) -> None:
    """A browser asks every two seconds: what is drawn for it takes less than 20 ms of CPU time."""
    drawn, taken = page(watched[0], Answers()), list[float]()
    for _ in range(6):
        start = time.thread_time()
        drawn.render({})
        taken.append(time.thread_time() - start)
    assert min(taken) < 0.02


def test_hostile_text_is_text(served: Server) -> None:
    """Markup and bidirectional marks in pairs, ids, errors, and in what is asked, make no element and no long line."""
    asked = urlencode({"id": HOSTILE})
    for path in ("/", f"/?{asked}"):
        html = get(served, path)[2]
        elements = Elements(html)
        assert elements.names.count("script") == 1
        assert not {"img", "iframe"} & set(elements.names)
        assert not {name for name in elements.attributes if name.startswith("on")}
        assert "\u202e" not in html.replace(quote("\u202e"), "").partition('<input name="id"')[0]
        assert "x" * 1_001 not in html
    assert len(html) < 200_000


def test_a_worker_explains_as_its_selector_does(watched: tuple[Recorder, Any, Any]) -> None:
    """A pair that is typed is judged by the model in force on the ledger of the partition."""
    _, answer, fresh = watched
    assert answer["model_version"] == fresh["model_version"]
    for part in ("domain", "quality", "distance", "features", "contributions"):
        assert answer[part] == fresh[part]
    assert answer["threshold"] != fresh["threshold"]  # what was decided has moved it


def test_questions_are_answered_on_the_page(watched: tuple[Recorder, Any, Any]) -> None:
    """Both kinds of answer, and a problem, are shown with their words."""
    recorder, answer, _ = watched
    questions = Answers()
    questions.explain = lambda source, target: answer  # type: ignore[method-assign]
    html = page(recorder, questions).render({"source": "Close it.", "target": "Fermez-le."}).decode()
    assert "nearness to the domain" in html
    assert "On partition 0 it would be" in html
    questions.find = lambda identifier, place: {  # type: ignore[method-assign]
        "place": place, "source": "a", "target": "b", "refused": None, "parts": answer, "differs": ["reason"], "written": {},
    }  # fmt: skip
    html = page(recorder, questions).render({"offset": "t/0/1"}).decode()
    assert 'placeholder="topic/partition/offset" value="t/0/1"' in html
    answer["margin"] = -math.inf
    assert (
        "inf"
        not in " ".join(Elements(page(recorder, questions).render({"offset": "t/0/1"}).decode()).text).split()
    )
    assert "<bdi>t/0/1</bdi> was" in html
    assert "differs in reason" in html
    questions.find = lambda identifier, place: {"place": "t/0/2", "refused": "not_json", "why_refused": "<b>"}  # type: ignore[method-assign]
    assert "holds no pair" in page(recorder, questions).render({"id": "x"}).decode()
    html = page(recorder, Answers()).render({"id": "x"}).decode()
    assert "no record has the id x" in html


def test_who_may_see_it(watched: tuple[Recorder, Any, Any], served: Server) -> None:
    """This machine, by `localhost` or in numbers; no name that somebody else gave it, and questions from no other site."""
    for host, status in (
        ("localhost", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
    ):
        assert get(served, "/", Host=host)[0] == status
        assert get(served, "/metrics", Host=host)[0] == 200
    assert get(served, "/?id=x", Sec_Fetch_Site="cross-site")[0] == 403
    assert get(served, "/?id=x", Sec_Fetch_Site="same-origin")[0] == 200
    everyone = Server(watched[0], "127.0.0.1", 0, page(watched[0], everyone=True))
    assert get(everyone, "/", Host="worker.example")[0] == 200
    everyone.close()
    none = Server(watched[0], "127.0.0.1", 0)
    status, _, said = get(none, "/")
    assert (status, said) == (404, "/metrics, /livez, /readyz or /state\n")
    assert get(served, "/none")[2] == "/, /metrics, /livez, /readyz or /state\n"
    assert f"http://localhost:{served.port}/" in get(served, "/", Host="evil.example")[2]
    none.close()


def test_what_no_browser_sends_is_refused_in_a_line(
    served: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    """Too many fields, a Host that is none: 400, and nothing of it in the worker's log."""
    for path, host in (("/?" + "a=1&" * 9, "localhost"), ("/", "[::1"), ("/?id=%FF%00", "[x]")):
        status, _, text = get(served, path, Host=host)
        assert (status, text.count("\n")) == (400, 1)
    assert get(served, "/?id=%00&offset=%0A&source=%ED%A0%80")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_name_that_no_process_can_be_given() -> None:
    """NUL in an id is a problem in words."""
    with pytest.raises(DataError, match="NUL"):
        WorkerQuestions(None, None).find("a\0b", None)


def test_it_is_drawn_before_anything_happened() -> None:
    """A process that waits for its brokers has a page that says so."""
    html = page(Recorder()).render({}).decode()
    assert "Not ready: the worker has not joined its group" in html
    assert "Why this pair" not in html


def test_it_is_drawn_at_every_moment_of_a_life() -> None:
    """After each event, whatever is not known yet, and with a header that lacks what older releases did not write."""
    recorder, none = Recorder(), Decisions.none()
    events: list[tuple[str, tuple[Any, ...]]] = [
        ("started", ("craft", "crawl.pairs", "abcd", 0.05)),
        ("partition_state", (0, PartitionState.ASSIGNED)),
        ("partition_state", (0, PartitionState.RESTORING)),
        ("restoring", (0, 0.5)),
        ("joined", (frozenset({0}),)),
        ("waiting", ("no version of the model yet",)),
        ("settings", (2, "abcd", 0.05, [f"budget.rate: {HOSTILE}"])),
        ("model", ({"version": 1}, 10)),
        (
            "model",
            (
                {
                    "version": 2,
                    "target_version": "a",
                    "target_left_out": {"copy": 3},
                    "published_at_ms": 10**12,
                },
                10,
            ),
        ),
        ("learner", (True, 7)),
        ("partition_state", (0, PartitionState.ACTIVE)),
        ("decided", (0, none, 0)),
        ("dead_letters", (0, Stage.DECODE, "not_json", 2)),
        ("decided", (0, decisions(1, [Reason.COPY]), 0)),
        ("lag", (0, 5, 70_000.0)),
        ("error", (HOSTILE,)),
        ("stopped", ()),
    ]
    shown = page(recorder)
    for name, arguments in events:
        getattr(recorder, name)(*arguments)
        html = shown.render({}).decode()
        assert "<script>alert" not in html, name
    assert "2 not_json" in html
    assert "copy" in html
    assert "19 h" in html


def decisions(model: int, reasons: list[Reason]) -> Decisions:
    none = Decisions.none()
    values = {name: getattr(none, name) for name in none.__slots__}
    values |= {name: values[name].repeat(0) for name in values}
    n = len(reasons)
    for name, array in values.items():
        values[name] = array.__class__((n,), array.dtype)
        values[name][:] = 0
    values["reason"][:] = reasons
    values["model_version"][:] = model
    return Decisions(**values)


def test_a_version_is_set_beside_the_one_before() -> None:
    """Shares that moved most come with both numbers; a rollback is set beside the version that it took back."""
    recent = Recent()
    recent.decided(decisions(1, [Reason.ACCEPTED, Reason.OFF_DOMAIN]), 1.0)
    recent.decided(decisions(2, [Reason.ACCEPTED] * 3 + [Reason.COPY]), 2.0)
    newest, oldest = recent.versions()
    assert (newest["model"], newest["accepted"], oldest["moved"]) == (2, 0.75, [])
    assert newest["moved"][0] == {"reason": "off_domain", "from": 0.5, "to": 0.0}
    recent.decided(decisions(1, [Reason.COPY]), 3.0)
    assert [row["model"] for row in recent.versions()] == [1, 2]


def test_a_part_that_several_versions_decided_is_counted_by_each() -> None:
    """Model and settings change within it, each at its own place."""
    recent, part = Recent(), decisions(1, [Reason.ACCEPTED] * 10)
    part.model_version[4:], part.settings_version[7:] = 2, 1
    recent.decided(part, 1.0)
    found = [(row["model"], row["settings"], row["pairs"]) for row in recent.versions()]
    assert found == [(2, 1, 3), (2, 0, 3), (1, 0, 4)]


def test_throughput_is_of_whole_seconds() -> None:
    """Counts stand at their seconds, the one under way is left out."""
    recent = Recent()
    for now, count in ((10.2, 3), (10.9, 2), (12.0, 7), (13.5, 9)):
        recent.decided(decisions(1, [Reason.ACCEPTED] * count), now)
    assert recent.throughput(13.9)[-4:].tolist() == [0, 5, 0, 7]


def test_a_fast_stream_is_looked_at_now_and_then(watched: tuple[Recorder, Any, Any]) -> None:
    """Where all pairs that are shown are of this second, no others are made; on a slow stream none is left out."""
    messages = [Message(value, k, "t") for k, value in enumerate(VALUES[:40])]
    chunk = Chunk.read(messages, RecordSettings())
    made, recent = decisions(1, [Reason.ACCEPTED] * len(chunk.pairs)), Recent()
    recent.pairs(chunk, made, 0.0)
    first = recent.last(True)
    assert len(first) == PAIRS
    recent.pairs(chunk, made, 1.5)
    assert recent.last(True) == first
    recent.pairs(chunk, made, 2.0)
    assert recent.last(True)[0] is not first[0]
