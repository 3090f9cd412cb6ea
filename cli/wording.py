"""What holds a batch back, what keeps it waiting and when it will be done, in words for people."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from models.outlook import Waiting, WaitingFor
from models.progress import BatchView
from models.states import JobState
from models.windows import parsed

_SOON = timedelta(hours=20)  # within it a time of day says which day is meant
_BUDGETS = {WaitingFor.ACCOUNT_BUDGET_DAY: "the day", WaitingFor.ACCOUNT_BUDGET_MONTH: "the month"}


def clock(moment: datetime, now: datetime | None = None) -> str:
    """`02:40`, with its day where that is not clear, by the clock of the moment's own zone."""
    far = abs(moment - (now or datetime.now(UTC))) > _SOON
    return f"{moment:%Y-%m-%d %H:%M}" if far else f"{moment:%H:%M}"


def _in_zone(moment: datetime) -> str:
    zone = moment.tzinfo
    return f"{clock(moment)} {zone.key}" if isinstance(zone, ZoneInfo) else clock(moment)


def waits(waiting: Waiting) -> str:
    """Why it waits, and until when."""
    if waiting.reason is WaitingFor.WINDOW:
        if waiting.until is None:
            return "waits for its window, which is never open for as long as a call takes"
        return f"waits for its window, opens {_in_zone(waiting.until)}"
    until = "" if waiting.until is None else f", goes on {_in_zone(waiting.until)}"
    return f"waits: the account's budget of {_BUDGETS[waiting.reason]} is used up{until}"


def foreseen(batch: BatchView) -> str | None:
    """When it will be done, and whether that is in time; None where nobody can tell."""
    ahead = batch.forecast
    if ahead is None or not batch.unfinished:
        return None
    if ahead.meets_deadline is False:
        when = f" (about {_local(ahead.finishes_at, batch)})" if ahead.finishes_at else ""
        return f"will NOT finish before its deadline{when}"
    if ahead.finishes_at is None:
        return None
    in_time = ", before its deadline" if ahead.meets_deadline else ""
    return f"will finish about {_local(ahead.finishes_at, batch)}{in_time}"


def deadline(batch: BatchView) -> str | None:
    """What it has of one."""
    return None if batch.deadline is None else _local(batch.deadline, batch)


def _local(moment: datetime, batch: BatchView) -> str:
    """By the clock of its window, else of this machine."""
    return clock(moment.astimezone(parsed(batch.window).zone if batch.window else None))


def paused(batch: BatchView) -> str:
    """Why it is paused, in figures."""
    return "paused by a person" if batch.paused_reason == "user" else f"paused: {pause_reason(batch)}"


def pause_reason(batch: BatchView) -> str:
    """Of a batch that is paused."""
    counts = batch.counts
    match batch.paused_reason:
        case "budget" if batch.budget_usd is not None:
            return f"its budget of ${batch.budget_usd:.2f} is reached"
        case "failure_rate":
            failed = counts[JobState.FAILED] + counts[JobState.REJECTED]
            judged = failed + counts[JobState.SUCCEEDED]
            most = batch.max_failure_rate
            if most is not None and failed <= most * judged:  # some were tried again since
                return f"more than {most * 100:g}% of its jobs had failed"
            return f"{failed} of {judged} jobs failed" + ("" if most is None else f", more than {most * 100:g}%")
        case "user":
            return "by a person"
    return str(batch.paused_reason)


def counted(batch: BatchView) -> str:
    """Jobs by state, without what there is none of."""
    names = {JobState.SKIPPED: "skipped (done before)"}
    return ", ".join(f"{batch.counts[state]} {names.get(state, state)}" for state in JobState if batch.counts[state])


def jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"
