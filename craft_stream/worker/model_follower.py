"""Which Model ought to be in force: followed on the model topic, or fixed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from craft_stream.errors import ConfigurationError, CraftError, IntegrityError, LogTruncatedError
from craft_stream.events import Observer
from craft_stream.parameters import LearningParameters
from craft_stream.scoring.model import Model
from craft_stream.topics.models import ModelStore
from craft_stream.worker.trouble import Trouble

# While there is no version at all, records wait for the first.
FIRST_SECONDS = 0.25

log = logging.getLogger(__name__)


class ModelFollower:
    """Looks at the model topic now and then, in its own thread, and loads what ought to be in force.

    A version that cannot be loaded is named, counted and passed over: the selectors go on with the one
    before. One that was learned under other parameters decides until there is a newer one, and the log says so: after a change
    of settings, or a rollback, nothing else could.

    Args:
        store: all versions.
        observer: is told what is loaded.
        seconds: between two looks.
        learning: parameters in force.

    Attributes:
        current: the Model; None before there is any.
        store: all versions.
    """

    def __init__(
        self,
        store: ModelStore,
        observer: Observer,
        seconds: float = 1.0,
        learning: LearningParameters = LearningParameters(),  # noqa: B008  # frozen
    ) -> None:
        self.current: Model | None = None
        self.store = store
        self._observer = observer
        self._learning = learning
        self._seconds = seconds
        self._bad: set[int] = set()
        self._usable: Callable[[Model], object] = lambda model: None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="models", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def require(self, usable: Callable[[Model], object]) -> None:
        """Pass a version over, before it takes force, for which this raises IntegrityError or ConfigurationError."""
        self._usable = usable

    def look(self) -> None:
        """Take note of what is new on the topic, now.

        Raises:
            UnavailableError: brokers away; nothing is held against a version that could not be fetched.
        """
        self.store.refresh()
        try:
            self._follow_store()
        finally:
            self._observer.models_passed_over(len(self._bad | self.store.refused.keys()))

    def _follow_store(self) -> None:
        while (wanted := self._wanted()) and (self.current is None or self.current.version != wanted):
            try:
                model = self.store.load(wanted)
                self._usable(model)
            except (IntegrityError, LogTruncatedError, ConfigurationError) as error:
                self._bad.add(wanted)
                log.error("model %d is passed over: %s", wanted, error)
                self._observer.error(type(error).__name__)
                continue
            if others := self._learning.contradicts(model.learning):
                log.warning("model %d was learned under other parameters: %s", wanted, ", ".join(others))
            self._tell(model)
            self.current = model
            manifest = self.store.manifests[wanted]
            self._observer.model({**model.header, "published_at_ms": manifest.published_at_ms}, manifest.size)

    def _tell(self, model: Model) -> None:
        pinned = ", pinned" if self.store.pinned == model.version else ""
        target = model.header.get("target_version", "")
        before = self.current
        news = (
            f"a new target {target}"
            if before is not None and before.header.get("target_version") != target
            else f"target {target}"
        )
        log.info("model %d (%s%s) takes force at each partition's next epoch", model.version, news, pinned)

    def _wanted(self) -> int:
        """The version that ought to be in force, or the newest before it that is not damaged; 0 without one."""
        wanted = self.store.newest
        if wanted not in self._bad:
            return wanted
        return max((v for v in self.store.manifests if v not in self._bad and v < wanted), default=0)

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    def _follow(self) -> None:
        trouble = Trouble(log, "following the model topic")
        while not self._stop.wait(self._seconds if self.current else min(FIRST_SECONDS, self._seconds)):
            try:
                self.look()
                trouble.over()
            except CraftError as error:  # brokers away: the version in force stays
                if self._stop.is_set():  # the worker has ended, and closed the connection
                    return
                trouble.tell(error)
                self._observer.error(type(error).__name__)
            except Exception:
                log.exception("following the model topic failed")
                self._observer.error("ModelFollower")


class FixedModel(ModelFollower):
    """A Model from a file, in force for ever."""

    def __init__(self, store: ModelStore, observer: Observer, model: Model, size: int) -> None:
        super().__init__(store, observer)
        store.give(model)
        self._model = self.current = model
        observer.model(model.header, size)

    def look(self) -> None:
        """Take note of what is new on the topic, now.

        Raises:
            UnavailableError: brokers away.
            ConfigurationError: the topic has another version of this number, by which ledgers and audits would know either.
        """
        super().look()
        if self.store.taken(self._model):
            raise ConfigurationError(
                f"the file of --model is model {self._model.version}, and the topic {self.store.topic} holds another model "
                f"{self._model.version}: ledgers name a version by its number, so no audit could tell them apart. Decide by a "
                "version of the topic (`craft-stream model pin`), or let a group with topics of its own run with the file"
            )

    def _wanted(self) -> int:
        return 0  # what else is on the topic is followed all the same: the settings of the group
