"""The harness that holds P(clean) against people, on made pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
import zstandard
from toy import Toy, stream, target

from bench import noise
from bench.human_judgement import Examples, fit, no_trees
from bench.judged import log_clean, read
from craft_stream.encoders import load_encoder
from craft_stream.learning.learner import Learner
from craft_stream.parameters import LearningParameters, Parameters
from craft_stream.scoring.quality import LIKENESS
from craft_stream.scoring.scorer import Scorer
from craft_stream.scoring.translation import JUDGED_FEATURES
from craft_stream.selection.decisions import Reason

sklearn = pytest.importorskip("sklearn.ensemble")

ROWS = [
    {
        "pair": "en-xx",
        "src": "one two",
        "tgt": "ein zwei",
        "label": "V",
        "label2": "F",
        "release": "a",
        "bicleaner": 0.9,
    },
    {
        "pair": "en-xx",
        "src": "three",
        "tgt": "vier",
        "label": "A",
        "label2": "V",
        "release": "a",
        "bicleaner": None,
    },
    {"pair": "en-yy", "src": "five", "tgt": "cinq", "label": "MT", "release": "b", "bicleaner": "0.5"},
]


def test_judged_pairs_are_read_by_language(tmp_path: Path) -> None:
    """Labels of one person or two; a score that is missing is not a number; what is neither is in no class."""
    lines = b"".join(orjson.dumps(row) + b"\n" for row in ROWS)
    (tmp_path / "rows.jsonl.zst").write_bytes(zstandard.compress(lines))
    found = read(tmp_path)
    assert set(found) == {"xx", "yy"}
    one = found["xx"]
    assert (one.clean.tolist(), one.bad.tolist()) == ([True, False], [False, True])
    assert one.agreed.tolist() == [True, False]
    assert one.words.tolist() == [2, 1]
    assert np.isnan(one.scores["bicleaner"]).tolist() == [False, True]
    assert not (found["yy"].clean | found["yy"].bad).any()
    assert found["yy"].scores["bicleaner"].tolist() == [0.5]


def test_figures_are_their_definitions() -> None:
    """AUC of known scores, what is kept where .93 of the clean pairs are, Brier, reliability."""
    scores = np.r_[np.linspace(0.5, 1, 100), np.linspace(0, 0.5, 100), np.nan]
    clean = np.arange(201) < 100
    assert noise.auc(scores, clean, ~clean) == pytest.approx(1, abs=1e-3)
    assert np.isnan(noise.auc(scores[:110], clean[:110], ~clean[:110]))  # 10 bad pairs are too few
    assert noise.kept(scores[:200], clean[:200], ~clean[:200]) == 0
    assert noise.kept(1 - scores[:200], clean[:200], ~clean[:200]) == 1
    assert noise.brier(np.array([1.0, 0.5]), np.array([True, False])) == pytest.approx(0.125)
    points = noise.reliability(np.array([0.05, 0.06, 1.0]), np.array([False, True, True]))
    assert points == [(pytest.approx(0.055), 0.5, 2), (1.0, 1.0, 1)]
    drawn = noise.picture(points)
    assert drawn.count("<circle") == 2
    assert 'cx="340.0" cy="20.0"' in drawn


def test_a_table_has_means_of_what_is_known() -> None:
    """A language without a figure has an empty cell and no part in the mean."""
    lines = noise.table({"a": {"AUC": 0.5, "x": 0.25}, "b": {"AUC": 0.75}}).splitlines()
    assert lines[0] == "| | AUC | x |"
    assert lines[3:] == ["| b | .750 |  |", "| mean | .625 | .250 |"]


def test_trees_are_what_was_learned() -> None:
    """The plain arrays score as the model that they were made of: high where people say so, low for what was spoilt."""
    rng = np.random.default_rng(0)

    def examples(seed: int) -> Examples:
        own = np.random.default_rng(seed)
        judged, made = (own.normal(0, 1, (400, len(JUDGED_FEATURES))).astype(np.float32) for _ in range(2))
        return Examples(judged, judged[:, 3] + judged[:, 5] > 0, made, made[:, 3] > -0.5)

    trees = fit([examples(1), examples(2)])
    values = rng.normal(0, 1, (500, len(JUDGED_FEATURES))).astype(np.float32)
    found = trees.score(values)
    assert found[(values[:, 3] > 1) & (values[:, 5] > 0.5)].mean() > 1
    assert found[(values[:, 3] < -1) & (values[:, 5] < -0.5)].mean() < -1
    assert not no_trees().score(values).any()


def test_trees_may_know_one_feature_more(tmp_path: Path) -> None:
    """A file of features says whether the likeness is among them; any other names are refused."""
    rows = np.zeros((2, len(JUDGED_FEATURES) + 1), np.float32)
    truth = np.array([True, False])
    for names, fits in (((*JUDGED_FEATURES, LIKENESS), True), ((*JUDGED_FEATURES, "other"), False)):
        path = tmp_path / "xx.npz"
        np.savez(path, names=np.array(names), judged=rows, clean=truth, made=rows, sound=truth)
        if fits:
            assert Examples.load(path).judged.shape == rows.shape
        else:
            with pytest.raises(SystemExit, match="other features"):
                Examples.load(path)


def test_reasons_are_counted_by_label(tmp_path: Path) -> None:
    """Of each label the share that passes and that each reason has; reasons that nothing has are left out."""
    (tmp_path / "rows.jsonl.zst").write_bytes(
        zstandard.compress(b"".join(orjson.dumps(row) + b"\n" for row in ROWS))
    )
    judged = read(tmp_path)["xx"]
    faults = np.array([Reason.ACCEPTED, Reason.COPY], np.uint8)
    found = noise.reasons([noise.Result(judged, np.ones(2), faults, 0.5)])
    assert found["V"] == {"passed": 1.0, "copy": 0.0}
    assert found["A"] == {"passed": 0.0, "copy": 1.0}


def test_a_model_without_trees_judges_by_corruptions_alone() -> None:
    """So are the features seen that trees are learned from, and P(clean) of pairs is between nothing and one."""
    learner = Learner(Parameters(LearningParameters(clusters=4)), load_encoder(), judgement=no_trees())
    learner.observe_target(*target(Toy(), 100))
    learner.observe(stream(Toy(), 1500).batch)
    scorer = Scorer(learner.publish(), load_encoder())
    assert not scorer.translation.judgement.leaves.any()
    found = log_clean(scorer, stream(Toy(), 1100, seed=5).batch)
    assert found.shape == (1100,)
    assert (found <= 0).all()
