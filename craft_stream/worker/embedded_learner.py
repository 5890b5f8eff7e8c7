"""The learner of a worker: it runs in the worker that has input partition 0."""

from __future__ import annotations

from collections.abc import Callable, Container

from craft_stream.events import Observer
from craft_stream.ports.transport import Transport
from craft_stream.scoring.embedding import Embedder
from craft_stream.settings import Settings
from craft_stream.worker.committer import Committed
from craft_stream.worker.learner_service import LearnerService


class EmbeddedLearner:
    """Starts and stops the learner as partition 0 comes and goes; nothing where `learner.mode` is another one."""

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        encoder: Embedder,
        observer: Observer,
        make_encoder: Callable[..., Embedder],
    ) -> None:
        self._settings, self._transport = settings, transport
        self._encoder, self._make_encoder, self._observer = encoder, make_encoder, observer
        self._service: LearnerService | None = None

    @property
    def failure(self) -> str | None:
        """Why there is no model yet, as far as this worker's learner knows."""
        return self._service.failure if self._service is not None else None

    def follow(self, partitions: Container[int]) -> None:
        """The worker has these now."""
        wanted = self._settings.learner.mode == "embedded" and 0 in partitions
        if wanted and self._service is None:
            self._service = LearnerService(
                self._settings, self._transport, self._encoder, self._observer, self._make_encoder
            )
            self._service.start()
        elif not wanted:
            self.stop(0.0)

    def learn(self, committed: Committed) -> None:
        """Hand over a transaction's pairs, and which were accepted."""
        if self._service is not None:
            for number, outcome in committed.decided.outcomes.items():
                for chunk, decisions, _ in outcome.parts:
                    self._service.offer(number, chunk.pairs.batch, decisions.accepted)

    def stop(self, seconds: float) -> None:
        """End it; a version that is being made is not waited for longer than that."""
        if self._service is not None:
            self._service.stop(seconds)
            self._service = None
