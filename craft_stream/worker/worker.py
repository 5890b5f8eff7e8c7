"""The long-running worker: its start, its loop and its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

from craft_stream.errors import DataError
from craft_stream.events import Observer
from craft_stream.ports.transport import Transport
from craft_stream.scoring.embedding import Embedder
from craft_stream.selection.blocklist import Blocklist
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings
from craft_stream.topics.ownership import check_owner
from craft_stream.worker.committer import Committer
from craft_stream.worker.decider import Decider
from craft_stream.worker.embedded_learner import EmbeddedLearner
from craft_stream.worker.group_settings import GroupSettings
from craft_stream.worker.loop import Loop
from craft_stream.worker.model_follower import ModelFollower
from craft_stream.worker.named_encoders import NamedEncoders, no_other
from craft_stream.worker.restorer import Restorer
from craft_stream.worker.retry import retry

T = TypeVar("T")
log = logging.getLogger(__name__)


class Worker:
    """Consumes, decides and commits until it is stopped.

    Args:
        settings: of the process.
        transport: makes the clients.
        encoder: what turns texts into vectors.
        models: which Model ought to be in force.
        observer: is told everything.
        stop: set by a signal's handler: what is in flight is committed, and the group is left.
        rebuild: go on where only a new ledger, or a gap in the log, makes that possible.
        listed: what must not be accepted.
        make_encoder: makes another encoder, that a version of the group's settings names, by its kind and options.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        encoder: Embedder,
        models: ModelFollower,
        observer: Observer,
        stop: threading.Event,
        rebuild: bool = False,
        listed: Blocklist | None = None,
        make_encoder: Callable[..., Embedder] = no_other,
    ) -> None:
        parameters = settings.parameters(encoder.digest, listed.digest if listed else "")
        encoders = NamedEncoders(models.store, settings.kafka.group_id, encoder, make_encoder)
        selector = Selector(parameters, encoder, encoders.load)
        models.require(lambda model: encoders.load(model.translation.encoder))
        self._settings, self._transport, self._models = settings, transport, models
        self._observer, self._stop, self._digest = observer, stop, parameters.digest
        self._decider = Decider(settings, selector, observer, listed)
        self._committer = Committer(settings, transport, observer)
        self._restorer = Restorer(settings, transport, parameters, models.store, rebuild, observer)
        self._learner = EmbeddedLearner(settings, transport, encoder, observer, make_encoder)
        self._rebuild = rebuild
        self._loop: Loop | None = None
        self._group_settings = GroupSettings(
            settings, encoder.digest, models.store, observer, listed.digests if listed else {}
        )

    def run(self) -> None:
        """Work until told to stop.

        Raises:
            UnavailableError: no broker for too long; the process must end and be started again.
            CraftError: it makes no sense to go on; nothing is committed that is not decided.
        """
        kafka = self._settings.kafka
        self._observer.started(kafka.group_id, kafka.input_topic, self._digest, self._settings.budget.rate)
        try:
            loop = self._loop = self._start()
            if loop is None:
                return
            while not self._stop.is_set():
                loop.turn()
            log.info("told to stop: what is in flight is committed, then the group is left")
            loop.drain()
        finally:
            self._models.stop()
            self._learner.stop(2.0)
            if self._loop is None or self._loop.close():
                self._committer.close()
            self._observer.stopped()

    def explain(self, source: str, target: str) -> dict[str, Any]:
        """See `Loop.explain`.

        Raises:
            DataError: nothing is decided here yet, or deciding takes too long.
        """
        if self._loop is None:
            raise DataError("this worker has not joined its group yet")
        return self._loop.explain(source, target)

    def _start(self) -> Loop | None:
        """Each step is tried again for as long as brokers may be out of reach; None when told to stop between two."""
        for step in (
            self._models.store.refresh,
            self._check_owner,
            lambda: self._group_settings.agree(self._transport),
            self._models.look,  # it tells what takes force: not before this worker may decide here
            self._models.start,
            self._committer.open,
            self._warm_up,
        ):
            self._reach(step)
            if self._stop.is_set():  # the rest of a start takes 20 s on a busy machine, and is for nothing
                return None
        return Loop(
            self._settings,
            self._reach(self._transport.group),
            self._restorer,
            self._decider,
            self._committer,
            self._models,
            self._group_settings,
            self._learner,
            self._observer,
        )

    def _warm_up(self) -> None:
        if self._models.current is not None:
            self._decider.warm_up(self._models.current)

    def _check_owner(self) -> None:
        if self._rebuild:
            return
        learns = self._settings.learner.mode == "embedded"
        with closing(self._transport.reader()) as reader:
            check_owner(reader, self._settings.kafka, self._models.store if learns else None)

    def _reach(self, step: Callable[[], T]) -> T:
        return retry(step, self._settings.kafka.unavailable_seconds, self._stop, self._observer.beat)
