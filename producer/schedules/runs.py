"""Celery task `schedule.run`: a schedule's source is listed, and what is new in it queued."""

import functools
import logging
import threading
import uuid

from celery import shared_task
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from clients.failpoints import pass_point
from clients.phota_requests import InvalidRequest
from clients.storage import Storage, StorageError, StorageUnavailable
from models import run_leases
from models.claims import HEARTBEAT_S
from models.dispatch import notify
from models.run_leases import ClaimedRun
from producer.database import default_engine
from producer.listings import Listings, stopping
from producer.ownership import QueueFull, owner_of
from producer.recipes import Recipe
from producer.schedules.definitions import sample_job
from producer.schedules.heartbeat import kept
from producer.schedules.listing import LeaseLost, Listing
from producer.sources.photos import NoSuchSource
from producer.submission import BatchClosed
from settings import Settings, get_settings

log = logging.getLogger(__name__)

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 600.0
_PAUSE_SHARE = 0.25  # of the time that it has been tried for: pauses grow with it
_AFTER_A_FAULT_S = 30.0


class _Stopping(Exception):  # noqa: N818
    """The worker ends; another one lists the rest."""


@shared_task(name="schedule.run")
def run(ids: list[str]) -> None:
    """A doorway: those of the runs that wait for it are listed."""
    _listings().start(ids)


@functools.cache
def _listings() -> Listings:
    """One per process."""
    engine, storage, settings = default_engine(), _storage(), get_settings()
    return Listings(lambda run_id: list_run(engine, storage, run_id, settings, stopping=stopping))


@functools.cache
def _storage() -> Storage:
    """One per process."""
    return Storage.from_settings(get_settings())


def list_run(
    engine: Engine, storage: Storage, run_id: uuid.UUID, settings: Settings, *, stopping: threading.Event
) -> None:
    """Claim the run and list its source to the end, or say why not; does nothing if it is in other hands."""
    with engine.begin() as connection:
        claimed = run_leases.claim_run(connection, run_id)
    if claimed is None:
        return

    def keep() -> bool:
        with engine.begin() as connection:
            return run_leases.keep_run(connection, claimed)

    with kept(keep, every_s=HEARTBEAT_S) as lost:
        try:
            _carry_out(engine, storage, claimed, settings, lost=lost, stopping=stopping)
        except LeaseLost:
            log.info("run %s of schedule %s is in other hands, or over", claimed.id, claimed.name)
        except DBAPIError as error:
            log.warning("schedule %s is listed when its lease ends: %s", claimed.name, type(error.orig).__name__)


def _carry_out(
    engine: Engine,
    storage: Storage,
    claimed: ClaimedRun,
    settings: Settings,
    *,
    lost: threading.Event,
    stopping: threading.Event,
) -> None:
    """What becomes of the run, whatever happens to the listing."""

    def go_on() -> None:
        if lost.is_set():
            raise LeaseLost
        if stopping.is_set():
            raise _Stopping

    with engine.connect() as connection:
        owner = owner_of(connection, claimed.account_id, bucket=settings.s3_bucket)
    listing = Listing(engine, storage, claimed, owner, go_on=go_on)
    try:
        sample_job(_recipe(claimed), claimed.source, owner, allowed_hosts=settings.allowed_hosts)
        listing.go(allowed_hosts=settings.allowed_hosts)
        pass_point("before_listing_end", settings.failpoint)
        _end(engine, claimed, listing)
    except BatchClosed:  # by a person: what is left is found by the next run
        _end(engine, claimed, listing)
    except _Stopping:
        with engine.begin() as connection:
            run_leases.hand_back_run(connection, claimed)
    except (StorageUnavailable, QueueFull) as error:
        _postpone(engine, claimed, error)
    except (NoSuchSource, StorageError, InvalidRequest, OSError) as error:
        log.warning("schedule %s cannot list its source: %s", claimed.name, error)
        _end(engine, claimed, listing, error=_told(error))
    except (LeaseLost, DBAPIError):
        raise
    except Exception as error:
        log.exception("schedule %s", claimed.name)
        with engine.begin() as connection:
            fault = f"internal: {type(error).__name__}"
            run_leases.postpone_run(connection, claimed, due_s=_AFTER_A_FAULT_S, error=fault, is_forgiven=False)


def _recipe(claimed: ClaimedRun) -> Recipe:
    return Recipe.from_json(claimed.recipe, output=claimed.output)


def _end(engine: Engine, claimed: ClaimedRun, listing: Listing, *, error: str | None = None) -> None:
    with engine.begin() as connection:
        run_leases.end_listing(connection, claimed, seen=listing.seen, error=error)
        notify(connection)


def _postpone(engine: Engine, claimed: ClaimedRun, error: Exception) -> None:
    """It is tried until the next tick, with pauses of a quarter of the time it has been tried for."""
    due_s = min(max(claimed.age_s * _PAUSE_SHARE, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
    log.warning("schedule %s is listed again in %.0f s: %s", claimed.name, due_s, error)
    with engine.begin() as connection:
        run_leases.postpone_run(connection, claimed, due_s=due_s, error=_told(error))


def _told(error: Exception) -> str:
    """For people and programs: `code: what happened`."""
    code = {NoSuchSource: "source_missing", QueueFull: "queue_full", InvalidRequest: "not_allowed"}.get(type(error))
    return f"{code or getattr(error, 'code', 'source_unreadable')}: {error}"
