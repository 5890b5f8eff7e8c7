"""The command line: what is loaded, exit codes, and `select` from files to files."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console
from test_records import POISON
from toy import Toy, stream
from typer import Context
from typer.main import get_command
from typer.testing import CliRunner

from craft_stream.cli import COMMANDS, app, main
from craft_stream.demo.catalogues import Catalogues
from craft_stream.demo.report import Report

RATE = 0.05
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in this process: exit code, standard output, standard error."""
    monkeypatch.setattr("craft_stream.cli.select._RUN_RECORDS", 300)  # else a short stream is one run

    def call(*args: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["craft-stream", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin))))
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target, and a stream of 1,200 toy pairs with every kind of poison in between."""
    folder = tmp_path_factory.mktemp("toy")
    toy, rng = Toy(), random.Random(5)
    target = [toy.pair(rng, in_domain=True) for _ in range(100)]
    (folder / "target.jsonl").write_bytes(b"".join(line(f"t{i}", *pair) for i, pair in enumerate(target)))
    pairs = stream(toy, 1_200).batch
    lines = [
        line(f"s{i}", *pair)
        for i, pair in enumerate(zip(pairs.source.texts(), pairs.target.texts(), strict=True))
    ]
    for value, _ in POISON.values():
        if value is not None:
            lines.insert(rng.randrange(len(lines)), value.replace(b"\n", b" ") + b"\n")
    (folder / "stream.jsonl").write_bytes(b"".join(lines))
    return folder


def line(identifier: str, source: str, target: str) -> bytes:
    return orjson.dumps({"tgt": target, "src": source, "id": identifier, "extra": [1.50]}) + b"\n"


def selection(folder: Path, into: Path, *more: object) -> list[object]:
    """The command that selects into a folder."""
    return [
        "select", "--target", folder / "target.jsonl", "--input", folder / "stream.jsonl",
        "--output", into / "accepted.jsonl", "--rejected", into / "rejected.tsv",
        "--decisions", into / "decisions.jsonl", "--json", *more,
    ]  # fmt: skip


def select(run: Run, folder: Path, into: Path, *more: object, **kwargs: Any) -> dict[str, Any]:
    code, out, err = run(*selection(folder, into, *more), **kwargs)
    assert code == 0, err
    summary: dict[str, Any] = json.loads(out)
    return summary


@pytest.fixture(scope="module")
def selected(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with all that one selection writes, its Model too, and the summary; to be read only."""
    into = tmp_path_factory.mktemp("selected")
    command = selection(folder, into, "--budget-rate", RATE, "--save-model", into / "model.bin")
    done = CliRunner().invoke(app, list(map(str, command)))
    assert done.exit_code == 0, done.output
    return into, json.loads(done.stdout)


def rows_of(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1]


def decided(into: Path) -> list[tuple[Any, ...]]:
    """Decisions without their places."""
    rows = map(orjson.loads, (into / "decisions.jsonl").read_bytes().splitlines())
    return [tuple(value for key, value in row.items() if key != "decision_id") for row in rows]


def test_help_names_every_command_and_loads_none() -> None:
    """`--help` is quick: it lists the commands without importing them."""
    code = (
        "import sys; sys.argv = ['craft-stream', '--help']\n"
        "from craft_stream.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('LOADED', *sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    shown, _, loaded = out.partition("LOADED")
    for name in ("select", "demo", "config"):
        assert name in shown
        assert f"craft_stream.cli.{name}" not in loaded.split()
    assert "numpy" not in loaded.split()


def test_every_command_is_listed_and_has_an_example_that_parses() -> None:
    """Each command says in one line what it does, and ends its help with a call of it that the command line takes."""
    root = get_command(app)
    for name in COMMANDS:
        _, found, _ = root.resolve_command(Context(root), [name])
        for words, command in leaves([name], found):
            assert command.help.splitlines()[0].endswith("."), words
            _, head, *examples = command.epilog.splitlines()
            assert head in ("Example:", "Examples:"), words
            for example in map(shlex.split, examples):
                assert example[: len(words) + 1] == ["craft-stream", *words]
                command.make_context(name, example[len(words) + 1 :])


def test_help_is_plain_text(run: Run) -> None:
    """Brackets are no markup, flags have no type, examples stand on a line of their own however long they are."""
    shown = " ".join(run("settings", "apply", "--help")[1].split())
    assert "[budget] rate, [selection], [learner] and [encoder]" in shown
    shown = run("select", "--help")[1]
    assert "  --one-pass   " in shown
    assert "bool" not in shown
    assert any(
        line.strip().startswith("craft-stream select ") and len(line) > 80 for line in shown.splitlines()
    )
    shown = run("model", "--help")[1]
    assert "..." not in shown.replace("[ARGS]...", "")
    for command in ("explain", "report", "score", "take", "publish"):
        shown = run(command, "--help")[1]
        assert ("list[" in shown, "<str>" in shown) == (False, False), "no type as Python writes it"


def leaves(words: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
    """A command, or those of a group."""
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, inner in command.commands.items():
        yield from leaves([*words, name], inner)


def test_signals_are_given_back(run: Run) -> None:
    """A program that calls the command line has its own handlers afterwards."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert run("config", "table")[0] == 0
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_every_module_with_an_app_is_a_command() -> None:
    """No command is forgotten in the list that `--help` prints, and none is listed that is not there."""
    folder = Path(sys.modules[main.__module__].__file__ or "").parent
    apps = {path.stem for path in folder.glob("*.py") if "\napp = typer.Typer(" in path.read_text()}
    assert {name.replace("_", "-") for name in apps - {"__init__"}} == set(COMMANDS)


def test_usage_errors_end_with_2(run: Run, folder: Path, tmp_path: Path) -> None:
    """Wrong flags, names and values are usage errors, each with a line that says what."""
    stream = ("--input", folder / "stream.jsonl")
    target = ("--target", folder / "target.jsonl")
    output = ("--output", tmp_path / "o.jsonl")
    for args, message in (
        (["nonsense"], "nonsense"),
        (["select", *stream, *target], "output"),
        (["select", *stream, *output], "--target"),
        (["select", *stream, *target, *output, "--set", "budget.rat=1"], "budget.rate"),
        (["select", *stream, *target, *output, "--budget-rate", "2"], "such as 0.05 for 5 %"),
        (["select", *stream, *target, *output, "--budget-rate", "5%"], "5% is typed as 0.05"),
        (["select", *stream, *target, *output, "--set", "budget.rate=1.5"], "such as 0.05 for 5 %"),
        (["select", *stream, *target, *output, "--budget-rate", ".1", "--budget-count", "5"], "one of them"),
        (
            ["select", *stream, *target, *output, "--budget-rate", ".1", "--set", "budget.count=5"],
            "one of them",
        ),
        (["select", *stream, *target, *output, "--texts"], "--texts has no effect without --decisions"),
        (
            ["select", *stream, *target, *output, "--length", "9"],
            "--length has no effect without --budget-count",
        ),
        (["select", *stream, *target, *output, "--rejected", tmp_path / "o.jsonl"], "same file"),
        (["select", *stream, *target, *output, "--config", tmp_path / "none.toml"], "none.toml"),
        (["select", "--input", "-", *target, *output, "--budget-count", "5"], "--length"),
        (
            ["report", "--group", "--output", tmp_path / "r.html", "--input-format", "tsv"],
            "no effect without FILE",
        ),
        (["config", "check", "--set", "kafka.nam=1"], "nearest"),
        (["run", "--set", "budget.count=5"], "budget.rate"),
    ):
        code, _, err = run(*args)
        assert (code, message in err) == (2, True), (args, err)
    assert not (tmp_path / "o.jsonl").exists()


def test_every_line_is_accounted_for(folder: Path, selected: tuple[Path, dict[str, Any]]) -> None:
    """Accepted and rejected lines together are the input, byte for byte and in order; reasons and counts agree."""
    into, summary = selected
    lines = rows_of(folder / "stream.jsonl")
    accepted = rows_of(into / "accepted.jsonl")
    rejected = [row.split(b"\t", 2) for row in rows_of(into / "rejected.tsv")]
    assert summary["read"] == len(lines) == len(accepted) + len(rejected)
    left = iter(accepted)
    by_place = {int(place.rsplit(b"/", 1)[1]): value for _, place, value in rejected}
    assert [by_place[i] if i in by_place else next(left) for i in range(len(lines))] == lines
    assert 0 < len(accepted) <= round(RATE * len(lines))

    expected = [str(reason) for value, reason in POISON.values() if value is not None]
    reasons = [reason.decode() for reason, *_ in rejected]
    for reason in set(expected):
        assert reasons.count(reason) == summary["undecidable_by_reason"][reason] == expected.count(reason)
    for reason, count in summary["rejected_by_reason"].items():
        assert reasons.count(reason) == count

    rows = [orjson.loads(row) for row in (into / "decisions.jsonl").read_bytes().splitlines()]
    assert len(rows) == summary["accepted"] + summary["rejected"]
    assert {
        "decision_id",
        "id",
        "outcome",
        "reason",
        "score",
        "threshold",
        "cluster",
        "model_version",
    } <= set(rows[0])
    assert [row["id"] for row in rows if row["outcome"] == "accepted"] == [
        json.loads(x)["id"] for x in accepted
    ]


def test_decisions_do_not_depend_on_files_or_runs(
    run: Run, folder: Path, tmp_path: Path, selected: tuple[Path, dict[str, Any]]
) -> None:
    """The same stream packed, cut into files at any place or decided again gives the same decisions."""
    first = decided(selected[0])
    data = (folder / "stream.jsonl").read_bytes()
    cut = data.index(b"\n", 1_000) + 1
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(data[:cut]))
    (tmp_path / "b.jsonl").write_bytes(data[cut:])
    other = tmp_path / "other"
    other.mkdir()
    run(
        "select", "--target", folder / "target.jsonl", "--input", tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl",
        "--output", other / "accepted.jsonl", "--decisions", other / "decisions.jsonl", "--budget-rate", RATE,
    )  # fmt: skip
    assert decided(other) == first


def test_a_pinned_model_decides_alike(run: Run, folder: Path, tmp_path: Path) -> None:
    """A saved version decides as the run that made it, from a pipe too; a target beside it is not read, and this is said."""
    first = select(run, folder, tmp_path, "--one-pass", "--save-model", tmp_path / "model.bin")
    before = decided(tmp_path)
    code, out, err = run(
        "select", "--model", tmp_path / "model.bin", "--input", "-", "--output", tmp_path / "again.jsonl",
        "--decisions", tmp_path / "decisions.jsonl", "--json", "--target", folder / "target.jsonl",
        stdin=(folder / "stream.jsonl").read_bytes(),
    )  # fmt: skip
    assert code == 0, err
    assert "the target is not read" in err
    assert json.loads(out)["model_digest"] == first["model_digest"]
    assert decided(tmp_path) == before
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "accepted.jsonl").read_bytes()


def test_budget_count(run: Run, folder: Path, tmp_path: Path) -> None:
    """A number of pairs is spread over the stream and never exceeded, whether the stream is counted or its length given."""
    counted = select(run, folder, tmp_path, "--budget-count", 100)
    assert 80 <= counted["accepted"] <= 100
    assert counted["rate"] == pytest.approx(100 / counted["read"])
    given = select(run, folder, tmp_path, "--budget-count", 100, "--length", counted["read"])
    assert given["accepted"] == counted["accepted"]
    stream = (folder / "stream.jsonl").read_bytes()
    code, out, err = run(
        "select", "--target", folder / "target.jsonl", "--input", "-", "--output", tmp_path / "accepted.jsonl",
        "--json", "--budget-count", 20, "--budget-rate", RATE, stdin=stream,
    )  # fmt: skip
    assert (code, json.loads(out)["accepted"]) == (0, 20), err
    assert len((tmp_path / "accepted.jsonl").read_bytes().splitlines()) == 20


def test_an_option_comes_before_the_other_budget_of_a_file(run: Run, folder: Path, tmp_path: Path) -> None:
    """A rate on the command line sets a file's count aside, and a count its rate; the summary says which was in force."""
    (tmp_path / "count.toml").write_text("[budget]\ncount = 7\n")
    (tmp_path / "rate.toml").write_text("[budget]\nrate = 0.5\n")
    call = ("select", "--target", folder / "target.jsonl", "--input", folder / "stream.jsonl",
            "--output", tmp_path / "accepted.jsonl")  # fmt: skip
    code, out, err = run(*call, "--config", tmp_path / "count.toml", "--budget-rate", RATE)
    assert code == 0, err
    assert "the budget was 5% of 1,200 pairs, which is 60" in out
    assert len(rows_of(tmp_path / "accepted.jsonl")) > 50
    code, out, err = run(*call, "--config", tmp_path / "rate.toml", "--budget-count", 9)
    assert code == 0, err
    assert "the budget was 9 pairs" in out
    assert len(rows_of(tmp_path / "accepted.jsonl")) == 9


def test_an_empty_stream_is_said_to_be_empty_and_no_more(run: Run, folder: Path, tmp_path: Path) -> None:
    """No sentence on languages, nor on a budget that was given up."""
    (tmp_path / "none.jsonl").write_bytes(b"")
    code, out, err = run(
        "select", "--target", folder / "target.jsonl", "--input", tmp_path / "none.jsonl",
        "--output", tmp_path / "accepted.jsonl", "--budget-count", 10,
    )  # fmt: skip
    assert code == 0, err
    assert err.count("craft-stream:") == err.count("the stream is empty") == 1
    assert "languages" not in out
    assert "given up" not in out


def test_a_budget_is_given_up_where_the_stream_holds_too_little(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    """Two passes give up all that they did not spend and say so; one pass spends later what it has not spent yet."""
    whole = select(run, folder, tmp_path, "--budget-rate", 1)
    asked = whole["accepted"] + whole["rejected"]
    assert whole["unspendable"] == asked - whole["accepted"] > 0
    passing = select(run, folder, tmp_path, "--budget-rate", RATE, "--one-pass")
    assert passing["unspendable"] == 0
    assert passing["accepted"] < RATE * (passing["accepted"] + passing["rejected"])
    call = [word for word in selection(folder, tmp_path, "--budget-rate", 1) if word != "--json"]
    assert f"{whole['unspendable']:,} pairs of the budget were given up" in run(*call)[1]


def test_too_many_bad_records_end_with_1_and_their_outputs(run: Run, folder: Path, tmp_path: Path) -> None:
    """Above the limit the exit code is 1, and what was selected and refused is there all the same."""
    code, _, err = run(
        "select", "--target", folder / "target.jsonl", "--input", folder / "stream.jsonl",
        "--output", tmp_path / "accepted.jsonl", "--rejected", tmp_path / "rejected.tsv",
        "--set", "errors.dead_letter_limit=0.001",
    )  # fmt: skip
    assert code == 1
    assert "dead_letter_limit" in err
    assert (tmp_path / "accepted.jsonl").stat().st_size
    assert (tmp_path / "rejected.tsv").stat().st_size


def test_an_input_that_breaks_off_leaves_no_output(run: Run, folder: Path, tmp_path: Path) -> None:
    """A cut-off file is an error, not an end, and half a selection does not take the place of a whole one."""
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress((folder / "stream.jsonl").read_bytes())[:-100])
    (tmp_path / "accepted.jsonl").write_bytes(b"old")
    code, _, err = run(
        "select", "--target", folder / "target.jsonl", "--input", tmp_path / "cut.jsonl.gz",
        "--output", tmp_path / "accepted.jsonl", "--rejected", tmp_path / "rejected.tsv",
    )  # fmt: skip
    assert code == 1
    assert "cut off" in err
    assert (tmp_path / "accepted.jsonl").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accepted.jsonl", "cut.jsonl.gz"]


@pytest.mark.parametrize("content", [b"", b'{"src": "a"}\n', b"\n"])
def test_an_empty_target_is_a_clear_error(run: Run, folder: Path, tmp_path: Path, content: bytes) -> None:
    """A target without a pair ends with 1, names its file, and says what was wrong with each line."""
    (tmp_path / "empty.jsonl").write_bytes(content)
    code, _, err = run(
        "select", "--target", tmp_path / "empty.jsonl", "--input", folder / "stream.jsonl",
        "--output", tmp_path / "o.jsonl",
    )  # fmt: skip
    assert code == 1
    assert "the target is empty" in err
    assert err.count("empty.jsonl/0/0") == len(content.splitlines())


def test_a_poor_target_is_said_to_be(run: Run, folder: Path, tmp_path: Path) -> None:
    """A target of one pair, and one that shares nothing with the stream, are told."""
    one = (folder / "target.jsonl").read_bytes().splitlines()[0]
    (tmp_path / "one.jsonl").write_bytes(one)
    stranger = b"".join(line(str(i), f"QQ{i} ZZ{i} WW{i}", f"YY{i} XX{i} VV{i}") for i in range(50))
    (tmp_path / "stranger.jsonl").write_bytes(stranger)
    for name, message in (("one", "one pair"), ("stranger", "looks like the target")):
        code, out, err = run(
            "select", "--target", tmp_path / f"{name}.jsonl", "--input", folder / "stream.jsonl",
            "--output", tmp_path / "o.jsonl",
        )  # fmt: skip
        assert code == 0
        assert message in out + err


def test_an_empty_stream(run: Run, folder: Path, tmp_path: Path) -> None:
    """Nothing in, nothing out, and no error."""
    (tmp_path / "none.jsonl").write_bytes(b"")
    code, out, err = run(
        "select", "--target", folder / "target.jsonl", "--input", tmp_path / "none.jsonl",
        "--output", tmp_path / "o.jsonl", "--json",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["read"] == 0
    assert (tmp_path / "o.jsonl").read_bytes() == b""


def test_standard_output(run: Run, folder: Path) -> None:
    """`--output -` writes records and nothing else to standard output; the summary goes to standard error."""
    code, out, err = run(
        "select", "--target", folder / "target.jsonl", "--input", folder / "stream.jsonl", "--output", "-"
    )
    assert code == 0
    assert all(json.loads(row)["extra"] == [1.5] for row in out.splitlines())
    assert f"{len(out.splitlines()):,}" in err


def test_a_damaged_model_is_refused(run: Run, folder: Path, tmp_path: Path) -> None:
    """A pinned version whose bytes changed is an error."""
    (tmp_path / "model.bin").write_bytes(b"not a model")
    code, _, err = run(
        "select", "--model", tmp_path / "model.bin", "--input", folder / "stream.jsonl",
        "--output", tmp_path / "o.jsonl",
    )  # fmt: skip
    assert code == 1
    assert "Traceback" not in err


def test_explain(run: Run, folder: Path, selected: tuple[Path, dict[str, Any]]) -> None:
    """A pair is taken apart by the version that decided: a translation scores above a copy, and the copy is named."""
    model = selected[0] / "model.bin"
    good = orjson.loads((folder / "target.jsonl").read_bytes().splitlines()[0])
    parts = []
    for target in (good["tgt"], good["src"]):
        code, out, err = run("explain", "--model", model, "--json", good["src"], target)
        assert code == 0, err
        parts.append(json.loads(out))
    assert parts[0]["score"] > parts[1]["score"]
    assert parts[1]["fault"] == "copy"
    code, out, _ = run("explain", "--model", model, good["src"], good["tgt"])
    assert code == 0
    assert f"{parts[0]['domain']:.3f}" in out


def test_config_masks_secrets(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`config show` prints no secret, in neither form."""
    monkeypatch.setenv("CRAFT_KAFKA__SECURITY__SASL_PLAIN_PASSWORD", "hush")
    for form in ((), ("--json",)):
        code, out, _ = run("config", "show", *form)
        assert code == 0
        assert "hush" not in out
        assert "**" in out


def test_demo(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo selects far better than chance, by labels that the engine does not see, and leaves its files."""
    try:
        distribution("Trac")
    except PackageNotFoundError:
        pytest.skip("the extra `demo` is not installed")
    monkeypatch.setattr(Catalogues, "installed", cache(Catalogues.installed))
    code, out, err = run("demo", "--keep", tmp_path, "--json")
    assert code == 0, err
    code, _, err = run("demo", "--keep", tmp_path, "--seed", 1)
    assert code == 2
    assert "stream.jsonl is there" in err
    figures = json.loads(out)
    assert figures["after"]["good"] > 5 * figures["before"]["good"]
    assert figures["after"]["noise"] < figures["before"]["noise"] / 5
    assert b"noise" not in (tmp_path / "stream.jsonl").read_bytes().splitlines()[0]
    accepted = (tmp_path / "accepted.jsonl").read_bytes().splitlines()
    assert len(accepted) == figures["accepted"]
    decisions = [orjson.loads(line) for line in (tmp_path / "decisions.jsonl").read_bytes().splitlines()]
    console = Console(file=io.StringIO(), width=120)
    Report(Catalogues.installed(0), decisions, [0.5, 0.5], figures).print(console)
    assert f"in the domain and clean    {figures['before']['good']:.1%}" in console.file.getvalue()


@pytest.mark.parametrize("command", [("config", "show"), ("--help",), ("config", "table")])
def test_standard_output_is_full(command: tuple[str, ...]) -> None:
    """One line, exit code 1, and nothing of a traceback, also at the process's end."""
    code = "from craft_stream.cli import main; main()"
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "craft-stream: cannot write: No space left on device\n"


@pytest.mark.parametrize(
    ("closed", "code", "said"),
    [(">&-", 1, "craft-stream: cannot write: Bad file descriptor\n"), ("2>&-", 0, ""), ("<&-", 0, "")],
)
def test_standard_streams_are_closed(closed: str, code: int, said: str) -> None:
    """As a daemon's may be: what was to be read or written there is one line; standard error is not missed."""
    program = "from craft_stream.cli import main; main()"
    shell = f'exec "$0" -c "{program}" config show {closed}'
    done = subprocess.run(["sh", "-c", shell, sys.executable], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize("locale", ["C", "ISO-8859-1"])
def test_locales_without_unicode(tmp_path: Path, locale: str) -> None:
    """What is no character of the locale is printed all the same, and JSON stays JSON."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    if locale != "C":
        environment["PYTHONIOENCODING"] = locale
    (tmp_path / "craft.toml").write_text('[record]\nsource_field = "\u2192 caf\u00e9"\n', encoding="utf-8")
    code = "from craft_stream.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "config", "show", "--json", "--config", tmp_path / "craft.toml"],
        capture_output=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout.decode("utf-8" if locale == "C" else locale))
    assert shown["record"]["source_field"] == "\u2192 caf\u00e9"


def test_no_folder_for_temporary_files(run: Run) -> None:
    """One line that names the variable to set."""

    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in []")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", None)
        patch.setattr(tempfile, "_get_default_tempdir", none)
        code, _, err = run("warm-up")
    assert code == 1
    assert err == (
        "craft-stream: cannot write: No usable temporary directory found in []; set TMPDIR to one that can be written\n"
    )
