"""S3 refuses, breaks off, falls silent, lies and dies."""

import time

from sqlalchemy import text

from chaos.campaign import Run, row
from chaos.outcomes import seconds_until
from chaos.proxy import Mode
from chaos.s3_faults import Fault, Relay, relayed
from chaos.watch import warm_up
from models.deliveries import replay

_STRUCK = 4  # one PUT in so many
_TOLD_S = 15.0  # webhooks that need no more than a signature; threads that wait for S3 let go of messages after 5 s


@row("11a", "S3 answers 500, SlowDown, 409 and 412", short=(80, 1), long=(2000, 4))
def refused(run: Run) -> None:
    _strike(run, Fault.INTERNAL, Fault.SLOW_DOWN, Fault.CONFLICT, Fault.TAKEN)


@row("11b", "S3 breaks off: in mid-PUT, after it, or says nothing", short=(80, 1), long=(2000, 4))
def broken_off(run: Run) -> None:
    _strike(run, Fault.CUT, Fault.CUT_AFTER, Fault.SILENT, Fault.SILENT_AFTER)
    run.load.add(20)
    with run.world.wires.s3.spell(Mode.RESET, limit=200):
        run.pause(1.5, 2.5)
    run.inject("answers cut after 200 bytes")
    run.recover()


@row("11c", "S3 answers 200 and stores half", smoke=(20, 1), short=(60, 1), long=(800, 4))
def half_stored(run: Run) -> None:
    _strike(run, Fault.HALF, Fault.HALF_TOLD)


def _strike(run: Run, *faults: Fault) -> None:
    warm_up(run)
    jobs = max(1, run.size.jobs // run.size.rounds // len(faults))
    with relayed(run.world) as relay:
        for number in range(run.size.rounds):
            for fault in run.chance.sample(faults, len(faults)):
                seconds = 35.0 if run.is_long and number == 0 else 1.0  # the first time beyond the read timeout
                _strike_once(run, relay, fault, jobs, seconds)
            run.recover(at_most_s=240)
    run.injected.update(relay.struck)


def _strike_once(run: Run, relay: Relay, fault: Fault, jobs: int, seconds: float) -> None:
    """boto tries a PUT three times at once, so runs of three are needed to get through to the product."""
    times = 3 * max(1, jobs // _STRUCK)
    wanted = relay.struck[fault.value] + times
    relay.strike(fault, rate=0.7, times=times, seconds=seconds)
    run.load.add(jobs)
    deadline = time.monotonic() + 30
    while relay.struck[fault.value] < wanted and run.world.unfinished() and time.monotonic() < deadline:
        time.sleep(0.05)
    relay.strike(None)


@row("11d", "S3 refuses connections, or takes them and is silent", short=(120, 1), long=(1800, 3))
def unreachable(run: Run) -> None:
    """Meanwhile webhooks with links to what is stored already go on: signing needs no S3."""
    warm_up(run)
    wire = run.world.wires.s3
    told = _told_batch(run)
    for _ in range(run.size.rounds):
        for mode in (Mode.REFUSE, Mode.BLACK_HOLE):
            run.load.add(run.size.jobs // run.size.rounds // 2)
            run.pause(0.3, 0.8)
            run.inject(mode.value.replace("_", " "))
            with wire.spell(mode):
                run.pause(25.0, 30.0) if run.is_long else run.pause(2.0, 3.0)
                took_s = _tell_again(run, told)
                run.pause(20.0, 25.0) if run.is_long else run.pause(0.5, 1.0)
            run.recover()
            run.notes.append(f"webhooks told again in {took_s:.1f} s meanwhile ({mode.value.replace('_', ' ')})")
            if took_s > _TOLD_S:
                raise AssertionError(f"webhooks waited {took_s:.0f} s for an S3 they did not need")


def _told_batch(run: Run) -> str:
    """Of a batch that is done, each of whose jobs is told of one by one; its id."""
    [batch] = run.load.add(12, webhook_url=run.world.each_url, webhook_events=["job.succeeded"])
    run.load.drain(within_s=run.drain_s)
    return str(batch.id)


_THEIRS = """
    SELECT delivery.id, delivery.endpoint_id FROM deliveries AS delivery
    JOIN webhook_endpoints AS endpoint ON endpoint.id = delivery.endpoint_id
    WHERE endpoint.url = :url AND delivery.job_id IN (SELECT id FROM jobs WHERE batch_id = :batch)
"""


def _tell_again(run: Run, batch_id: str) -> float:
    """Seconds until all of its events have been told once more."""
    world = run.world
    with world.engine.begin() as connection:
        rows = connection.execute(text(_THEIRS), {"url": world.each_url, "batch": batch_id}).all()
        for row_ in rows:
            replay(connection, row_.endpoint_id, delivered_too=True, delivery_id=row_.id)
    run.do("event told again meanwhile", len(rows))
    pending = "SELECT count(*) FROM deliveries WHERE state = 'pending' AND id = ANY(:ids)"
    return seconds_until(lambda: not world.ask(pending, ids=[row_.id for row_ in rows]), at_most_s=90)


@row("11e", "S3 killed and started again", short=(160, 2), long=(2000, 12))
def killed(run: Run) -> None:
    warm_up(run)
    for _ in range(run.size.rounds):
        run.load.add(run.size.jobs // run.size.rounds)
        run.pause(0.3, 1.0)
        run.world.kill_service("s3")
        run.inject("S3 killed")
        run.world.wait_for_service("s3")
        run.recover()


@row("11f", "S3 down for a while", short=(150, 1), long=(1500, 2))
def down(run: Run) -> None:
    """What is paid for waits, and no more is paid for than what may wait."""
    warm_up(run)
    for _ in range(run.size.rounds):
        run.load.add(run.size.jobs // run.size.rounds)
        run.pause(0.2, 0.5)
        run.inject("S3 down for a minute" if run.is_long else "S3 down for six seconds")
        with run.world.wires.s3.spell(Mode.REFUSE):
            run.pause(60.0, 70.0) if run.is_long else run.pause(6.0, 7.0)
            waiting = run.world.ask("SELECT count(*) FROM jobs WHERE state = 'storing'")
        run.notes.append(f"{waiting} results waited for S3")
        run.recover()
