"""Kernels are kept where files can be written, whatever the machine; and compiled before they are waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from craft_stream import kernel_cache


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One on which nothing can be written but the folder for temporary files; the usual places are files."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(kernel_cache, "_KERNELS", tmp_path / "file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "chosen"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    return tmp_path


def test_what_is_chosen_or_usual_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where numba can write, nothing is changed."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kernels"))
    kernel_cache.choose_place()
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "kernels")
    assert kernel_cache.place() == tmp_path / "kernels"


def test_a_service_without_a_home(machine: Path) -> None:
    """They go to a folder of the user's own that nobody else reads."""
    kernel_cache.choose_place()
    place = Path(os.environ["NUMBA_CACHE_DIR"])
    assert place == machine / "tmp" / f"craft-stream-kernels-{os.getuid()}"
    assert place.stat().st_mode & 0o777 == 0o700
    assert kernel_cache.place() == place


@pytest.mark.parametrize("trap", ["link", "open"])
def test_a_folder_of_others_is_not_used(machine: Path, trap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is loaded from there is run: a link to elsewhere, and a folder that others can write to, are passed over."""
    place = machine / "tmp" / f"craft-stream-kernels-{os.getuid()}"
    if trap == "link":
        (machine / "elsewhere").mkdir()
        place.symlink_to(machine / "elsewhere")
    else:
        place.mkdir()
        place.chmod(0o777)
    monkeypatch.setattr(kernel_cache, "_keep_none", lambda: monkeypatch.delenv("NUMBA_CACHE_DIR"))
    monkeypatch.setattr(kernel_cache, "_temporary", lambda: iter([place]))
    kernel_cache.choose_place()
    assert "NUMBA_CACHE_DIR" not in os.environ
    assert not list(place.iterdir())


def test_nothing_can_be_written() -> None:
    """Then kernels are compiled in each process, and kept nowhere; modules with kernels are imported all the same."""
    code = (
        "import craft_stream.kernel_cache as cache, os\n"
        "cache._takes_files = lambda folder: False\n"
        "os.environ['NUMBA_CACHE_DIR'] = '/proc/none'\n"
        "cache.choose_place()\n"
        "from numba.core import caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "import numpy as np\n"
        "from craft_stream.text.batch import TextBatch\n"
        "texts = TextBatch.gather(np.frombuffer(b'abcd', np.uint8), np.array([1]), np.array([3]))\n"
        "print(texts.texts(), cache.place())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "['bc'] None\n", done.stderr
