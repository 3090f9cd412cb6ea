"""Pictures looked at before anything is spent, with progress and a table: what `plan` and `run` begin with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from cli.orders import Order, nothing_found
from cli.preflight import show_preflight
from cli.progress import bar
from cli.terminal import say
from clients.image_survey import Surveyor
from clients.storage import Storage
from models.inserts import BatchRef
from producer.runs.lineup import Lineup, Past, line_up
from producer.runs.preflight import Preflight, Verdict, returned_side

_SURVEYORS = 2
Tell = Callable[[list[Verdict]], None]


@contextmanager
def lined_up(
    order: Order,
    *,
    engine: Engine | None,
    storage: Storage | None,
    batch: BatchRef | None = None,
    is_looking: bool = True,
    tell: Tell | None = None,
) -> Iterator[tuple[Lineup, Preflight]]:
    """Every picture of the order, judged. `batch`: one that goes on; `is_looking`: at more than names and listings.

    `tell` takes the verdicts group by group. Raise UsageFault, StorageError, or CommandError where there are none.
    """
    params = order.example.params
    returned = returned_side(params.operation, getattr(params, "resolution", "1K"))
    past = Past(engine, batch=batch, is_redo=order.is_redo)
    surveyor = Surveyor(_SURVEYORS) if is_looking else None
    try:
        with Lineup() as lineup, Preflight(returned=returned, done=past.done) as preflight:
            groups = line_up(
                order.pictures(storage),
                recipe=order.recipe,
                example=params,
                past=past,
                preflight=preflight,
                lineup=lineup,
                surveyor=surveyor,
                storage=storage,
            )
            with bar("Looking at photos") as progress:
                task = progress.add_task("Looking at photos", total=None, detail="")
                for verdicts in groups:
                    progress.advance(task, len(verdicts))
                    if tell is not None:
                        tell(verdicts)
                progress.update(task, total=preflight.photos)
            if not preflight.photos:
                raise nothing_found(order)
            if surveyor is not None:
                surveyor.close()
            yield lineup, preflight
    finally:
        if surveyor is not None:
            surveyor.close()


def show_lineup(lineup: Lineup, preflight: Preflight, *, knows_past: bool) -> None:
    """The table, if there is anything in it that the number of jobs does not say."""
    if preflight.jobs != preflight.photos or any(count.photos for count in preflight.notices.values()):
        show_preflight(preflight)
    if lineup.passed_over:
        say(f"{lineup.passed_over} objects are results of photabatch: passed over.", style="dim")
    if not knows_past:
        say("No stack is up: whether some were done before is not known.", style="dim")
