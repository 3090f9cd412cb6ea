"""What a trigger looks at, told of a key; and its row as a source of bursts."""

from datetime import UTC, datetime, timedelta

from clients.s3_uri import has_control
from models import Priority
from models.triggers import TriggerRow
from producer.recipes import Recipe
from producer.sources.pictures import SUFFIXES, fitting_id
from producer.uploads.bursts import Source

EVER = datetime(1970, 1, 1, tzinfo=UTC)
"""`since` of a trigger that wants everything that is there."""


def is_wanted(trigger: TriggerRow, bucket: str, key: str) -> bool:
    """By its place and name; cameras write `.JPG`, so case does not count in a suffix.

    No job can be made of a key with control characters, and Postgres does not take a NUL.
    """
    endings = (trigger.suffix.lower(),) if trigger.suffix else tuple(SUFFIXES)
    is_there = bucket == trigger.bucket and key.startswith(trigger.prefix) and key.lower().endswith(endings)
    return is_there and not has_control(key)


def is_recent(trigger: TriggerRow, last_modified: datetime | None) -> bool:
    """S3 tells whole seconds: what was put in the second of `since` counts."""
    return last_modified is None or last_modified > trigger.since - timedelta(seconds=1)


def name_of(trigger: TriggerRow, key: str) -> str:
    """The key below the folder that the prefix names, as a custom_id."""
    folder = trigger.prefix[: trigger.prefix.rfind("/") + 1]
    return fitting_id(key.removeprefix(folder))


def source_of(trigger: TriggerRow) -> Source:
    return Source(
        id=trigger.id,
        name=trigger.name,
        recipe=Recipe.from_json(trigger.recipe, output=trigger.output),
        quiet_s=trigger.quiet_s,
        most=trigger.most,
        priority=Priority(trigger.priority),
        budget_usd=trigger.budget_usd,
        webhook_url=trigger.webhook_url,
        labels={"trigger": trigger.name},
    )
