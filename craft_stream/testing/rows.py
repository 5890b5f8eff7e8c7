"""Contracts of what gives a row of numbers for each text or pair: encoders and signals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream.encoders.dense import Encoder
from craft_stream.signals import Signal
from craft_stream.testing.contracts import hold

TEXTS = (
    "The invoice is due tomorrow.",
    "La facture est due demain.",
    "a",
    "",
    "日本語のテキスト",
    "\ufffd\x00 \u200b 🙂",
    "word " * 400,
)
_UNIT = 1e-3
_THREADS = 4


def check_encoder(opened: Callable[[], Encoder], texts: Sequence[str] = TEXTS) -> int:
    """Check an encoder: finite rows of one length, unit vectors, each of its own text alone and the same in every object.

    Texts are given as the engine gives them: one at a time, or many where the encoder says that it is `batched`; from several
    threads at once where it says that it is `concurrent`.

    Args:
        opened: makes the encoder; called twice.
        texts: at least two.

    Returns:
        The number of dimensions.

    Raises:
        ContractError: it breaks its contract.
    """
    encoder, other = opened(), opened()
    alone = np.concatenate([_encoded(encoder, [text]) for text in texts])
    dimensions: int = alone.shape[1]
    hold(dimensions > 0, "vectors have no dimensions")
    lengths = np.linalg.norm(alone.astype(np.float64), axis=1)
    for text, length in zip(texts, lengths.tolist(), strict=True):
        hold(
            abs(length - 1) < _UNIT or not text.strip(),
            f"the vector of {text[:40]!r} has length {length:.4f}, not 1",
        )
    again = np.concatenate([_encoded(other, [text]) for text in texts])
    hold(np.array_equal(alone, again), "two encoders made alike give other vectors")
    if getattr(encoder, "batched", False):
        _rows_alone(lambda order: _encoded(encoder, [texts[i] for i in order]), alone, "text")
    if getattr(encoder, "concurrent", False):
        with ThreadPoolExecutor(_THREADS) as pool:
            found = list(pool.map(lambda text: _encoded(encoder, [text])[0], list(texts) * _THREADS))
        hold(
            np.array_equal(np.stack(found), np.concatenate([alone] * _THREADS)),
            "called from several threads at once it gives other vectors",
        )
    return dimensions


def check_signal(
    opened: Callable[[], Signal],
    pairs: Sequence[tuple[str, str, Mapping[str, Any]]] = (),
) -> NDArray[np.float32]:
    """Check a signal: named columns of numbers or NaN, each row of its own pair alone and the same in every object.

    Args:
        opened: makes the signal; called twice.
        pairs: source, target and record, beside some that hold nothing that it could want.

    Returns:
        Its values for `pairs`, [pairs, names].

    Raises:
        ContractError: it breaks its contract.
    """
    signal, other = opened(), opened()
    names = tuple(signal.names)
    hold(len(names) > 0 and all(isinstance(name, str) and name for name in names), "its names are no texts")
    hold(len(set(names)) == len(names), f"its names are not all different: {', '.join(names)}")
    asked = [*pairs, *((one, two, {}) for one, two in zip(TEXTS, TEXTS[::-1], strict=True))]

    def compute(of: Signal, order: Sequence[int]) -> NDArray[np.float32]:
        chosen = [asked[i] for i in order]
        found = of.compute([p[0] for p in chosen], [p[1] for p in chosen], [p[2] for p in chosen])
        array = np.asarray(found, np.float32)
        wanted = len(order), len(names)
        hold(
            array.shape == wanted,
            f"an array of shape {array.shape} came for {wanted[0]} pairs and {wanted[1]} names",
        )
        hold(not np.isinf(array).any(), "infinity is no value: NaN says that nothing is known")
        return array

    alone = np.concatenate([compute(signal, [i]) for i in range(len(asked))])
    again = np.concatenate([compute(other, [i]) for i in range(len(asked))])
    hold(np.array_equal(alone, again, equal_nan=True), "two signals made alike give other numbers")
    compute(signal, [])
    _rows_alone(lambda order: compute(signal, order), alone, "pair")
    return alone[: len(pairs)]


def _rows_alone(
    made: Callable[[Sequence[int]], NDArray[np.float32]], alone: NDArray[np.float32], what: str
) -> None:
    """Together, in any order, rows are what they are alone, to the bit."""
    forwards = range(len(alone))
    for order in (list(forwards), list(forwards)[::-1], [i for i in forwards for _ in range(3)]):
        hold(
            np.array_equal(made(order), alone[order], equal_nan=True),
            f"a row changes with what stands beside its {what}: an audit, in other batches, could not recompute a decision",
        )


def _encoded(encoder: Encoder, texts: list[str]) -> NDArray[np.float32]:
    found = np.asarray(encoder.encode(texts, batch_size=len(texts), normalize_embeddings=True), np.float32)
    hold(
        found.ndim == 2 and len(found) == len(texts),
        f"an array of shape {found.shape} came for {len(texts)} texts",
    )
    hold(bool(np.isfinite(found).all()), "some values are not finite")
    return found
