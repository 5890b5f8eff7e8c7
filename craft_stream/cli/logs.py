"""Logs of long-running commands: on standard error, a line an event, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from pydantic import BaseModel, SecretStr

from craft_stream.cli.tell import tell
from craft_stream.errors import CraftError
from craft_stream.observe.page import Trouble
from craft_stream.settings import Settings

_TROUBLES = 20

log = logging.getLogger("craft_stream")


class JsonFormatter(logging.Formatter):
    """A JSON object a line: time, level, logger, message; `error` with its trace where there is one, `code` at the end."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        if hasattr(record, "code"):
            line["code"] = record.code
        return json.dumps(line, ensure_ascii=False)


class WithoutSecrets(logging.Formatter):
    """What another formatter makes, with the values of secret settings masked."""

    def __init__(self, inner: logging.Formatter, secrets: list[str]) -> None:
        super().__init__()
        self._inner, self._secrets = inner, secrets

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return self.mask(self._inner.format(record))

    def mask(self, text: str) -> str:
        """A text without them."""
        for secret in self._secrets:
            text = text.replace(secret, "**********")
        return text


class Kept(logging.Handler):
    """Keeps the last lines that say that something is wrong."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last: deque[Trouble] = deque(maxlen=_TROUBLES)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.last.append(Trouble(record.created, record.levelname, self.format(record)))


def last_troubles(settings: Settings) -> Callable[[], list[Trouble]]:
    """Keep warnings and errors from now on; what is given gives the last of them."""
    kept = Kept()
    kept.setFormatter(_masked(logging.Formatter(), settings))
    logging.getLogger().addHandler(kept)
    return lambda: list(kept.last)


def _masked(formatter: logging.Formatter, settings: Settings) -> WithoutSecrets:
    # longer ones first: one may be part of another
    return WithoutSecrets(formatter, sorted(set(_secrets(settings)), key=len, reverse=True))


def _secrets(section: BaseModel) -> Iterator[str]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, SecretStr) and value.get_secret_value():
            yield value.get_secret_value()
        elif isinstance(value, BaseModel):
            yield from _secrets(value)


def begin_logging(settings: Settings) -> None:
    """Log as `[observe]` says; what the Kafka client has to say only at the level debug, since ours says it once."""
    observe = settings.observe
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    formatter = JsonFormatter() if observe.log_format == "json" else text
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_masked(formatter, settings))
    logging.basicConfig(level=observe.log_level.upper(), handlers=[handler], force=True)
    debug = observe.log_level == "debug"
    client = logging.getLogger("kafka")
    client.propagate = debug
    client.setLevel(logging.INFO if debug else logging.CRITICAL)
    for noisy in ("numba", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def tell_end(settings: Settings, error: CraftError) -> None:
    """Why the process ends, as its last line."""
    if settings.observe.log_format == "json":
        log.error("%s", error, extra={"code": error.exit_code})
        return
    tell(str(error))
