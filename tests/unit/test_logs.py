"""Logs of long-running commands: levels, JSON, no secrets, nothing of the client's."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from craft_stream.cli.logs import begin_logging, tell_end
from craft_stream.errors import AccessError
from craft_stream.settings import Settings

SECRET = "hush-hush"  # noqa: S105


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging as it was before."""
    root, client = logging.getLogger(), logging.getLogger("kafka")
    before = root.handlers[:], root.level, client.propagate, client.level
    yield
    root.handlers[:], root.level = before[0], before[1]
    client.propagate, client.level = before[2], before[3]


def settings(**observe: str) -> Settings:
    login = {
        "security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_plain_username": "me", "sasl_plain_password": SECRET,
    }  # fmt: skip
    return Settings(kafka={"security": login}, observe=observe)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_service_ends_at_once() -> None:
    """With its code and all that it has said; no thread and nothing that is done on the interpreter's way out keeps it."""
    code = (
        "import atexit, threading, time; from craft_stream.cli.service import leave; "
        "atexit.register(time.sleep, 60); threading.Thread(target=time.sleep, args=(60,)).start(); print('said'); leave(7)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=40)
    assert (done.returncode, done.stdout, done.stderr) == (7, "said\n", "")


def test_json_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Level, logger, message and time; a trace stays in its line; the last line has the exit code."""
    configured = settings(log_format="json")
    begin_logging(configured)
    log = logging.getLogger("craft_stream.worker.loop")
    log.info("partitions %s", [1])
    try:
        raise ValueError("x")
    except ValueError:
        log.exception("failed\nbadly")
    tell_end(configured, AccessError("no"))
    first, second, last = map(json.loads, lines(capsys))
    assert (first["level"], first["logger"], first["message"]) == (
        "info", "craft_stream.worker.loop", "partitions [1]",
    )  # fmt: skip
    assert "ValueError: x" in second["error"]
    assert (last["message"], last["code"]) == ("no", 77)


@pytest.mark.parametrize("format_", ["text", "json"])
def test_no_secret_is_logged(format_: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A password that gets into a message is masked, whoever logs it."""
    begin_logging(settings(log_format=format_, log_level="debug"))
    logging.getLogger("kafka.sasl").warning("login with %s failed", SECRET)
    told = "\n".join(lines(capsys))
    assert "login with ********** failed" in told
    assert SECRET not in told


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    """Below the level nothing is logged; the client speaks at debug only."""
    begin_logging(settings(log_level="warning"))
    logging.getLogger("craft_stream").info("quiet")
    logging.getLogger("craft_stream").warning("loud")
    logging.getLogger("kafka.conn").error("chatter")
    told = lines(capsys)
    assert len(told) == 1
    assert told[0].endswith("WARNING craft_stream loud")
    begin_logging(settings(log_level="debug"))
    logging.getLogger("kafka.conn").error("chatter")
    assert lines(capsys)[0].endswith("ERROR kafka.conn chatter")
