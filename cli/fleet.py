"""Where commands find their services: what the environment names, a stack that is up, or one of their own."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
from kombu import Connection
from kombu.exceptions import OperationalError as BrokerError
from pydantic import ValidationError
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from cli.exits import CannotStart
from cli.terminal import say
from models.engine import new_engine
from sandbox.stack import AlreadyRunning, Stack, StackError, read_running
from settings import Settings, get_settings

SIMULATED = "No PHOTA_API_KEY is set: the simulated Phota API stands in, nothing is really charged."
_SIMULATOR_PORT = 8190
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")  # a stack on one machine may tell programs on it


def load_settings() -> Settings:
    """The settings in force. Raise CannotStart, naming the variable that makes no sense."""
    try:
        return get_settings()
    except ValidationError as error:
        faults = "\n".join(
            f"  PHOTABATCH_{'.'.join(map(str, fault['loc'])).upper().removeprefix('PHOTABATCH_')}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise CannotStart(f"The environment does not make sense:\n{faults}") from None


def use_environment(values: dict[str, str]) -> Settings:
    """Put addresses in force for this process and its children."""
    os.environ.update(values)
    get_settings.cache_clear()
    return load_settings()


def command(*words: str) -> list[str]:
    """This program with other arguments, as a child; -P keeps the current folder out of its imports."""
    return [sys.executable, "-P", "-m", "cli.main", *words]


def is_complete(settings: Settings) -> bool:
    """Whether database, broker and S3 are all named by the environment: then nothing is embedded."""
    return None not in (settings.database_url, settings.broker_url, settings.s3_endpoint_url)


@contextmanager
def services(*, with_workers: bool, workers: int | None = None) -> Iterator[Settings]:
    """Reach the services, and start what is missing for as long as the block lasts.

    `with_workers`: jobs are to be worked on meanwhile. Raise CannotStart.
    """
    settings = load_settings()
    if is_complete(settings):
        check_broker(settings)
        yield settings
        return
    running = read_running(settings.home)
    if running is not None:
        yield use_environment({str(k): str(v) for k, v in running["environment"].items() if k not in os.environ})
        return
    say(f"No stack is up here: starting one for the time of this command, its data in {settings.home.resolve()}")
    with local_fleet(settings, workers=(workers or os.cpu_count() or 1) if with_workers else 0) as local:
        yield local


@contextmanager
def local_fleet(settings: Settings, *, workers: int, with_api: bool = False) -> Iterator[Settings]:
    """The embedded twins of what the environment does not name, migrated, with dispatcher, workers and HTTP API.

    `api_port` of the settings it yields is the port that the API listens on. Raise CannotStart.
    """
    stack = Stack(
        settings.home,
        postgres=settings.database_url is None,
        valkey=settings.broker_url is None,
        s3=settings.s3_endpoint_url is None,
        bucket=settings.s3_bucket,
    )
    try:
        with stack:
            hosts = ",".join([*settings.allowed_hosts, *_THIS_MACHINE])
            local = use_environment(stack.environment() | {"PHOTABATCH_ALLOWED_HOSTS": hosts})
            bring_up_to_date(local)
            if workers:
                local = _start_processes(stack, local, workers, with_api=with_api)
            yield local
    except AlreadyRunning as error:
        raise CannotStart(str(error)) from error
    except StackError as error:
        raise CannotStart(str(error)) from error


def _start_processes(stack: Stack, settings: Settings, workers: int, *, with_api: bool) -> Settings:
    announced = {"PHOTABATCH_ALLOWED_HOSTS": ",".join(settings.allowed_hosts)}
    if settings.phota_root is None:
        announced["PHOTABATCH_PHOTA_BASE_URL"] = f"{_start_simulator(stack)}/v1/phota"
    if with_api:
        announced |= _api_addresses(stack, settings)
    settings = use_environment(announced)
    stack.spawn("dispatcher", command("dispatcher"))
    for number in range(1, workers + 1):
        stack.spawn(f"worker-{number}", command("worker"))
    if with_api:
        stack.spawn("api", command("api"), ready=lambda: _answers(f"{local_url(settings)}/healthz"))
    stack.announce(announced)
    return settings


def _start_simulator(stack: Stack) -> str:
    say(SIMULATED, style="yellow")
    port = stack.port("simulator", preferred=_SIMULATOR_PORT)
    url = f"http://127.0.0.1:{port}"
    stack.spawn(
        "simulator",
        command("simulator", "--port", str(port), "--data", str(stack.home / "phota")),
        ready=lambda: _answers(url),
    )
    return url


def _api_addresses(stack: Stack, settings: Settings) -> dict[str, str]:
    """The simulated API, which is on this machine too, can call back there; the real one only at a public address."""
    if "api_port" in settings.model_fields_set:
        listen("127.0.0.1", settings.api_port).close()
        port = settings.api_port
    else:
        port = stack.port("api", preferred=settings.api_port, is_remembered=False)
        if port != settings.api_port:
            say(f"Port {settings.api_port} is taken; the API is on {port}.", style="yellow")
    addresses = {"PHOTABATCH_API_PORT": str(port)}
    if settings.phota_api_key is None and settings.public_url is None:
        addresses["PHOTABATCH_PUBLIC_URL"] = f"http://127.0.0.1:{port}"
    return addresses


def local_url(settings: Settings) -> str:
    """Of the HTTP API, as this machine reaches it."""
    return f"http://127.0.0.1:{settings.api_port}"


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to that address. Raise CannotStart if it is taken, or not one of this machine's."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise CannotStart(f"The HTTP API cannot listen on {host}: {error.strerror}.") from None
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        hint = f"\nIs another one running? PHOTABATCH_API_PORT names another port than {port}."
        raise CannotStart(f"The HTTP API cannot listen on {host}:{port}: {error.strerror}.{hint}") from None
    return bound


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1, trust_env=False).status_code < 500
    except httpx.HTTPError:
        return False


def check_broker(settings: Settings) -> None:
    """Raise CannotStart if nobody would hear that there is work."""
    assert settings.broker_url is not None, "named by now"  # noqa: S101
    url = settings.broker_url.get_secret_value()
    with Connection(url, connect_timeout=3, transport_options={"socket_connect_timeout": 3}) as broker:
        try:
            broker.ensure_connection(max_retries=1, interval_start=0, timeout=5)
        except (BrokerError, OSError) as error:
            parts = urlsplit(url)
            raise CannotStart(
                f"The broker at {parts.hostname}:{parts.port or ''} cannot be reached: {error}\n"
                "Check PHOTABATCH_BROKER_URL and that it runs."
            ) from error


def bring_up_to_date(settings: Settings) -> None:
    """Migrate. Raise CannotStart if the database is not to be reached."""
    from models.migrate import migrate  # Alembic is a fifth of what a command takes to start, and few migrate

    assert settings.database_url is not None, "named or embedded by now"  # noqa: S101
    try:
        migrate(settings.database_url.get_secret_value())
    except OperationalError as error:
        raise CannotStart(_database_away(settings, error)) from error


def open_database(settings: Settings) -> Engine:
    """An engine that has been tried, on a schema that is there. Raise CannotStart."""
    assert settings.database_url is not None, "named or embedded by now"  # noqa: S101
    engine = new_engine(settings.database_url.get_secret_value())
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1 FROM upstreams LIMIT 1"))
    except OperationalError as error:
        raise CannotStart(_database_away(settings, error)) from error
    except ProgrammingError as error:
        raise CannotStart("The database has no photabatch tables yet: run `photabatch migrate` first.") from error
    return engine


def reach_database() -> Engine:
    """The database that the environment names, or that of the stack that is up. Raise CannotStart."""
    settings = load_settings()
    running = read_running(settings.home) if settings.database_url is None else None
    if running is not None:
        settings = use_environment({k: v for k, v in running["environment"].items() if k not in os.environ})
    if settings.database_url is None:
        raise CannotStart(f"PHOTABATCH_DATABASE_URL is not set, and {none_is_up(settings)}")
    return open_database(settings)


def none_is_up(settings: Settings) -> str:
    return (
        f"no embedded stack is up in {settings.home.resolve()}: `photabatch up`, or if one is up elsewhere, "
        "call this from the folder where that was called (or set PHOTABATCH_HOME)."
    )


def _database_away(settings: Settings, error: OperationalError) -> str:
    url = settings.database_url
    where = engine_address(url.get_secret_value()) if url else "?"
    reason = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
    return f"The database at {where} cannot be reached: {reason}\nCheck PHOTABATCH_DATABASE_URL and that it runs."


def engine_address(url: str) -> str:
    """Host, port and database without the password."""
    parts = make_url(url)
    return f"{parts.host}:{parts.port or 5432}/{parts.database}"
