"""Encoders and signals keep the contracts of `craft_stream.testing`, which tell those that do not."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from craft_stream.encoders.hashing import HashingEncoder
from craft_stream.signals import RecordFields
from craft_stream.testing import ContractError, check_encoder, check_signal

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "url-signal" / "craft_url_signal.py"


def test_the_hashing_encoder_keeps_the_contract() -> None:
    """Also in batches and in threads."""

    class Everything(HashingEncoder):
        batched = concurrent = True

    assert check_encoder(Everything) == 128


def _encoder(encode: Any, **attributes: Any) -> Any:
    calls = iter(range(1000))

    def made() -> Any:
        number = next(calls)
        return type("Made", (), {"encode": lambda self, texts, **_: encode(texts, number), **attributes})()

    return made


@pytest.mark.parametrize(
    ("encode", "attributes", "message"),
    [
        (lambda texts, _: np.ones((len(texts), 2)), {}, "length 1.41"),
        (lambda texts, _: np.ones(len(texts)), {}, "shape"),
        (lambda texts, _: np.full((len(texts), 1), np.nan), {}, "finite"),
        (lambda texts, number: np.full((len(texts), 1), (-1.0) ** number), {}, "made alike"),
        (lambda texts, _: np.eye(9)[np.arange(len(texts)) % 9], {"batched": True}, "stands beside"),
    ],
)
def test_an_encoder_that_breaks_it_is_told(encode: Any, attributes: dict[str, Any], message: str) -> None:
    """Vectors of another length or shape, that are no numbers, that differ between objects or with what is beside them."""
    with pytest.raises(ContractError, match=message):
        check_encoder(_encoder(encode, **attributes))


def test_the_example_of_a_signal_keeps_the_contract() -> None:
    """And says 1 of equal URLs, less of others, nothing where one is missing."""
    spec = importlib.util.spec_from_file_location("craft_url_signal", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    one, other = {"src_url": "https://a.org/en/x"}, {"tgt_url": "https://a.org/en/x"}
    found = check_signal(
        module.UrlSignal, [("s", "t", one | other), ("s", "t", one | {"tgt_url": "b"}), ("s", "t", one)]
    )
    assert found[0, 0] == 1 > found[1, 0]
    assert np.isnan(found[2, 0])


def test_fields_of_records_keep_the_contract() -> None:
    """The built-in signal."""
    found = check_signal(
        lambda: RecordFields(["bicleaner"]), [("s", "t", {"bicleaner": "0.5"}), ("s", "t", {})]
    )
    assert np.array_equal(found, [[0.5], [np.nan]], equal_nan=True)


class _Signal:
    def __init__(self, names: Sequence[str], compute: Any) -> None:
        self.names, self._compute = names, compute

    def compute(
        self, sources: Sequence[str], targets: Sequence[str], records: Sequence[Mapping[str, Any]]
    ) -> Any:
        """What the test says."""
        return self._compute(sources)


@pytest.mark.parametrize(
    ("names", "compute", "message"),
    [
        ([], lambda s: np.zeros((len(s), 0)), "names"),
        (["a", "a"], lambda s: np.zeros((len(s), 2)), "different"),
        (["a"], lambda s: np.zeros(len(s)), "shape"),
        (["a"], lambda s: np.full((len(s), 1), np.inf), "infinity"),
        (["a"], lambda s: np.full((len(s), 1), len(s)), "stands beside"),
    ],
)
def test_a_signal_that_breaks_it_is_told(names: list[str], compute: Any, message: str) -> None:
    """No names, names twice, another shape, infinity, or a number that depends on the batch."""
    with pytest.raises(ContractError, match=message):
        check_signal(lambda: _Signal(names, compute))
