"""Where compiled kernels are kept between processes.

numba keeps them beside the sources, or in `~/.cache`, and fails to import where neither can be written: service accounts
without a home, read-only file systems, full disks. Then they go to a folder of the user's own below the one for temporary
files; where there is none of those either, they are compiled anew in each process.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ENVIRONMENT = "NUMBA_CACHE_DIR"
_KERNELS = Path(__file__).with_name("text")
_SMALL = bytes(1 << 16)  # a full disk takes a file's name, and not what is in it


def choose_place() -> None:
    """See to it that modules with kernels can be imported; before the first of them is."""
    if any(map(_takes_files, _usual())):
        return
    for folder in _temporary():
        with suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            if _is_own(folder) and _takes_files(folder):
                os.environ[_ENVIRONMENT] = str(folder)
                return
    _keep_none()


def place() -> Path | None:
    """Where kernels of this process are kept; None: nowhere."""
    chosen = os.environ.get(_ENVIRONMENT)
    return next(filter(_takes_files, [Path(chosen)] if chosen else _usual()), None)


def _usual() -> Iterator[Path]:
    """Where numba keeps them by itself."""
    if chosen := os.environ.get(_ENVIRONMENT):
        yield Path(chosen)
    yield _KERNELS / "__pycache__"
    with suppress(RuntimeError):  # no home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numba"


def _temporary() -> Iterator[Path]:
    with suppress(OSError):  # no folder for temporary files
        yield Path(tempfile.gettempdir()) / f"craft-stream-kernels-{os.getuid()}"
    yield Path("/dev/shm") / f"craft-stream-kernels-{os.getuid()}"  # noqa: S108  # checked to be the user's own


def _takes_files(folder: Path) -> bool:
    """Whether files can be written in a folder, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_SMALL)
            file.flush()
    except OSError:
        return False
    return True


def _is_own(folder: Path) -> bool:
    """Whether a folder is the user's and nobody else can write in it: what is loaded from it is run."""
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022


def _keep_none() -> None:
    from numba.core.dispatcher import Dispatcher  # half a second, where nothing can be written only

    Dispatcher.enable_caching = lambda self: None  # type: ignore[method-assign]
