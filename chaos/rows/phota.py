"""Phota throttles, breaks, is cut off, takes no more orders, and breaks its word."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from chaos.campaign import Run, row
from chaos.load import Load
from chaos.oracle import judge
from chaos.outcomes import seconds_until, states
from chaos.proxy import Mode
from chaos.watch import warm_up

# Of the row that measures how fast a backlog drains below a limit nobody tells: jobs at once, and seconds of each. Real
# calls last 50 s; the shorter they are here, the more of the rate the second after each refusal costs.
_LIMIT, _LATENCY_S, _LONG_LATENCY_S = 24, 2.0, 12.0
_BROKEN = ("500", "502", "503", "504", "reset", "reset_after", "hang", "hang_after", "slow", "truncate", "html")
_AT_SUBMIT = ("429", *_BROKEN, "wrong_length", "bad_json", "not_an_image")
_AT_POLL = (*_AT_SUBMIT, "404", "410")
_AT_DOWNLOAD = ("429", *_BROKEN, "wrong_length", "not_an_image", "expired", "404", "410")
_SHORT_S = 1.0  # of what hangs or drips
_PATIENCE_S = {"submit": 65.0, "poll": 50.0, "download": 125.0}  # beyond the deadlines of clients.phota
_STRUCK = 5  # one call in so many
_GIVEN_UP = ("INTERNAL_ERROR", "TIMEOUT", "CONTENT_MODERATION")


@row("9a", "Phota throttles: a limit nobody tells, then a storm of 429", short=(200, 1), long=(600, 1),
     world={"latency": str(_LATENCY_S)})  # fmt: skip
def throttled(run: Run) -> None:
    """Noted: at what share of the allowed rate the backlog drains, and which share of calls is refused."""
    warm_up(run)
    latency_s = _LONG_LATENCY_S if run.is_long else _LATENCY_S
    run.world.configure(latency=str(latency_s))
    storm = {"match": "submit", "fault": "429", "rate": 0.5, "retry_after_s": 1}
    for _ in range(run.size.rounds):
        with run.behaviour(limit=_LIMIT):
            _note_pace(run, latency_s, jobs=run.size.jobs // run.size.rounds * 3 // 4)
            before = _faults(run)
            with run.behaviour(faults=[storm]):
                run.load.add(run.size.jobs // run.size.rounds // 4)
                run.pause(4.0, 5.0)
            run.injected.update(_faults(run) - before)
            run.recover()
            seconds_until(lambda: not run.world.unfinished(), at_most_s=run.drain_s)


def _note_pace(run: Run, latency_s: float, *, jobs: int) -> None:
    """By the moments at which Phota ended jobs, from the first sixth, when the limit is found, to the last tenth."""
    before = run.world.ledger()
    run.load.add(jobs)
    seconds_until(lambda: not run.world.unfinished(), at_most_s=run.drain_s)
    after = run.world.ledger()
    ended = sorted(charge["at"] for charge in after["charges"][len(before["charges"]) :])
    first, last = len(ended) // 6, len(ended) * 9 // 10
    rate = (last - first) / (ended[last] - ended[first])
    refused = after["throttled"] - before["throttled"]
    run.inject("429 above the limit", refused)
    share = rate / (_LIMIT / latency_s)
    run.notes.append(
        f"calls of {latency_s:.0f} s: {share:.0%} of the allowed rate (wanted: 90 %); "
        f"{refused} of {jobs + refused} calls refused"
    )


@row("9b", "Phota breaks at submit, in every way", smoke=(45, 1), short=(90, 1), long=(3000, 3))
def at_submit(run: Run) -> None:
    _strike(run, "submit", _AT_SUBMIT)


@row("9c", "Phota breaks at polls, in every way", short=(102, 1), long=(3400, 3))
def at_poll(run: Run) -> None:
    _strike(run, "poll", _AT_POLL)


@row("9d", "Phota breaks at downloads, in every way; links expire", smoke=(51, 1), short=(102, 1), long=(3400, 3))
def at_download(run: Run) -> None:
    _strike(run, "download", _AT_DOWNLOAD)
    run.load.add(20)
    with run.behaviour(url_ttl_s=0.0):
        run.pause(2.0, 3.0)
        run.inject("every link expired")
    run.recover()


def _strike(run: Run, place: str, faults: Sequence[str]) -> None:
    """One kind after the other, and none is a job's fault; what hangs does so beyond every deadline in a long run."""
    warm_up(run)
    jobs = max(1, run.size.jobs // run.size.rounds // len(faults))
    for number in range(run.size.rounds):
        is_patient = run.is_long and number == 0
        for fault in run.chance.sample(faults, len(faults)):
            seconds = _PATIENCE_S[place] if is_patient and fault in ("hang", "hang_after", "slow") else _SHORT_S
            rule = {"match": place, "fault": fault, "rate": 0.5, "seconds": seconds, "retry_after_s": 1}
            with _struck(run, [rule | {"times": max(1, jobs // _STRUCK)}]):
                run.load.add(jobs)
        run.recover(at_most_s=240)


@contextmanager
def _struck(run: Run, rules: list[dict[str, Any]], *, at_most_s: float = 20.0) -> Iterator[None]:
    """Behave so until every rule has struck as often as it says, there is nothing left to strike, or time is over."""
    before = _faults(run)
    with run.behaviour(faults=rules):
        yield
        wanted = sum(rule["times"] for rule in rules)
        deadline = time.monotonic() + at_most_s
        while sum((_faults(run) - before).values()) < wanted and time.monotonic() < deadline:
            if not run.world.unfinished():
                break
            time.sleep(0.05)
    run.injected.update(_faults(run) - before)


def _faults(run: Run) -> Counter[str]:
    return Counter(run.world.ledger(totals=True)["faults"])


@row("9e", "Phota gives jobs up", short=(80, 1), long=(1200, 4))
def given_up(run: Run) -> None:
    """Those end as failed or rejected, free of charge and with Phota's own reason, and no other does."""
    warm_up(run)
    before = run.world.ledger(totals=True)["faults"]
    for _ in range(run.size.rounds):
        rules = [{"match": "job", "fault": "fail", "code": code, "rate": 0.1} for code in _GIVEN_UP]
        with run.behaviour(faults=rules):
            run.load.add(run.size.jobs // run.size.rounds)
            seconds_until(lambda: run.world.unfinished() == 0, at_most_s=run.drain_s)
    struck = Counter(run.world.ledger(totals=True)["faults"]) - Counter(before)
    run.injected.update(struck)
    found = states(run.world, run.load.prefix)
    expected = Counter({f"failed {code.lower()}": struck[f"job {code}"] for code in _GIVEN_UP[:2]})
    expected["rejected content_moderation"] = struck["job CONTENT_MODERATION"]
    expected["succeeded"] = run.load.accepted - sum(struck.values())
    if +found != +expected:
        raise AssertionError(f"{dict(found)}, not {dict(expected)}")
    for how, count in expected.items():
        run.may_end(how, count)


@row("9f", "the way to Phota is cut, slow, silent or closed", short=(120, 1), long=(2400, 3))
def cut_off(run: Run) -> None:
    warm_up(run)
    wire = run.world.wires.phota
    spells: list[tuple[str, Mode, int, float]] = [
        ("answers cut at their first byte", Mode.RESET, 0, 1.0),
        ("answers cut after 400 bytes", Mode.RESET, 400, 1.0),
        ("pictures cut in their middle", Mode.RESET, 1_500, 1.0),
        ("4 KB a second", Mode.THROTTLE, 4_000, 2.0),
        ("a black hole", Mode.BLACK_HOLE, 0, 40.0 if run.is_long else 2.0),
        ("connections refused", Mode.REFUSE, 0, 30.0 if run.is_long else 2.0),
    ]
    for _ in range(run.size.rounds):
        for name, mode, limit, spell_s in run.chance.sample(spells, len(spells)):
            run.load.add(run.size.jobs // run.size.rounds // len(spells))
            run.pause(0.2, 0.6)
            with wire.spell(mode, limit=limit):
                run.pause(spell_s, spell_s * 1.2)
            run.inject(name)
            run.recover()


# -- what the product cannot know: judged by themselves, and told


@row("9g", "Phota delivers another job's picture", short=(40, 1), long=(200, 1))
def other_picture(run: Run) -> None:
    """A picture does not say whose it is, so these jobs are not among those that must have none of another's."""
    rule = {"match": "download", "fault": "other_image", "rate": 0.3, "times": run.size.jobs // 5}
    load = _unseen(run, [rule])
    verdict = judge(run.world, load.prefix, accepted=load.accepted)
    run.notes.append(f"{verdict.partial} of {load.accepted} jobs keep another job's picture, which nothing tells them")
    if verdict.violations != verdict.partial or verdict.partial > sum(run.injected.values()):
        raise AssertionError("; ".join(verdict.examples))


@row("9h", "Phota forgets a client_request_id at once", short=(40, 1), long=(200, 1))
def forgotten(run: Run) -> None:
    """A repeated submit is then a new job to it, so these are not among the jobs that must be charged once."""
    run.world.configure(remember_s=0.0)
    try:
        rule = {"match": "submit", "fault": "reset_after", "rate": 0.3, "times": run.size.jobs // 5}
        load = _unseen(run, [rule])
    finally:
        run.world.configure(remember_s=86_400.0)
    verdict = judge(run.world, load.prefix, accepted=load.accepted)
    run.notes.append(
        f"{verdict.charged_twice} of {load.accepted} jobs charged twice, as Phota forgot their ids at once"
    )
    others = verdict.violations - verdict.charged_twice - verdict.miscounted
    if others or max(verdict.charged_twice, verdict.miscounted) > sum(run.injected.values()):
        raise AssertionError("; ".join(verdict.examples))


def _unseen(run: Run, rules: list[dict[str, Any]]) -> Load:
    """Jobs beside those of the row, struck and ended."""
    load = Load(run.world, f"unseen{run.load.prefix}")
    with _struck(run, rules):
        load.add(run.size.jobs)
    load.drain(within_s=run.drain_s)
    run.load.add(run.size.jobs // 4)  # afterwards all is well
    return load


# -- money and keys


@row("10a", "no credit at Phota", short=(80, 1), long=(1200, 4))
def no_credit(run: Run) -> None:
    """In the middle of the load; nobody fails."""
    _close(run, "no credit (402)", credit=0.0)


@row("10b", "the key revoked", short=(80, 1), long=(1200, 4))
def no_key(run: Run) -> None:
    _close(run, "key revoked (401)", key="another")
    refused = [{"match": place, "fault": "expired", "rate": 1.0} for place in ("submit", "poll")]
    _close(run, "key not allowed (403)", faults=refused)


def _close(run: Run, fault: str, **behaviour: Any) -> None:
    """In the middle of the load: a third of it comes while the gate is closed, and waits."""
    warm_up(run)
    jobs = run.size.jobs // run.size.rounds
    for _ in range(run.size.rounds):
        run.load.add(jobs * 2 // 3)
        run.pause(0.3, 0.8)
        with run.behaviour(**behaviour):
            run.load.add(jobs - jobs * 2 // 3)
            run.inject(fault)
            run.pause(60, 75) if run.is_long else run.pause(3, 4)
            waiting = run.world.unfinished()
        if not waiting:
            raise AssertionError("jobs were done behind a closed gate")
        run.recover()
