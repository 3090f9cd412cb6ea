"""`photabatch plan`: what a run would do and cost; touches nothing, charges nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import click
from sqlalchemy import Engine

from cli.exits import CannotStart, Exit
from cli.fleet import load_settings, reach_database
from cli.lining_up import lined_up, show_lineup
from cli.manifests import is_manifest_run, plan_manifest
from cli.orders import Order, order_of, tell_bill
from cli.request_options import request_options, selection_options
from cli.terminal import emit, say
from clients.storage import Storage
from models import DEFAULT_ACCOUNT
from models.contents import find_run
from models.health import read_upstream
from models.inserts import BatchRef, get_batch
from producer.runs.preflight import Verdict
from settings import get_settings


@click.command()
@click.argument("sources", metavar="SRC...", nargs=-1)
@request_options
@selection_options
@click.option("--count", type=click.IntRange(1, 10_000), default=1, help="generate: how many jobs.")
@click.option("--out", metavar="DEST", help="As for run.")
@click.option("--redo", is_flag=True, help="Count what was done before too.")
@click.option("--no-preflight", is_flag=True, help="Do not look into the photos, only at names and listings.")
@click.option("--json", "as_json", is_flag=True, help="A line for every photo, then one with the sums.")
def plan(sources: tuple[str, ...], operation: str | None, **options: Any) -> int:
    """Tell what `run` would do and cost with the same words: how many jobs, what repeats, what cannot be done.

    Nothing is uploaded, queued, written or charged.
    """
    as_json, is_looking = options.pop("as_json"), not options.pop("no_preflight")
    is_redo = options.pop("redo")
    with _known_past() as engine:
        if is_manifest_run(sources):
            return plan_manifest(sources[0], operation, options, engine=engine, as_json=as_json, is_redo=is_redo)
        order = order_of(sources, operation, options, is_redo=is_redo)
        if not order.example.params.image_fields:
            return _tell(order, order.count, engine=engine, as_json=as_json, summary={})
        storage = Storage.from_settings(get_settings()) if order.is_on_s3 else None
        tell = _emit_all if as_json else None
        batch = _going(engine, order)
        looked = lined_up(order, engine=engine, storage=storage, batch=batch, is_looking=is_looking, tell=tell)
        with looked as (lineup, preflight):
            show_lineup(lineup, preflight, knows_past=engine is not None)
            return _tell(order, preflight.jobs, engine=engine, as_json=as_json, summary=preflight.summary())


def _going(engine: Engine | None, order: Order) -> BatchRef | None:
    """The batch that `run` would go on with."""
    if engine is None:
        return None
    with engine.connect() as connection:
        batch_id = find_run(connection, DEFAULT_ACCOUNT, order.run_key)
        return get_batch(connection, batch_id) if batch_id else None


def _emit_all(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        emit(verdict.as_json())


@contextmanager
def _known_past() -> Iterator[Engine | None]:
    """The database, if one is named or a stack is up: read from, never written to."""
    load_settings()
    try:
        engine = reach_database()
    except CannotStart:
        if get_settings().database_url is not None:
            raise
        yield None
        return
    try:
        yield engine
    finally:
        engine.dispose()


def _tell(order: Order, jobs: int, *, engine: Engine | None, as_json: bool, summary: dict[str, Any]) -> int:
    low, high = order.bill(jobs)
    tell_bill(jobs, low, high, what=order.recipe.operation, budget_usd=order.limits.budget_usd)
    tell_time(engine, jobs)
    if as_json:
        emit({"summary": summary | {"jobs": jobs, "cost_usd": priced(low, high)}})
    return Exit.SUCCEEDED if jobs else Exit.NOTHING_TO_DO


def priced(low: Decimal, high: Decimal) -> dict[str, float]:
    return {"low": float(low), "high": float(high)}


def tell_time(engine: Engine | None, jobs: int) -> None:
    """How long they take at the limit and latency that were measured, if any were."""
    if engine is None:
        return
    with engine.connect() as connection:
        upstream = read_upstream(connection)
    if upstream.latency_s and jobs:
        latency_s = max(upstream.latency_s.values())
        seconds = round(latency_s * max(1.0, jobs / upstream.in_flight_limit))
        say(f"About {timedelta(seconds=seconds)} if nothing else is going on, at what was measured lately.")
