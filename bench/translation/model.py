"""A Transformer (pre-norm, one embedding for both languages and the output), K of them in one.

The K models of a stack have the same shape and each its own weights, data and dropout; every product of matrices is one
batched product, so three seeds fill a GPU better than one after the other. Shapes: K models, B sentences, L and T pieces of
source and target, d width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.translation.prepared import PAD


@dataclass(frozen=True)
class Shape:
    """Sizes of a model."""

    vocabulary: int
    width: int
    hidden: int
    heads: int
    encoder: int
    decoder: int
    dropout: float = 0.1


class Linear(nn.Module):
    """x [K, n, in] to [K, n, out]."""

    def __init__(self, models: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = math.sqrt(6 / (inputs + outputs))
        self.weight = nn.Parameter(torch.empty(models, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(models, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """One product for each model."""
        return torch.baddbmm(self.bias, x, self.weight)


class Norm(nn.Module):
    """Layer norm of x [K, n, d]."""

    def __init__(self, models: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(models, 1, width))
        self.bias = nn.Parameter(torch.zeros(models, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Normed over d."""
        return F.layer_norm(x, x.shape[-1:]) * self.weight + self.bias


class Attention(nn.Module):
    """Multi-head attention of the K models."""

    def __init__(self, models: int, shape: Shape) -> None:
        super().__init__()
        self.heads, self.dropout = shape.heads, shape.dropout
        self.query = Linear(models, shape.width, shape.width)
        self.memory = Linear(models, shape.width, 2 * shape.width)
        self.out = Linear(models, shape.width, shape.width)

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """X [K, B*T, d] against keys and values [K*B, H, L, d/H]; mask bool [K*B, 1, 1, L], True is seen."""
        rows = keys.shape[0]
        query = self._split(self.query(x), rows)
        seen = F.scaled_dot_product_attention(
            query, keys, values, mask, self.dropout if self.training else 0.0, is_causal=causal
        )
        return self.out(seen.transpose(1, 2).reshape(x.shape))

    def remember(self, x: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Keys and values [K*B, H, L, d/H] of x [K, B*L, d]."""
        keys, values = self.memory(x).chunk(2, -1)
        return self._split(keys, rows), self._split(values, rows)

    def _split(self, x: Tensor, rows: int) -> Tensor:
        return x.reshape(rows, -1, self.heads, x.shape[-1] // self.heads).transpose(1, 2)


class Layer(nn.Module):
    """A layer of the encoder, or with `crossed` of the decoder."""

    def __init__(self, models: int, shape: Shape, crossed: bool) -> None:
        super().__init__()
        self.own, self.own_norm = Attention(models, shape), Norm(models, shape.width)
        self.cross = Attention(models, shape) if crossed else None
        self.cross_norm = Norm(models, shape.width) if crossed else None
        self.norm = Norm(models, shape.width)
        self.up, self.down = (
            Linear(models, shape.width, shape.hidden),
            Linear(models, shape.hidden, shape.width),
        )
        self.drop = nn.Dropout(shape.dropout)

    def forward(
        self,
        x: Tensor,
        rows: int,
        mask: Tensor | None,
        memory: tuple[Tensor, Tensor] | None = None,
        past: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One layer; `past` holds the keys and values of earlier pieces when one piece is added at a time.

        Returns:
            the new x, and the keys and values that the next piece needs.
        """
        normed = self.own_norm(x)
        keys, values = self.own.remember(normed, rows)
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        causal = self.cross is not None and past is None
        x = x + self.drop(self.own(normed, keys, values, None if self.cross is not None else mask, causal))
        if self.cross is not None and self.cross_norm is not None and memory is not None:
            x = x + self.drop(self.cross(self.cross_norm(x), *memory, mask))
        return x + self.drop(self.down(self.drop(F.relu(self.up(self.norm(x)))))), (keys, values)


class Translator(nn.Module):
    """K models of one shape.

    Attributes:
        seeds: from which each was initialised.
    """

    positions: Tensor

    def __init__(self, shape: Shape, seeds: Sequence[int], longest: int = 256) -> None:
        super().__init__()
        torch.manual_seed(seeds[0])  # one after another from here; the same seeds make the same stack
        models = len(seeds)
        self.shape, self.seeds = shape, tuple(seeds)
        self.embedding = nn.Parameter(torch.randn(models, shape.vocabulary, shape.width) * shape.width**-0.5)
        self.encoder = nn.ModuleList(Layer(models, shape, crossed=False) for _ in range(shape.encoder))
        self.decoder = nn.ModuleList(Layer(models, shape, crossed=True) for _ in range(shape.decoder))
        self.encoder_norm, self.decoder_norm = Norm(models, shape.width), Norm(models, shape.width)
        self.drop = nn.Dropout(shape.dropout)
        self.register_buffer("positions", _sinusoids(longest, shape.width), persistent=False)

    def embed(self, pieces: Tensor, start: int = 0) -> Tensor:
        """Pieces [K, B, T] at positions from `start` on, to [K, B*T, d]."""
        models, rows, length = pieces.shape
        shift = torch.arange(models, device=pieces.device).view(-1, 1, 1) * self.shape.vocabulary
        found = F.embedding(pieces + shift, self.embedding.reshape(-1, self.shape.width))
        found = found * math.sqrt(self.shape.width) + self.positions[start : start + length]
        return self.drop(found).reshape(models, rows * length, self.shape.width)

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Source [K, B, L] to its states [K, B*L, d] and mask [K*B, 1, 1, L]."""
        models, rows, length = source.shape
        mask = (source != PAD).view(models * rows, 1, 1, length)
        x = self.embed(source)
        for layer in self.encoder:
            x, _ = layer(x, models * rows, mask)
        return self.encoder_norm(x), mask

    def memories(self, states: Tensor, rows: int) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the source for each layer of the decoder."""
        return [layer.cross.remember(states, rows) for layer in self.decoder]

    def decode(
        self,
        pieces: Tensor,
        mask: Tensor,
        memories: Sequence[tuple[Tensor, Tensor]],
        past: Sequence[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Target pieces [K, B, T] to states [K, B*T, d]; with `past`, one further piece each."""
        models, rows, _ = pieces.shape
        x = self.embed(pieces, 0 if past is None else past[0][0].shape[2])
        kept = []
        for number, layer in enumerate(self.decoder):
            x, own = layer(x, models * rows, mask, memories[number], None if past is None else past[number])
            kept.append(own)
        return self.decoder_norm(x), kept

    def scores(self, states: Tensor) -> Tensor:
        """States [K, n, d] to scores of pieces [K, n, V]."""
        return torch.bmm(states, self.embedding.transpose(1, 2))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Scores [K, B*T, V] of each next piece of target [K, B, T]."""
        states, mask = self.encode(source)
        memories = self.memories(states, source.shape[0] * source.shape[1])
        return self.scores(self.decode(target, mask, memories)[0])


def _sinusoids(longest: int, width: int) -> Tensor:
    place = torch.arange(longest).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    table = torch.zeros(longest, width)
    table[:, 0::2], table[:, 1::2] = torch.sin(place * rate), torch.cos(place * rate)
    return table
