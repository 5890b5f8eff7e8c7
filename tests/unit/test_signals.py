"""Signals: read from records or computed, weighed by what the stream shows, refused where they are missing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import Toy, stream, target

import craft_stream as cs
from craft_stream import signals
from craft_stream.encoders import load_encoder
from craft_stream.errors import ConfigurationError, IntegrityError
from craft_stream.events import Observer
from craft_stream.learning.learner import Learner
from craft_stream.learning.signals import fit_signals
from craft_stream.parameters import LearningParameters, Parameters, SelectionParameters
from craft_stream.ports.messages import Message
from craft_stream.reading.chunk import Chunk
from craft_stream.scoring.model import Model
from craft_stream.scoring.quality import log_probability
from craft_stream.scoring.scorer import Scorer
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.settings import RecordSettings, Settings
from craft_stream.signals import RecordFields, Signals, load_signals
from craft_stream.text.batch import PairBatch
from craft_stream.text.columns import Columns
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.worker.decider import Decider

SIZE = 3000
NAMES = ("telling", "noise", "half")


def area(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve."""
    ranks = np.argsort(np.argsort(scores)) + 1.0
    positive = truth.sum()
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * (len(truth) - positive)))


@pytest.mark.parametrize(
    ("value", "number"),
    [(0.5, 0.5), (3, 3.0), ("0.25", 0.25), ("-1e3", -1000.0), (True, np.nan), (None, np.nan), ("high", np.nan),
     ([1], np.nan), ("", np.nan), (float("inf"), np.nan), (10**400, np.nan)],
)  # fmt: skip
def test_a_field_is_a_number_or_nothing(value: object, number: float) -> None:
    """Numbers, and texts that are numbers, count; a truth value, a list, words, a missing field do not."""
    found = Signals([("", RecordFields(["a", "b"]))]).columns(["s"], ["t"], [{"a": value}])
    assert found.names == ("a", "b")
    assert np.array_equal(found.values, np.array([[number, np.nan]], np.float32), equal_nan=True)


@given(st.lists(st.lists(st.sampled_from("abc"), unique=True), max_size=4), st.data())
def test_columns_stay_with_their_pairs(parts: list[list[str]], data: st.DataObject) -> None:
    """However batches of other columns are joined and cut, a pair keeps its numbers, and lacks what its batch lacked."""
    batches = []
    for at, names in enumerate(parts):
        values = np.array([[100 * at + 10 * k + ord(n) for n in names] for k in range(3)], np.float32)
        batches.append(Columns(tuple(names), values.reshape(3, len(names))))
    whole = Columns.concatenate(batches)
    rows = np.array(
        data.draw(st.lists(st.integers(0, 3 * len(parts) - 1), max_size=5)) if parts else [], np.int64
    )
    taken = whole.take(rows)
    assert taken.values.shape == (len(rows), len(whole.names))
    for place, row in enumerate(rows.tolist()):
        own = batches[row // 3]
        for name, value in zip(whole.names, taken.values[place], strict=True):
            known = own.values[row % 3, own.names.index(name)] if name in own.names else np.nan
            assert np.array_equal(value, known, equal_nan=True)


def test_a_chunk_carries_the_fields_of_its_pairs() -> None:
    """Beside refused records each pair has its own numbers, also after some are taken out."""
    records = [{"src": f"s {k}", "tgt": f"t {k}", "bicleaner": k / 10} for k in range(4)]
    values = [*map(orjson.dumps, records[:2]), b"{", *map(orjson.dumps, records[2:])]
    messages = [Message(value, k, "t") for k, value in enumerate(values)]
    chunk = Chunk.read(messages, RecordSettings(signals=("bicleaner",)))
    assert chunk.pairs.batch.columns.values[:, 0] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert chunk.without({1}).pairs.batch.columns.values[:, 0] == pytest.approx([0, 0.2, 0.3])
    assert Chunk.read(messages, RecordSettings()).pairs.batch.signals is None


@pytest.mark.parametrize("seed", range(3))
def test_a_telling_signal_is_weighed_and_noise_is_not(seed: int) -> None:
    """From uncertain judgements alone: a signal that tells raises the area under the curve; noise weighs nothing."""
    rng = np.random.default_rng(seed)
    clean = rng.random(6000) < 0.7
    odds = 3 * (clean - 0.5) + rng.normal(0, 1.5, 6000)
    values = np.stack(
        [clean + rng.normal(0, 1, 6000), rng.normal(0, 1, 6000), np.full(6000, 7.0), np.full(6000, np.nan),
         np.where(rng.random(6000) < 0.5, 5 - 3 * clean + rng.normal(0, 2, 6000), np.nan)], axis=1
    ).astype(np.float32)  # fmt: skip
    columns = Columns(("telling", "noise", "constant", "missing", "half"), values)
    learned, held = np.arange(3000), np.arange(3000, 6000)
    probability = (1 / (1 + np.exp(-odds))).astype(np.float32)
    model = fit_signals(columns.take(learned), probability[learned], np.ones(3000, np.float32))
    assert model.weights[0, 1] > 0.3
    assert model.weights[4, 1] < -0.3
    assert not model.weights[1:4].any()
    with_signals = odds[held] + model.evidence(values[held])
    assert area(with_signals, clean[held]) > area(odds[held], clean[held]) + 0.02
    unknown = np.isnan(values[held, 4])
    alone = replace(model, weights=np.where(np.arange(5)[:, None] == 4, model.weights, np.float32(0)))
    assert not alone.evidence(values[held])[unknown].any()
    assert alone.evidence(values[held])[~unknown].all()


def test_a_signal_known_of_few_pairs_is_not_weighed() -> None:
    """Of each class some fifty pairs must be known, however well they are told apart."""
    clean = np.repeat([True, False], [2000, 40])
    model = fit_signals(
        Columns(("s",), clean.astype(np.float32)[:, None]),
        clean.astype(np.float32),
        np.ones(2040, np.float32),
    )
    assert not model.weights.any()


def signalled(toy: Toy, size: int, seed: int) -> tuple[PairBatch, np.ndarray]:
    """A stream whose records have a score that tells noise, one that does not, and one that half of them lack."""
    made, rng = stream(toy, size, seed=seed), np.random.default_rng(seed)
    telling = made.clean + rng.normal(0, 0.5, size)
    half = np.where(rng.random(size) < 0.5, telling, np.nan)
    values = np.stack([telling, rng.normal(0, 1, size), half], axis=1).astype(np.float32)
    return replace(made.batch, signals=Columns(NAMES, values)), made.clean


def learn(batch: PairBatch) -> Model:
    learner = Learner(Parameters(LearningParameters(clusters=8)), load_encoder())
    learner.observe_target(*target(Toy()))
    for start in range(0, len(batch), 500):
        learner.observe(batch.slice(start, min(start + 500, len(batch))))
    return Model.decode(learner.publish().encode())


@pytest.fixture(scope="module")
def crawl() -> PairBatch:
    return signalled(Toy(), SIZE, 1)[0]


@pytest.fixture(scope="module")
def model(crawl: PairBatch) -> Model:
    return learn(crawl)


def test_a_model_weighs_signals_beside_everything_else(model: Model, crawl: PairBatch) -> None:
    """It names them; all else is to the bit what it is without; a pair is likelier clean the better its signal is."""
    assert model.signals.names == NAMES
    assert model.signals.weights[0, 1] > 0
    assert not model.signals.weights[1].any()
    plain = learn(replace(crawl, signals=None))
    assert plain.signals.names == ()
    assert plain.digest != model.digest
    assert all(
        np.array_equal(model.arrays[name], array)
        for name, array in plain.arrays.items()
        if not name.startswith(("signals.", "calibration.quality"))
    )
    scorer, rows = Scorer(model, load_encoder()), np.arange(3)
    values = np.array([[2, 0, np.nan], [np.nan, 9, np.nan], [-2, 0, np.nan]], np.float32)
    pairs = TokenizedPairs.of(replace(crawl.take(np.zeros(3, np.int64)), signals=Columns(NAMES, values)))
    features = scorer.features(pairs, rows, scorer.embed(pairs, rows, scorer.clusters(pairs)))
    quality = scorer.quality(features)
    assert quality[0] > quality[1] > quality[2]
    assert quality[1] == log_probability(features[1:2, : -len(NAMES)], model.classifier)[0]
    assert scorer.feature_names[-3:] == NAMES
    assert np.array_equal(features[:, -3:], values, equal_nan=True)
    text = scorer.text_features(pairs, rows)
    again = scorer.features(pairs, rows, scorer.embed(pairs, rows, scorer.clusters(pairs)), text)
    assert np.array_equal(again, features, equal_nan=True)
    expected, most = scorer.without_embedding(text).T
    assert expected[0] > expected[1] > expected[2]
    assert (most >= quality).all()


def test_decisions_with_signals_do_not_depend_on_the_batches(model: Model, crawl: PairBatch) -> None:
    """One at a time as all at once; other signals beside, in another order, change nothing."""
    parameters = Parameters(selection=SelectionParameters(rate=0.1))
    part = crawl.slice(0, 600)
    moved = replace(part, signals=Columns(("more", *NAMES[::-1]), part.columns.named(("more", *NAMES[::-1]))))
    found = []
    for batch, size in ((part, 600), (part, 1), (moved, 77)):
        selector, ledger = Selector(parameters, load_encoder()), Ledger(parameters)
        parts = [
            selector.decide(TokenizedPairs.of(batch.slice(a, min(a + size, 600))), ledger, model)
            for a in range(0, 600, size)
        ]
        found.append((np.concatenate([p.quality for p in parts]), ledger.digest()))
    assert found[0][1] == found[1][1] == found[2][1]
    assert np.array_equal(found[0][0], found[1][0], equal_nan=True)


def test_a_model_without_its_signals_is_refused_by_name(model: Model, crawl: PairBatch) -> None:
    """Pairs that lack one of them, or all, are not decided as if nothing were said of them."""
    parameters = Parameters(selection=SelectionParameters(rate=0.1))
    for columns in (None, Columns(("noise", "half"), crawl.columns.values[:, 1:])):
        pairs = TokenizedPairs.of(replace(crawl, signals=columns).slice(0, 300))
        with pytest.raises(IntegrityError, match=r"signals telling.*record\.signals"):
            Selector(parameters, load_encoder()).decide(pairs, Ledger(parameters), model)


def test_a_worker_warms_up_with_the_signals_of_its_records(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    """The made-up pair is read as a record is, so a Model that weighs signals finds them; without them that is said."""
    selector = Selector(
        Parameters(selection=SelectionParameters(rate=1.0)), load_encoder()
    )  # all are looked at
    for names, said in ((NAMES, 0), ((), 1)):
        settings = Settings.load(None, [f"record.signals={list(names)}".replace("'", '"')])
        caplog.clear()
        Decider(settings, selector, Observer()).warm_up(model)
        assert len(caplog.records) == said


class Lengths:
    """A signal that is computed: the lengths of the sides."""

    names = ("source", "target")

    def __init__(self, scale: str = "1") -> None:
        self._scale = float(scale)

    def compute(self, sources: Sequence[str], targets: Sequence[str], records: Sequence[Any]) -> np.ndarray:
        """See `Signal.compute`."""
        return self._scale * np.array(
            [[len(s), len(t)] for s, t in zip(sources, targets, strict=True)]
        ).reshape(-1, 2)


def test_entry_points_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package's signal is loaded by its name, its options in the names of its columns; what is wrong is named."""
    monkeypatch.setattr(
        signals,
        "entry_points",
        lambda group: EntryPoints([EntryPoint("lengths", f"{__name__}:Lengths", group)]),
    )
    fields = RecordSettings(signals=("bicleaner",), computed_signals=("lengths", "lengths?scale=2"))
    found = load_signals(fields)
    assert found is not None
    assert found is load_signals(fields)
    assert [name.rpartition(".")[2] for name in found.names] == [
        "bicleaner",
        "source",
        "target",
        "source",
        "target",
    ]
    assert len(set(found.names)) == 5
    columns = found.columns(["ab"], ["abc"], [{"bicleaner": 0.5}])
    assert columns.values.tolist() == [[0.5, 2, 3, 4, 6]]
    for wrong, message in (("width", "lengths"), ("lengths?depth=1", "options"), ("lengths", "two signals")):
        with pytest.raises(ConfigurationError, match=message):
            load_signals(RecordSettings(computed_signals=(wrong, "lengths")))
    assert load_signals(RecordSettings()) is None


def test_a_signal_that_fails_is_named() -> None:
    """An error, or another shape than its names, stops with the signal's name, never as if it knew nothing."""

    class Wrong(Lengths):
        names = ("one",)

    class Broken(Lengths):
        def compute(self, *_: Any) -> np.ndarray:
            raise KeyError("score")

    for made, message in ((Wrong(), r"mine gave .*\(1, 2\)"), (Broken(), "mine failed .KeyError")):
        with pytest.raises(ConfigurationError, match=message):
            Signals([("mine.", made)]).columns(["s"], ["t"], [{}])


def test_explain_shows_signals_and_asks_with_them(model: Model) -> None:
    """As features; one that is not given is not known; a better one makes the pair likelier clean."""
    parameters = Parameters(selection=SelectionParameters(rate=0.1))
    source, translation = Toy().pair(random.Random(0), True)
    found = [
        Selector(parameters, load_encoder()).explain(
            source, translation, Ledger(parameters), model, signals=known
        )
        for known in ({}, {"telling": -2.0}, {"telling": 2.0})
    ]
    assert [np.isnan(parts["features"]["telling"]) for parts in found] == [True, False, False]
    assert list(found[0]["features"])[-3:] == list(NAMES)
    assert found[1]["quality"] < found[0]["quality"] < found[2]["quality"]


def test_signals_in_python(model: Model, crawl: PairBatch) -> None:
    """Fields of dicts by name, and objects, are learned and decided with; a Model asks for them by name; a text is no list."""
    wanted = target(Toy())[1]
    domain = list(zip(wanted.source.texts(), wanted.target.texts(), strict=True))
    texts = zip(crawl.source.texts(), crawl.target.texts(), crawl.columns.values.tolist(), strict=True)
    items = [{"src": a, "tgt": b, "telling": values[0]} for a, b, values in texts]
    made = cs.learn(domain, items, signals=["telling", Lengths()])
    assert made.scoring.signals.names == ("telling", "source", "target")
    assert made.scoring.signals.weights[0, 1] > 0
    one = items[0]
    table = made.score(
        [
            one | {"telling": -2.0},
            {"src": one["src"], "tgt": one["tgt"]},
            (one["src"], one["tgt"]),
            one | {"telling": 2.0},
        ],
        signals=["telling", Lengths()],
    )
    quality = table["quality"].to_pylist()
    assert quality[0] < quality[1] == quality[2] < quality[3]
    with pytest.raises(IntegrityError, match="telling, source, target"):
        made.score([one])
    decided = list(cs.select(items[:50], model=made, rate=0.2, signals=["telling", Lengths()]))
    assert len(decided) == 50
    with pytest.raises(ConfigurationError, match="list"):
        made.score([one], signals="telling")
