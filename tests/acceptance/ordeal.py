"""What the fleet of the canaries goes through: every way by which a secret could get into a log, a row, an answer."""

import base64
import json
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import psutil
import redis
from celery import Celery
from sqlalchemy import Engine, make_url, text

from api.keys import create_key
from models.accounts import find_account
from models.states import Scope
from producer.webhooks import register
from sandbox.stack import Stack
from settings import Settings
from tests.acceptance.canaries import NAMES, URL_TOKEN, Evidence
from tests.acceptance.conftest import Fleet, eventually
from tests.acceptance.parrot import Parrot, Receiver, serving

# Postgres quotes the whole row where one of these is violated.
_REFUSED = """
    ALTER TABLE jobs ADD CONSTRAINT ck_refused CHECK (custom_id <> 'refused' OR state IN ('queued', 'submitting')),
                     ADD CONSTRAINT ck_unwanted CHECK (custom_id <> 'unwanted')
"""


class Ordeal:
    def __init__(self, stack: Stack, fleet: Fleet, engine: Engine) -> None:
        self._stack, self._fleet, self._engine = stack, fleet, engine
        self._open = ExitStack()
        self._receiver = Receiver()
        self._redis: list[str] = []
        self._said = self._plant()
        self.evidence = Evidence(self._said)
        self._logs_before = {path: path.stat().st_size for path in self._logs()}

    def _plant(self) -> dict[str, str]:
        """A value for each name: those of the services are random already."""
        env = self._fleet.environment
        secret = self._fleet.phota.get("/v1/phota/webhook-secret", headers={"X-API-Key": "any"})
        return {name: f"canary-{name.replace(' ', '-')}-{secrets.token_hex(8)}" for name in NAMES} | {
            "database password": str(make_url(env["PHOTABATCH_DATABASE_URL"]).password),
            "redis password": str(httpx.URL(env["PHOTABATCH_BROKER_URL"]).password),
            "s3 secret": env["AWS_SECRET_ACCESS_KEY"],
            "callback secret": secret.json()["secret"],
            "account secret": self._one("SELECT webhook_secret FROM accounts"),
        }

    def run(self) -> None:
        with self._engine.begin() as connection:
            connection.execute(text(_REFUSED))
        self._listen_to_redis()
        self._start()
        self._prepare()
        with ThreadPoolExecutor(2) as pool:
            typed, sent = pool.submit(self._type_commands), pool.submit(self._send_by_broker)
            self._ask_in_vain()
            self._submit()
            _ = typed.result(), sent.result()
        self._cut_database()
        self._wait()
        self._look_at_processes()

    def close(self) -> None:
        self._open.close()

    def gather(self) -> None:
        """What lies about when all is over."""
        self.evidence.add("redis", unfolded("\n".join(self._redis)))
        self.evidence.add("told to receivers", b"\n".join(self._receiver.heard).decode())
        for path in self._logs():
            told = path.read_bytes()[self._logs_before.get(path, 0) :]
            self.evidence.add(f"log {path.name}", told.decode(errors="replace"))
        with self._engine.connect() as connection:
            tables = connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
            for table in tables:
                for row in connection.scalars(text(f'SELECT to_jsonb(t) FROM "{table}" AS t')):
                    for column, value in row.items():
                        self.evidence.add(f"{table}.{column}", json.dumps(value, ensure_ascii=False))

    def _one(self, query: str) -> str:
        with self._engine.connect() as connection:
            return str(connection.scalar(text(query)))

    def _logs(self) -> list[Path]:
        return sorted((self._stack.home / "logs").glob("*.log"))

    def _prompt(self, name: str, order: str) -> str:
        return f'{self._said[name]} a "boat" {order} {self._said[name]}'

    # What starts

    def _listen_to_redis(self) -> None:
        url = self._fleet.environment["PHOTABATCH_BROKER_URL"]
        client = self._open.enter_context(redis.Redis.from_url(url, socket_timeout=None))
        monitor = self._open.enter_context(client.monitor())

        def listen() -> None:
            with suppress(redis.RedisError, OSError, ValueError, AttributeError):  # until it is closed
                for command in monitor.listen():
                    self._redis.append(command["command"])

        Thread(target=listen, daemon=True).start()

    def _start(self) -> None:
        """A fleet whose Phota says back what it hears, whose worker trips once, and whose queue of events is away."""
        parrot = Parrot(str(self._fleet.phota.base_url))
        address = self._open.enter_context(serving(parrot.answer))
        self._hook = self._open.enter_context(serving(self._receiver.answer))
        env = self._fleet.environment
        env["PHOTA_API_KEY"] = self._said["phota key"]
        env["PHOTABATCH_PHOTA_BASE_URL"] = f"{address}/v1/phota"
        self._fleet.configure(faults=[{"match": "download", "fault": "500", "times": 1}])
        self._events = self._fleet._spawn("events", "--sqs", "http://127.0.0.1:1/queue")
        self._fleet.start(workers=0)
        self._fleet.start_worker(PHOTABATCH_FAILPOINT="after_download:error:1")
        url = self._fleet.start_api()
        self._api = self._open.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=20))

    # What people do

    def _command(self, name: str, *words: str, **environment: str) -> str:
        done = self._fleet.command(*words, **environment)
        self.evidence.add(f"command {name}", done.stdout + done.stderr)
        return done.stdout

    def _type_commands(self) -> None:
        database = make_url(self._fleet.environment["PHOTABATCH_DATABASE_URL"])
        wrong = database.set(password=self._said["mistyped password"]).render_as_string(hide_password=False)
        self._command("status", "status", PHOTABATCH_DATABASE_URL=wrong)
        self._command("env", "env", "--json")
        self._command("manifest", "submit", str(self._bad_manifest()))

    def _bad_manifest(self) -> Path:
        prompt, url = self._prompt("prompt", "in a bad line"), f"https://me:{self._said['password in a URL']}@a.example"
        lines = [
            json.dumps({"custom_id": "1", "operation": "generate", "params": {"prompt": [prompt]}}),
            json.dumps({"custom_id": "2", "operation": "generate", "params": {"prompt": prompt + "\0"}}),
            json.dumps({"custom_id": "3", "operation": "generate", "params": [prompt]}),
            json.dumps({"custom_id": "4", "operation": "generate", "params": {"prompt": "x"}, "webhook_url": url}),
            '{"custom_id": "5", "prompt": "' + prompt,
        ]
        path = self._fleet.home / "bad.jsonl"
        path.write_text("\n".join(lines))
        return path

    def _prepare(self) -> None:
        """A key, and endpoints for all events: one that takes them, one that fails at first, one that is gone."""
        urls = [f"{self._hook}/{path}?token={self._said[URL_TOKEN]}" for path in ("ok", "fails", "gone")]
        told = self._command("webhook add", "webhook", "add", urls[0], "--events", "*", "--json")
        self._said["webhook secret"] = json.loads(told)["secret"]
        with self._engine.begin() as connection:
            account = find_account(connection, "default")
            assert account is not None, "made by the first migration"
            for url in urls[1:]:
                register(connection, account.id, url, events=["*"], allowed_hosts=["127.0.0.1"])
            key = create_key(connection, account, name="canary", scopes=list(Scope))
        self._said["api key"] = key
        self._headers = {"Authorization": f"Bearer {key}"}

    # What programs do

    def _ask(self, name: str, method: str, path: str, **request: Any) -> httpx.Response:
        answer = self._api.request(method, path, **request)
        told = json.dumps(dict(answer.headers)) + answer.text
        self.evidence.add(f"answer {name} {answer.status_code}", told)
        return answer

    def _ask_in_vain(self) -> None:
        said, prompt = self._said, self._prompt("prompt", "asked in vain")
        headers = self._headers
        job = {"operation": "generate", "params": {"prompt": prompt}, "custom_id": "unwanted"}
        typo = {"Authorization": f"Bearer pb_0123456789ab_{said['mistyped key']}"}
        forged = {"X-Phota-Signature": said["forged signature"]}
        sns = {"Type": "SubscriptionConfirmation", "Token": said["sns token"], "TopicArn": "arn:aws:sns:a:1:b"}
        sns |= {"SubscribeURL": f"https://a.example/?Token={said['sns token']}"}
        url = f"https://me:{said['password in a URL']}@a.example/hook"
        self._ask("crash", "POST", "/v1/jobs", headers=headers, json=job)
        self._ask("key", "GET", "/v1/batches", headers=typo)
        self._ask("callback", "POST", "/v1/callbacks/phota", headers=forged, json={"job_id": "1"})
        self._ask("sns", "POST", "/v1/events/s3", headers={**headers, "x-amz-sns-message-type": sns["Type"]}, json=sns)
        self._ask("list", "POST", "/v1/jobs", headers=headers, json={**job, "params": {"prompt": [prompt]}})
        self._ask("text", "POST", "/v1/jobs", headers=headers, json={**job, "params": {"prompt": prompt + "\0"}})
        self._ask("url", "POST", "/v1/jobs", headers=headers, json={**job, "webhook_url": url})
        self._ask("json", "POST", "/v1/jobs", headers=headers, content=json.dumps(job)[:-1])
        self._ask(
            "line", "POST", "/v1/batches", headers={**headers, "content-type": "application/x-ndjson"}, content=prompt
        )

    def _submit(self) -> None:
        """Good jobs, and those that Phota or the database refuse; told twice, the second time otherwise."""
        headers = {**self._headers, "Idempotency-Key": self._said["idempotency header"]}
        orders = ["echo 400", "echo 422", "echo 500 once", "echo failed", "forbidden", "made", "refused", "lost"]
        jobs = [self._job(order) for order in orders]
        image = "s3://there-is-no-such-bucket/photo.jpg"  # of which Phota gets a link, and quotes it
        for job in (jobs[0], jobs[-1]):
            job |= {"operation": "edit", "params": {**job["params"], "images": [image]}}
        batch = {"name": "canaries", "jobs": jobs, "webhook_url": f"{self._hook}/batch?token={self._said[URL_TOKEN]}"}
        made = self._ask("batch", "POST", "/v1/batches", headers=headers, json=batch).json()
        self._ask("conflict", "POST", "/v1/batches", headers=headers, json={**batch, "name": "others"})
        self._batch = f"/v1/batches/{made['id']}"

    def _job(self, order: str) -> dict[str, Any]:
        made: dict[str, Any] = {"operation": "generate", "params": {"prompt": self._prompt("prompt", order)}}
        return made | {"custom_id": order, "idempotency_key": f"{self._said['idempotency key']}-{order}"}

    def _send_by_broker(self) -> None:
        """Jobs, and what is none."""
        app = Celery(broker=self._fleet.environment["PHOTABATCH_BROKER_URL"])
        good, bad = self._prompt("prompt by broker", "by broker"), self._prompt("refused prompt", "by broker")
        for name, fields in (
            ("photabatch.generate", {"prompt": good}),
            ("photabatch.generate", {"prompt": [bad]}),
            ("photabatch.generate", {"prompt": good, "custom_id": "unwanted"}),
            ("photabatch.enhanse", {"prompt": bad}),
        ):
            app.send_task(name, kwargs=fields, queue="intake")
        with app.producer_or_acquire() as producer:
            headers = {"id": "1", "argsrepr": bad, "kwargsrepr": bad}
            garbage = {"routing_key": "intake", "content_encoding": "utf-8"}
            json_type = {**garbage, "content_type": "application/json"}
            producer.publish(bad, **json_type, headers=headers)
            producer.publish(bad, **json_type, headers={**headers, "task": "photabatch.generate"})
            producer.publish(bad, **garbage, content_type="application/x-none", headers=headers)
            producer.publish({"prompt": bad}, serializer="json", routing_key="intake")
        app.close()

    # What breaks, and how it ends

    def _cut_database(self) -> None:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        others += " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        assert eventually(lambda: int(self._one("SELECT count(*) FROM attempts")) > 3)
        for _ in range(5):  # one at least meets a transaction
            self._one(others)

    def _wait(self) -> None:
        """For all that can end to end; then the key is refused, which nothing gets past."""
        waiting = "SELECT count(*) FROM jobs WHERE finished_at IS NULL AND custom_id IS DISTINCT FROM 'refused'"
        assert eventually(lambda: self._one(waiting) == "0", within_s=90), self._unfinished()
        self._ask("last", "POST", "/v1/jobs", headers=self._headers, json=self._job("echo 401"))
        assert eventually(lambda: self._one("SELECT closed_reason FROM upstreams") == "bad_key")
        gone = "SELECT count(*) FROM webhook_endpoints WHERE disabled_at IS NOT NULL"
        assert eventually(lambda: self._one(gone) == "1")
        for name, path in (
            ("metrics", "/metrics"),
            ("readiness", "/readyz"),
            ("batch", self._batch),
            ("jobs", f"{self._batch}/jobs"),
            ("nothing", "/v1/nowhere"),
        ):
            self._ask(name, "GET", path, headers=self._headers)
        self._command("webhook list", "webhook", "list", "--all")

    def _unfinished(self) -> str:
        return self._one("SELECT jsonb_agg(jsonb_build_array(custom_id, state, hold, attempt, error_code)) FROM jobs")

    def _look_at_processes(self) -> None:
        children = psutil.Process().children(recursive=True)
        self.evidence.add(
            "command lines", "\n".join(" ".join(each.cmdline()) for each in children if each.is_running())
        )
        self.evidence.add("settings", repr(Settings()) + str(Settings()))
        with self._engine.connect() as connection:
            codes = "SELECT error_code FROM attempts UNION SELECT error_code FROM jobs"
            self.evidence.codes = {str(code) for code in connection.scalars(text(codes))}


def unfolded(told: str) -> str:
    """With what is written in base64 in it, as Celery writes bodies."""
    found = re.findall(r"[A-Za-z0-9+/]{24,}={0,2}", told)
    return told + "\n".join(base64.b64decode(each + "===").decode(errors="replace") for each in found)
