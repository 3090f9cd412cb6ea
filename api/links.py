"""URLs under which anybody may fetch an output for a day."""

from typing import Any

from clients.storage import Storage

LINK_S = 24 * 3600


def linked(storage: Storage, job: dict[str, Any]) -> dict[str, Any]:
    """A job object, or the `response` of a result line, with a `url` in each of its outputs. Raise StorageError."""
    outputs = [
        output | {"url": storage.presign(output["bucket"], output["key"], expires_s=LINK_S)}
        for output in job["outputs"]
    ]
    return job | {"outputs": outputs}
