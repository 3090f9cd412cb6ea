"""Many jobs of many accounts: what is taken in, what it takes, and whether a small account waits."""

import contextlib
import time

from chaos.campaign import Run, row
from chaos.load import Load
from chaos.world import wait_for
from models import Priority, new_id
from models.accounts import AccountRef, put_account
from producer.batches import BatchFinished, cancel_batch
from worker.fairness import FIRST

_PROBE = 10  # jobs of the small account
_MB = 2**20


@row("14", "50 accounts, more jobs than can be done", short=(3_000, 1), long=(100_000, 3),
     world={"environment": {"PHOTABATCH_CONCURRENCY": "24"}})  # fmt: skip
def crowd(run: Run) -> None:
    """A small account's ten jobs alone, then behind everybody else's; then the rest is cancelled.

    At a limit that the fleet is well able to bear, as with calls of a minute: at these of half a second an unlimited
    one would only show how long messages wait for two cores.
    """
    accounts = [_account(run, f"crowd-{n}") for n in range(50)]
    small = _account(run, "small")
    alone_s = min(_probe(run, small) for _ in range(2))
    began = time.monotonic()
    for account in accounts:
        run.load.add(run.size.jobs // len(accounts), account_id=account.id, priority=Priority.NORMAL)
    taken_s = time.monotonic() - began
    run.inject("job behind", run.size.jobs)
    with_them_s = _probe(run, small)
    first = FIRST * len(run.load.batches) + run.world.ended()
    wait_for(lambda: run.world.ended() > first, at_most_s=300)  # until nobody of them is new
    behind_s = [_probe(run, small) for _ in range(run.size.rounds)]
    info = run.world.redis.info("memory")
    run.notes += [
        f"taken in within {taken_s:.1f} s",
        f"ten jobs of a small account: alone {alone_s:.1f} s, come with them {with_them_s:.1f} s, "
        f"come later {', '.join(f'{each:.1f}' for each in behind_s)} s (wanted: twice alone)",
        f"Redis {info['used_memory'] / _MB:.1f} MB, {info['used_memory_peak'] / _MB:.1f} MB at most since it started",
    ]
    run.may_end("cancelled")
    for batch in run.load.batches:
        with contextlib.suppress(BatchFinished), run.world.engine.begin() as connection:
            cancel_batch(connection, batch.id)


def _account(run: Run, name: str) -> AccountRef:
    account = AccountRef(new_id(), f"{name}-{run.load.prefix}", None, None, None)
    with run.world.engine.begin() as connection:
        put_account(connection, account, webhook_secret=run.world.receiver.secrets["/each"])
    return account


def _probe(run: Run, account: AccountRef) -> float:
    """Seconds until ten jobs of this account have ended."""
    began = time.monotonic()
    load = Load(run.world, run.load.prefix + f"probe-{began:.3f}-")
    (batch,) = load.add(_PROBE, account_id=account.id, priority=Priority.NORMAL)
    run.load.accepted += _PROBE
    wait_for(lambda: run.world.has_ended(batch.id), at_most_s=300)
    return time.monotonic() - began
