"""What triggers and watched folders bring, queued exactly once and grouped: a batch a burst."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Connection

from clients.failpoints import pass_point
from clients.phota_requests import Problem
from models import Priority, bursts, new_id
from models.contents import known_in_batch
from models.inserts import BatchRef, get_batch
from models.seen import Sighting, mark_new
from producer.batches import BatchLimits, open_batch
from producer.jobs import CheckedJob
from producer.ownership import Owner
from producer.recipes import Recipe
from producer.sources.pictures import LONGEST_ID
from producer.submission import insert, insert_rejected
from settings import get_settings

LONGEST_S = 30 * 86_400.0
"""Limit of what a burst waits for: beyond some, Postgres has no such moment, and nothing would be queued."""
LARGEST = 1_000_000
"""Limit of a burst's pictures."""
_DIGITS = 8  # of what tells two objects of the same name apart


@dataclass(frozen=True, slots=True)
class Source:
    """Who brings pictures one by one, and how they are grouped.

    A burst ends when nothing has come for `quiet_s` seconds, or with `most` pictures. `priority`, `budget_usd` and
    `webhook_url` are each burst's own; `labels` are told with it.
    """

    id: uuid.UUID
    name: str
    recipe: Recipe
    quiet_s: float
    most: int
    priority: Priority
    budget_usd: Decimal | None = None
    webhook_url: str | None = None
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A picture that no job can be made of. It becomes a `rejected` one, so that it is not lost without a trace."""

    custom_id: str
    problem: Problem
    source: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A picture that came. `made` of it: a job, a refusal, or None: remembered as seen, and nothing else.

    `digits`: what tells it apart from another one of its name. `is_changed`: an earlier one of its name was queued, so
    that it goes by its digits in any batch: two results never have the same key.
    """

    sighting: Sighting
    made: CheckedJob | Refusal | None
    digits: str = ""
    is_changed: bool = False

    @property
    def name(self) -> str:
        if isinstance(self.made, CheckedJob):
            return self.made.spec.custom_id or self.sighting.key
        return self.made.custom_id if self.made else self.sighting.key

    @property
    def names(self) -> list[str]:
        """Names to try in turn: its own, with its digits, with some that nobody else has."""
        path = PurePosixPath(self.name)
        endings = [f"~{word[:_DIGITS]}{path.suffix}" for word in (self.digits, new_id().hex[::-1]) if word]
        stem = self.name.removesuffix(path.suffix)
        own = [] if self.is_changed else [self.name]
        return [*own, *(stem[: LONGEST_ID - len(ending)] + ending for ending in endings)]


def queue_arrivals(connection: Connection, source: Source, arrivals: Sequence[Arrival], owner: Owner) -> list[Arrival]:
    """Remember all of them and queue what this source had not seen; those that were new. The caller holds the source.

    Raise QueueFull, which must end the transaction.
    """
    first = {(each.sighting.key, each.sighting.tag): each for each in reversed(arrivals)}
    new = mark_new(connection, source.id, [each.sighting for each in first.values()])
    pass_point("in_mark", get_settings().failpoint)
    fresh = [each for known, each in first.items() if known in new]
    _queue(connection, source, [each for each in reversed(fresh) if each.made is not None], owner)
    return fresh


def _queue(connection: Connection, source: Source, arrivals: list[Arrival], owner: Owner) -> None:
    while arrivals:
        batch, room = _burst(connection, source, owner)
        group, arrivals = arrivals[:room], arrivals[room:]
        insert_arrivals(connection, batch, group, source.recipe, owner)
        if len(group) < room:
            bursts.linger(connection, batch.id, quiet_s=source.quiet_s)
        else:
            bursts.close_full(connection, batch.id)


def _burst(connection: Connection, source: Source, owner: Owner) -> tuple[BatchRef, int]:
    """The burst that goes on, or a new one, and how many may still join it."""
    account_id = owner.account.id
    going = bursts.lock_open_burst(connection, account_id, source.name, source.id)
    batch = get_batch(connection, going.batch_id) if going and going.jobs < source.most else None
    if going and batch:
        return batch, source.most - going.jobs
    opened = open_batch(
        connection,
        source.name,
        account_id=account_id,
        priority=source.priority,
        limits=BatchLimits(budget_usd=source.budget_usd),
        webhook_url=source.webhook_url,
        metadata={**(source.labels or {}), "source_id": str(source.id)},
    )
    return opened, source.most


def _named(connection: Connection, batch: BatchRef, arrivals: Sequence[Arrival]) -> list[CheckedJob | Refusal]:
    """What was made of them, under names that the batch does not have yet."""
    candidates = {each.sighting: each.names for each in arrivals}
    wanted = [name for names in candidates.values() for name in names]
    taken = set(known_in_batch(connection, batch.id, wanted))
    named: list[CheckedJob | Refusal] = []
    for each in arrivals:
        name = next((name for name in candidates[each.sighting] if name not in taken), new_id().hex)
        taken.add(name)
        named += [_renamed(each.made, name)] if each.made is not None else []
    return named


def _renamed(made: CheckedJob | Refusal, name: str) -> CheckedJob | Refusal:
    if isinstance(made, Refusal):
        return replace(made, custom_id=name)
    return replace(made, spec=made.spec.model_copy(update={"custom_id": name}))


def insert_arrivals(
    connection: Connection, batch: BatchRef, arrivals: Sequence[Arrival], recipe: Recipe, owner: Owner
) -> None:
    """What was made of them joins the batch, under names that are free there. Raise QueueFull, BatchClosed."""
    made = _named(connection, batch, arrivals)
    jobs = [each for each in made if isinstance(each, CheckedJob)]
    insert(connection, jobs, batch=batch, account_id=owner.account.id, owner=owner)
    for refused in made:
        if isinstance(refused, Refusal):
            insert_rejected(
                connection,
                operation=recipe.operation,
                params=recipe.params,
                problem=refused.problem,
                custom_id=refused.custom_id,
                source=refused.source,
                batch=batch,
                account_id=owner.account.id,
            )
