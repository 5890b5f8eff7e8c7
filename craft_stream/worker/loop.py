"""The loop of a worker: it serves the group and never waits for anything else.

    loop       polls the group (paused partitions included), buffers, begins transactions, watches
    decide     decides a transaction (`Decider`), while `commit` writes and commits the one before (`Committer`)
    restore    reads ledgers of new partitions (`Restorer`)
    models     follows the model topic; the learner, if this worker has it, is another thread

A partition's life: ASSIGNED, RESTORING, ACTIVE, and PAUSED while more is buffered than the bounds allow; DRAINING while its
last transaction ends before it is given back, then RELEASED; LOST when the group took it, and nothing of it may be committed.
After any failed transaction its partitions, and those of the transaction that was decided after it, are ASSIGNED again.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from craft_stream.errors import DataError
from craft_stream.events import Observer, PartitionState, Stage
from craft_stream.ports.transport import Group
from craft_stream.settings import Settings
from craft_stream.worker.backpressure import Backpressure
from craft_stream.worker.committer import Committer
from craft_stream.worker.decider import Decider
from craft_stream.worker.embedded_learner import EmbeddedLearner
from craft_stream.worker.group_settings import GroupSettings
from craft_stream.worker.model_follower import ModelFollower
from craft_stream.worker.partitions import AssignedPartitions
from craft_stream.worker.rebalances import Rebalances
from craft_stream.worker.report import Report
from craft_stream.worker.restorer import Restorer
from craft_stream.worker.restores import Restores
from craft_stream.worker.transactions import Transactions
from craft_stream.worker.watchdog import Watchdog

IDLE_SECONDS = 0.05
STOP_SECONDS = 20.0  # of the 30 that a supervisor gives
RECOVERY_STOP_SECONDS = 5.0
# After an error. A claim of who has left the group is refused: what is under way is committed first, as it would stay open.
ERROR_STOP_SECONDS = 3.0
EXPLAIN_SECONDS = 20.0

log = logging.getLogger(__name__)


class Loop:
    """What a member of the group does, turn by turn.

    Args:
        group: joined.
        restorer, decider, committer: what does the work.
        models: which Model ought to be in force.
        settings_of_group: which settings ought to be.
        learner: of this worker.
        observer: is told everything.
    """

    def __init__(
        self,
        settings: Settings,
        group: Group,
        restorer: Restorer,
        decider: Decider,
        committer: Committer,
        models: ModelFollower,
        settings_of_group: GroupSettings,
        learner: EmbeddedLearner,
        observer: Observer,
    ) -> None:
        kafka, wake = settings.kafka, threading.Event()
        self._kafka, self._group, self._wake, self._observer = kafka, group, wake, observer
        self._models, self._learner, self._decider = models, learner, decider
        self._settings = settings_of_group
        self._partitions = partitions = AssignedPartitions(observer)
        self._transactions = transactions = Transactions(
            kafka, group, partitions, decider, committer, observer, wake
        )
        budget = kafka.revoke_budget_ms / 1000
        self._rebalances = Rebalances(group, partitions, transactions, observer, budget)
        self._restores = Restores(restorer, group, partitions, transactions, observer, wake)
        self._backpressure = Backpressure(group, partitions, transactions, observer, kafka.max_poll_records)
        self._report = Report(settings.errors, group, partitions, observer)
        self._watchdog = Watchdog(kafka, group, committer)
        self._polled = time.monotonic()
        self._joined = False
        self._waiting: str | None = None

    def turn(self) -> None:
        """One turn.

        Raises:
            CraftError: it makes no sense to go on.
        """
        self._observer.beat()
        self._poll()
        if self._rebalances.follow():
            self._learner.follow(self._partitions)
        if not self._joined and self._group.joined():  # a standby is given nothing, and is a member
            self._joined = True
            self._observer.joined(frozenset(self._partitions))
        self._restores.step()
        self._collect()
        if self._models.current is not None:
            self._transactions.begin(self._models.current, self._settings.current())
        self._explain_waiting()
        if not self._transactions.busy:
            self._report.tell_idle()
        self._backpressure.step()
        self._watchdog.check()

    def _poll(self) -> None:
        """Serve the group, and buffer what it brings."""
        now, kafka = time.monotonic(), self._kafka
        self._observer.poll_interval_used(1000 * (now - self._polled) / kafka.max_poll_interval_ms)
        self._polled = now
        # While a transaction is open the poll must be one round only: a second round could join the group
        # again and take from a partition that is being drained the generation in which it may still be
        # committed.
        busy = self._transactions.busy
        messages = self._group.poll(kafka.max_poll_records, 0.0 if busy else IDLE_SECONDS)
        self._observer.stage(Stage.POLL, time.monotonic() - now, len(messages))
        self._partitions.buffer(messages)
        if busy and not messages:
            self._wake.wait(IDLE_SECONDS)
        self._wake.clear()

    def _collect(self) -> None:
        for committed in self._transactions.collect():
            self._learner.learn(committed)
            self._report.tell(committed)

    def _explain_waiting(self) -> None:
        """Tell once what is in the way, and once that it is not any more."""
        topic, why = self._kafka.input_topic, None
        if not self._group.topic_known():
            why = f"the topic {topic} is gone: it was deleted, or this user may not see it any more"
        elif self._models.current is None and self._partitions:
            found = self._learner.failure or "the learner primes itself, or is not running yet"
            why = f"no version of the model yet: {found}"
        if why != self._waiting:
            if why is not None:
                log.warning("%s", why)
            else:
                log.info("nothing is in the way any more (%s)", self._waiting)
            self._waiting = why
            self._observer.waiting(why)

    def explain(self, source: str, target: str) -> dict[str, Any]:
        """What would become of a pair if it came now, on the first partition of this worker: see `Selector.explain`.

        May be called from any thread; what is decided waits for it for some milliseconds.

        Raises:
            DataError: nothing is decided here, or deciding takes too long.
        """
        model, held = self._models.current, [(n, self._partitions.get(n)) for n in sorted(self._partitions)]
        kept = ((n, one.ledger) for n, one in held if one)  # read once: the loop may take it away meanwhile
        found = next(((n, ledger.ledger) for n, ledger in kept if ledger), None)
        if model is None or found is None:
            raise DataError(
                "this worker decides nothing now: it has no partition, or no version of the model"
            )
        number, ledger = found
        try:
            parts = self._transactions.between(
                lambda: self._decider.explain(source, target, ledger, model), EXPLAIN_SECONDS
            )
        except TimeoutError:
            raise DataError(
                f"nothing was answered within {EXPLAIN_SECONDS:.0f} s: a batch takes longer"
            ) from None
        return {**parts, "partition": number}

    def drain(self) -> None:
        """Commit what is in flight; what is only buffered has not been touched."""
        for number in self._partitions:
            self._partitions.enter(number, PartitionState.DRAINING)
        self._transactions.join_all(STOP_SECONDS, RECOVERY_STOP_SECONDS)
        self._collect()

    def close(self) -> bool:
        """Leave the group, once what is in flight has ended; whether nobody uses the committer any more."""
        self._transactions.join_all(ERROR_STOP_SECONDS, 1.0)
        self._group.leave()
        self._restores.close()
        for number in list(self._partitions):
            self._partitions.remove(number, PartitionState.RELEASED)
        return self._transactions.join_all(1.0, 1.0)
