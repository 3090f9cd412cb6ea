"""The contact sheet as HTML. Names and messages come from strangers: everything passes `escape`."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from importlib.resources import files
from pathlib import PurePosixPath
from string import Template

from models.progress import BatchView
from models.results import JobResult
from models.states import JobState

_LONGEST_MESSAGE = 400  # characters; a page is no log
_SAME_SHAPE = 0.02  # share by which two ratios may differ and one picture still lies over the other
_UNKNOWN_RATIO = 3.0  # a low tile: there is nothing to see


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture of a row. `width` and `height` in pixels, 0 if unknown; without a `data_uri` a placeholder."""

    label: str
    data_uri: str | None
    width: int
    height: int
    size_bytes: int | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.width / self.height if self.width and self.height else _UNKNOWN_RATIO


_SIMULATED = " · simulated Phota: nothing was really charged"


def page_around_rows(batch: BatchView, *, limit: int, is_simulated: bool) -> tuple[str, str]:
    """What comes before the first row and after the last. The policy of the page runs no script but its own."""
    head, foot = files("producer.results").joinpath("sheet.html").read_text("utf-8").split("$rows")
    values = {
        "nonce": secrets.token_urlsafe(16),
        "name": escape(batch.name),
        "status": escape(batch.status.replace("_", " ")) + (_SIMULATED if is_simulated else ""),
        "facts": _facts(batch),
        "bar": _bar(batch),
        "notice": cut_notice(batch, limit=limit) if batch.finished > limit else "",
    }
    return Template(head).substitute(values), Template(foot).substitute(values)


def cut_notice(batch: BatchView, *, limit: int) -> str:
    return f'<p class="notice">Only the first {limit:,} of {max(batch.finished, limit):,} finished jobs are shown.</p>'


def empty_notice() -> str:
    return '<p class="notice">No job has finished yet.</p>'


def row(job: JobResult, number: int, *, before: Shot | None, after: list[Shot]) -> str:
    """One job: its name and facts, then before and after, or why there is no after."""
    shots = [_figure(before, "before")] if before else []
    shots += [_after(shot, before, job) for shot in after]
    ratios = [shot.ratio for shot in ([before] if before else []) + after]
    if not after:
        ratios.append(before.ratio if before else _UNKNOWN_RATIO)
        shots.append(_reason(job, ratios[-1]))
    kind = "many" if len(shots) > 2 else "upright" if max(ratios) < 1 else "wide"
    return (
        f'<article class="job"><header><span class="number">{number:02}</span><h2>{_name(job)}</h2>{_job_facts(job)}'
        f'</header><div class="shots {kind}" style="--sum:{sum(ratios):.4f};--gaps:{len(shots) - 1}">{"".join(shots)}'
        "</div></article>\n"
    )


def _after(shot: Shot, before: Shot | None, job: JobResult) -> str:
    arrow = "→ " if before else _size_before(job)
    if before is None or not before.data_uri or abs(shot.ratio / before.ratio - 1) > _SAME_SHAPE:
        return _figure(shot, "after", arrow=arrow)
    name = escape(job.custom_id or job.id.hex)
    wipe = f'<input class="wipe" type="range" min="0" max="100" value="0" aria-label="Compare with before: {name}">'
    return _figure(shot, "after", arrow=arrow, extra=wipe)


def _figure(shot: Shot, kind: str, *, arrow: str = "", extra: str = "") -> str:
    size = f"{arrow}{_pixels(shot.width, shot.height)}" if shot.width else ""
    caption = [f"<b>{escape(shot.label)}</b>", *(f"<span>{part}</span>" for part in (size, _bytes(shot)) if part)]
    if shot.data_uri:
        inner = f'<img src="{shot.data_uri}" alt="{escape(shot.label)}">{extra}'
    else:
        inner = f'<p class="blank">{escape(shot.note)}</p>'
    return (
        f'<figure class="{kind}" style="--ratio:{shot.ratio:.4f}"><div class="frame">{inner}</div>'
        f"<figcaption>{' '.join(caption)}</figcaption></figure>"
    )


def _reason(job: JobResult, ratio: float) -> str:
    message = job.error_message or _SILENT.get(job.state, "There is no result.")
    if len(message) > _LONGEST_MESSAGE:
        message = message[: _LONGEST_MESSAGE - 1] + "…"
    code = f"<code>{escape(job.error_code)}</code>" if job.error_code else ""
    return (
        f'<figure class="reason {job.state}" style="--ratio:{ratio:.4f}"><div class="frame"><div>'
        f"<b>{job.state.capitalize()}</b><p><bdi>{escape(message)}</bdi></p>{code}</div></div></figure>"
    )


_SILENT = {
    JobState.CANCELLED: "Cancelled before anything was charged.",
    JobState.EXPIRED: "It was not begun in time.",
    JobState.SKIPPED: "Nothing to do: it was done before.",
}


def _name(job: JobResult) -> str:
    """The folder quietly, the file plainly; `bdi` keeps a right-to-left name from turning the line around."""
    path = PurePosixPath(job.custom_id or job.id.hex)
    folder = "" if str(path.parent) in (".", "") else f"<small>{escape(str(path.parent).rstrip('/'))}/</small>"
    return f"<bdi>{folder}{escape(path.name or str(path))}</bdi>"


def _job_facts(job: JobResult) -> str:
    cost = "" if job.cost_usd is None else f"<span>{_dollars(job.cost_usd)}</span>"
    return (
        f'<p class="facts"><span>{escape(job.operation)}</span>{cost}'
        f'<span class="state {job.state}">{job.state}</span></p>'
    )


def _facts(batch: BatchView) -> str:
    moment, word = (batch.finished_at, "Finished") if batch.finished_at else (batch.created_at, "Started")
    facts = [("Jobs", f"{batch.counts['total']:,}")]
    facts += [(state.capitalize(), f"{batch.counts[state]:,}") for state in JobState if batch.counts[state]]
    facts += [("Cost", _dollars(batch.spent_usd)), (word, _date(moment))]
    return "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in facts)


def _bar(batch: BatchView) -> str:
    """One stripe a state, as wide as its share of the jobs."""
    return "".join(
        f'<i class="{state}" style="flex-grow:{batch.counts[state]}"></i>' for state in JobState if batch.counts[state]
    )


def _date(moment: datetime) -> str:
    utc = moment.astimezone(UTC)
    return f'<time datetime="{utc.isoformat(timespec="seconds")}">{utc.day} {utc:%b %Y, %H:%M} UTC</time>'


def _dollars(amount: Decimal) -> str:
    return f"${amount:,.2f}" if amount == round(amount, 2) else f"${amount:,.4f}"


def _size_before(job: JobResult) -> str:
    source = job.source or {}
    return f"{_pixels(source['width'], source['height'])} → " if source.get("width") and source.get("height") else ""


def _pixels(width: int, height: int) -> str:
    return f"{width:d} × {height:d}"


def _bytes(shot: Shot) -> str:
    if shot.size_bytes is None:
        return ""
    return f"{shot.size_bytes / 1e6:.1f} MB" if shot.size_bytes >= 1e6 else f"{max(1, shot.size_bytes // 1000)} kB"
