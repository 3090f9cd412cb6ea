"""Which objects a source has made jobs of already. One transaction, opened by the caller."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB


@dataclass(frozen=True, slots=True)
class Sighting:
    """An object as it was met: `tag` changes with its bytes (an ETag). `sequencer` orders the events of a key."""

    key: str
    tag: str
    sequencer: str | None = None


# In the order of keys: two transactions that mark the same ones come one after the other instead of a deadlock.
_MARK = text(
    """
    INSERT INTO seen_objects (source_id, key, tag, sequencer)
    SELECT :source, key, tag, sequencer FROM jsonb_to_recordset(:seen) AS s (key text, tag text, sequencer text)
    ORDER BY key, tag ON CONFLICT DO NOTHING RETURNING key, tag
    """
).bindparams(bindparam("seen", type_=JSONB))


def mark_new(connection: Connection, source_id: uuid.UUID, seen: Iterable[Sighting]) -> set[tuple[str, str]]:
    """Remember them; key and tag of those that this source had not seen. It is remembered if the caller commits."""
    rows = connection.execute(_MARK, {"source": source_id, "seen": [asdict(each) for each in seen]})
    return {(row.key, row.tag) for row in rows}


_KNOWN = text("SELECT key, tag, sequencer FROM seen_objects WHERE source_id = :source AND key = ANY(:keys)")


def seen_of(connection: Connection, source_id: uuid.UUID, keys: Sequence[str]) -> list[Sighting]:
    """What this source has seen under these keys."""
    return [Sighting(**row) for row in connection.execute(_KNOWN, {"source": source_id, "keys": keys}).mappings()]
