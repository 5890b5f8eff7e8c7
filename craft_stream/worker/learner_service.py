"""The learner at work: reads the target, primes itself, learns what it is given, publishes versions.

Learning is not exactly-once, and a learner that fails stops nobody: only published versions decide. It runs
in a thread of the worker that owns input partition 0, or in a process of its own (`craft-stream learn`). Two
of them cannot publish at once: the output's name is the group's, so the newer one fences the older.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, Full, Queue

import numpy as np
from numpy.typing import NDArray

from craft_stream.errors import CraftError, TargetError
from craft_stream.events import Observer, Stage
from craft_stream.learning.examination import FEWEST
from craft_stream.learning.learner import Learner
from craft_stream.ports.transport import Output, Reader, TransactionError, Transport
from craft_stream.scoring.embedding import Embedder
from craft_stream.settings import Settings
from craft_stream.text.batch import PairBatch
from craft_stream.topics.model_writer import prune, publish
from craft_stream.topics.models import ModelStore
from craft_stream.topics.settings_versions import SettingsVersion
from craft_stream.topics.signatures import Signatures
from craft_stream.topics.target import TargetFollower
from craft_stream.topics.unused_models import unused
from craft_stream.worker.group_settings import check_common, check_fixed, in_effect
from craft_stream.worker.named_encoders import NamedEncoders, no_other
from craft_stream.worker.primer import Primer
from craft_stream.worker.trouble import Trouble

QUEUE = 128  # batches, of 2,048 pairs at most, that wait for the learner; more are not learned from
TARGET_SECONDS = 2.0  # between looks at the target topic
# A version costs seconds of one core and some 20 MB on its topic: not more often than this, however fast
# pairs come.
PUBLISH_SECONDS = 10.0
RETRY_SECONDS = 10.0

log = logging.getLogger(__name__)


class LearnerService:
    """Runs a learner until it is stopped; starts it again after a failure.

    Attributes:
        failure: why no version is published, in words; None when all is well.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        encoder: Embedder,
        observer: Observer,
        make_encoder: Callable[..., Embedder] = no_other,
    ) -> None:
        self.failure: str | None = None
        self._settings = settings
        self._make_encoder = make_encoder
        self._signatures = Signatures.of(settings)
        self._transport = transport
        self._encoder = encoder
        self._observer = observer
        self._batches: Queue[tuple[int, PairBatch, NDArray[np.bool_] | None]] = Queue(QUEUE)
        self._waits = False  # until it has seen as much as the newest version has learned from
        self._trouble = Trouble(log, "the learner failed and will start again")
        self._stop = threading.Event()
        self._telling = threading.Lock()  # so that nothing is told after `stop` has told the end
        self._thread = threading.Thread(target=self._run, name="learner", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """End the thread; a version that is being made is not waited for longer than that."""
        with self._telling:
            self._stop.set()
        if self._thread.is_alive():
            self._thread.join(seconds)
        self._observer.learner(False, 0)
        self._observer.not_learning(None)

    def offer(
        self, partition: int, batch: PairBatch, accepted: NDArray[np.bool_] | None, wait: float = 0.0
    ) -> bool:
        """Hand over pairs to learn from, and which were accepted; False when the learner is too far behind."""
        try:
            self._batches.put((partition, batch, accepted), timeout=wait or None, block=wait > 0)
        except Full:
            return False
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            reader = output = None
            pause = RETRY_SECONDS
            try:
                output = self._transport.output("learner")
                reader = self._transport.reader()
                self._learn(reader, output)
                pause = 0.0  # told to stop, or to begin again with other settings
            except (CraftError, TransactionError) as error:
                self._stopped(str(error))
                self._trouble.tell(error)
                self._observer.error(type(error).__name__)
            except Exception as error:
                self._stopped(f"{type(error).__name__}: {error}")
                log.exception("the learner failed and will start again")
                self._observer.error("Learner")
            finally:
                for client in (reader, output):
                    if client is not None:
                        client.close()
            self._stop.wait(pause)

    def _learn(self, reader: Reader, output: Output) -> None:
        """Learn until told to stop, or until other settings are published for the learner."""
        kafka = self._settings.kafka
        store = ModelStore(reader, kafka.model_topic, self._signatures)
        store.refresh()
        version = store.newest_settings(kafka.group_id)
        settings, encoder = in_effect(self._settings, version), self._encoder
        if version is not None:
            check_fixed(version, self._settings)
            check_common(version, self._settings)
            encoders = NamedEncoders(store, kafka.group_id, encoder, self._make_encoder)
            encoder = encoders.load(version.parameters.encoder)
        learner = Learner(settings.parameters(encoder.digest), encoder)
        learner.continue_from(store.last_number)
        target = TargetFollower(reader, settings.kafka.target_topic, settings.record)
        target.refresh(learner)
        self._complete(target, learner)
        self._wait_for_target(target, learner)
        began = time.monotonic()
        primer = Primer(reader, settings)
        primer.prime(learner, self._stop, self._wait_for_stream)
        if self._stop.is_set():
            return
        self._observer.primed(primer.pairs, time.monotonic() - began)
        self._observer.learner(True, learner.pairs_seen)
        self._publish(learner, output, store)
        looked = published = time.monotonic()
        changed = False
        while not self._stop.is_set():
            self._learn_next(learner, primer)
            now = time.monotonic()
            if now - looked >= TARGET_SECONDS:
                looked = now
                store.refresh()
                if _learns_otherwise(store.newest_settings(kafka.group_id), settings, encoder):
                    log.info("the learner begins again: settings for it were published")
                    return
                changed |= target.refresh(learner) > 0
                self._complete(target, learner)
            if now - published >= (TARGET_SECONDS if changed else PUBLISH_SECONDS) and (
                changed or learner.due
            ):
                self._publish(learner, output, store)
                self._prune(output, reader, store)
                published, changed = time.monotonic(), False

    def _wait_for_target(self, target: TargetFollower, learner: Learner) -> None:
        waited = False
        while not self._stop.is_set():
            try:
                self._check_target(learner)
                if waited:
                    self._stopped(None)
                return
            except TargetError as error:
                self._warn(str(error))
                waited = True
            self._stop.wait(TARGET_SECONDS)
            target.refresh(learner)
            self._complete(target, learner)

    def _check_target(self, learner: Learner) -> None:
        """That something can be learned from the target as it is.

        Raises:
            TargetError: nothing can, with what to type.
        """
        topic, size = self._settings.kafka.target_topic, learner.target_size
        if not size:
            raise TargetError(
                f"the target topic {topic} is empty: publish pairs of the domain that you want with `craft-stream "
                "target publish FILE`"
            )
        if size < FEWEST:
            raise TargetError(
                f"the target topic {topic} holds {size} {'record' if size == 1 else 'records'}, and a version needs {FEWEST} "
                "at least (a few hundred describe a domain): publish more with `craft-stream target publish FILE`"
            )
        try:
            learner.check_target()
        except TargetError as error:
            raise TargetError(f"the target topic {topic}: {error}") from error

    def _wait_for_stream(self, pairs: int) -> None:
        self._warn(
            f"a version needs {FEWEST} pairs of the stream at least, and {self._settings.kafka.input_topic} has shown "
            f"{pairs} so far"
        )

    def _warn(self, why: str) -> None:
        """Say why no version is published: once, and until it is over to whoever watches."""
        if why != self.failure:
            log.warning("%s", why)
            self._stopped(why)

    def _stopped(self, why: str | None) -> None:
        with self._telling:
            if not self._stop.is_set():  # else a thread that was not waited for is fenced, as it should be
                self.failure = why
                self._observer.not_learning(why)

    def _complete(self, target: TargetFollower, learner: Learner) -> None:
        """Read the target again where withdrawals have left the reservoir with gaps, or its topic was made anew."""
        if learner.target_incomplete or target.replaced:
            why = "its topic was made anew" if target.replaced else "withdrawals"
            target.reread(learner)
            log.info("the target was read again after %s: %d pairs", why, learner.target_size)
            self._observer.target_reread(learner.target_size)

    def _learn_next(self, learner: Learner, primer: Primer) -> None:
        try:
            partition, batch, accepted = self._batches.get(timeout=0.5)
        except Empty:
            return
        began = time.monotonic()
        if accepted is not None:
            learner.observe_accepted(batch.take(np.flatnonzero(accepted)))
        # What priming has shown it is not learned twice.
        rows = np.flatnonzero(~primer.primed(partition, batch.positions))
        if len(rows):
            learner.observe(batch.take(rows))
        self._observer.stage(Stage.LEARN, time.monotonic() - began, len(batch))
        self._observer.learner(True, learner.pairs_seen)

    def _publish(self, learner: Learner, output: Output, store: ModelStore) -> None:
        began = time.monotonic()
        try:
            self._check_target(learner)
            if self._knows_less(learner, store):
                self._stopped(None)
                self._trouble.over()
                return
            model = learner.publish()
        except TargetError as error:
            self._warn(f"no version is published, and the last one stays in force: {error}")
            return
        manifest = publish(output, self._settings.kafka.model_topic, model, self._signatures)
        self._stopped(None)
        self._trouble.over()
        self._observer.published(model.version, time.monotonic() - began, manifest.size)
        self._observer.target(model.target_version, model.target_pairs)
        log.info("published model %d (%s), %d bytes", model.version, model.digest, manifest.size)
        if model.target_left_out:
            log.info(
                "of the target %d pairs were learned from; left out: %s",
                model.target_pairs,
                model.target_left_out,
            )

    def _knows_less(self, learner: Learner, store: ModelStore) -> bool:
        """Whether the newest version is better than one would be that is made now, of a log that retention has emptied, say."""
        number = max(store.manifests, default=0)
        less = number > 0 and learner.knows_less(store.manifests[number].header)
        if less and not self._waits:
            log.info(
                "model %d has learned from %d pairs of the stream, and %d were seen since this start: it stays until they are "
                "as many, or learner.prime_pairs, unless the target changes",
                number,
                store.manifests[number].header["pairs_seen"],
                learner.pairs_seen,
            )
        self._waits = less
        return less

    def _prune(self, output: Output, reader: Reader, store: ModelStore) -> None:
        """Withdraw what nothing needs any more."""
        keep = self._settings.learner.keep_versions
        store.refresh()
        versions = unused(store, reader, keep) if keep else []
        if versions:
            prune(output, self._settings.kafka.model_topic, store, versions)
            log.info(
                "withdrew %d versions of the model that nothing needs, up to %d", len(versions), versions[-1]
            )
            self._observer.pruned(len(versions))


def _learns_otherwise(version: SettingsVersion | None, settings: Settings, encoder: Embedder) -> bool:
    """Whether a version asks for another learner than one of these settings."""
    if version is None:
        return False
    wanted = version.parameters
    return wanted.learning != settings.parameters().learning or wanted.encoder != encoder.digest
