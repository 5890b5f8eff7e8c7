"""The benchmark of translation, without torch: what it is made of, budgets, batches, the plan, results and significance."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from bench.translation import batches, budgets, plan, prepared, results
from bench.translation.decontamination import SHARED, TestTexts
from bench.translation.prepared import BEGIN, END, LONGEST, PAD, Selected, Side

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def _side(lengths: list[int]) -> Side:
    """Texts of these lengths, whose pieces tell which text they are of."""
    return Side.of([[10 + number] * length for number, length in enumerate(lengths)])


@given(LENGTHS, st.integers(1, 500))
def test_a_prefix_fills_its_budget_and_no_more(lengths: list[int], budget: int) -> None:
    """What is left of a ranking stays within the budget, and one pair more would not."""
    tokens = np.array(lengths)
    ranked = np.arange(len(tokens))[::-1]
    chosen = budgets.prefix(ranked, tokens, budget)
    assert tokens[chosen].sum() <= budget
    if len(chosen) < len(ranked):
        assert tokens[chosen].sum() + tokens[ranked[len(chosen)]] > budget


def test_methods_that_count_pairs_spend_the_same_tokens() -> None:
    """A method that prefers long pairs and one that prefers short ones end within a pair of the same budget."""
    tokens = np.random.default_rng(0).integers(1, 60, 5000)
    by_length = np.argsort(tokens, kind="stable")
    for order in (by_length, by_length[::-1]):
        chosen = budgets.asked(lambda count, order=order: order[:count], tokens, 5000)
        assert 5000 - 60 < tokens[chosen].sum() <= 5000
        assert set(chosen) <= set(order[: len(chosen) + 400])


def test_a_method_of_pairs_as_long_as_expected_is_asked_once() -> None:
    """Its pairs are twice as long as the stream's: who knows it runs it once, who does not runs it again."""
    tokens = np.tile([10, 40], 2500)
    runs: list[int] = []

    def long_ones(count: int) -> np.ndarray:
        runs.append(count)
        return np.flatnonzero(tokens == 40)[:count]

    budgets.asked(long_ones, tokens, 5000)
    assert len(runs) > 1
    runs.clear()
    assert tokens[budgets.asked(long_ones, tokens, 5000, 40)].sum() == 5000
    assert len(runs) == 1


def test_a_method_that_has_no_more_stays_below_its_budget() -> None:
    """Nothing is added to a selection that is smaller than what was asked for."""
    tokens = np.full(100, 10)
    assert budgets.asked(lambda count: np.arange(min(count, 5)), tokens, 500).tolist() == [0, 1, 2, 3, 4]


def test_test_sentences_are_found_by_either_side_and_by_a_long_run() -> None:
    """Case, marks and width do not hide a test sentence; thirteen words of one are enough, twelve are not."""
    long = " ".join(f"word{number}" for number in range(20))
    seen = TestTexts([("The heart beats.", "Le cœur bat."), (long, "tout autre chose")])
    assert seen.contaminate("the HEART beats", "autre")
    assert seen.contaminate("another", "«Le cœur bat»")
    assert seen.contaminate("ｔｈｅ heart beats!", "autre")
    assert not seen.contaminate("Le cœur bat", "The heart beats")
    words = long.split()
    assert seen.contaminate("and " + " ".join(words[3 : 3 + SHARED]), "autre")
    assert not seen.contaminate("and " + " ".join(words[3 : 3 + SHARED - 1]), "autre")
    assert not seen.contaminate("?", "!")


@given(LENGTHS, st.integers(0, 3))
def test_batches_hold_every_pair_once_a_turn(lengths: list[int], seed: int) -> None:
    """Of a bucket every pair comes once before any comes again, whole, in a batch of at most its tokens."""
    source, target = _side(lengths), _side(lengths)
    stream = batches.batches(source, target, np.arange(len(lengths)), 64, [seed, seed + 1])
    met: dict[tuple[int, int], dict[int, int]] = {}
    for _ in range(50):
        x, y = next(stream)
        assert x.shape[0] == 2
        assert x.shape[1] * x.shape[2] <= max(64, x.shape[2])
        assert (y[:, :, 0] == BEGIN).all()
        assert (y[:, :, 1:] == x).all()
        for model in range(2):
            seen = met.setdefault((model, x.shape[2]), {})
            for row in x[model]:
                text = int(row[0]) - 10
                assert (row != PAD).sum() == lengths[text] + 1
                assert row[lengths[text]] == END
                seen[text] = seen.get(text, 0) + 1
    for (_, width), seen in met.items():
        bucket = [row for row, length in enumerate(lengths) if _width(length) == width]
        counts = [seen.get(row, 0) for row in bucket]
        assert max(counts) - min(counts) <= 1


def _width(length: int) -> int:
    return next(width for width in batches.WIDTHS if width > length)


def test_a_selection_without_pairs_is_refused() -> None:
    """Nothing to train on is an error, as are pairs with an empty side."""
    side = Side.of([[5, 6], []])
    with pytest.raises(ValueError, match="no pairs"):
        next(batches.batches(side, side, np.array([1]), 64, [0]))


def test_prepared_folders_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Pieces, cut at the longest, tests and selections come back, repetitions in a selection too."""
    source, target = Side.of([[5] * 300, [7, 8]]), Side.of([[9], [4, 4, 4]])
    prepared.write_tokens(tmp_path, source, target)
    prepared.write_tests(tmp_path, {"sea": (["The sea"], ["La mer"]), "news": (["A"], ["B"])})
    chosen = [Selected("sea", "random", 0.05, np.array([1, 0, 1], np.int32), {"tokens": 7})]
    prepared.write_selections(tmp_path, chosen, {"general": ["news"]})
    found = prepared.read(tmp_path)
    assert found.source.lengths.tolist() == [LONGEST, 2]
    assert found.target.text(1).tolist() == [4, 4, 4]
    assert found.tests["sea"] == (["The sea"], ["La mer"])
    assert found.selections[0].chosen.tolist() == [0, 1, 1]
    assert found.selections[0].notes == {"tokens": 7}
    assert found.notes["general"] == ["news"]


def _selected(domain: str, method: str, budget: float) -> Selected:
    return Selected(domain, method, budget, np.array([0], np.int32), {})


def test_the_plan_cuts_domains_and_never_seeds() -> None:
    """Blocks come by mode and domain, what is shared first, whole selections of a domain together."""
    selections = [
        *(_selected("", "random", 0.05), _selected("", "all", 1.0)),
        *(_selected(domain, method, 0.05) for domain in ("sea", "money") for method in ("dsir", "ceiling")),
    ]
    found = plan.blocks(selections, ["tuned", "scratch"], ["sea", "money"])
    assert [(block.mode, block.domain, len(block.jobs)) for block in found] == [
        (mode, domain, 2) for mode in ("tuned", "scratch") for domain in ("", "sea", "money")
    ]
    assert found[0].jobs[1].key == ("tuned", "", "all", 1.0)
    only = plan.blocks(selections, ["tuned"], ["money"], ["dsir", "all"], [0.05])
    assert [[job.key for job in block.jobs] for block in only] == [
        [("tuned", "", "all", 1.0)],
        [("tuned", "money", "dsir", 0.05)],
    ]


def test_a_block_fits_by_the_seconds_of_a_job() -> None:
    """Four jobs of ten seconds on two workers take 22 seconds with a tenth to spare, five take 33."""
    assert plan.fits(4, 2, 10.0, 22.0)
    assert not plan.fits(4, 2, 10.0, 21.9)
    assert not plan.fits(5, 2, 10.0, 32.9)


def _row(method: str, **more: object) -> results.Row:
    return {"mode": "tuned", "domain": "sea", "method": method, "budget": 0.05, **more}


def test_results_survive_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    """What was written whole is resumed from, plain or packed, half a line is done again, and the later row counts."""
    results.append(tmp_path, _row("random", loss=1))
    results.append(tmp_path, _row("dsir", loss=2))
    with open(tmp_path / "results.jsonl", "a") as file:
        file.write('{"mode": "tuned", "domain": "se')
    assert {key[2] for key in results.read(tmp_path)} == {"random", "dsir"}
    results.append(tmp_path, _row("craft", loss=3))
    results.append(tmp_path, _row("random", loss=4))
    found = results.read(tmp_path)
    assert {key[2]: row["loss"] for key, row in found.items()} == {"random": 4, "dsir": 2, "craft": 3}
    carried = tmp_path / "carried"
    results.pack(carried, [_row("random"), _row("dsir")])
    results.pack(carried, [_row("craft")])
    assert {key[2] for key in results.read(carried)} == {"random", "dsir", "craft"}
    assert len(list(carried.iterdir())) == 1


def test_packed_results_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that would grow over its size is followed by another."""
    monkeypatch.setattr(results, "PART", 300)
    for number in range(6):
        results.pack(tmp_path, [_row(f"method{number}")])
    files = sorted(tmp_path.iterdir())
    assert len(files) > 1
    assert all(path.stat().st_size <= 300 for path in files)
    assert len(results.read(tmp_path)) == 6


def _system(faults: float) -> list[str]:
    """The references with a share of their words replaced."""
    rng = np.random.default_rng(round(faults * 1000))
    return [
        " ".join("wrong" if rng.random() < faults else word for word in text.split()) for text in REFERENCES
    ]


REFERENCES = [
    " ".join(f"w{number}" for number in np.random.default_rng(row).integers(0, 50, 9 + row % 9))
    for row in range(60)
]
GOOD, BAD = _system(0.05), _system(0.3)


def test_bleu_is_sacrebleus_and_seeds_are_averaged() -> None:
    """The score from counts is the corpus score of sacreBLEU, for each seed."""
    from bench.translation.judging import Statistics

    found = Statistics.of(BLEU(), [GOOD, BAD], REFERENCES).scores()
    wanted = [BLEU().corpus_score(own, [REFERENCES]).score for own in (GOOD, BAD)]
    assert found == pytest.approx(wanted)


def test_paired_bootstrap_agrees_with_sacrebleus() -> None:
    """With one seed, p is twice that of sacreBLEU, which looks at one side where the difference never changes its sign."""
    from sacrebleu.significance import PairedTest

    from bench.translation.judging import Statistics, compare

    named = [("baseline", GOOD), ("clear", BAD), ("small", _system(0.09))]
    paired = PairedTest(named, {"BLEU": BLEU(references=[REFERENCES])}, None, "bs", n_samples=1000)
    theirs = [one.p_value for one in paired()[1]["BLEU"][1:]]
    systems = [Statistics.of(BLEU(), [system], REFERENCES) for _, system in named]
    for other, p in zip(systems[1:], theirs, strict=True):
        found = compare(systems[0], other)
        assert found.difference == pytest.approx(systems[0].scores()[0] - other.scores()[0])
        assert found.p == pytest.approx(2 * p, abs=0.02)
    assert compare(systems[0], systems[0]).p == 1


def test_judging_compares_within_domain_mode_and_budget(tmp_path: Path) -> None:
    """A model of all domains is judged on each; craft-plus is compared with whoever had the same budget."""
    from bench.translation.judging import judge

    prepared.write_tokens(tmp_path, Side.of([[5]]), Side.of([[6]]))
    tests = dict.fromkeys(("sea", "news"), (REFERENCES, REFERENCES))
    prepared.write_tests(tmp_path, tests)
    chosen = [_selected("", "random", 0.05), _selected("sea", "craft-plus", 0.05)]
    prepared.write_selections(tmp_path, chosen, {"general": ["news"]})
    shared = {
        "device": "cpu", "parameters": 1, "steps": 1, "train_seconds": 1.0, "translate_seconds": 1.0,
        "bits": {"sea": [2.0], "news": [3.0]}, "mode": "tuned", "budget": 0.05,
    }  # fmt: skip
    rows = [
        {**shared, "domain": domain, "method": method,
         "hypotheses": {"sea": {"beam": [own], "greedy": [own]}, "news": {"greedy": [own]}}}
        for domain, method, own in (("", "random", BAD), ("sea", "craft-plus", GOOD))
    ]  # fmt: skip
    found = {
        row["method"]: row for row in judge(prepared.read(tmp_path), {results.key(row): row for row in rows})
    }
    assert found["random"]["domain"] == "sea"
    assert found["random"]["ours"]["sea"][0] > 0
    assert found["random"]["ours"]["sea"][1] < 0.01
    assert "ours" not in found["craft-plus"]
    assert found["craft-plus"]["chrf"] > found["random"]["chrf"]
    assert found["craft-plus"]["news"] == pytest.approx(found["craft-plus"]["greedy"])


def test_training_imports_nothing_of_the_package() -> None:
    """All that `train` needs but torch runs where only numpy is installed."""
    program = """
import sys
sys.modules |= dict.fromkeys(["craft_stream", "connectors", "numba", "orjson", "zstandard", "faiss", "sklearn"])
import bench.translation.batches, bench.translation.plan, bench.translation.prepared, bench.translation.results
import bench.translation.__main__
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


def test_tsds_is_called_with_its_authors_configuration(tmp_path: Path) -> None:
    """Their script finds its configuration and arrays where it looks, and what it saves comes back, repetitions too."""
    from bench.translation import published

    (tmp_path / "tsds.py").write_text(
        "import os, numpy as np\n"
        "def main():\n"
        "    config = dict(line.strip().split(': ') for line in open('config.yaml'))\n"
        "    query, candidates = (np.load(config[f'{name}_embedding_path']) for name in ('query', 'candidate'))\n"
        "    assert query.shape == (2, 4) and candidates.shape == (9, 4) and config['alpha'] == '0.5'\n"
        "    os.makedirs(config['output_folder'])\n"
        "    found = [1, 1, 5][: int(config['sample_size'])]\n"
        "    np.save(os.path.join(config['output_folder'], 'selected_candidate_indices.npy'), found)\n"
        "if __name__ == '__main__':\n"
        "    main()\n"
    )
    arrays = np.zeros((2, 4), np.float32), np.zeros((9, 4), np.float32)
    assert published.tsds(tmp_path, *arrays, 3).tolist() == [1, 1, 5]
    (tmp_path / "tsds.py").write_text("raise SystemExit('no data')")
    with pytest.raises(RuntimeError, match="no data"):
        published.tsds(tmp_path, *arrays, 3)


def _sea(folder: Path, count: int) -> None:
    """A corpus folder: a fifth of its pairs are of the sea, and so is its target."""
    from bench.translation import material

    pairs = [
        material.Document(*_sentence(domain, number), domain)
        for number in range(count)
        for domain in ["money" if number % 5 else "sea"]
    ]
    held = [material.Document(*_sentence("sea", number), "sea") for number in range(3, 216, 2)]
    tests = {"sea": held[:5], "news": held[:5]}
    material.write(material.Material(pairs, {"sea": held}, tests, {}), folder)


def test_one_sample_of_tsds_fills_every_budget(tmp_path: Path) -> None:
    """Their program runs once, on pairs of unit length, and each budget is filled with its draws."""
    from bench.translation import preparing, selections

    _sea(tmp_path / "corpus", 300)
    preparing.cut(tmp_path / "corpus")
    (tmp_path / "tsds.py").write_text(
        "import os, numpy as np\n"
        "config = dict(line.strip().split(': ') for line in open('config.yaml'))\n"
        "assert np.allclose(np.linalg.norm(np.load(config['candidate_embedding_path']), axis=1), 1, atol=1e-3)\n"
        "os.makedirs(config['output_folder'])\n"
        f"open({str(tmp_path / 'runs')!r}, 'a').write('x')\n"
        "chosen = np.arange(int(config['sample_size'])) * 2 % 300\n"
        "np.save(os.path.join(config['output_folder'], 'selected_candidate_indices.npy'), chosen)\n"
    )
    task = selections.Task(tmp_path / "corpus", tmp_path / "cache", "sea", tsds=tmp_path)
    found = selections.run(task, "tsds", [0.05, 0.2])
    assert (tmp_path / "runs").read_text() == "x"
    for one in found:
        assert 0.8 * one.notes["budget_tokens"] < one.notes["tokens"] <= one.notes["budget_tokens"]
        assert not (one.chosen % 2).any()


def test_costs_are_those_of_one_run_at_every_size(tmp_path: Path) -> None:
    """The product's run on the beginning of a stream costs CPU and memory of its own, embeddings are a row by themselves."""
    from bench.translation import costs, selections

    _sea(tmp_path / "corpus", 400)
    task = selections.Task(tmp_path / "corpus", tmp_path / "cache", "sea")
    rows = list(costs.measure(task, ["craft-plus"], [200, 1000], 0.05))
    assert [(row["method"], row["pairs"]) for row in rows] == [
        ("embedding", 200), ("craft-plus", 200), ("embedding", 400), ("craft-plus", 400)
    ]  # fmt: skip
    assert all(row["cpu_seconds"] > 0 for row in rows if row["method"] == "craft-plus")
    assert all(row["peak_mb"] > 20 for row in rows)
    with pytest.raises(ValueError, match="tsds"):
        list(costs.measure(task, ["tsds"], [200], 0.05))


def test_command_line_knows_variants() -> None:
    """A variant is a name and the options that are added to `craft-stream select`."""
    from bench.translation.__main__ import _variant

    assert _variant("two-pass=--passes 2 --set 'a=b c'") == ("two-pass", ("--passes", "2", "--set", "a=b c"))
    assert json.dumps(_variant("plain")) == '["plain", []]'


def _judged(method: str, bleu: float, budget: float = 0.05, **more: object) -> dict[str, object]:
    return {
        "domain": "sea", "scenario": "translation", "method": method, "set": {"mode": "tuned", "budget": budget},
        "device": "cpu", "parameters": 2_400_000, "steps": 200, "seeds": [bleu], "bleu": bleu, "greedy": bleu,
        "bits": 5.0, "train_seconds": 10.0, "translate_seconds": 2.0, "news": 1.0, **more,
    }  # fmt: skip


def test_report_fills_its_own_table_and_draws(tmp_path: Path) -> None:
    """Rows of translation leave the other tables alone, mark what is significant, and become a picture that parses."""
    from xml.etree import ElementTree

    from bench.report import main

    rows = [
        _judged("random", 1.0, ours={"sea": [4.0, 0.001]}),
        _judged("classifier", 4.9, ours={"sea": [0.1, 0.5]}),
        *(_judged("craft-plus", 5.0), _judged("craft-plus", 3.0, 0.01), _judged("all", 6.0, 1.0)),
    ]
    lines, document, picture = (tmp_path / name for name in ("rows.jsonl", "doc.md", "picture.svg"))
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    document.write_text(
        "<!-- bench:quality -->\nkept\n<!-- /bench:quality -->\n<!-- bench:translation --><!-- /bench:translation -->"
    )
    assert main([str(lines), str(document), "--picture", str(picture)]) == 0
    text = document.read_text()
    assert "kept" in text
    assert "| random | 1.0 (**+4.0**) |" in text
    assert "| classifier | 4.9 (+0.1) |" in text
    assert "The small form on a CPU: 2.4 million parameters, 1 seed(s)" in text
    assert text.index("| craft-plus | 5.0 |") < text.rindex("| all | 6.0 |")
    drawn = ElementTree.parse(picture).getroot()  # noqa: S314
    assert len(drawn.findall(".//{*}polyline")) == 1
    assert any("all data" in (one.text or "") for one in drawn.iter())


def _sentence(domain: str, number: int) -> tuple[str, str]:
    nouns = {"sea": ("harbour port", "sail voile", "wave vague", "boat bateau", "tide marée", "anchor ancre")}
    nouns["money"] = ("bank banque", "loan prêt", "rate taux", "debt dette", "fund fonds", "bond obligation")
    picked = [nouns[domain][number // step % 6].split() for step in (1, 6, 36)]
    (one, un), (two, deux), (three, trois) = picked
    return f"The {one} and the {two} near the {three}", f"Le {un} et le {deux} près du {trois}"


def test_every_method_fills_the_same_budget_of_tokens(tmp_path: Path) -> None:
    """From a thousand pairs each method spends what it was given and finds the sea; the product runs as a user runs it."""
    pytest.importorskip("eldc")  # the filters of an afternoon ask it; it has no wheels for Python 3.14
    from bench.translation import preparing, selections

    folder = tmp_path / "corpus"
    _sea(folder, 1000)
    preparing.cut(folder)
    task = selections.Task(folder, tmp_path / "cache", "sea")
    chosen = selections.accepted(task, 100, selections.BUILT_IN["craft"])
    assert 0 < len(chosen) <= 150
    assert task.corpus.labels.of("sea")[chosen].mean() > 0.5
    for method in ("dsir", "craft-batch", "cross-entropy", "classifier", "ceiling"):
        (found,) = selections.run(task, method, [0.1])
        spent = int(task.tokens[found.chosen].sum())
        assert spent == found.notes["tokens"] <= found.notes["budget_tokens"]
        if method not in (
            "ceiling",
            "classifier",
            "cross-entropy",
        ):  # which take nothing twice, and there is too little
            assert spent > 0.9 * found.notes["budget_tokens"], method
        assert found.notes["in_domain"] > 0.5, method
        assert found.notes["cpu_seconds"] >= 0
