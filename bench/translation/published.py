"""TSDS and TAROT as their authors published them, run from a checkout; none of their code is kept here.

TSDS (Liu et al. 2024): github ZifanL/TSDS, commit 3dfe139. Its script reads `config.yaml` and two arrays of embeddings; it
needs faiss-cpu 1.7.4, PyYAML and numpy below 2: its assertions need float32 to become float64 as it did. TAROT (Feng et al.
2024): github vita-epfl/TAROT, commit bbb6ce2. Its whitening and its `fixed_size` selection take the embeddings in the place
of projected gradients; it needs torch, geomloss, scikit-learn, matplotlib, seaborn, tqdm, psutil and wandb (for pictures,
but imported). Each runs in a process of its own, by an interpreter that has what it needs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Authors' values of TSDS's `config.yaml`, but for the paths and the size.
TSDS = {"alpha": 0.5, "C": 5.0, "sigma": 0.75, "max_K": 5000, "kde_K": 1000}

# numpy is seeded and their script run as `__main__`, in the folder of the configuration.
_TSDS = """
import runpy, sys
import numpy as np
np.random.seed(int(sys.argv[2]))
sys.path.insert(0, sys.argv[1])
runpy.run_path(f"{sys.argv[1]}/tsds.py", run_name="__main__")
"""

# What stands where their savers of gradients do holds the embeddings; whitening, scores and selection are theirs.
_TAROT = """
import sys, types
from pathlib import Path
import numpy as np
import torch
sys.path.insert(0, sys.argv[1])
from tarot.data_selector import DataSelector
from tarot.wfd_estimator import WFDEstimator

if __name__ == "__main__":
    scratch, ratio, device = Path.cwd(), float(sys.argv[2]), sys.argv[3]
    (scratch / "features" / "0").mkdir(parents=True, exist_ok=True)
    store = {"candidate_grads": np.load("candidates.npy"), "target_grads": np.load("query.npy")}
    estimator = WFDEstimator.__new__(WFDEstimator)
    estimator.save_dir, estimator.device, estimator.dtype = scratch / "features", device, torch.float32
    estimator.saver = types.SimpleNamespace(current_store=store, load_current_store=lambda model_id: None)
    scores, candidates, targets = estimator.get_wfd()
    selector = DataSelector({
        "device": device, "selection_method": "fixed_size", "selection_ratio": ratio,
        "k_fold_splits": 10, "merge_target_data": True, "data_weighting": False,
    })
    chosen, weight = selector.select_data(scores, candidates, targets)
    np.save("chosen.npy", np.asarray(chosen))
"""


def tsds(
    checkout: Path,
    query: NDArray[np.float32],
    candidates: NDArray[np.float32],
    count: int,
    python: str = sys.executable,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Places of what TSDS samples, with its repetitions.

    Args:
        checkout: folder of their repository.
        query: float32 [m, d], the target's embeddings.
        candidates: float32 [n, d], the stream's.
        count: sample size.
        python: an interpreter that has what it needs.
        seed: of their sampling.
    """
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        np.save(scratch / "query.npy", query)
        np.save(scratch / "candidates.npy", candidates)
        settings = {
            "query_embedding_path": "query.npy",
            "candidate_embedding_path": "candidates.npy",
            "output_folder": "output",
            "sample_size": count,
            **TSDS,
        }
        text = "".join(f"{key}: {value}\n" for key, value in settings.items())
        (scratch / "config.yaml").write_text(text)
        _run(_TSDS, scratch, python, str(checkout.resolve()), str(seed))
        chosen: NDArray[np.int64] = np.load(scratch / "output" / "selected_candidate_indices.npy").astype(
            np.int64
        )
        return chosen


def tarot(
    checkout: Path,
    query: NDArray[np.float32],
    candidates: NDArray[np.float32],
    count: int,
    python: str = sys.executable,
    device: str = "cpu",
) -> NDArray[np.int64]:
    """Places of what TAROT selects (`fixed_size`), in their order.

    Args:
        checkout: folder of their repository.
        query: float32 [m, d], the target's embeddings.
        candidates: float32 [n, d], the stream's.
        count: pairs to select.
        python: an interpreter that has what it needs.
        device: where it computes.
    """
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        np.save(scratch / "query.npy", query)
        np.save(scratch / "candidates.npy", candidates)
        ratio = (count + 0.5) / len(candidates)  # theirs cuts off the fraction
        _run(_TAROT, scratch, python, str(checkout.resolve()), repr(ratio), device)
        chosen: NDArray[np.int64] = np.load(scratch / "chosen.npy").astype(np.int64)
        return chosen


def _run(program: str, scratch: Path, python: str, *arguments: str) -> None:
    """A file, not `-c`: TAROT starts processes, which read the program again."""
    (scratch / "program.py").write_text(program)
    done = subprocess.run(
        [python, "program.py", *arguments], cwd=scratch, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"their program failed: {done.stderr[-2000:]}")
