"""Redis is flushed, killed, stopped, cut off or full."""

import time
import uuid

from celery import Celery

from chaos import watch
from chaos.campaign import Run, row
from chaos.proxy import Mode
from chaos.world import wait_for
from producer.batches import close_batch, join_batch

_SPELL_S = 12.0  # a round of those rows that have one spell; the long ones take five at a stretch
_IS_OVER = "SELECT finished_at IS NOT NULL FROM batches WHERE id = :id"
_VISIBILITY_S = 900  # after it Redis gives a message to somebody else (docs/decisions/0003-celery-settings.md)


@row("3a", "Redis flushed every 5 s", smoke=(150, 1), short=(500, 2), long=(5000, 12))
def flushed(run: Run) -> None:
    watch.warm_up(run)
    run.load.add(run.size.jobs)
    for _ in range(run.size.rounds):
        run.pause(0.2, 0.8)
        next_at = time.monotonic() + 5.0
        with watch.frozen(run.world, *run.world.alive("worker")):  # so that something waits in it
            watch.let_wait(run.world)
            lost, since = watch.flush(run.world), time.monotonic()
            run.inject("flush", 1)
            run.inject("job's message lost", len(lost))
        if lost:
            watch.note_sent_again(run, lost, since=since)
        time.sleep(max(0.0, next_at - time.monotonic()) if run.size.rounds > 1 else 0.0)


@row("3b", "Redis flushed in bursts while the dispatcher sends", short=(300, 3), long=(3000, 40))
def flushed_in_bursts(run: Run) -> None:
    watch.warm_up(run)
    for _ in range(run.size.rounds):
        run.load.add(run.size.jobs // run.size.rounds)
        lost: list[uuid.UUID] = []
        for _ in range(30):
            run.pause(0.0, 0.05)
            lost += watch.flush(run.world)
        since = time.monotonic()
        run.inject("flush", 30)
        run.inject("job's message lost", len(lost))
        if lost:
            watch.note_sent_again(run, lost, since=since)
        run.recover()


@row("4a", "Redis killed or restarted", short=(200, 3), long=(1500, 30))
def killed(run: Run) -> None:
    watch.warm_up(run)
    for number in range(run.size.rounds):
        run.load.add(run.size.jobs // run.size.rounds)
        run.pause(0.2, 1.0)
        if number % 3 == 2:
            run.world.restart_service("valkey")
            run.inject("Redis restarted")
        else:
            run.world.kill_service("valkey")
            run.inject("Redis killed")
        run.world.wait_for_service("valkey")
        watch.note_consuming(run)
    watch.see_each_consume(run)


@row("4b", "Redis flaps", short=(150, 2), long=(1000, 20))
def flapping(run: Run) -> None:
    watch.warm_up(run)
    for _ in range(run.size.rounds):
        run.load.add(run.size.jobs // run.size.rounds)
        for _ in range(5):
            if run.chance.random() < 0.5:
                run.world.kill_service("valkey")
                run.inject("Redis killed")
            else:
                run.world.wires.broker.set(Mode.REFUSE)
                run.pause(0.1, 1.0)
                run.world.wires.broker.set(Mode.PASS)
                run.inject("Redis refused")
            run.pause(0.0, 0.7)
        run.world.wait_for_service("valkey")
        watch.note_consuming(run)
    watch.see_each_consume(run)


@row("5a", "Redis stopped", short=(150, 1), long=(1500, 5))
def stopped(run: Run) -> None:
    watch.warm_up(run)
    run.load.add(run.size.jobs)
    run.pause(0.5, 1.5)
    spell_s = _SPELL_S * run.size.rounds
    run.world.freeze("valkey")
    run.inject(f"{spell_s:.0f} s stopped")
    try:
        _submit_meanwhile(run, spell_s)
    finally:
        run.world.thaw("valkey")
    watch.note_consuming(run)
    watch.see_each_consume(run)


@row("5b", "Redis behind a black hole", short=(150, 1), long=(1500, 5))
def swallowed(run: Run) -> None:
    watch.warm_up(run)
    run.load.add(run.size.jobs)
    run.pause(0.5, 1.5)
    spell_s = _SPELL_S * run.size.rounds
    run.world.wires.broker.set(Mode.BLACK_HOLE)
    run.inject(f"{spell_s:.0f} s black hole")
    try:
        _submit_meanwhile(run, spell_s)
    finally:
        run.world.wires.broker.set(Mode.PASS)
    watch.note_consuming(run)
    watch.see_each_consume(run)


@row("5c", "Redis connections half open", short=(150, 1), long=(1500, 12))
def half_open(run: Run) -> None:
    watch.warm_up(run)
    for _ in range(run.size.rounds):
        run.load.add(run.size.jobs // run.size.rounds)
        run.pause(0.2, 1.0)
        run.inject("connection half open", run.world.wires.broker.half_open())
        watch.note_consuming(run)
    watch.see_each_consume(run)


@row("5d", "Redis full", short=(150, 1), long=(1500, 8))
def full(run: Run) -> None:
    watch.warm_up(run)
    for _ in range(run.size.rounds):
        run.load.add(run.size.jobs // run.size.rounds)
        run.pause(0.2, 1.0)
        run.world.redis.config_set("maxmemory", 1)
        run.inject("Redis full")
        try:
            _submit_meanwhile(run, run.chance.uniform(4.0, 10.0))
        finally:
            run.world.redis.config_set("maxmemory", 0)
        watch.note_consuming(run)
    watch.see_each_consume(run)


@row("5e", "workers killed while they take from intake", short=(200, 3), long=(3000, 40))
def intake(run: Run) -> None:
    """From a producer that knows only the broker; a third of the messages come twice. What killed ones held returns."""
    watch.warm_up(run)
    world, name = run.world, f"{run.load.prefix}intake"
    producer = Celery("producer", broker=world.services["PHOTABATCH_BROKER_URL"])
    with producer.connection_for_write() as broker:
        for number in range(run.size.rounds):
            for n in range(run.size.jobs // run.size.rounds):
                fields = {"prompt": f"{n}", "custom_id": f"{number}-{n}", "idempotency_key": f"{name} {number}-{n}"}
                for _ in range(2 if n % 3 == 0 else 1):
                    producer.send_task(
                        "photabatch.generate", kwargs=fields | {"batch": name}, queue="intake", connection=broker
                    )
            run.load.accepted += run.size.jobs // run.size.rounds
            wait_for(
                lambda: world.redis.llen("intake") < run.size.jobs // run.size.rounds, every_s=0.002, at_most_s=120
            )
            run.pause(0.0, 0.1)
            world.kill(run.chance.choice(world.alive("worker")))
            run.inject("worker killed")
            world.keep_up()
            _make_visible(run)
            run.recover()
    wait_for(lambda: _is_taken(run), every_s=0.5, at_most_s=120)
    with world.engine.begin() as connection:
        close_batch(connection, batch := join_batch(connection, name))
    wait_for(lambda: world.ask(_IS_OVER, id=batch.id), every_s=0.5, at_most_s=120)


def _is_taken(run: Run) -> bool:
    """Nothing waits in intake, in a queue or unacknowledged; what dead workers held is made visible again."""
    run.world.keep_up()
    _make_visible(run)
    return not run.world.redis.llen("intake") and not run.world.redis.hlen("unacked")


def _make_visible(run: Run) -> None:
    """As if the visibility timeout had passed; a live worker's messages are then delivered twice, which is allowed."""
    for tag, _ in run.world.redis.zscan_iter("unacked_index"):
        run.world.redis.zincrby("unacked_index", -_VISIBILITY_S, tag)


def _submit_meanwhile(run: Run, seconds: float) -> None:
    """Producers by Python and HTTP do not notice; the longest answer is noted."""
    ends_at, longest_s = time.monotonic() + seconds, 0.0
    while time.monotonic() < ends_at:
        began = time.monotonic()
        run.load.add(10)
        run.load.add_over_http(5, key=f"{run.load.prefix}{began}")
        longest_s = max(longest_s, time.monotonic() - began)
        run.do("batch submitted meanwhile", 2)
        time.sleep(max(0.0, min(2.0, ends_at - time.monotonic())))
    run.notes.append(f"submitting by Python and HTTP took at most {longest_s:.2f} s meanwhile")
