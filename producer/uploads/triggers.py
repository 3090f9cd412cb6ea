"""Triggers added, replaced and removed, with the checks that keep them from going round in circles."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from clients.phota_requests import InvalidRequest, Operation
from clients.s3_uri import S3Uri
from models import Priority, bursts
from models import triggers as rows
from models.dispatch import notify
from models.triggers import TriggerRow
from producer.batches import check_budget
from producer.jobs import webhook_url_fault
from producer.ownership import Owner, owner_of
from producer.recipes import Recipe, object_job
from producer.uploads.arrivals import Accepted, accept
from producer.uploads.bursts import LARGEST, LONGEST_S
from producer.uploads.loop_guard import Route, destination_of, loop_through

__all__ = ["Accepted", "Added", "InvalidTrigger", "NewTrigger", "accept", "add_trigger", "remove_trigger"]

QUIET_S, MOST, REPAIR_S = 60.0, 1_000, 300.0
_LONGEST_NAME = 200
_SAMPLE = "photo.jpg"  # stands for what will be uploaded


class InvalidTrigger(ValueError):  # noqa: N818 - what it is
    """The message says, for people, what is wrong with it."""


@dataclass(frozen=True, slots=True)
class NewTrigger:
    """A trigger as it is asked for; `recipe` with where results go, None: the usual place.

    `source`: a bucket and what the keys begin with. `suffix` "": whatever Phota takes. `since`: when what it is about
    was last changed, at the earliest; None: from now on, or as it was. `is_afresh`: "from now on" is meant so.
    """

    name: str
    source: S3Uri
    recipe: Recipe
    suffix: str = ""
    priority: Priority = Priority.INTERACTIVE
    quiet_s: float = QUIET_S
    most: int = MOST
    budget_usd: Decimal | None = None
    webhook_url: str | None = None
    since: datetime | None = None
    is_afresh: bool = False
    repair_s: float = REPAIR_S


@dataclass(frozen=True, slots=True)
class Added:
    """`is_new`: nothing counts as seen; else one of that name was changed. `fed_by`: names of triggers whose results
    lie where it looks; they are passed over."""

    trigger: TriggerRow
    is_new: bool
    fed_by: Sequence[str]


def add_trigger(
    connection: Connection, owner: Owner, wanted: NewTrigger, *, allowed_hosts: Sequence[str] = ()
) -> Added:
    """Look for uploads from now on, instead of what has that name so far. Raise InvalidTrigger.

    Where the place and `since` stay as they were, what was seen stays seen and is not done again.
    """
    output = _check(wanted, owner, allowed_hosts)
    rows.lock_definitions(connection)
    fed_by = _check_loops(connection, wanted, output, owner)
    fields = _fields(wanted, output, owner)
    old = rows.find_trigger(connection, owner.account.id, wanted.name)
    if old is not None and not _is_elsewhere(old, wanted):
        _end_bursts(connection, old)
        rows.update_trigger(connection, old.id, fields)
        trigger_id = old.id
    else:
        if old is not None:
            _remove(connection, old)
        trigger_id = rows.insert_trigger(connection, fields)
    notify(connection)
    added = rows.read_trigger(connection, trigger_id)
    assert added is not None, "written just now"  # noqa: S101
    return Added(added, old is None or old.id != trigger_id, fed_by)


def remove_trigger(connection: Connection, account_id: uuid.UUID, name: str) -> bool:
    """Whether there was one. Its jobs go on; what it has seen is forgotten."""
    rows.lock_definitions(connection)
    old = rows.find_trigger(connection, account_id, name)
    if old is not None:
        _remove(connection, old)
    return old is not None


def _remove(connection: Connection, old: TriggerRow) -> None:
    _end_bursts(connection, old)
    rows.remove_trigger(connection, old.id)


def _end_bursts(connection: Connection, old: TriggerRow) -> None:
    """What is being queued for it is waited for."""
    bursts.lock_source(connection, old.id)
    bursts.close_bursts(connection, old.account_id, old.name, old.id)


def _is_elsewhere(old: TriggerRow, wanted: NewTrigger) -> bool:
    """Whether it looks at something else than the one before, so that nothing counts as seen."""
    is_moved = (old.bucket, old.prefix, old.suffix) != (wanted.source.bucket, wanted.source.key, wanted.suffix)
    return is_moved or wanted.is_afresh or wanted.since not in (None, old.since)


def _check(wanted: NewTrigger, owner: Owner, allowed_hosts: Sequence[str]) -> str | None:
    """The template of its outputs, if it names one."""
    if not 0 < len(wanted.name) <= _LONGEST_NAME or not wanted.name.isprintable():
        raise InvalidTrigger(f"its name must have 1 to {_LONGEST_NAME} printable characters")
    if wanted.recipe.operation is Operation.GENERATE:
        raise InvalidTrigger("generate makes pictures from a prompt alone; a trigger works on what is uploaded")
    if not all(0 < each <= LONGEST_S for each in (wanted.quiet_s, wanted.repair_s)):  # not a number is neither
        raise InvalidTrigger(f"quiet and repair-every must be more than 0 and at most {LONGEST_S:,.0f} seconds")
    if not 0 < wanted.most <= LARGEST:
        raise InvalidTrigger(f"most must be between 1 and {LARGEST:,}")
    fault = wanted.webhook_url and webhook_url_fault(wanted.webhook_url, allowed_hosts=allowed_hosts)
    if fault:
        raise InvalidTrigger(f"webhook: {fault}")
    try:
        check_budget(wanted.budget_usd)
        uri = S3Uri.parse(f"{wanted.source}{_SAMPLE}")
        sample = object_job(
            wanted.recipe, uri, etag="", size=0, custom_id=_SAMPLE, owner=owner, allowed_hosts=allowed_hosts
        )
    except InvalidRequest as error:
        raise InvalidTrigger("\n".join(problem.message for problem in error.problems)) from None
    except ValueError as error:
        raise InvalidTrigger(str(error)) from None
    return sample.output


def _check_loops(connection: Connection, wanted: NewTrigger, output: str | None, owner: Owner) -> list[str]:
    """Names of those that feed it. Raise InvalidTrigger for a way back."""
    others = [each for each in rows.all_triggers(connection) if not _is_replaced(each, wanted, owner)]
    routes = [_route(connection, each, owner) for each in others]
    destination = destination_of(output or owner.default_output(in_batch=True), wanted.name)
    new = Route(wanted.name, wanted.source, destination)
    way = loop_through(new, routes)
    if len(way) == 2:
        raise InvalidTrigger(
            f"its results would be uploads again: they go to {new.destination}…, and it looks at {new.source}…; "
            "give it another --out"
        )
    if way:
        raise InvalidTrigger(f"its results would come back to it: {' → '.join(way)}; give it another --out")
    return [each.name for each in routes if each.feeds(new)]


def _is_replaced(old: TriggerRow, wanted: NewTrigger, owner: Owner) -> bool:
    return (old.account_id, old.name) == (owner.account.id, wanted.name)


def _route(connection: Connection, trigger: TriggerRow, owner: Owner) -> Route:
    """Triggers of another account are called by it too."""
    is_own = trigger.account_id == owner.account.id
    theirs = owner if is_own else owner_of(connection, trigger.account_id, bucket=owner.bucket)
    destination = destination_of(trigger.output or theirs.default_output(in_batch=True), trigger.name)
    name = trigger.name if is_own else f"{trigger.name} of account {trigger.account}"
    return Route(name, S3Uri(trigger.bucket, trigger.prefix), destination)


def _fields(wanted: NewTrigger, output: str | None, owner: Owner) -> dict[str, Any]:
    return {
        "account_id": owner.account.id,
        "name": wanted.name,
        "bucket": wanted.source.bucket,
        "prefix": wanted.source.key,
        "suffix": wanted.suffix,
        "since": wanted.since,
        "recipe": wanted.recipe.as_json(),
        "output": output,
        "priority": wanted.priority,
        "quiet_s": wanted.quiet_s,
        "most": wanted.most,
        "budget_usd": wanted.budget_usd,
        "webhook_url": wanted.webhook_url,
        "repair_s": wanted.repair_s,
    }
