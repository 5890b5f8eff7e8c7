"""The identifier that needs no extra: py3langid's model, run by a kernel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

import craft_stream as cs
from craft_stream.errors import ConfigurationError, IntegrityError
from craft_stream.parameters import LearningParameters
from craft_stream.text.batch import TextBatch
from craft_stream.text.language_model import LanguageModel
from craft_stream.text.languages import UNKNOWN, load_identifier, named_identifier

TEXTS = ["The house is old.", "LA MAISON EST GRANDE", "это дом моего отца", "e\u0301te\u0301", "12 345", ""]


@pytest.fixture(scope="module")
def models() -> tuple[LanguageModel, LanguageIdentifier]:
    read = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    with pytest.MonkeyPatch.context() as patch:  # unpacked once: a second of CPU
        patch.setattr(LanguageIdentifier, "from_model_file", lambda *_, **__: read)
        return LanguageModel(), read


@given(st.one_of(st.sampled_from(TEXTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=40)))
def test_answers_are_those_of_the_package(
    models: tuple[LanguageModel, LanguageIdentifier], text: str
) -> None:
    """To the last digit but one of a float32: the package adds up in another order."""
    found, package = models[0].posterior(text), dict(models[1].rank(text))
    assert found.tolist() == pytest.approx([package[label] for label in models[0].labels], abs=1e-4)


def test_what_is_foreign() -> None:
    """Long texts of another language are, what has no letters is not, and languages may be spelt in any way."""
    identifier = load_identifier("py3langid")
    assert identifier is named_identifier(identifier.name)  # type: ignore[union-attr]
    assert identifier is not None
    assert identifier.pair("en-US,fra") == "en-fr"
    texts = TextBatch.pack(
        [
            "Haus",
            "das Haus und der Garten sind groß und schön",
            "la maison et le jardin sont grands et beaux",
            "12 345",
            "",
        ]
    )
    found = identifier.strangeness(texts, np.arange(5), "fr")
    assert found[1] > max(identifier.limit, found[0])
    assert found[[2, 3, 4]].tolist() == [0, 0, 0]
    assert identifier.majority(TextBatch.pack(["12", "?"])) == UNKNOWN
    with pytest.raises(IntegrityError, match=r"py3langid-0\.0, here is py3langid"):
        named_identifier("py3langid-0.0")
    with pytest.raises(IntegrityError, match="which is not known here"):
        named_identifier("fortune-1.0")
    with pytest.raises(ConfigurationError, match="must be one of"):
        LearningParameters(identifier="fortune")  # type: ignore[arg-type]


def test_other_languages_are_rejected() -> None:
    """Pairs with a German side in an English-French stream have that reason, and no others have."""
    english = [
        "the old house",
        "a small garden",
        "our long street",
        "every open window",
        "this wooden table",
        "the red door",
    ]
    french = [
        "la vieille maison",
        "un petit jardin",
        "notre longue rue",
        "chaque fenêtre",
        "cette table",
        "la porte",
    ]
    german = [
        "das alte Haus",
        "ein kleiner Garten",
        "unsere Straße",
        "jedes Fenster",
        "dieser Tisch",
        "die rote Tür",
    ]
    rng = np.random.default_rng(1)

    def pair(other: bool) -> tuple[str, str]:
        a, b, c = rng.integers(0, 6, 3).tolist()
        source = f"We have seen {english[a]} and {english[b]} near {english[c]} {rng.integers(1000)}."
        if other:
            return source, f"Wir haben {german[a]} und {german[b]} bei der Kirche gesehen, {german[c]}."
        return source, f"Nous avons vu {french[a]} et {french[b]} près de {french[c]}."

    domain = [pair(False) for _ in range(200)]
    foreign = [bool(n % 4 == 3) for n in range(2000)]
    decided = list(
        cs.select([pair(one) for one in foreign], domain, 0.4, identifier="py3langid", near_duplicate=1.1)
    )
    said = np.array([decision.reason == "other_language" for _, decision in decided])
    assert said.sum() > 50
    assert np.array(foreign)[said].all()
    assert not any(decision.accepted for (_, decision), one in zip(decided, foreign, strict=True) if one)
