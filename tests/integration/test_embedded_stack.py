"""The embedded stack with its real servers, on loopback."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import psutil
import psycopg
import pytest
import redis
from botocore.exceptions import ClientError
from mypy_boto3_s3 import S3Client
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox.stack import AlreadyRunning, Stack, StackError, read_running

SUPERVISOR = """
import sys, time
from pathlib import Path
from urllib.parse import urlsplit
from sandbox.stack import Stack
with Stack(Path(sys.argv[1]), durable=False) as stack:
    stack.spawn("sleeper", ["sleep", "600"], cwd=stack.home)
    print("up", flush=True)
    time.sleep(600)
"""


def eventually(holds: Callable[[], object], *, within_seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return False


def database(env: Mapping[str, str]) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(env["PHOTABATCH_DATABASE_URL"].replace("+psycopg", ""), autocommit=True)


def broker(env: Mapping[str, str]) -> redis.Redis:
    return redis.Redis.from_url(env["PHOTABATCH_BROKER_URL"])


def storage(env: Mapping[str, str]) -> S3Client:
    return boto3.session.Session().client(
        "s3",
        endpoint_url=env["PHOTABATCH_S3_ENDPOINT_URL"],
        region_name=env["AWS_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )


def answers(call: Callable[[], object]) -> bool:
    try:
        call()
    except (psycopg.OperationalError, redis.RedisError):
        return False
    return True


def fingerprint(process: psutil.Process) -> str:
    try:
        return f"{process.cwd()} {process.cmdline()}"
    except psutil.Error:
        return ""


def processes_of(home: Path) -> list[psutil.Process]:
    """Everything that works in the home or names it, but this process."""
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and str(home) in fingerprint(p)]


def fill(env: Mapping[str, str]) -> None:
    with database(env) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('row')")
    broker(env).set("kept", "key")
    s3 = storage(env)
    for number in range(20):
        s3.put_object(Bucket="photabatch", Key=f"kept/{number}", Body=b"%d" % number * 5000)


def contents(env: Mapping[str, str]) -> tuple[object, ...]:
    s3 = storage(env)
    bodies = [s3.get_object(Bucket="photabatch", Key=f"kept/{number}")["Body"].read() for number in range(20)]
    with database(env) as connection:
        row = connection.execute("SELECT word FROM kept").fetchone()
    return row, broker(env).get("kept"), bodies == [b"%d" % number * 5000 for number in range(20)]


def test_all_three_services_answer(stack: Stack) -> None:
    env = stack.environment()
    with database(env) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("photabatch",)
    assert broker(env).ping()
    storage(env).put_object(Bucket="photabatch", Key="hello", Body=b"world")
    assert storage(env).get_object(Bucket="photabatch", Key="hello")["Body"].read() == b"world"


def test_nobody_enters_without_the_password(stack: Stack) -> None:
    env = {**stack.environment(), "AWS_SECRET_ACCESS_KEY": "guess"}
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(env["PHOTABATCH_DATABASE_URL"].replace("+psycopg", ""), password="guess")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(
            port=urlsplit(env["PHOTABATCH_BROKER_URL"]).port or 0, password="guess", retry=Retry(NoBackoff(), 0)
        ).ping()
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        storage(env).list_buckets()


def test_secrets_are_for_the_owner_only(stack: Stack) -> None:
    for name in ("secrets.json", "stack.json", "valkey/valkey.conf"):
        assert (stack.home / name).stat().st_mode & 0o777 == 0o600
    passwords = json.loads((stack.home / "secrets.json").read_text()).values()
    lines = [fingerprint(process) for process in processes_of(stack.home)]
    assert not [line for line in lines for password in passwords if password in line]


def test_a_running_stack_can_be_found(stack: Stack) -> None:
    running = read_running(stack.home)
    assert running is not None
    assert running["pid"] == os.getpid()
    assert running["environment"] == stack.environment()


def test_a_second_stack_on_the_same_home_is_refused(stack: Stack) -> None:
    with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"), Stack(stack.home):
        pass
    assert read_running(stack.home) is not None


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_a_crashed_service_comes_back_by_itself(stack: Stack, name: str) -> None:
    env, crashed = stack.environment(), stack.child(name).pid
    os.kill(crashed, signal.SIGKILL)
    assert eventually(lambda: stack.child(name).pid != crashed)
    call = {"postgres": lambda: database(env).close(), "valkey": lambda: broker(env).ping()}[name]
    assert eventually(lambda: answers(call))


def test_a_crashed_child_is_started_again(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="sandbox")
    first = stack.spawn("sleeper", ["sleep", "600"]).pid
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: stack.child("sleeper").pid != first and stack.child("sleeper").is_alive)
    assert "sleeper ended with -9, starting again" in caplog.text
    again = stack.child("sleeper").pid
    stack.stop_children("sleeper")
    assert not psutil.pid_exists(again)


def test_a_child_that_is_not_to_be_restarted_stays_ended(stack: Stack) -> None:
    child = stack.spawn("once", ["sh", "-c", "exit 3"], restart=False)
    assert eventually(lambda: child.returncode == 3)
    time.sleep(0.5)
    assert child.restarts == 0


def test_a_child_finds_the_services(stack: Stack) -> None:
    child = stack.spawn("printer", ["sh", "-c", "echo $PHOTABATCH_BROKER_URL $MORE"], env={"MORE": "1"}, restart=False)
    assert eventually(lambda: child.returncode == 0)
    assert child.log_tail() == f"{stack.environment()['PHOTABATCH_BROKER_URL']} 1"


def test_a_child_that_never_gets_ready_shows_its_last_words(stack: Stack) -> None:
    with pytest.raises(StackError, match=r"(?s)code 4 while starting.*no such camera"):
        stack.spawn("broken", ["sh", "-c", "echo no such camera; exit 4"], ready=lambda: False)
    with pytest.raises(StackError, match="did not answer within 0 s"):
        stack.spawn("mute", ["sleep", "600"], ready=lambda: False, timeout_seconds=0.2)
    with pytest.raises(KeyError):
        stack.child("mute")


def test_data_survives_stop_and_start(tmp_path: Path) -> None:
    with Stack(tmp_path) as stack:
        fill(stack.environment())
        before = contents(stack.environment())
    with Stack(tmp_path) as stack:
        assert contents(stack.environment()) == before == (("row",), b"key", True)


def test_data_survives_the_death_of_all_services(tmp_path: Path) -> None:
    with Stack(tmp_path) as stack:
        fill(stack.environment())
        time.sleep(1.1)  # Valkey writes its file once a second
        for name in ("postgres", "valkey", "s3"):
            os.kill(stack.child(name).pid, signal.SIGKILL)
    with Stack(tmp_path) as stack:
        assert contents(stack.environment()) == (("row",), b"key", True)


def test_a_taken_port_moves_on(tmp_path: Path) -> None:
    with Stack(tmp_path, postgres=False, s3=False, durable=False) as stack:
        before = urlsplit(stack.environment()["PHOTABATCH_BROKER_URL"]).port
    with (
        socket.create_server(("127.0.0.1", before or 0)),
        Stack(tmp_path, postgres=False, s3=False, durable=False) as stack,
    ):
        assert broker(stack.environment()).ping()
        assert urlsplit(stack.environment()["PHOTABATCH_BROKER_URL"]).port != before


def test_a_replaced_service_is_left_out(tmp_path: Path) -> None:
    with Stack(tmp_path, postgres=False, s3=False, durable=False) as stack:
        assert list(stack.environment()) == ["PHOTABATCH_BROKER_URL"]
        with pytest.raises(KeyError):
            stack.child("postgres")


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with Stack(tmp_path, durable=False) as stack:
        stack.spawn("parent", ["sh", "-c", "sleep 600 & sleep 600"], cwd=tmp_path)
        assert len(processes_of(tmp_path)) > 5
    assert processes_of(tmp_path) == []
    assert read_running(tmp_path) is None
    assert not (tmp_path / "stack.json").exists()


def test_nothing_is_left_behind_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SUPERVISOR, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.kill()
    assert eventually(lambda: not processes_of(tmp_path))
    assert read_running(tmp_path) is None
    ports = json.loads((tmp_path / "ports.json").read_text()).values()
    assert not [port for port in ports if list(Path("/tmp").glob(f"seaweedfs-*-{port + 10_000}.sock"))]


def test_a_killed_supervisor_is_succeeded_at_once(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SUPERVISOR, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    with Stack(tmp_path, durable=False) as stack:
        assert answers(lambda: database(stack.environment()).close())


def test_a_killed_reaper_is_replaced(stack: Stack) -> None:
    def reapers() -> list[int]:
        return [process.pid for process in processes_of(stack.home) if "reaper.py" in fingerprint(process)]

    (first,) = reapers()
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: reapers() and first not in reapers())
    assert read_running(stack.home) is not None


def test_a_stale_postmaster_file_does_not_matter(tmp_path: Path) -> None:
    with Stack(tmp_path, valkey=False, s3=False, durable=False):
        pass
    (tmp_path / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}/postgres\n")
    with Stack(tmp_path, valkey=False, s3=False, durable=False) as stack:
        assert answers(lambda: database(stack.environment()).close())


def test_a_home_without_permission_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StackError, match="set PHOTABATCH_HOME to another folder"), Stack(tmp_path / "file" / "home"):
        pass


def test_a_lost_password_says_what_to_do(tmp_path: Path) -> None:
    with Stack(tmp_path, valkey=False, s3=False, durable=False):
        pass
    (tmp_path / "secrets.json").unlink()
    with pytest.raises(StackError, match="Bring the former"), Stack(tmp_path, valkey=False, s3=False, durable=False):
        pass
