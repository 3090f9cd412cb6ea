"""The Celery application: `celery -A worker.app worker`, or `photabatch worker`."""

import logging
import uuid
from typing import Any

from celery import Celery
from celery.signals import celeryd_after_setup, setup_logging, worker_init, worker_shutdown, worker_shutting_down
from celery.worker.state import reserved_requests
from kombu import Queue

from clients.failpoints import pass_point
from clients.log_lines import log_as_json
from models.states import Stage
from settings import Settings, get_settings
from worker.liveness import TICK, Watch, can_tick, count_ticks, tick_queue
from worker.runtime import Runtime
from worker.transport import Messages, use_own_transport

VISIBILITY_S = 900  # longer than the longest task; the shortest of all applications on one Redis wins
QUEUES = [*Stage, "intake", "schedule"]


def new_app(settings: Settings) -> Celery:
    """Settings and reasons: `docs/decisions/0003-celery-settings.md`."""
    broker = settings.broker_url.get_secret_value() if settings.broker_url else None
    use_own_transport()
    app = Celery(
        "photabatch",
        broker=broker,
        amqp=Messages,
        include=["producer.intake", "producer.uploads.repair", "producer.schedules.runs"],
    )
    app.conf.update(
        task_queues=[Queue(name, durable=True) for name in QUEUES],
        task_default_queue="intake",
        task_create_missing_queues=False,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        task_reject_on_worker_lost=False,
        task_ignore_result=True,
        result_backend=None,
        task_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        broker_pool_acquire_timeout=5,
        task_publish_retry_policy={"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=True,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        task_track_started=False,
        visibility_timeout=VISIBILITY_S,
    )
    if broker and broker.startswith("redis"):
        app.conf.broker_transport_options = {
            "visibility_timeout": VISIBILITY_S,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 5,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 5,
            "retry_on_timeout": False,
            "max_retries": 2,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.5,
        }
    return app


app = new_app(get_settings())
_runtime: Runtime | None = None
_watch: Watch | None = None


def _work(stage: Stage, ids: list[str]) -> None:
    """A task is a doorway: ids in, the stage runs on the process's event loop."""
    assert _runtime is not None, "set by worker_init"  # noqa: S101
    _took()
    _runtime.work(stage, [uuid.UUID(job_id) for job_id in ids])
    pass_point("before_ack", get_settings().failpoint)


def _took() -> None:
    if _watch:
        _watch.took()


@app.task(name="job.submit")
def submit(ids: list[str]) -> None:
    _work(Stage.SUBMIT, ids)


@app.task(name="job.poll")
def poll(ids: list[str]) -> None:
    _work(Stage.POLL, ids)


@app.task(name="job.store")
def store(ids: list[str]) -> None:
    _work(Stage.STORE, ids)


@app.task(name="delivery.notify")
def notify(ids: list[str]) -> None:
    _work(Stage.NOTIFY, ids)


@app.task(name=TICK)
def tick() -> None:
    """Through the event loop and back: `worker/liveness.py`."""
    assert _runtime is not None, "set by worker_init"  # noqa: S101
    _runtime.turn()
    _took()


TASKS = {Stage.SUBMIT: submit, Stage.POLL: poll, Stage.STORE: store, Stage.NOTIFY: notify}


@worker_init.connect
def _start(**_: Any) -> None:
    global _runtime
    _runtime = Runtime(get_settings())
    _runtime.start()


@celeryd_after_setup.connect
def _watch_over(instance: Any, **_: Any) -> None:
    """A queue of its own beside those of the work, and somebody who looks whether it is emptied."""
    global _watch
    broker = get_settings().broker_url
    if _runtime is None or broker is None or not can_tick(broker.get_secret_value()):
        return
    silence_s = get_settings().silence_s
    queue = tick_queue(_runtime.id, silence_s=silence_s)
    app.amqp.queues.select_add(queue)
    threads = instance.concurrency
    _watch = Watch(
        ticks=lambda: count_ticks(app, queue),
        is_full=lambda: len(reserved_requests) >= threads,
        probe=_runtime.call_back,
        end=_runtime.end,
        silence_s=silence_s,
    )
    _watch.start()


@worker_shutting_down.connect
def _hand_back(**_: Any) -> None:
    if _watch:
        _watch.stop()
    if _runtime:
        _runtime.hand_back()


@worker_shutdown.connect
def _stop(**_: Any) -> None:
    if _runtime:
        _runtime.stop()


@setup_logging.connect
def _keep_logging(**_: Any) -> None:
    """The command line has set up logging; Celery must not do it again, nor, started by itself, do it its own way."""
    if not logging.getLogger().handlers:
        log_as_json()
