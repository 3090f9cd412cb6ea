"""Phota throttles, breaks, lies, and is cut off."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text

from chaos.campaign import Run, row

_LIMIT, _LATENCY_S = 24, 1.0  # of the row that measures how fast a backlog drains under a limit nobody tells
_BROKEN = ("500", "502", "503", "504", "reset", "reset_after", "hang", "hang_after", "slow", "truncate", "html")
_AT_SUBMIT = ("429", *_BROKEN, "wrong_length", "bad_json", "not_an_image")
_AT_POLL = (*_AT_SUBMIT, "404", "410")
_AT_DOWNLOAD = ("429", *_BROKEN, "wrong_length", "not_an_image", "expired", "404", "410")
_SHARE = 0.45  # of calls that are struck
_SHORT_S = 1.5  # of what hangs or drips
_PATIENCE_S = {"submit": 65.0, "poll": 50.0, "download": 125.0}  # beyond the total deadlines of clients.phota


@row("9a", "Phota throttles: a storm of 429, then a limit nobody tells", short=(350, 1), long=(3000, 3),
     world={"latency": str(_LATENCY_S)})  # fmt: skip
def throttled(run: Run) -> None:
    """Noted: the share of the allowed rate at which the backlog drains, and the share of submits that were in vain."""
    per_round = run.size.jobs // run.size.rounds
    with run.behaviour(limit=_LIMIT):
        for _ in range(run.size.rounds):
            run.load.add(per_round)
            with _struck(run, "submit", ("429",), share=_SHARE, retry_after_s=1):
                run.pause(2.0, 3.0)
            run.recover()
            _note_pace(run)
    _expect_all(run)


def _note_pace(run: Run) -> None:
    before = run.world.ledger(totals=True)
    drained_s = run.load.drain()
    after = run.world.ledger(totals=True)
    done = after["totals"]["charges"] - before["totals"]["charges"]
    run.inject("429 above the limit", after["throttled"] - before["throttled"])
    run.notes.append(f"{done} in {drained_s:.1f} s: {done / drained_s / (_LIMIT / _LATENCY_S):.0%} of the allowed rate")


@row("9b", "Phota breaks at submit, in every way", smoke=(40, 1), short=(150, 2), long=(2500, 12))
def at_submit(run: Run) -> None:
    _strike(run, "submit", _AT_SUBMIT)


@row("9c", "Phota breaks at polls, in every way", short=(150, 2), long=(2500, 12))
def at_poll(run: Run) -> None:
    _strike(run, "poll", _AT_POLL)


@row("9d", "Phota breaks at downloads, in every way; links expire", smoke=(40, 1), short=(150, 2), long=(2500, 12))
def at_download(run: Run) -> None:
    _strike(run, "download", _AT_DOWNLOAD)
    run.load.add(20)
    with run.behaviour(url_ttl_s=0.0):
        run.pause(2.0, 3.0)
        run.inject("all links expired")
    run.recover()
    _expect_all(run)


def _strike(run: Run, place: str, faults: Sequence[str]) -> None:
    """Nobody fails for it. The long size has a round in which what hangs does so beyond every deadline."""
    per_round = run.size.jobs // run.size.rounds
    for number in range(run.size.rounds):
        seconds = _PATIENCE_S[place] if number == 11 else _SHORT_S
        run.load.add(per_round)
        with _struck(run, place, faults, share=_SHARE, seconds=seconds, retry_after_s=1):
            run.pause(2.0, 4.0)
        run.recover(at_most_s=200)
    _expect_all(run)


@contextmanager
def _struck(run: Run, place: str, faults: Sequence[str], *, share: float, **more: Any) -> Iterator[None]:
    """Inside, that share of the calls is struck, by one fault as often as by another; then they are counted."""
    before = Counter(run.world.ledger(totals=True)["faults"])
    # the first rule strikes first, so later ones need better dice: of n left, each gets its n-th part
    rates = [share / len(faults) / (1 - share * number / len(faults)) for number in range(len(faults))]
    rules = [{"match": place, "fault": fault, "rate": rate, **more} for fault, rate in zip(faults, rates, strict=True)]
    with run.behaviour(faults=rules):
        yield
    run.injected.update(Counter(run.world.ledger(totals=True)["faults"]) - before)


def _states(run: Run, prefix: str) -> Counter[str]:
    with run.world.engine.connect() as connection:
        rows = connection.execute(text(_STATES), {"prefix": f"{prefix}%"}).all()
    return Counter({f"{state} {code}" if code else str(state): count for state, code, count in rows})


_STATES = """
    SELECT job.state, CASE WHEN job.state <> 'succeeded' THEN job.error_code END, count(*)
    FROM jobs AS job JOIN batches AS batch ON batch.id = job.batch_id WHERE batch.name LIKE :prefix GROUP BY 1, 2
"""


def _expect_all(run: Run) -> None:
    """Raise AssertionError unless every job of the row has succeeded: no fault of Phota's is a job's."""
    run.load.drain(within_s=run.drain_s)
    found = _states(run, run.load.prefix)
    if found != {"succeeded": run.load.accepted}:
        raise AssertionError(f"not all succeeded: {dict(found)}")
