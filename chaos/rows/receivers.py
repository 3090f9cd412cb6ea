"""Webhook receivers are down, slow, gone or hostile."""

import time
from contextlib import suppress
from datetime import timedelta

from sqlalchemy import text

from chaos.campaign import Run, row
from chaos.endpoints import Endpoint, registered
from chaos.outcomes import seconds_until
from chaos.proxy import Mode
from chaos.receiver import How, Manner
from chaos.watch import warm_up
from chaos.world import wait_for
from models import DEFAULT_ACCOUNT
from producer import webhooks

_HOURS = 30
_UNAFFECTED_S = 15.0  # in which another receiver has everything, however busy the machine; alone it takes a second
_JITTER = 1.1  # of the schedule of tries


def _let_work_end(run: Run) -> None:
    seconds_until(lambda: run.world.keep_up() or not run.world.unfinished(), at_most_s=run.drain_s)


def _expect_unaffected(other: Endpoint) -> None:
    """All jobs have ended, and one receiver is not well: the other has been told of all of them."""
    with suppress(TimeoutError):
        seconds_until(lambda: not other.count("state = 'pending'"), at_most_s=_UNAFFECTED_S)
    if waiting := other.count("state = 'pending'"):
        raise AssertionError(f"{waiting} events of another endpoint waited {_UNAFFECTED_S:.0f} s")


def _note_other(run: Run, other: Endpoint) -> None:
    run.notes.append(f"another endpoint: median {other.quantile_s(0.5):.2f} s, 99 % {other.quantile_s(0.99):.2f} s")


def _recover(run: Run, hurt: Endpoint) -> None:
    """The receiver is well again: seconds until it has been told all, noted; the time to its next tries has passed."""
    began = time.monotonic()

    def is_told() -> bool:
        hurt.hasten()
        return not hurt.count("state = 'pending'")

    wait_for(is_told, every_s=0.2, at_most_s=run.drain_s)
    run.recoveries_s.append(time.monotonic() - began)


# -- receivers


@row("12a", "a receiver down for 30 hours", short=(8, 1), long=(120, 1))
def down(run: Run) -> None:
    """Times in the rows are moved back by what would have to be waited; every try of the schedule is made."""
    warm_up(run)
    with registered(run, "hurt", "well") as (hurt, well), hurt.proxy.spell(Mode.REFUSE):
        run.load.add(run.size.jobs)
        _let_work_end(run)
        _expect_unaffected(well)
        passed = timedelta()
        while passed < timedelta(hours=_HOURS):
            passed += _pass_to_next_try(run, hurt)
        run.inject(f"{_HOURS} hours down")
        tries = run.world.ask("SELECT max(tries) FROM deliveries WHERE url = :url", url=hurt.url)
        run.notes.append(f"{tries} tries of each event in {passed.total_seconds() / 3600:.0f} h")
        hurt.proxy.set(Mode.PASS)
        run.load.add(4)
        _let_work_end(run)
        _recover(run, hurt)
        _note_other(run, well)


def _pass_to_next_try(run: Run, hurt: Endpoint) -> timedelta:
    """Let all that is due be tried, then move time to where all of it is due again."""

    def is_tried() -> bool:
        hurt.hasten_endpoint()
        return not hurt.count("state = 'pending' AND due_at <= now() + interval '2 s'")

    wait_for(is_tried, every_s=0.1, at_most_s=120)
    gap: timedelta = run.world.ask(_LONGEST_GAP, url=hurt.url) * _JITTER
    with run.world.engine.begin() as connection:
        connection.execute(text(_MOVE), {"url": hurt.url, "gap": gap})
        connection.execute(text(_MOVE_ENDPOINT), {"url": hurt.url, "gap": gap})
    return gap


_LONGEST_GAP = "SELECT min(due_at) - now() FROM deliveries WHERE url = :url AND state = 'pending'"
_MOVE = """
    UPDATE deliveries SET due_at = due_at - :gap, created_at = created_at - :gap WHERE url = :url AND state = 'pending'
"""
_MOVE_ENDPOINT = "UPDATE webhook_endpoints SET failing_since = failing_since - :gap WHERE url = :url"


@row("12b", "receivers slow, refusing, or answering 500 and 503", short=(90, 1), long=(1200, 4))
def slow(run: Run) -> None:
    slow_s = 20.0 if run.is_long else 4.0  # the first is beyond the 15 s of a delivery
    _misbehave(run, {"slow": Manner(delay_s=slow_s), "500": Manner(status=500), "503": Manner(status=503)})


@row("12d", "receivers that redirect, never end, cut, or answer by halves", short=(90, 1), long=(1800, 3))
def hostile(run: Run) -> None:
    quick = [how for how in How if how is not How.PLAIN and (run.is_long or how is not How.DRIP)]
    _misbehave(run, {how.value: Manner(how) for how in quick})
    if run.world.receiver.trapped:
        raise AssertionError(f"{run.world.receiver.trapped} redirects were followed")


def _misbehave(run: Run, manners: dict[str, Manner]) -> None:
    """One after the other at one endpoint; each time another endpoint is told of everything meanwhile."""
    warm_up(run)
    with registered(run, "hurt", "well") as (hurt, well):
        for _ in range(run.size.rounds):
            for name in run.chance.sample(list(manners), len(manners)):
                hurt.behave(manners[name])
                run.load.add(max(4, run.size.jobs // run.size.rounds // len(manners)))
                _let_work_end(run)
                _expect_unaffected(well)
                run.inject(name)
                hurt.behave(Manner())
                _recover(run, hurt)
        _note_other(run, well)


@row("12c", "receivers gone (410): disabled, enabled, replayed", short=(40, 1), long=(600, 4))
def gone(run: Run) -> None:
    warm_up(run)
    with registered(run, "hurt", "well") as (hurt, well):
        for _ in range(run.size.rounds):
            hurt.behave(Manner(status=410))
            run.load.add(run.size.jobs // run.size.rounds)
            _let_work_end(run)
            wait_for(lambda: not hurt.count("state = 'pending'"), at_most_s=60)
            run.inject("410")
            _expect_unaffected(well)
            calls = run.world.receiver.calls
            hurt.behave(Manner())
            _replay(run, hurt)
            _recover(run, hurt)
            run.notes.append(f"{run.world.receiver.calls - calls} calls of what was kept")
        _note_other(run, well)


def _replay(run: Run, hurt: Endpoint) -> None:
    """As people do it; what is still failing meanwhile is replayed too."""
    with run.world.engine.begin() as connection:
        view = hurt.view(connection)
        if view.disabled_reason != "gone":
            raise AssertionError(f"the endpoint is {view.state}, not disabled")
        webhooks.enable(connection, DEFAULT_ACCOUNT, view.id)
        if not webhooks.replay(connection, hurt.view(connection)):
            raise AssertionError("no event was kept")


@row("12e", "workers killed while they deliver", short=(80, 2), long=(1500, 20))
def killed(run: Run) -> None:
    """Noted: calls that came again, at most four an endpoint and kill."""
    warm_up(run)
    with registered(run, "hurt", "well") as made:
        for _ in range(run.size.rounds):
            number = run.chance.randrange(2, 12)
            name = run.world.start("worker", PHOTABATCH_FAILPOINT=f"in_delivery:kill:{number}")
            doomed = run.world.child(name)
            while doomed.is_alive:
                run.load.add(run.size.jobs // run.size.rounds // 2)
                with suppress(TimeoutError):
                    wait_for(lambda child=doomed: not child.is_alive, at_most_s=5)  # type: ignore[misc]
            run.world.forget(name)
            run.inject("worker killed in a delivery")
            began = time.monotonic()
            if not run.is_long:
                _expire_leases(run, made)
            _let_work_end(run)
            for each in made:
                wait_for(lambda one=each: not one.count("state = 'pending'"), at_most_s=120)  # type: ignore[misc]
            run.recoveries_s.append(time.monotonic() - began)


def _expire_leases(run: Run, endpoints: list[Endpoint]) -> None:
    """As if they had run out: of the endpoints, and of the jobs in anybody's hands, which the fence lets be taken."""
    for each in endpoints:
        each.expire_lease()
    with run.world.engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET due_at = now() WHERE hold = 'held'"))
