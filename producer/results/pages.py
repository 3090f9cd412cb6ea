"""The rows of a batch, page after page: a connection is held for a page, not while what comes of it is used."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine


class Row(Protocol):
    @property
    def id(self) -> uuid.UUID: ...


RowT = TypeVar("RowT", bound=Row)
RowT_co = TypeVar("RowT_co", bound=Row, covariant=True)


class ReadPage(Protocol[RowT_co]):
    """A verb of `models`: the next rows behind an id; none: those were all."""

    def __call__(self, connection: Connection, batch_id: uuid.UUID, /, *, after: uuid.UUID) -> Sequence[RowT_co]: ...


def paged(engine: Engine, read_page: ReadPage[RowT], batch_id: uuid.UUID) -> Iterator[RowT]:
    """In the order of their making; what comes in meanwhile may or may not be among them."""
    after = uuid.UUID(int=0)
    while True:
        with engine.connect() as connection:
            page = read_page(connection, batch_id, after=after)
        if not page:
            return
        yield from page
        after = page[-1].id
