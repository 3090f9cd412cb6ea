"""Webhook endpoints of a row's own, which it may hurt without hurting anybody else's."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, text

from chaos.campaign import Run
from chaos.proxy import Proxy
from chaos.receiver import Listener, Manner
from chaos.world import World
from models import DEFAULT_ACCOUNT
from models.endpoints import EndpointView, find_endpoints, remove_endpoint
from producer import webhooks


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of the row's own, told of each job and batch by an event of its own, through a proxy of its own."""

    world: World
    url: str
    path: str
    proxy: Proxy

    def behave(self, manner: Manner) -> None:
        self.world.receiver.manners[self.path] = manner

    def view(self, connection: Connection) -> EndpointView:
        [found] = find_endpoints(connection, DEFAULT_ACCOUNT, self.url)
        return found

    def count(self, which: str) -> int:
        """Of its events, those for which this SQL holds."""
        statement = f"SELECT count(*) FROM deliveries WHERE url = :url AND {which}"
        return int(self.world.ask(statement, url=self.url))

    def hasten(self) -> None:
        """As if the time until its next tries had passed."""
        self._change(_HASTEN)
        self.hasten_endpoint()

    def hasten_endpoint(self) -> None:
        """As if its pause between two tries of anything had passed."""
        self._change(_HASTEN_ENDPOINT)

    def expire_lease(self) -> None:
        self._change("UPDATE webhook_endpoints SET due_at = now() WHERE url = :url AND hold = 'held'")

    def _change(self, statement: str) -> None:
        with self.world.engine.begin() as connection:
            connection.execute(text(statement), {"url": self.url})

    def quantile_s(self, share: float) -> float:
        """From an event's making to its delivery."""
        return float(self.world.ask(_QUANTILE, url=self.url, share=share) or 0.0)


_HASTEN = "UPDATE deliveries SET due_at = now() WHERE url = :url AND state = 'pending' AND due_at > now()"
_HASTEN_ENDPOINT = "UPDATE webhook_endpoints SET due_at = now() WHERE url = :url AND hold <> 'held' AND due_at > now()"
_QUANTILE = """
    SELECT percentile_cont(:share) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - created_at))
    FROM deliveries WHERE url = :url AND state = 'delivered'
"""


@contextmanager
def registered(run: Run, *names: str) -> Iterator[list[Endpoint]]:
    """Registered inside the block; at its end they have been told everything."""
    made = [_register(run, name) for name in names]
    since_s = _now(run.world)
    try:
        yield made
        run.load.drain(within_s=run.drain_s)
        run.world.listeners += [Listener(each.path, since_s, _now(run.world)) for each in made]
    finally:
        with run.world.engine.begin() as connection:
            for each in made:
                run.world.receiver.manners.pop(each.path, None)
                remove_endpoint(connection, DEFAULT_ACCOUNT, each.view(connection).id)


def _now(world: World) -> float:
    return float(world.ask("SELECT extract(epoch FROM clock_timestamp())"))


def _register(run: Run, name: str) -> Endpoint:
    world = run.world
    proxy, path = world.proxy(world.receiver.port), f"/{run.load.prefix}{name}"
    url = f"http://127.0.0.1:{proxy.port}{path}"
    with world.engine.begin() as connection:
        events = ["job.*", "batch.*"]
        done = webhooks.register(connection, DEFAULT_ACCOUNT, url, events=events, allowed_hosts=["127.0.0.1"])
    assert done.secret is not None, "registered once"
    world.receiver.secrets[path] = done.secret
    return Endpoint(world, url, path, proxy)
