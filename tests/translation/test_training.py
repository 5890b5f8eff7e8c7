"""Training and translating for real, in a tiny form: needs torch and sentencepiece; a minute on one core."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch

from bench.translation import plan, prepared, results
from bench.translation.decoding import bits, translate
from bench.translation.judging import judge
from bench.translation.model import Shape, Translator
from bench.translation.prepared import BEGIN, END, PAD, UNKNOWN, Selected, Side
from bench.translation.train import FORMS, Schedule, fit, rate, run

SHAPE = Shape(vocabulary=20, width=16, hidden=32, heads=2, encoder=1, decoder=2, dropout=0.0)
NOUNS = [
    f"{first}{second}"
    for first in ("ba", "de", "fi", "go", "lu", "mo", "na", "re")
    for second in ("rk", "st", "nd", "lt")
]
FORM = replace(
    FORMS["tiny"],
    general=Schedule(400, 256, 1e-2, 30),  # with 250 and 80 steps 9.6 BLEU of torch 2.15, with these 42
    tuned=Schedule(160, 256, 5e-3, 10),
    scratch=Schedule(10, 256, 5e-3, 2),
    sentences=20,
)  # fmt: skip


def _translated(noun: str, domain: str) -> str:
    """Every word is turned round; at sea it has another ending."""
    return noun[::-1] + ("um" if domain == "sea" else "e")


def _pairs(domain: str, count: int, seed: int) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    sources = [" ".join(rng.choice(NOUNS, rng.integers(2, 6))) for _ in range(count)]
    return sources, [" ".join(_translated(noun, domain) for noun in text.split()) for text in sources]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A prepared folder: a stream of one pair of the sea in ten, and what two methods selected."""
    out = tmp_path / "prepared"
    out.mkdir()
    (sea, mer), (money, argent) = _pairs("sea", 100, 1), _pairs("money", 900, 2)
    sources, targets = [*sea, *money], [*mer, *argent]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*sources, *targets]), model_prefix=str(out / "pieces"), vocab_size=120,
        model_type="bpe", hard_vocab_limit=False, pad_id=PAD, unk_id=UNKNOWN, bos_id=BEGIN, eos_id=END, minloglevel=2,
    )  # fmt: skip
    processor = sentencepiece.SentencePieceProcessor(model_file=str(out / "pieces.model"))
    prepared.write_tokens(out, Side.of(processor.encode(sources)), Side.of(processor.encode(targets)))
    prepared.write_tests(out, {"sea": _pairs("sea", 20, 3), "news": _pairs("money", 20, 4)})
    chosen = [
        Selected(
            "", "random", 0.1, np.random.default_rng(0).choice(1000, 100, replace=False).astype(np.int32), {}
        ),
        Selected("sea", "craft-plus", 0.1, np.arange(100, dtype=np.int32), {"tokens": 5}),
    ]
    prepared.write_selections(out, chosen, {"general": ["news"]})
    return out


def test_a_domain_is_learned_from_its_own_pairs_and_resumed(folder: Path, tmp_path: Path) -> None:
    """The promise in small, by two processes: tuned on the sea it translates the sea, at random not; done is done."""
    out, said = tmp_path / "out", []
    blocks = plan.blocks(prepared.read(folder).selections, ["tuned"], ["sea"])
    form = replace(FORM, workers=2)
    assert run(folder, out, form, blocks, 10, tmp_path / "bring", said.append) == []
    rows = results.read(out)
    assert rows.keys() == {
        plan.GENERAL,
        ("tuned", "", "random", 0.1),
        ("tuned", "sea", "craft-plus", 0.1),
    }
    assert results.read(tmp_path / "bring").keys() == rows.keys()
    judged = {row["method"]: row for row in judge(prepared.read(folder), rows)}
    assert judged["craft-plus"]["bleu"] > judged["random"]["bleu"] + 10
    assert judged["craft-plus"]["bits"] < judged["random"]["bits"]
    assert judged["random"]["ours"]["sea"][1] < 0.05
    assert len(judged["random"]["seeds"]) == FORM.seeds
    before = (out / "results.jsonl").read_text()
    assert run(folder, out, FORM, blocks, 10, None, said.append) == []
    assert (out / "results.jsonl").read_text() == before


def test_without_time_whole_blocks_are_left_out(folder: Path, tmp_path: Path) -> None:
    """What does not fit is named and not begun; the general model is there for the next time."""
    out, said = tmp_path / "out", []
    form = replace(FORM, general=Schedule(2, 64, 1e-2, 1), sentences=2)
    blocks = plan.blocks(prepared.read(folder).selections, ["scratch"], ["sea"])
    assert run(folder, out, form, blocks, 0, None, said.append) == blocks
    assert results.read(out).keys() == {plan.GENERAL}
    assert any("left out" in line for line in said)


def test_a_block_that_is_slower_than_expected_is_stopped(folder: Path, tmp_path: Path) -> None:
    """After the last minute nothing more is begun, what is done is kept, and the next run does the rest."""
    out, said = tmp_path / "out", []
    form = replace(FORM, general=Schedule(100, 64, 1e-2, 1), tuned=Schedule(30, 64, 1e-2, 1), sentences=2)
    (block,) = plan.blocks(prepared.read(folder).selections, ["tuned"], [])
    twice = [
        replace(
            block,
            jobs=[*block.jobs, *plan.blocks(prepared.read(folder).selections, ["tuned"], ["sea"])[1].jobs],
        )
    ]
    assert run(folder, out, form, [], 1, None, said.append) == []
    rows = results.read(out)
    slow = rows[plan.GENERAL] | {"train_seconds": 0.0, "translate_seconds": 0.0}
    results.append(out, slow)
    assert run(folder, out, form, twice, 1e-4, None, said.append) == twice
    assert len(results.read(out)) == 2
    assert run(folder, out, form, twice, 10, None, said.append) == []
    assert len(results.read(out)) == 3


def test_greedy_search_takes_the_likeliest_piece_of_the_whole_model() -> None:
    """Piece by piece with remembered keys and values it is what the model says of the whole beginning."""
    model = Translator(SHAPE, [1, 2]).eval()
    sources = [[5, 6, 7], [8, 9]]
    found = translate(model, sources, beam=1, rows=8)
    for number, source in enumerate(sources):
        for k in range(2):
            pieces: list[int] = []
            for wanted in [*found[k][number], END][:8]:
                x = torch.tensor([[[*source, END]]]).expand(2, -1, -1)
                y = torch.tensor([[[BEGIN, *pieces]]]).expand(2, -1, -1)
                scores = model(x, y)[k, -1]
                scores[[PAD, BEGIN]] = -1e9
                assert int(scores.argmax()) == wanted
                pieces.append(wanted)


def test_a_wider_beam_finds_likelier_translations() -> None:
    """On average the mean log probability of what a beam of 4 finds is not below greedy's."""
    model = Translator(SHAPE, [3]).eval()
    sources = [list(np.random.default_rng(row).integers(4, 20, 4)) for row in range(12)]
    likely = []
    for beam in (1, 4):
        found = translate(model, sources, beam, 64)[0]
        ended = [row for row, text in enumerate(found) if len(text) < 10]
        likely.append({row: bits(model, [sources[row]], [found[row]], 8)[0] for row in ended})
    both = likely[0].keys() & likely[1].keys()
    assert sum(likely[1][row] for row in both) <= sum(likely[0][row] for row in both) + 1e-3


def test_models_of_a_stack_do_not_touch_each_other() -> None:
    """A change to one model leaves the other's scores as they are; what comes later changes nothing before it."""
    model = Translator(SHAPE, [1, 2]).eval()
    x, y = torch.randint(4, 20, (2, 3, 5)), torch.randint(4, 20, (2, 3, 6))
    before = model(x, y)
    with torch.no_grad():
        for weight in model.parameters():
            weight[0] += 0.1
    after = model(x, y)
    assert torch.allclose(before[1], after[1], atol=1e-5)
    assert not torch.allclose(before[0], after[0], atol=1e-2)
    later = y.clone()
    later[:, :, 4:] = 5
    assert torch.allclose(
        model(x, later).view(2, 3, 6, -1)[:, :, :4], after.view(2, 3, 6, -1)[:, :, :4], atol=1e-5
    )
    longer = torch.cat([x, torch.zeros(2, 3, 2, dtype=torch.long)], 2)
    assert torch.allclose(model(longer, y), after, atol=1e-5)


def test_a_stack_learns() -> None:
    """Both models of a stack come to copy three pieces, and the rate rises and falls as it should."""
    model = Translator(replace(SHAPE, width=32), [1, 2])
    schedule = Schedule(200, 0, 1e-2, 20)
    rng = np.random.default_rng(0)

    def copies():  # type: ignore[no-untyped-def]
        while True:
            text = rng.integers(4, 20, (2, 16, 3))
            end, begin = np.full((2, 16, 1), END), np.full((2, 16, 1), BEGIN)
            yield np.concatenate([text, end], 2), np.concatenate([begin, text, end], 2)

    seen, loss = fit(model, copies(), schedule)
    assert seen == 200 * 16 * 4
    assert loss < 1.2
    texts = [[4, 9, 14], [5, 5, 6]]
    assert max(bits(model, texts, texts, 2)) < 1
    assert [rate(step, schedule) for step in (0, 19, 20)] == [1 / 20, 1, 1]
    assert rate(199, schedule) == pytest.approx(1 / 180)
