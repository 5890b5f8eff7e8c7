"""Every reason, part of a score and feature has its sentence, and no sentence is left over."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from toy import versions

from craft_stream import meanings
from craft_stream.cli.summary import Summary
from craft_stream.encoders import load_encoder
from craft_stream.parameters import Parameters
from craft_stream.reading.records import DecodeReason
from craft_stream.scoring.model import Model
from craft_stream.scoring.quality import FEATURES, LIKENESS, log_probability
from craft_stream.selection.decisions import Reason
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector

ROOT = Path(__file__).parents[2]


class Engine(NamedTuple):
    """What a summary asks of what decided."""

    ledger: Ledger
    model: Model | None


def test_names_are_those_of_the_code() -> None:
    """Reasons, refusals, features and what `explain` gives: each has a sentence, and nothing else has."""
    assert list(meanings.REASONS) == [reason.label for reason in Reason]
    assert list(meanings.REFUSALS) == [str(reason) for reason in DecodeReason]
    assert list(meanings.FEATURES) == [*FEATURES, LIKENESS]
    parameters = Parameters()
    said = Selector(parameters, load_encoder()).explain("one", "one", Ledger(parameters), versions()[0])
    named = "".join(path.read_text("utf-8") for path in (ROOT / "connectors" / "crawl").glob("*.py"))
    assert set(re.findall(r'(?:SkippedError\(|skipped\[)"(\w+)"', named)) <= set(meanings.PAGES)
    assert all(f'"{name}"' in named for name in meanings.PAGES)
    summary = Summary()
    summary.unknown["bicleaner"] = 1
    summary.finish(Engine(Ledger(Parameters()), versions()[0]), 1.0)
    assert list(meanings.SUMMARY) == list(summary.values())
    assert set(meanings.PARTS) == set(said) - {"reason", "features", "contributions"}


def test_sentences_are_sentences() -> None:
    """A reason begins with a capital and ends with a full stop; a feature is a phrase of one line."""
    for text in (*meanings.REASONS.values(), *meanings.REFUSALS.values(), *meanings.PAGES.values()):
        assert re.fullmatch(r"[A-Z].{10,130}\.", text), text
    for text in meanings.FEATURES.values():
        assert re.fullmatch(r"[a-z0-9].{10,130}[^.]", text), text


def test_contributions_add_up_to_the_quality() -> None:
    """What the features add, with the constant, are the log-odds that quality comes from."""
    parameters, model = Parameters(), versions()[0]
    said = Selector(parameters, load_encoder()).explain("one two", "un deux", Ledger(parameters), model)
    odds = sum(said["contributions"].values()) + float(model.classifier.weights[-1])
    assert np.isclose(-np.log1p(np.exp(-odds)), said["quality"], atol=1e-4)
    features = np.array([list(said["features"].values())], np.float32)
    assert np.isclose(log_probability(features, model.classifier)[0], said["quality"], atol=1e-5)
