"""What the page of a worker can be asked."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from craft_stream.errors import DataError
from craft_stream.worker.worker import Worker

_SECONDS = 60
# A search reads topics and decides a stretch of the log: in a process of its own that gives way to the worker, and that is the
# first to go where memory runs out.
_MODEST = 'echo 1000 2>/dev/null >/proc/self/oom_score_adj; exec nice -n 19 "$@"'


class WorkerQuestions:
    """Asks the worker of this process, once there is one, and `craft-stream explain`, one search at a time.

    Args:
        config, overrides, model: that the process was given.
    """

    def __init__(
        self, config: Path | None, overrides: Sequence[str] | None, model: Path | None = None
    ) -> None:
        self.worker: Worker | None = None
        files = {"--config": config, "--model": model}
        given = [word for name, path in files.items() if path for word in (name, str(path))]
        self._options = [*given, *(word for text in overrides or () for word in ("--set", text))]
        self._searching = threading.Lock()

    def explain(self, source: str, target: str) -> Mapping[str, Any]:
        """See `Worker.explain`."""
        if self.worker is None:
            raise DataError("the worker has not begun yet")
        return self.worker.explain(source, target)

    def find(self, identifier: str | None, place: str | None) -> Mapping[str, Any]:
        """What became of a record, as `craft-stream explain --json` says.

        Raises:
            DataError: it is not found, or not within a minute; or another one is being looked for.
        """
        if "\0" in (identifier or "") + (place or ""):  # no argument of a process can hold it
            raise DataError("a name with the character NUL cannot be looked for")
        wanted = f"--offset={place}" if place else f"--id={identifier}"
        main = [sys.executable, "-c", "from craft_stream.cli import main; main()"]
        command = ["sh", "-c", _MODEST, "sh", *main, "explain", wanted, "--json", *self._options]
        if not self._searching.acquire(blocking=False):
            raise DataError("another record is being looked for; ask again in a moment")
        try:
            done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603  # ours
        except subprocess.TimeoutExpired:
            raise DataError(
                f"it was not found within {_SECONDS} s: type `craft-stream explain {wanted}`"
            ) from None
        finally:
            self._searching.release()
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise DataError(
                said.removeprefix("craft-stream: ") or f"it ended with exit code {done.returncode}"
            )
        return dict(orjson.loads(done.stdout))
