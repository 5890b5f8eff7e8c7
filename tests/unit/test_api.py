"""The public API: any form of pairs, every pair decided, the decisions of the command line, comparable scores."""

from __future__ import annotations

import doctest
import importlib
import math
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_encoders import Counting
from toy import Toy, stream, target
from typer.testing import CliRunner

import craft_stream as cs
from craft_stream import estimators
from craft_stream.api import model as api_model
from craft_stream.api import selection as api_selection
from craft_stream.api.pairs import read_chunks
from craft_stream.cli import app
from craft_stream.encoders import load_encoder
from craft_stream.encoders.dense import DenseEncoder
from craft_stream.parameters import SelectionParameters
from craft_stream.selection.pacing import ahead

ROOT = Path(__file__).parents[2]
SIZE = 2200
PRIME = 1024
Pairs = list[tuple[str, str]]


@pytest.fixture(scope="module")
def crawl() -> Pairs:
    batch = stream(Toy(), SIZE, seed=5).batch
    return list(zip(batch.source.texts(), batch.target.texts(), strict=True))


@pytest.fixture(scope="module")
def domain() -> Pairs:
    batch = target(Toy())[1]
    return list(zip(batch.source.texts(), batch.target.texts(), strict=True))


@pytest.fixture(scope="module")
def model(domain: Pairs, crawl: Pairs) -> cs.Model:
    return cs.learn(domain, crawl[:PRIME])


def select(crawl: Iterable[Any], domain: Iterable[Any], **options: Any) -> cs.Selection[Any]:
    return cs.select(crawl, target=domain, **{"rate": 0.1, "prime_pairs": PRIME, **options})


@pytest.fixture(scope="module")
def decided(crawl: Pairs, domain: Pairs) -> list[cs.Decision]:
    """Of the pairs as tuples."""
    return [decision for _, decision in select(crawl, domain)]


def same(found: Iterable[cs.Decision], expected: Iterable[cs.Decision]) -> bool:
    """Equal, NaN to NaN."""
    return repr(list(found)) == repr(list(expected))


def dicts(pairs: Pairs) -> list[dict[str, Any]]:
    return [{"src": a, "tgt": b, "more": n} for n, (a, b) in enumerate(pairs)]


FORMS: dict[str, Callable[[Pairs], Any]] = {
    "dicts": dicts,
    "generator": lambda pairs: iter(dicts(pairs)),
    "longer lists": lambda pairs: [[a, b, "more"] for a, b in pairs],
    "pandas": lambda pairs: pd.DataFrame(dicts(pairs)),
    "polars": lambda pairs: pl.DataFrame(dicts(pairs)),
    "Arrow table": lambda pairs: pa.Table.from_pylist(dicts(pairs)),
    "Arrow reader": lambda pairs: pa.Table.from_pylist(dicts(pairs)).to_reader(700),
    "frames": lambda pairs: (pl.DataFrame(dicts(pairs[at : at + 900])) for at in range(0, SIZE, 900)),
    "record batches": lambda pairs: pa.Table.from_pylist(dicts(pairs)).to_batches(900),
    "Hugging Face": lambda pairs: datasets.Dataset.from_list(dicts(pairs)),
    "Hugging Face stream": lambda pairs: datasets.Dataset.from_list(dicts(pairs)).to_iterable_dataset(),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_form_is_read_the_same(form: str, crawl: Pairs) -> None:
    """Whatever holds the pairs: the same items in the same order, their texts at the same positions."""
    found = list(read_chunks(FORMS[form](crawl), ("src", "tgt")))
    texts = [
        pair
        for chunk in found
        for pair in zip(chunk.pairs.batch.source.texts(), chunk.pairs.batch.target.texts(), strict=True)
    ]
    assert texts == crawl
    assert [at for chunk in found for at in chunk.pairs.batch.positions.tolist()] == list(range(SIZE))
    assert sum(len(chunk.items) for chunk in found) == SIZE


def test_every_pair_is_decided_in_order(crawl: Pairs, domain: Pairs, decided: list[cs.Decision]) -> None:
    """Items come back as they were given, those that primed as well, and the budget is kept."""
    selection = select(crawl, domain)
    items = [item for item, _ in selection]
    assert all(a is b for a, b in zip(items, crawl, strict=True))
    accepted = sum(decision.accepted for decision in decided)
    assert 0.5 * 0.1 * SIZE < accepted <= 0.1 * SIZE + ahead(SelectionParameters(rate=0.1), SIZE)
    assert selection.summary()["accepted"] == accepted
    assert selection.model is not None
    assert {decision.reason for decision in decided} > {"accepted", "off_domain", "over_budget"}


def test_decisions_are_those_of_the_command_line(
    crawl: Pairs, domain: Pairs, decided: list[cs.Decision], tmp_path: Path
) -> None:
    """`craft-stream select` of a pipe with the same records, dead ones among them, decides the same with the same numbers."""
    broken = [*crawl[:500], ("a", ""), *crawl[500:2000], ("b", None), *crawl[2000:]]
    for name, pairs in (("stream", broken), ("target", domain)):
        lines = [orjson.dumps({"src": a, "tgt": b, "id": f"{name}{n}"}) for n, (a, b) in enumerate(pairs)]
        (tmp_path / name).with_suffix(".jsonl").write_bytes(b"\n".join([*lines, b""]))
    places = {name: str(tmp_path / f"{name}.jsonl") for name in ("stream", "target", "accepted", "decisions")}
    places["pipe"] = str(tmp_path / "pipe.jsonl")
    os.mkfifo(places["pipe"])
    content = Path(places["stream"]).read_bytes()
    writer = threading.Thread(target=lambda: Path(places["pipe"]).write_bytes(content), daemon=True)
    writer.start()
    run = CliRunner().invoke(
        app,
        ["select", "--input", places["pipe"], "--target", places["target"], "--output", places["accepted"],
         "--decisions", places["decisions"], "--budget-rate", "0.1", "--set", f"learner.prime_pairs={PRIME}"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    written = {}
    for line in Path(places["decisions"]).read_bytes().splitlines():
        one = orjson.loads(line)
        written[one["id"]] = one
    records = [orjson.loads(line) for line in Path(places["stream"]).read_bytes().splitlines()]
    targets = [{"src": a, "tgt": b, "id": f"target{n}"} for n, (a, b) in enumerate(domain)]
    reasons = []
    for record, decision in select(records, targets):
        if record["id"] not in written:
            reasons.append(decision.reason)
            continue
        one = written.pop(record["id"])
        assert (one["reason"], one["cluster"], one["model_version"]) == (
            decision.reason, decision.cluster, decision.model_version,
        )  # fmt: skip
        for name in ("score", "threshold", "domain"):
            assert one[name] == pytest.approx(getattr(decision, name), abs=1e-4)
    assert written == {}
    assert reasons == ["empty_side", "not_text"]


BAD: list[tuple[Any, str]] = [
    (("a", ""), "empty_side"),
    ((" \t", "b"), "empty_side"),
    (("a", None), "not_text"),
    (("a",), "missing_side"),
    ((), "missing_side"),
    (("a", 5), "not_text"),
    (("a", b"b"), "not_text"),
    (("a", "b" * (1 << 20) + "b"), "too_large"),
    ({"src": "a"}, "missing_side"),
    ({"src": "a", "tgt": math.nan}, "not_text"),
    ({}, "missing_side"),
    ("ab", "not_object"),
    (7, "not_object"),
    (None, "not_object"),
]


def test_what_is_no_pair_keeps_its_place(crawl: Pairs, model: cs.Model) -> None:
    """A bad item is handed back with a reason and without figures; those around it are decided as ever."""
    mixed: list[Any] = crawl[:40]
    for at, (item, _) in enumerate(BAD):
        mixed = [*mixed[: 3 * at], item, *mixed[3 * at :]]
    found = list(cs.select(mixed, model=model))
    assert [item for item, _ in found] == mixed
    for at, (_, reason) in enumerate(BAD):
        decision = found[3 * at][1]
        assert (decision.accepted, decision.reason, decision.cluster) == (False, reason, -1)
        assert math.isnan(decision.score)
        assert math.isnan(decision.threshold)
    assert sum(decision.model_version == 1 for _, decision in found) == 40
    table = model.score(mixed)
    assert table.num_rows == len(mixed)
    assert table["reason"].to_pylist()[0:42:3] == [reason for _, reason in BAD]
    assert table["score"].null_count == len(BAD)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["src", "tgt", "x"]), inner),
    max_leaves=5,
)


# What has no sides at all is warned of, which warnings as errors would raise.
@pytest.mark.filterwarnings("ignore:(the only item is|none of the)")
@settings(max_examples=60, deadline=None)
@given(st.lists(anything, max_size=12))
def test_no_item_makes_an_exception(items: list[Any]) -> None:
    """Whatever the items are, each is a pair or has a reason, once and in order."""
    for chunk in read_chunks(items, ("src", "tgt")):
        assert chunk.items == items or math.nan in chunk.items
        rows = sorted([*chunk.rows.tolist(), *(row for row, _ in chunk.refused)])
        assert rows == list(range(len(items)))


def test_fields_are_named_and_may_be_nested(crawl: Pairs, domain: Pairs, decided: list[cs.Decision]) -> None:
    """Stream and target have their own names; a dot leads into a mapping, as in a Hugging Face translation."""
    nested = [{"translation": {"en": a, "fr": b}} for a, b in crawl]
    named = pl.DataFrame([{"source": a, "target": b} for a, b in domain])
    found = select(
        nested, named, fields=("translation.en", "translation.fr"), target_fields=("source", "target")
    )
    assert same((decision for _, decision in found), decided)


def test_data_that_cannot_be_meant_is_refused(crawl: Pairs, domain: Pairs, model: cs.Model) -> None:
    """A frame without the columns, a mapping of splits, a path, nothing to iterate over: said by name, when it is given."""
    frame = pd.DataFrame({"en": ["a"], "fr": ["b"]})
    with pytest.raises(cs.ConfigurationError, match=r"no column 'src' and 'tgt', but 'en', 'fr': .* fields="):
        list(cs.select(frame, model=model))
    with pytest.raises(cs.ConfigurationError, match="no column 'src'"):
        cs.select([], target=pa.Table.from_pandas(frame))
    for wrong in ({"train": crawl}, "crawl.jsonl", 5):
        with pytest.raises(TypeError):
            list(cs.select(wrong, model=model))  # type: ignore[arg-type]
    with pytest.raises(cs.ConfigurationError, match=r"give a target, texts of one side .*, or a model"):
        cs.select(crawl)
    with (
        pytest.warns(UserWarning, match="target: item 0 is no pair: not_text"),
        pytest.raises(cs.TargetError, match="target is empty"),
    ):
        cs.select(crawl, target=[("a", 5)])
    with pytest.warns(UserWarning, match="target") as said:
        cs.learn([*domain, ("", ""), None], crawl[:50])
    assert [str(one.message) for one in said] == [
        "target: item 100 is no pair: empty_side", "target: 2 items are no pairs",
    ]  # fmt: skip


def test_an_unknown_setting_names_the_nearest(crawl: Pairs, domain: Pairs, model: cs.Model) -> None:
    """Settings are of the function that takes them: what it has no use for is unknown to it."""
    with pytest.raises(
        cs.ConfigurationError, match='"near_duplicat"; the nearest known one is "near_duplicate"'
    ):
        cs.select(crawl, target=domain, near_duplicat=1)
    with pytest.raises(cs.ConfigurationError, match='"quality_floor"'):
        cs.learn(domain, crawl, quality_floor=1)
    with pytest.raises(cs.ConfigurationError, match='"clusters"'):
        model.score(crawl, clusters=1)
    with pytest.raises(cs.ConfigurationError, match="between 0 and 1"):
        cs.select(crawl, target=domain, rate=2)
    with pytest.raises(cs.ConfigurationError, match=r"rate is '5%', which is no number; 5 % is 0\.05"):
        cs.select(crawl, target=domain, rate="5%")  # type: ignore[call-overload]
    with pytest.raises(cs.ConfigurationError, match=r"gate is None, which is no number, such as 3\.0"):
        cs.select(crawl, target=domain, gate=None)
    for name in ("budget", "count"):
        with pytest.raises(cs.ConfigurationError, match=f'"{name}": the budget is rate=.*rate=number / len'):
            cs.select(crawl, target=domain, **{name: 10})


def test_a_stream_without_the_two_sides_is_told_at_its_beginning(domain: Pairs, model: cs.Model) -> None:
    """4,096 items with other fields are an error that names them, fewer a warning; a single pair among them is enough."""
    items: list[Any] = [{"a": "one", "b": "un"}] * 4_096
    told = r"not both 'src' and 'tgt', but 'a', 'b': name the sides with fields="
    with pytest.raises(cs.DataError, match=f"none of the first 4,096 items is a pair: it has {told}"):
        list(cs.select(items, target=domain))
    with pytest.raises(cs.DataError, match=told):
        model.score(items)
    with pytest.warns(UserWarning, match=told):
        assert len(list(cs.select(items[:3_000], model=model))) == 3_000
    selection = cs.select([("one", "un"), ("", ""), *items], model=model)
    assert len(list(selection)) == 4_098
    assert selection.summary()["undecidable_by_reason"] == {"empty_side": 1, "missing_side": 4_096}
    assert selection.summary()["undecidable"] == 4_097
    with (
        pytest.warns(UserWarning, match=f"target: item 0 is no pair: missing_side, it has {told}"),
        pytest.raises(cs.TargetError),
    ):
        cs.select(domain, target=items[:1])


def test_scores_compare(crawl: Pairs, model: cs.Model) -> None:
    """Each pair has every score, whatever stands around it: one by one, reversed and as a frame the same."""
    table = model.score(crawl)
    assert table.schema.names == ["source", "target", "domain", "quality", "score", "cluster", "reason"]
    assert list(zip(table["source"].to_pylist(), table["target"].to_pylist(), strict=True)) == crawl
    for name in ("domain", "quality", "score", "cluster"):
        assert table[name].null_count == 0
    assert model.score(pl.DataFrame(dicts(crawl[::-1]))).to_pylist()[::-1] == table.to_pylist()
    assert model.score(crawl[7:8]).to_pylist() == table.slice(7, 1).to_pylist()
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    expected = frame["domain"] + SelectionParameters().quality_weight * frame["quality"]
    assert (frame["score"] - expected).abs().max() < 1e-4  # type: ignore[operator]
    toy = stream(Toy(), SIZE, seed=5)
    good = toy.in_domain & toy.clean
    best = (
        frame.with_columns(pl.Series("good", good))
        .filter(pl.col("reason").is_null())
        .top_k(SIZE // 20, by="score")
    )
    assert best["good"].mean() > 0.9  # type: ignore[operator]


def test_scores_are_those_that_a_stream_is_decided_by(crawl: Pairs, model: cs.Model) -> None:
    """Domain, quality and cluster are those of the decisions, as far as these have them; so is what speaks against a pair."""
    rows = model.score(crawl).to_pylist()
    plus = [decision for _, decision in cs.select(crawl, model=model, rate=0.3)]
    for row, decision in zip(rows, plus, strict=True):
        assert (row["domain"], row["cluster"]) == (decision.domain, decision.cluster)
        if not math.isnan(decision.quality):
            assert row["quality"] == decision.quality
            faulty = decision.reason in ("misaligned", "copy", "garbled", "unfamiliar_text")
            assert row["reason"] == (decision.reason if faulty else None)
    paper = model.score(crawl, method="craft")["score"].to_pylist()
    alone = [d.score for _, d in cs.select(crawl, model=model, method="craft", relaxation=0)]
    assert paper[:PRIME] == alone[:PRIME]  # no cluster is behind before the first pair


def test_a_model_is_kept_in_a_file(model: cs.Model, crawl: Pairs, tmp_path: Path) -> None:
    """It comes back with its digest and its scores; other files, folders and encoders are refused by name."""
    model.save(tmp_path / "model")
    again = cs.load_model(tmp_path / "model")
    assert (again.version, again.digest) == (model.version, model.digest)
    assert again.score(crawl[:9]) == model.score(crawl[:9])
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (tmp_path / "none").write_bytes(b"none")
    with pytest.raises(cs.IntegrityError):
        cs.load_model(tmp_path / "none")
    with pytest.raises(cs.DataError, match="cannot read the model"):
        cs.load_model(tmp_path / "missing")
    with pytest.raises(cs.DataError, match="cannot write the model"):
        model.save(tmp_path / "no" / "folder")
    assert repr(model) == f"<craft_stream.Model 1 {model.digest}>"


def test_excluded_pairs_are_never_accepted(crawl: Pairs, model: cs.Model) -> None:
    """A test set among the stream is rejected as listed, by either side; the rest is decided as if it had not come."""
    best = [pair for pair, decision in cs.select(crawl, model=model, rate=0.1) if decision.accepted][:50]
    excluded = [
        {"src": best[0][0], "tgt": "another"},
        *dicts(best[1:25]),
        {"src": "another", "tgt": best[25][1]},
    ]
    decided = dict(cs.select(crawl, model=model, rate=0.1, exclude=pl.DataFrame(excluded, strict=False)))
    assert {decided[pair].reason for pair in best[:26]} == {"listed"}
    assert {decided[pair].reason for pair in best[26:]} == {"accepted"}
    with pytest.warns(UserWarning, match="excluded: item 0 is no pair"):
        cs.select(crawl, model=model, exclude=[("a", "")])


def test_an_encoder_of_ones_own_scores_every_pair(crawl: Pairs, domain: Pairs) -> None:
    """With an expensive encoder too each pair has its cluster and quality; a Model is of its encoder alone."""
    encoder = DenseEncoder(Counting(), "counting")
    model = cs.learn(domain[:100], crawl[:300], encoder=encoder)
    table = model.score(crawl[:50])
    assert table["quality"].null_count == 0
    assert min(table["cluster"].to_pylist()) >= 0
    decisions = [decision for _, decision in cs.select(crawl[:300], domain[:100], 0.1, encoder=encoder)]
    assert any(decision.cluster == -1 for decision in decisions)
    with pytest.raises(cs.IntegrityError, match="made with the encoder"):
        cs.Model(model.scoring, load_encoder()).score(crawl[:5])


def test_learn_is_what_select_primes_with(crawl: Pairs, domain: Pairs, model: cs.Model) -> None:
    """The first version of a selection is the Model of its head."""
    selection = select(crawl[:PRIME], domain)
    list(selection)
    assert selection.model is not None
    assert selection.model.digest == model.digest


MODULES: list[ModuleType] = [api_model, api_selection, estimators]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_of_docstrings_run(module: ModuleType) -> None:
    """What a public docstring shows is what happens."""
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("document", ["docs/how-to/python.md", "docs/how-to/other-tools.md", "README.md"])
def test_examples_of_documents_run(document: str) -> None:
    """So is what a document shows."""
    found = doctest.testfile(str(ROOT / document), module_relative=False)
    assert found.attempted > 0
    assert found.failed == 0


def test_the_package_is_lazy_and_complete() -> None:
    """`import craft_stream` takes less than .05 s of CPU and loads nothing; every public name is then there, and documented."""
    code = "import craft_stream, sys; print(len(sys.modules)); assert 'numpy' not in sys.modules"

    def spent(line: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", line], check=True, cwd=ROOT, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    least = [
        min(spent(line) for _ in range(3)) for line in ("pass", code)
    ]  # a busy machine takes more now and then
    assert least[1] - least[0] < 0.05
    for name in cs.__all__:
        found = getattr(cs, name)
        assert ">>>" in found.__doc__ or issubclass(found, cs.CraftError), name
        assert name in dir(cs)
    with pytest.raises(AttributeError, match="has no attribute 'selekt'"):
        cs.selekt  # noqa: B018
    assert importlib.import_module("craft_stream.codec") is cs.codec  # modules beside the names
    assert (ROOT / "craft_stream" / "py.typed").exists()
