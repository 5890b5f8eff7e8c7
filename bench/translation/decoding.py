"""Greedy and beam search for a whole stack of models at once, and how well each predicts the references."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from bench.translation.batches import gathered
from bench.translation.model import Translator
from bench.translation.prepared import BEGIN, END, LONGEST, PAD, Side

PENALTY = 1.0  # scores are divided by length to this power
_MINUS = -1e9


@torch.inference_mode()
def translate(
    model: Translator, sources: Sequence[Sequence[int]], beam: int, rows: int
) -> list[list[list[int]]]:
    """Pieces of every translation, by model and sentence.

    Args:
        model: K models.
        sources: pieces of the sentences.
        beam: hypotheses kept; 1 is greedy.
        rows: hypotheses computed at once, over sentences and beam, for each model.
    """
    model.eval()
    models, device = len(model.seeds), model.embedding.device
    order = sorted(range(len(sources)), key=lambda index: len(sources[index]))
    out: list[list[list[int]]] = [[[] for _ in sources] for _ in range(models)]
    size = max(1, rows // beam)
    for start in range(0, len(order), size):
        part = order[start : start + size]
        source = torch.from_numpy(_padded([sources[index] for index in part])).to(device)
        found = _search(model, source.expand(models, -1, -1), beam).cpu().numpy()
        for k in range(models):
            for index, row in zip(part, found[k], strict=True):
                end = np.flatnonzero(row == END)
                out[k][index] = row[: end[0] if len(end) else len(row)].tolist()
    return out


def _search(model: Translator, source: Tensor, beam: int) -> Tensor:
    """The best translation of each sentence, [K, B, T]; source [K, B, L]."""
    models, sentences, length = source.shape
    states, mask = model.encode(source)
    rows = models * sentences
    memories = [
        (keys.repeat_interleave(beam, 0), values.repeat_interleave(beam, 0))
        for keys, values in model.memories(states, rows)
    ]
    mask = mask.repeat_interleave(beam, 0)
    device, size = source.device, model.shape.vocabulary
    pieces = torch.full((models, sentences * beam, 1), BEGIN, device=device)
    total = torch.full((rows, beam), _MINUS, device=device)
    total[:, 0] = 0.0  # all hypotheses of a sentence are the same at first
    lengths = torch.zeros(rows, beam, device=device)
    done = torch.zeros(rows, beam, dtype=torch.bool, device=device)
    first = (torch.arange(rows, device=device) * beam).unsqueeze(1)
    past = None
    for _ in range(min(LONGEST, math.ceil(1.5 * length) + 5)):
        states, past = model.decode(pieces[:, :, -1:], mask, memories, past)
        logs = F.log_softmax(model.scores(states).float(), -1).view(rows, beam, size)
        logs[..., [PAD, BEGIN]] = _MINUS
        logs = logs.masked_fill(done.unsqueeze(-1), _MINUS)
        logs[..., PAD] = logs[..., PAD].masked_fill(done, 0.0)  # a finished one stays as it is
        longer = lengths + (~done).float()
        ranked = ((total.unsqueeze(-1) + logs) / longer.clamp(min=1).unsqueeze(-1) ** PENALTY).view(rows, -1)
        _, place = ranked.topk(beam, 1)
        parent, piece = place // size, place % size
        total = total.gather(1, parent) + logs.view(rows, -1).gather(1, place)
        lengths, done = longer.gather(1, parent), done.gather(1, parent) | (piece == END)
        if beam > 1:
            at = (first + parent).view(-1)
            past = [(keys.index_select(0, at), values.index_select(0, at)) for keys, values in past]
            pieces = pieces.view(rows * beam, -1).index_select(0, at).view(models, sentences * beam, -1)
        pieces = torch.cat([pieces, piece.view(models, sentences * beam, 1)], 2)
        if bool(done.all()):
            break
    best = (total / lengths.clamp(min=1) ** PENALTY).argmax(1, keepdim=True)
    at = (first + best).view(-1)
    return pieces.view(rows * beam, -1).index_select(0, at).view(models, sentences, -1)[:, :, 1:]


@torch.inference_mode()
def bits(
    model: Translator, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], rows: int
) -> list[float]:
    """Bits per piece of the references, the end mark counted, for each model."""
    model.eval()
    models, device = len(model.seeds), model.embedding.device
    order = sorted(range(len(sources)), key=lambda index: len(sources[index]) + len(targets[index]))
    total, count = torch.zeros(models, device=device), 0
    for start in range(0, len(order), rows):
        part = order[start : start + rows]
        source = torch.from_numpy(_padded([sources[index] for index in part])).to(device)
        target = torch.from_numpy(_padded([targets[index] for index in part], begin=True)).to(device)
        shown, wanted = target[:, :-1], target[:, 1:]
        scores = model(source.expand(models, -1, -1), shown.expand(models, -1, -1)).float()
        flat = wanted.reshape(1, -1).expand(models, -1)
        loss = F.cross_entropy(scores.transpose(1, 2), flat, ignore_index=PAD, reduction="none")
        total += loss.sum(1)
        count += int((wanted != PAD).sum())
    bits: list[float] = (total / max(count, 1) / math.log(2)).tolist()
    return bits


def _padded(texts: Sequence[Sequence[int]], begin: bool = False) -> NDArray[np.int64]:
    side = Side.of([*texts, [END]])  # one piece at least, so that there is something to gather from
    rows = np.arange(len(texts))
    return gathered(side, rows, int(side.lengths.max()) + 1, begin)
