"""Whatever files, topics, rights and brokers a command meets, it ends with a line that says what is wrong."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from craft_stream import cli
from tests import broker
from tests.integration.deployment import COMMAND, ROOT, Deployment, pairs, target_pairs, toml
from tests.integration.test_doctor import served
from tests.secure import SecureBroker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

# Every command that asks a broker; FILE is a file of pairs, OUT a place to write to.
BROKER = [
    "run", "learn --set=learner.mode=separate", "topics create", "topics check", "target publish FILE",
    "target publish --withdraw FILE", "publish FILE", "model ls", "model show 1", "model save 1 OUT", "model pin 1",
    "model pin 0", "model rollback", "model prune", "ledger ls", "ledger verify", "audit", "replay", "dlq ls",
    "dlq replay --yes", "doctor", "export --output OUT.d", "explain --id x", "explain --offset 0/0",
]  # fmt: skip
# Every command that reads files; DATA holds anything.
FILES = [
    "select --target DATA --input FILE --output OUT", "select --target FILE --input DATA --output OUT",
    "select --target FILE --input FILE --output OUT --model DATA", "explain a b --model DATA", "config show --config DATA",
    "config check --config DATA", "select --target FILE --input FILE --output OUT --config DATA",
    "config check --set=selection.takedown=DATA", "take DATA --top 3 --output OUT",
    "crawl --warc DATA --langs en,fr --output OUT.c --store OUT.s",
    "crawl --warc DATA --langs en,fr --output OUT.c --store DATA",
    "score --model DATA --input FILE --output OUT",
]  # fmt: skip
ENDINGS = [
    "jsonl",
    "jsonl.gz",
    "jsonl.zst",
    "tsv",
    "tsv.xz",
    "tmx",
    "parquet",
    "po",
    "mo",
    "csv",
    "arrow",
    "zip",
    "toml",
    "bin",
]
KNOWN = {0, 1, 2, 75, 77}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import json

    folder = tmp_path_factory.mktemp("files")
    records = [*target_pairs(50), *pairs(50)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def filled(command: str, folder: Path, data: Path | None = None) -> list[str]:
    made = command.replace("FILE", str(folder / "pairs.jsonl")).replace("OUT", str(folder / "out"))
    return made.replace("DATA", str(data)).split()


def check(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a command here; its code must be one of the table, and it must not end in a trace or a defect."""
    monkeypatch.setattr(sys, "argv", ["craft-stream", *arguments])
    monkeypatch.setattr(os, "_exit", lambda code: (_ for _ in ()).throw(SystemExit(code)))
    code: object = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code or 0
    out, err = capsys.readouterr()
    assert code in KNOWN, (arguments, code, err)
    assert "Traceback" not in err + out, (arguments, err)
    if code in (75, 77):
        assert err.strip(), arguments
    return err


@pytest.mark.parametrize("command", BROKER)
def test_without_topics(
    command: str, bootstrap: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A broker that has none of the topics: it is said so, not that no broker answers."""
    run = Deployment(bootstrap, tmp_path, create=False)
    if command == "topics create":
        command += " --replication-factor=99"
    err = check([*filled(command, files), "--config", str(run.path)], capsys, monkeypatch)
    assert "no broker of" not in err


@pytest.mark.parametrize("command", BROKER)
def test_without_rights(
    command: str, secure: SecureBroker, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """All topics are there, and this user may do nothing."""
    run = Deployment(secure.bootstrap, tmp_path)
    run.path.write_text(
        toml(
            {
                f"kafka.{t}_topic": f"{run.name}.{t}"
                for t in ("input", "target", "accepted", "decisions", "dead_letter", "model", "ledger")
            }
        )
        + toml(
            {
                "kafka.group_id": run.name,
                "observe.port": 0,
                **secure.login("PLAIN", sasl_plain_username="worker"),
            }
        )
    )
    check([*filled(command, files), "--config", str(run.path)], capsys, monkeypatch)


@pytest.mark.parametrize("command", BROKER)
def test_without_brokers(
    command: str,
    files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody listens: said within seconds, with the port."""
    config = tmp_path / "craft.toml"
    values = {
        "kafka.bootstrap_servers": f"127.0.0.1:{broker.free_port()}",
        "kafka.unavailable_seconds": 1,
        "observe.port": 0,
    }
    config.write_text(toml(values))
    err = check([*filled(command, files), "--config", str(config)], capsys, monkeypatch)
    assert "nobody listens on this port" in err or command == "doctor"


@given(answer=st.binary(max_size=60), command=st.sampled_from(BROKER))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_a_broker_answers(
    answer: bytes, command: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any bytes in place of an answer, those that begin like one among them."""
    with (
        served(answer) as address,
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory() as folder,
    ):
        config = Path(folder) / "craft.toml"
        config.write_text(
            toml({"kafka.bootstrap_servers": address, "kafka.unavailable_seconds": 0.1, "observe.port": 0})
        )
        check([*filled(command, files), "--config", str(config)], capsys, patch)


@given(
    data=st.binary(max_size=300),
    command=st.sampled_from(FILES),
    ending=st.sampled_from(ENDINGS),
    head=st.booleans(),
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_a_file_holds(
    data: bytes, command: str, ending: str, head: bool, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any bytes under any ending, those that begin as a good file does among them."""
    path = files / f"data.{ending}"
    path.write_bytes((files / "pairs.jsonl").read_bytes()[:200] + data if head else data)
    with pytest.MonkeyPatch.context() as patch:
        check(filled(command, files, path), capsys, patch)


def test_a_full_disk_leaves_nothing_behind(bootstrap: str, files: Path, tmp_path: Path) -> None:
    """No file may grow beyond 4 kB: `export`, `select` and `model save` say so, and leave neither a part nor a whole."""
    import json

    run = Deployment(bootstrap, tmp_path)
    values = [json.dumps(record).encode() for record in pairs(4_000)]
    run.feed(values)
    run.publish_target(target_pairs())
    with run.worker() as process:
        run.wait_done([process])
    for command in (
        "export --output DIR", "export --output DIR --format parquet", "model save 1 DIR/model", "explain --id none",
        "select --target FILE --input FILE --output DIR/out.jsonl --budget-rate .9 --save-model DIR/m",
    ):  # fmt: skip
        folder = tmp_path / f"full-{uuid.uuid4().hex[:6]}"
        folder.mkdir()
        arguments = filled(command.replace("DIR", str(folder)), files)
        done = subprocess.run(
            [*COMMAND, *arguments, "--config", str(run.path)], cwd=ROOT, capture_output=True, text=True, timeout=120,
            env=run.environment(), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        )  # fmt: skip
        assert done.returncode == 1, (command, done.stderr)
        assert "Traceback" not in done.stderr
        # What `select --resume` goes on from is meant to be left, and is named.
        kept = folder / "out.jsonl.state"
        assert not kept.exists() or "--resume" in done.stderr
        left = [
            path
            for path in folder.rglob("*")
            if path.is_file() and path not in (kept, folder / "manifest.json")
        ]
        assert not left, (command, left, done.stderr)
