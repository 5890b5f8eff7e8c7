"""Languages of both sides: told, weighed by length, and a reason to reject."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("eldc")  # has no wheels for Python 3.14

from craft_stream.encoders import load_encoder
from craft_stream.errors import ConfigurationError, IntegrityError
from craft_stream.learning.learner import Learner
from craft_stream.parameters import LearningParameters, Parameters, SelectionParameters
from craft_stream.scoring.model import Model
from craft_stream.scoring.scorer import Scorer
from craft_stream.selection.decisions import Decisions, Reason
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.text import languages
from craft_stream.text.batch import PairBatch, TextBatch
from craft_stream.text.languages import UNKNOWN, Eldc, load_identifier, named_identifier
from craft_stream.text.tokenized import TokenizedPairs

ENGLISH = ["the house", "a garden", "our street", "every window", "this table", "the old door"]
FRENCH = ["la maison", "un jardin", "notre rue", "chaque fenêtre", "cette table", "la vieille porte"]
GERMAN = ["das Haus", "ein Garten", "unsere Straße", "jedes Fenster", "dieser Tisch", "die alte Tür"]


def pairs(size: int, seed: int, foreign: float = 0.0) -> tuple[PairBatch, np.ndarray]:
    """English with French that says the same, a share of it with German instead; and which."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, 6, (size, 4))
    wrong = rng.random(size) < foreign
    sources = [f"We have seen {' and '.join(ENGLISH[i] for i in row)}." for row in chosen]
    targets = [
        f"Wir haben {' und '.join(GERMAN[i] for i in row)} gesehen."
        if bad
        else f"Nous avons vu {' et '.join(FRENCH[i] for i in row)}."
        for row, bad in zip(chosen, wrong, strict=True)
    ]
    return PairBatch.pack(sources, targets), wrong


def learned(**learning: object) -> tuple[Parameters, Learner]:
    parameters = Parameters(
        LearningParameters(identifier="eldc", **learning),  # type: ignore[arg-type]
        SelectionParameters(rate=0.5, near_duplicate=1.1),
    )
    learner = Learner(parameters, load_encoder())
    batch, _ = pairs(200, 1)
    learner.observe_target([str(i) for i in range(200)], batch)
    learner.observe(pairs(2500, 2, foreign=0.3)[0])
    return parameters, learner


@pytest.fixture(scope="module")
def model() -> Model:
    return learned()[1].publish()


def decide(model: Model, batch: PairBatch, parameters: Parameters) -> Decisions:
    selector = Selector(parameters, load_encoder())
    return selector.decide(TokenizedPairs.of(batch), Ledger(selector.parameters), model)


def test_the_targets_languages_are_learned(model: Model) -> None:
    """Unset, the languages are those of the target, and the Model says what told them, also after a journey."""
    again = Model.decode(model.encode())
    assert again.translation.languages == "en-fr"
    assert again.translation.identifier == load_identifier("eldc").name  # type: ignore[union-attr]


def test_other_languages_are_rejected_with_that_reason(model: Model) -> None:
    """Of 30 % German targets all are rejected, those past the gate as `language`; no French one is."""
    batch, wrong = pairs(2000, 3, foreign=0.3)
    decisions = decide(model, batch, learned()[0])
    assert not (decisions.accepted & wrong).any()
    assert decisions.accepted.sum() > 300
    said = decisions.reason == Reason.OTHER_LANGUAGE
    assert said.sum() > 100
    assert wrong[said].all()
    assert np.isnan(decisions.quality[said]).all()


def test_languages_may_be_set() -> None:
    """A model that is told to expect German, in any spelling, rejects French; no tags, or an unknown language, are refused."""
    parameters, learner = learned(languages="en-US,deu")
    batch, wrong = pairs(1000, 4, foreign=0.5)
    decisions = decide(learner.publish(), batch, parameters)
    assert not (decisions.accepted & ~wrong).any()
    for name in ("english-french", "en", "en-en", "en-xx"):
        with pytest.raises(ConfigurationError, match="en-fr"):
            learned(languages=name)
    with pytest.raises(ConfigurationError, match=r"did you mean en-fr\?"):
        learned(languages="english-french")
    with pytest.raises(ConfigurationError, match="identifier"):
        LearningParameters(languages="en-fr")


def test_without_an_identifier_nothing_is_told() -> None:
    """The default asks for no package and rejects nothing for its language."""
    learner = Learner(Parameters(), load_encoder())
    batch, _ = pairs(200, 1)
    learner.observe_target([str(i) for i in range(200)], batch)
    learner.observe(pairs(2500, 2, foreign=0.3)[0])
    found = learner.publish()
    assert (found.translation.identifier, found.translation.languages) == ("", "")
    decisions = decide(found, pairs(1000, 3, foreign=0.3)[0], Parameters())
    assert not (decisions.reason == Reason.OTHER_LANGUAGE).any()


def test_short_texts_weigh_less() -> None:
    """The same words are the more foreign the more of them there are; numbers, marks and nothing are not foreign at all."""
    texts = TextBatch.pack(
        ["Haus", "das Haus und der Garten", "das Haus und der Garten sind groß und schön " * 4]
    )
    found = Eldc().strangeness(texts, np.arange(3), "fr")
    assert found[0] < found[1] < found[2]
    assert found[2] > Eldc().limit
    empty = TextBatch.pack(["", "12 345", "?!", "\x00", "\ud800", "ab" * 100_000])
    assert (Eldc().strangeness(empty, np.arange(4), "fr") == 0).all()
    assert np.isfinite(Eldc().strangeness(empty, np.arange(6), "fr")).all()


def test_a_side_of_many_languages_is_not_checked() -> None:
    """Without a majority a side is of no language, and nothing is foreign to it."""
    mixed = TextBatch.pack([*ENGLISH, *FRENCH, *GERMAN])
    assert Eldc().majority(mixed) == UNKNOWN
    assert Eldc().majority(TextBatch.pack([])) == UNKNOWN
    assert (Eldc().strangeness(mixed, np.arange(18), UNKNOWN) == 0).all()


@pytest.fixture
def forgotten() -> Iterator[None]:
    languages._identifier.cache_clear()
    yield
    languages._identifier.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_what_is_missing_is_said(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error names the extra; with another version a Model is refused."""
    monkeypatch.setitem(__import__("sys").modules, "eldc", None)
    with pytest.raises(ConfigurationError, match=r"extra `languages`"):
        Scorer(model, load_encoder())
    monkeypatch.undo()
    with pytest.raises(IntegrityError, match=r"eldc-0\.0"):
        named_identifier("eldc-0.0")
