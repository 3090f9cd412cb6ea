"""One process each, for `up`, compose and Kubernetes."""

import logging
import os
import signal
import sys
import threading
from pathlib import Path

import click
from pydantic import ValidationError

from cli.exits import CannotStart, Exit, UsageFault
from cli.fleet import (
    bring_up_to_date,
    is_complete,
    listen,
    load_settings,
    local_fleet,
    local_url,
    none_is_up,
    open_database,
    use_environment,
)
from cli.stopping import LastResort
from cli.terminal import log_to_stderr, say
from models.engine import LONGEST_ANSWER_S, new_engine
from sandbox.stack import read_running
from settings import Settings

_STOP_S = 8.0  # whoever waits for a process to stop gives it 10 s


def _required() -> Settings:
    """Settings of a process of the fleet: from the environment, or of the stack that is up."""
    settings = load_settings()
    running = None if is_complete(settings) else read_running(settings.home)
    if running is not None:
        settings = use_environment({k: v for k, v in running["environment"].items() if k not in os.environ})
    missing = [
        name
        for name, value in (
            ("PHOTABATCH_DATABASE_URL", settings.database_url),
            ("PHOTABATCH_BROKER_URL", settings.broker_url),
        )
        if value is None
    ]
    if missing:
        raise CannotStart(f"{' and '.join(missing)} not set, and {none_is_up(settings)}")
    return settings


@click.command()
@click.option("--workers", type=click.IntRange(1, 64), default=os.cpu_count() or 1, show_default=True)
def up(workers: int) -> None:
    """Run the whole stack in the foreground; Ctrl-C stops it cleanly."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)  # a shell that starts it with & has it ignored
    settings = load_settings()
    _tell_of_restarts()
    with local_fleet(settings, workers=workers, with_api=True) as local:
        try:
            _welcome(local, workers, is_own=settings.database_url is None)
            threading.Event().wait()
        except KeyboardInterrupt:
            say("Stopping; jobs in hand are handed back.")


def _tell_of_restarts() -> None:
    told = logging.getLogger("sandbox")
    told.addHandler(logging.StreamHandler())
    told.setLevel(logging.INFO)


def _welcome(settings: Settings, workers: int, *, is_own: bool) -> None:
    """`is_own`: the database is the stack's own, which may have no API key yet."""
    say(f"photabatch is up: {workers} workers, data and logs in {settings.home.resolve()}", style="green")
    say(f"HTTP API and dashboard: {local_url(settings)}")
    if is_own:
        _show_first_key(settings)
    say("Try: photabatch run FOLDER --op enhance      Stop: Ctrl-C")


def _show_first_key(settings: Settings) -> None:
    """Whoever starts a stack of their own for the first time can use its API at once."""
    from cli.keys import first_key

    engine = open_database(settings)
    key = first_key(engine)
    engine.dispose()
    if key is not None:
        say(f"API key, shown this once (`photabatch key create` makes more): {key}", style="green")
        say(f"Try: curl -H 'Authorization: Bearer {key}' {local_url(settings)}/v1/batches")
    else:
        say("Its API keys are those of before; `photabatch key create` makes another.")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@click.command()
def migrate() -> None:
    """Bring the database schema to the newest version."""
    settings = _database_settings()
    bring_up_to_date(settings)
    say("The schema is up to date.", style="green")


def _database_settings() -> Settings:
    settings = load_settings()
    if settings.database_url is None:
        raise CannotStart("PHOTABATCH_DATABASE_URL is not set; the embedded stack migrates by itself.")
    return settings


@click.command()
def dispatcher() -> None:
    """Turn what is due into messages. Any number may run; one leads, another takes over."""
    log_to_stderr()
    settings = _required()
    open_database(settings).dispose()
    from worker.app import app  # reads the settings, so only once they are in force
    from worker.dispatcher import Dispatcher

    assert settings.database_url is not None, "checked above"  # noqa: S101
    LastResort(_STOP_S).follow_signals()
    engine = new_engine(settings.database_url.get_secret_value(), connections=1, answer_s=LONGEST_ANSWER_S)
    Dispatcher(engine, app, settings).run()


@click.command()
@click.option("--threads", type=click.IntRange(1, 256), default=None, help="Chunks worked on at once.")
def worker(threads: int | None) -> None:
    """Work on jobs: one process with one event loop; start as many as there are cores."""
    log_to_stderr()
    settings = _required()
    if settings.phota_root is None:
        raise CannotStart(
            "Neither PHOTA_API_KEY nor PHOTABATCH_PHOTA_BASE_URL is set: this worker has no API to call.\n"
            "`photabatch simulator` runs the simulated one."
        )
    open_database(settings).dispose()
    from worker.app import QUEUES, app  # reads the settings, so only once they are in force

    celery_worker = app.Worker(
        pool="threads",
        concurrency=threads or settings.threads,
        queues=[str(queue) for queue in QUEUES],
        without_gossip=True,
        without_mingle=True,
        optimization="fair",
        loglevel="INFO",
        quiet=True,
    )
    celery_worker.start()
    sys.exit(celery_worker.exitcode or Exit.SUCCEEDED)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all of them.")
@click.option("--port", type=click.IntRange(1, 65535), default=None, help="PHOTABATCH_API_PORT without it.")
def api(host: str, port: int | None) -> None:
    """Run the HTTP API. Any number may run, behind one address."""
    log_to_stderr()
    settings = _required()
    open_database(settings).dispose()
    from cli.http_server import serve

    serve(settings, listen(host, port or settings.api_port))


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8190, show_default=True)
@click.option("--latency", default=None, help="Seconds a job takes: `2`, `uniform:1-3`, `lognormal:48,10`.")
@click.option("--limit", type=click.IntRange(1), default=None, help="Hidden limit of jobs in flight.")
@click.option("--credit", type=float, default=None, help="Balance in USD.")
@click.option("--key", default=None, help="The only key to accept; any without it.")
@click.option(
    "--bytes",
    "size",
    type=click.IntRange(1),
    default=None,
    help="Answer with pictures of about this size, quickly made.",
)
@click.option("--seed", type=int, default=None)
@click.option("--data", type=click.Path(path_type=Path), default=None, help="Folder that keeps jobs and charges.")
def simulator(**options: object) -> None:
    """Run the simulated Phota API: real pictures, no charge."""
    from sandbox.phota.config import SimulatorConfig
    from sandbox.phota.server import serve

    try:
        config = SimulatorConfig(**{name: value for name, value in options.items() if value is not None})
        serve(config, on_exit=LastResort(_STOP_S).begin)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise UsageFault(f"--{fault['loc'][0]}: {fault['msg']}") from None
    except OSError as error:
        raise CannotStart(f"The simulated API cannot listen on port {options['port']}: {error.strerror}") from None
