"""Ids in paths: what is of another account, unknown, or no id at all is the same 404."""

import uuid
from typing import Annotated

from fastapi import Depends, Path, Request

from api.keys import Reader
from api.problems import not_found
from models.progress import read_own_batch

BatchId = Annotated[str, Path(description="Id of a batch.", examples=["0192f0c1-7d39-7b02-8f11-64be0a9d2c10"])]
JobId = Annotated[str, Path(description="Id of a job.", examples=["0192f0c1-7d3a-7c41-9d0e-2f6a3c1b5e77"])]


def parse_id(text: str, what: str) -> uuid.UUID:
    """Raise Problem 404."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise not_found(what) from None


def _readable_batch(request: Request, caller: Reader, batch_id: BatchId) -> uuid.UUID:
    parsed = parse_id(batch_id, "batch")
    with request.app.state.engine.connect() as connection:
        if read_own_batch(connection, caller.account.id, parsed, with_errors=False) is None:
            raise not_found("batch")
    return parsed


ReadableBatch = Annotated[uuid.UUID, Depends(_readable_batch)]
"""A batch of the caller, for answers that are streamed: it is looked for before they begin."""
