"""`craft-stream explain`: outcome and reason, and the nearest target pairs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from toy import Toy, target, versions

from craft_stream.cli import main
from craft_stream.cli.nearest import nearest, pairs_of_topic
from craft_stream.encoders import load_encoder
from craft_stream.scoring.model import Model
from craft_stream.settings import Settings
from craft_stream.testing.memory import MemoryBroker, MemoryTransport
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokens import tokenize

Run = Callable[..., tuple[int, str, str]]
TOY = Toy()
IDS, PAIRS = target(TOY)


@pytest.fixture(scope="module")
def model() -> Model:
    return versions()[0]


@pytest.fixture(scope="module")
def folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    (folder / "model.bin").write_bytes(model.encode())
    rows = zip(IDS, PAIRS.source.texts(), PAIRS.target.texts(), strict=True)
    lines = [orjson.dumps({"id": i, "src": a, "tgt": b}) for i, a, b in rows]
    (folder / "one.jsonl").write_bytes(b"\n".join(lines[:50]) + b"\n")
    (folder / "two.jsonl").write_bytes(b"not a record\n" + b"\n".join(lines[50:]) + b"\n")
    return folder


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> Run:
    def call(*args: object) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["craft-stream", "explain", *map(str, args), "--model", "model.bin"])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), *capfd.readouterr()

    return call


@pytest.mark.parametrize("sides", [("", ""), ("a word", " "), ("", "un mot")])
def test_what_is_no_pair_is_refused_as_a_record_is(run: Run, sides: tuple[str, str]) -> None:
    """An empty side is no pair here either, and nothing is judged."""
    code, out, err = run(*sides)
    assert code == 0, err
    assert out.startswith("This is no pair: empty_side. ")
    assert json.loads(run(*sides, "--json")[1])["refused"] == "empty_side"


def test_the_nearest_are_those_of_a_full_search(model: Model) -> None:
    """Over runs of any size the pairs and cosines are those of comparing with every one."""
    encoder = load_encoder()
    source, translation = PAIRS.source.text(7) + " " + TOY.domain[0], PAIRS.target.text(8)
    query = PairBatch.pack([source], [translation])

    def embedded(batch: PairBatch) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(len(batch))
        return (
            encoder.embed(batch.source, tokenize(batch.source), rows, model.translation.source_weights),
            encoder.embed(batch.target, tokenize(batch.target), rows, model.translation.target_weights),
        )

    (x, y), (sources, targets) = embedded(query), embedded(PAIRS)
    similarity, other = sources @ x[0], targets @ y[0]
    for size in (1, 7, len(PAIRS)):
        cuts = [
            (IDS[k : k + size], PAIRS.slice(k, min(k + size, len(PAIRS)))) for k in range(0, len(PAIRS), size)
        ]
        found = nearest(source, translation, cuts, model, encoder, 5)
        assert [near.similarity for near in found] == pytest.approx(np.sort(similarity)[::-1][:5], abs=1e-5)
        for near in found:
            row = IDS.index(near.id)
            assert near.similarity == pytest.approx(similarity[row], abs=1e-5)
            assert near.target_similarity == pytest.approx(other[row], abs=1e-5)
            assert (near.source, near.target) == (PAIRS.source.text(row), PAIRS.target.text(row))
    assert nearest(source, translation, [], model, encoder, 5) == []


def test_a_target_pair_is_nearest_to_itself(run: Run) -> None:
    """With the target's files the pair itself comes first, its sides at 1; as many are shown as were asked for."""
    row = 75
    sides = PAIRS.source.text(row), PAIRS.target.text(row)
    code, out, err = run(*sides, "--target", "one.jsonl", "two.jsonl", "--json", "--nearest", 4)
    assert code == 0, err
    found = json.loads(out)["nearest"]
    assert len(found) == 4
    assert (found[0]["id"], found[0]["source"], found[0]["target"]) == (IDS[row], *sides)
    assert found[0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert found[0]["target_similarity"] == pytest.approx(1, abs=1e-5)
    code, out, err = run(*sides, "--target", "two.jsonl")
    assert code == 0, err
    assert "in_target" in out
    assert out.count(sides[0]) == out.count(sides[1]) == 1


@pytest.mark.parametrize(
    "order",
    [("--target", "one.jsonl", "two.jsonl", "{}", "{}"), ("{}", "--target", "one.jsonl", "two.jsonl", "{}"),
     ("--nearest", "2", "{}", "{}", "--target", "one.jsonl"), ("{}", "--json", "--target=one.jsonl", "{}")],
)  # fmt: skip
def test_a_list_of_files_leaves_the_sides(run: Run, order: tuple[str, ...]) -> None:
    """Before, behind and between the files of `--target`, the two sides of the pair are found."""
    sides = iter((PAIRS.source.text(5), PAIRS.target.text(5)))
    code, out, err = run(*(next(sides) if word == "{}" else word for word in order), "--json")
    assert code == 0, err
    (first, *_) = json.loads(out)["nearest"]
    assert first["id"] == IDS[5]


def test_reasons_are_those_that_the_selector_gives(run: Run, folder: Path) -> None:
    """Accepted, off the domain, the target's own, a copy, a listed pair; without the target it says how to give it."""
    own = PAIRS.source.text(0), PAIRS.target.text(0)
    good = f"{own[0]} {PAIRS.source.text(1)}", f"{own[1]} {PAIRS.target.text(1)}"
    other = " ".join(TOY.other[:8]), " ".join(TOY.translation[word] for word in TOY.other[:8])
    (folder / "gone.txt").write_text(good[0] + "\n")
    for sides, more, reason in (
        (good, (), "accepted"),
        (other, (), "off_domain"),
        (own, (), "in_target"),
        ((good[0], good[0]), (), "copy"),
        (good, ("--set", "selection.takedown=gone.txt"), "listed"),
    ):
        code, out, err = run(*sides, "--json", *more)
        assert code == 0, err
        parts = json.loads(out)
        assert parts["reason"] == reason
        assert parts["nearest"] is None
    code, out, _ = run(*good)
    assert "--target FILE" in out


def test_help_has_an_example(run: Run) -> None:
    """`--help` shows a command that can be typed."""
    _, out, _ = run("--help")
    assert "craft-stream explain 'Close the ticket' 'Fermer le ticket' --model model.bin --target" in out


def test_the_target_topic_is_read_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced pairs as they are now, withdrawn ones not at all."""
    settings = Settings()
    broker = MemoryBroker({settings.kafka.target_topic: 1})

    def put(name: str, source: str | None) -> None:
        value = None if source is None else orjson.dumps({"src": source, "tgt": "x"})
        broker.append(settings.kafka.target_topic, 0, value, name.encode())

    for name, source in (("a", "one"), ("b", "two"), ("a", "three"), ("b", None), ("c", "four")):
        put(name, source)
    monkeypatch.setattr(
        "craft_stream.cli.nearest.KafkaTransport",
        lambda kafka: MemoryTransport(broker, kafka, {}, lambda: None),
    )
    runs = list(pairs_of_topic(settings))
    assert [(list(ids), batch.source.texts()) for ids, batch in runs] == [(["a", "c"], ["three", "four"])]
