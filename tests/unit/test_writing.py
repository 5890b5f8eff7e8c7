"""What is written: accepted records, decisions, rejected records, dead letters."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import orjson

from craft_stream import __version__, meanings
from craft_stream.events import Stage
from craft_stream.ports.messages import Message
from craft_stream.reading.chunk import Chunk
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.settings import RecordSettings
from craft_stream.writing.accepted import accepted_records
from craft_stream.writing.dead_letters import dead_letter_records, refused
from craft_stream.writing.decisions import decision_lines, decision_records
from craft_stream.writing.rejected import rejected_lines


def record(name: str) -> bytes:
    return orjson.dumps({"id": name, "src": "a", "tgt": "b"})


def chunk_of(values: list[bytes | None], first: int = 0, **more: object) -> Chunk:
    """Records from offset `first` on."""
    messages = [Message(value, first + k, "t", **more) for k, value in enumerate(values)]
    return Chunk.read(messages, RecordSettings())


def decided() -> Decisions:
    """A pair that is accepted and one that is not."""
    one = np.ones(2, np.float32)
    return Decisions.of(
        np.array([5, 6]),
        reason=np.array([Reason.ACCEPTED, Reason.OFF_DOMAIN], np.uint8),
        score=np.array([2.1, -0.3], np.float32),
        threshold=np.array([1.5, -np.inf], np.float32),
        cluster=np.array([3, 0], np.int16),
        domain=one,
        quality=np.array([-0.1, np.nan], np.float32),
        dual=one,
        context=one,
        model_version=4,
        settings_version=2,
        parameters=0xAB,
    )


# What holds no pair stands between those that do, so that rows of messages and numbers of pairs differ.
MIXED = [b"broken\nline", record("one"), None, record("two")]


def test_an_accepted_record_says_what_was_decided() -> None:
    """Bytes, key and own headers stay; headers of ours from an earlier selection are replaced."""
    headers = (("a", b"1"), ("craft-score", b"old"))
    (written,) = accepted_records(chunk_of(MIXED, 5, key=b"k", headers=headers), decided())
    assert (written.value, written.key) == (record("one"), b"k")
    assert list(written.headers) == [
        ("a", b"1"),
        ("craft-decision-id", b"t/0/6"),
        ("craft-score", repr(float(np.float32(2.1))).encode()),
        ("craft-cluster", b"3"),
        ("craft-model-version", b"4"),
        ("craft-reason", b"accepted"),
        ("craft-params", b"00000000000000ab"),
    ]


def test_decisions_are_written_under_their_places() -> None:
    """Some of them: the line of each under the place of its record."""
    (written,) = decision_records(chunk_of(MIXED), decided(), np.array([1]))
    line = orjson.loads(written.value or b"")
    assert (written.key, line["decision_id"], line["id"]) == (b"t/0/3", "t/0/3", "two")


def test_a_file_whose_name_is_no_utf_8_has_decisions() -> None:
    """A decision names it as far as JSON can."""
    message = Message(b'{"src": "a", "tgt": "b"}', 3, "caf\udce9.jsonl")
    line = orjson.loads(decision_lines(Chunk.read([message], RecordSettings()), decided(), np.array([0]))[0])
    assert list(line) == list(meanings.DECISION)
    assert line["decision_id"] == line["id"] == "caf\ufffd.jsonl/0/3"


def test_rejected_records_are_kept_in_order_a_line_each() -> None:
    """What is no pair stands among the rejected; a newline inside does not end a line; `cut -f3-` gives the records back."""
    assert rejected_lines(chunk_of([*MIXED, b"{}"]), decided()) == [
        b"not_json\tt/0/0\tbroken\\nline\n",
        b"tombstone\tt/0/2\t\n",
        b"off_domain\tt/0/3\t" + record("two") + b"\n",
        b"missing_side\tt/0/4\t{}\n",
    ]
    odd = Chunk.read([Message(b"x", 7, "caf\udce9.jsonl")], RecordSettings())
    assert rejected_lines(odd, Decisions.none()) == [b"not_json\tcaf\xe9.jsonl/0/7\tx\n"]


def test_what_is_refused_becomes_dead_letters() -> None:
    """Each with its own message, reason and text; one without key and value gets a key, as a topic needs one of them."""
    chunk = chunk_of(MIXED)
    letters = refused(chunk)
    assert [letter.message for letter in letters] == [chunk.messages[0], chunk.messages[2]]
    assert [(letter.stage, letter.reason) for letter in letters] == [
        (Stage.DECODE, "not_json"),
        (Stage.DECODE, "tombstone"),
    ]
    assert [letter.error for letter in letters] == [refusal.text for _, refusal in chunk.refused]
    assert [written.key for written in dead_letter_records(letters)] == [None, b""]


def test_decision_json() -> None:
    """A decision has every part of its score; float32 values survive, what is not finite is null."""
    accepted, rejected = (
        orjson.loads(line)
        for line in decision_lines(chunk_of([record("x"), record("x")], 5), decided(), np.arange(2))
    )
    assert accepted["outcome"] == accepted["reason"] == "accepted"
    assert (rejected["outcome"], rejected["reason"]) == ("rejected", "off_domain")
    assert np.float32(accepted["score"]) == np.float32(2.1)
    assert rejected["quality"] is None
    assert rejected["threshold"] is None
    assert accepted["cluster"] == 3
    assert accepted["model_version"] == 4
    assert (accepted["decision_id"], accepted["id"], accepted["parameters"]) == ("t/0/5", "x", f"{0xAB:016x}")


def test_the_reference_has_every_field_of_a_decision() -> None:
    """The table of docs/reference/reasons.md has a row for each field that is written, in that order."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "reasons.md").read_text("utf-8")
    section = page.partition("## A decision, field by field")[2].partition("##")[0]
    (line,) = decision_lines(chunk_of([record("x"), record("x")], 5), decided(), np.arange(1))
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(orjson.loads(line))


def test_decisions_are_written_as_one_by_one() -> None:
    """Many lines at once are those of orjson, number by number: the shortest that give back the float32, null if not finite."""
    rng = np.random.default_rng(0)
    n = 500
    numbers = [rng.integers(0, 2**32, n, dtype=np.uint32).view(np.float32) for _ in range(6)]
    decisions = Decisions(
        np.arange(n),
        rng.integers(0, 9, n).astype(np.uint8),
        *numbers[:2],
        rng.integers(-1, 64, n).astype(np.int16),
        *numbers[2:],
        np.full(n, 7),
        np.full(n, 3),
        rng.integers(0, 2**63, n).astype(np.uint64),
    )
    rows = np.flatnonzero(rng.random(n) < 0.5)
    names = [f'{row} "\\\u2028é' for row in range(n)]
    chunk = chunk_of([record(name) for name in names])
    for row, line in zip(rows.tolist(), decision_lines(chunk, decisions, rows), strict=True):
        reason = Reason(int(decisions.reason[row]))
        cluster = int(decisions.cluster[row])
        expected = {
            "decision_id": f"t/0/{row}",
            "id": names[row],
            "outcome": "accepted" if reason is Reason.ACCEPTED else "rejected",
            "reason": reason.label,
            "score": decisions.score[row],
            "threshold": decisions.threshold[row],
            "cluster": cluster if cluster >= 0 else None,
            "domain": decisions.domain[row],
            "quality": decisions.quality[row],
            "dual": decisions.dual[row],
            "context": decisions.context[row],
            "model_version": 7,
            "settings_version": 3,
            "parameters": f"{decisions.parameters[row]:016x}",
            "release": __version__,
            "format": 2,
        }
        assert line == orjson.dumps(expected, option=orjson.OPT_SERIALIZE_NUMPY)
