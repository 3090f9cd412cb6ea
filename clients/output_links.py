"""URLs under which anybody may fetch an output for a day."""

from collections.abc import Iterable
from typing import Any

from clients.storage import Storage

LINK_S = 24 * 3600  # later ones come from the API


def add_links(storage: Storage, outputs: Iterable[dict[str, Any]]) -> None:
    """A presigned `url` to each. Blocking: signing takes a quarter of a millisecond. Raise StorageError."""
    for output in outputs:
        output["url"] = storage.presign(output["bucket"], output["key"], expires_s=LINK_S)
