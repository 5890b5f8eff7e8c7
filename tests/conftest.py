"""What all tests share."""

from __future__ import annotations

import gc
import os
import sys

# Before numpy is there: threads of BLAS and OpenMP that wait for toy data spin, up to a tenth of all CPU time.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import hypothesis
import pytest

# Processes that tests start would each compile what they import, 7 % of such tests; kernels are kept in those folders anyway.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A deadline fails a test for the load of the machine, and the first example compiles the kernels. A property that is broken
# shows it within a few dozen examples; `make examples` takes 500.
hypothesis.settings.register_profile(
    "craft", deadline=None, max_examples=int(os.environ.get("CRAFT_TEST_EXAMPLES", "40"))
)
hypothesis.settings.load_profile("craft")


@hypothesis.given(hypothesis.strategies.none())
def _any_property(_: None) -> None:
    """Holds."""


def pytest_collection_finish() -> None:
    """What libraries brought stays: whether it is garbage need not be asked again and again."""
    # Where CI is set, Hypothesis registers its random numbers with the first property, and looks for who holds them. Python
    # 3.14 shows it no holder that is frozen: it would warn, and that property fail, whichever it is.
    _any_property()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them."""
    for name in os.environ:
        if name.startswith("CRAFT_") and not name.startswith("CRAFT_TEST_"):
            monkeypatch.delenv(name)
