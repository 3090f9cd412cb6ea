"""What a look at the photos found, for people: a table by kind, with examples."""

from collections.abc import Mapping

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from cli.terminal import console
from producer.runs.preflight import LARGEST_SIDE, SMALL_SIDE, Count, Kind, Notice, Preflight, Verdict

_LONGEST_NAME = 24  # characters; the end of a path tells more than its beginning
_MEANINGS: Mapping[Kind | Notice, str] = {
    Kind.READY: "would be done",
    Kind.DONE_BEFORE: "done or queued by an earlier run: skipped",
    Kind.DUPLICATE: "same content as another one here: done once",
    Kind.CORRUPT: "empty, cut off or damaged: refused, costs nothing",
    Kind.UNSUPPORTED: "not JPEG, PNG, WebP or HEIC: refused, costs nothing",
    Kind.TOO_LARGE: "too many bytes or pixels: refused, costs nothing",
    Kind.UNREADABLE: "could not be read: refused, costs nothing",
    Notice.TOO_SMALL: f"shorter side under {SMALL_SIDE} px: little to go by",
    Notice.OVER_4096: f"longer side over {LARGEST_SIDE} px: Phota makes it smaller",
    Notice.COMES_BACK_SMALLER: "fewer pixels come back than go in",
    Notice.TURNED: "not stored upright: turned at upload",
}
_COLOURS: Mapping[Kind | Notice, str] = {Kind.READY: "green", Kind.DONE_BEFORE: "dim", Kind.DUPLICATE: "dim"}


def show_preflight(preflight: Preflight) -> None:
    """A row for each kind and warning that there is; warnings are of photos that would be done."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    table.add_row(Text("photos", "bold"), f"{preflight.photos:,}", f"{decimal(preflight.bytes)} looked at")
    for kind, count in preflight.kinds.items():
        _add(table, kind, count, "red" if kind.is_refused else _COLOURS[kind], examples=kind is not Kind.READY)
    for notice, count in preflight.notices.items():
        _add(table, notice, count, "yellow", examples=True)
    console.print(table, soft_wrap=False)


def _add(table: Table, name: Kind | Notice, count: Count, colour: str, *, examples: bool) -> None:
    if not count.photos:
        return
    about = Text(_MEANINGS[name], no_wrap=True, overflow="ellipsis")
    for line in _examples(name, count) if examples else ():
        about.append(f"\n{line}", "dim")
    table.add_row(Text(name.replace("_", " "), colour), f"{count.photos:,}", about)


def _examples(name: Kind | Notice, count: Count) -> list[str]:
    """A line for each one that has a reason of its own, one line for all others."""
    if isinstance(name, Kind) and name.is_refused:
        return [f"{_short(each.custom_id)}: {each.message}" for each in count.examples]
    more = ["…"] if count.photos > len(count.examples) else []
    return [", ".join([_example(name, each) for each in count.examples] + more)]


def _example(name: Kind | Notice, verdict: Verdict) -> str:
    if verdict.same_as is not None:
        return f"{_short(verdict.custom_id)} = {_short(verdict.same_as)}"
    if isinstance(name, Notice) and name is not Notice.TURNED:
        return f"{_short(verdict.custom_id)} {verdict.width}×{verdict.height}"
    return _short(verdict.custom_id)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else "…" + name[1 - _LONGEST_NAME :]
