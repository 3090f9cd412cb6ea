"""The dispatcher: turns what is due into messages. Any number may run, one leads."""

import logging
import random
import signal
import time
import uuid
from collections.abc import Sequence
from types import FrameType
from typing import Any

import psycopg
from celery import Celery
from kombu.exceptions import ChannelError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from clients.failpoints import pass_point
from models import dispatch, endpoint_leases, settle
from models.dispatch import CHANNEL, IMPATIENCE_S
from models.idempotency import forget_answers
from models.money import fold_spending
from models.states import Stage
from settings import Settings
from worker.admit import admit, admit_retries
from worker.app import TASKS
from worker.fairness import Given
from worker.forgetting import Note
from worker.listings import Listings
from worker.liveness import Ticks
from worker.retry import RetryBudget
from worker.transport import broker_errors

log = logging.getLogger(__name__)

_TICK_S = 1.0  # whatever happens
_GAP_S = 0.1  # between two ticks under load, so that messages carry chunks; the first after a rest is immediate
_QUIET_GAP_S = 0.02  # after a tick that sent less than so many ids: there is nothing to gather
_QUIET = 4
_MOST = 2_000  # ids of one tick and stage
_CHEAP_S = 0.02  # a look at endpoints that took longer is not repeated at once,
_SHARE = 10  # but after so many times as long: a tenth of the dispatcher's time at most
_CROWD = 1_000  # messages of 1 KB: while no worker takes them, what is sent again every minute must not fill the broker
_LOST_S = 1.0  # between two looks for lost messages


class Dispatcher:
    """One connection does everything, so leading and working cannot come apart."""

    def __init__(self, engine: Engine, app: Celery, settings: Settings) -> None:
        self._engine = engine
        self._app = app
        self._settings = settings
        self._is_stopping = False  # not an Event: a signal handler must not take its lock
        self._broker_errors = broker_errors(app)
        self._listings = Listings(app, self._broker_errors, self._is_crowded)
        self._ticks = Ticks(app, silence_s=settings.silence_s)
        self._note = Note(app, self._broker_errors)
        self._given = Given()
        self._budget = RetryBudget()
        self._budgeted_at = time.monotonic()
        self._looked_for_lost_at = 0.0
        self._settled_at = 0.0
        self._endpoints_at = 0.0  # not looked for before
        self._are_endpoints_few = True

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        self._is_stopping = True

    def run(self) -> None:
        """Until SIGTERM or SIGINT; a database that goes away is waited for."""
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        while not self._is_stopping:
            try:
                with self._engine.connect() as connection:
                    self._wait_to_lead(connection)
                    self._lead(connection)
            except (DBAPIError, psycopg.OperationalError) as error:  # psycopg's own: cut while it listens
                log.warning("database away, trying again: %s", type(getattr(error, "orig", error)).__name__)
                self._engine.dispose()
                time.sleep(random.uniform(0.2, 1.0))  # noqa: S311  jitter, not a secret

    def _wait_to_lead(self, connection: Connection) -> None:
        # a leader that is cut off or frozen loses its session, and with it the lock
        connection.execute(text("SET idle_session_timeout = '15s'"))
        connection.execute(text("SET idle_in_transaction_session_timeout = '15s'"))
        connection.execute(text("SET jit = off"))  # the planner takes ticks of milliseconds for long work
        connection.commit()
        while not self._is_stopping and not dispatch.try_to_lead(connection):
            connection.commit()
            time.sleep(_TICK_S)

    def _lead(self, connection: Connection) -> None:
        if self._is_stopping:
            return
        log.info("leading")
        self._given, self._budget, self._budgeted_at = Given(), RetryBudget(), time.monotonic()
        self._note = Note(self._app, self._broker_errors)  # another leader has left others meanwhile
        connection.execute(text(f"LISTEN {CHANNEL}"))
        connection.commit()
        while not self._is_stopping:
            started = time.monotonic()
            gap_s = _QUIET_GAP_S if self.tick(connection) < _QUIET else _GAP_S
            time.sleep(max(0.0, gap_s - (time.monotonic() - started)))
            self._sleep(connection)

    def tick(self, connection: Connection) -> int:
        """One look at everything that is due; how many ids it sent."""
        with connection.begin():
            dispatch.fail_poison(connection)
            due = dispatch.take_due(connection, limit=_MOST)
            admitted = admit(connection, self._settings, given=self._given)
            due.setdefault(Stage.SUBMIT, []).extend(admitted + self._admit_retries(connection, calls=len(admitted)))
            suspects = dispatch.suspects(connection, [job_id for ids in due.values() for job_id in ids])
            self._pass("in_tick", is_busy=any(due.values()))
        self._pass("after_due", is_busy=any(due.values()))
        for stage in (Stage.STORE, Stage.POLL, Stage.SUBMIT):  # what is paid for first
            self._send_apart(connection, stage, due.get(stage, []), suspects)
        self._pass("after_send", is_busy=any(due.values()))
        self._send_lost(connection)
        self._settle(connection)
        self._listings.send(connection)
        self._ticks.send(connection)
        endpoints = self._send_endpoints(connection)  # with what has just been settled
        return sum(map(len, due.values())) + endpoints

    def _pass(self, point: str, *, is_busy: bool = True) -> None:
        if is_busy:
            pass_point(point, self._settings.failpoint)

    def _admit_retries(self, connection: Connection, *, calls: int) -> list[uuid.UUID]:
        """`calls`: first ones, of this tick. What the budget does not cover stays due, and is asked for at the next."""
        now = time.monotonic()
        self._budget = self._budget.earn(calls=calls, elapsed_s=now - self._budgeted_at)
        self._budgeted_at = now
        retries = admit_retries(connection, limit=self._budget.affordable)
        self._budget = self._budget.spend(len(retries))
        return retries

    def _settle(self, connection: Connection) -> None:
        with connection.begin():
            changed = settle.fold_counts(connection)
            if time.monotonic() - self._settled_at > _TICK_S:
                self._settled_at = time.monotonic()
                changed |= settle.closed_batches(connection)
                forget_answers(connection)
                fold_spending(connection)
            if changed:
                settle.start(connection, changed)
                settle.pause_failing(connection, changed)
                settle.settle(connection, changed)
                self._pass("in_settle")

    def _send(self, connection: Connection, stage: Stage, ids: Sequence[uuid.UUID], *, size: int | None = None) -> None:
        """Chunks of ids to the stage's queue, after the commit. What the broker does not take is due again soon.

        `size`: most ids of a message. Suspects go alone, or what they kill their worker with would be held against all.
        """
        size = size or self._settings.chunk
        for start in range(0, len(ids), size):
            chunk = ids[start : start + size]
            try:
                TASKS[stage].apply_async(([str(job_id) for job_id in chunk],), queue=stage.value)
                self._pass("in_send")
            except self._broker_errors as error:
                log.warning("broker away, %d messages wait: %s", len(ids) - start, type(error).__name__)
                unsend = endpoint_leases.unsend_endpoints if stage is Stage.NOTIFY else dispatch.unsend
                with connection.begin():
                    unsend(connection, ids[start:])
                return

    def _send_apart(self, connection: Connection, stage: Stage, ids: list[uuid.UUID], suspects: set[uuid.UUID]) -> None:
        """Each of those that may have killed a worker in a message of its own."""
        self._send(connection, stage, [job_id for job_id in ids if job_id not in suspects])
        self._send(connection, stage, [job_id for job_id in ids if job_id in suspects], size=1)

    def _send_lost(self, connection: Connection) -> None:
        """After a flush of the broker nobody waits for the resend timer; an empty queue with ids sent is a loss too."""
        if time.monotonic() - self._looked_for_lost_at < _LOST_S:
            return
        self._looked_for_lost_at = time.monotonic()
        since_s = 0.0 if self._note.is_gone() else IMPATIENCE_S
        for stage in (Stage.SUBMIT, Stage.POLL, Stage.STORE):
            is_lost = since_s == 0.0 or self._is_empty(stage)
            with connection.begin():
                lost = dispatch.take_lost(connection, stage, limit=_MOST, since_s=since_s) if is_lost else []
                suspects = dispatch.suspects(connection, lost)
            self._send_apart(connection, stage, lost, suspects)

    def _send_endpoints(self, connection: Connection) -> int:
        """Its cost grows with the endpoints that wait, of which there may be one a job: jobs come first."""
        started = time.monotonic()
        if started < self._endpoints_at:
            return 0
        with connection.begin():
            due = endpoint_leases.take_due_endpoints(connection, limit=_MOST)
        self._pass("after_endpoints_due", is_busy=bool(due.fresh or due.again))
        took_s = time.monotonic() - started
        self._are_endpoints_few = took_s < _CHEAP_S
        self._endpoints_at = 0.0 if self._are_endpoints_few else started + took_s * _SHARE
        # while workers are busy or away their queue holds the first message: a second would only make it longer
        ids = due.fresh + (due.again if due.again and self._is_empty(Stage.NOTIFY) else [])
        self._send(connection, Stage.NOTIFY, ids)
        return len(ids)

    def _is_empty(self, stage: Stage) -> bool:
        return self._waiting(stage.value) == 0

    def _is_crowded(self, queue: str) -> bool:
        return (self._waiting(queue) or 0) > _CROWD

    def _waiting(self, queue: str) -> int | None:
        """Messages; None if the broker does not say."""
        try:
            connections: Any = self._app.pool
            with connections.acquire(block=True, timeout=5) as broker:
                return int(broker.default_channel.queue_declare(queue, passive=True).message_count)
        except ChannelError:
            return 0  # the queue does not exist: nothing in it
        except self._broker_errors:
            return None

    def _sleep(self, connection: Connection) -> None:
        """Until something is made due, the next thing falls due, or a second has passed."""
        with connection.begin():
            next_s = dispatch.seconds_to_next(connection, with_endpoints=self._are_endpoints_few)
        timeout = _TICK_S if next_s is None else min(_TICK_S, max(0.0, next_s))
        driver = connection.connection.driver_connection
        assert driver is not None, "an open connection"  # noqa: S101
        for _ in driver.notifies(timeout=timeout, stop_after=1):
            pass
