"""What batches are called in keys, addresses and on the command line."""

import re
import uuid


def slug_start(name: str) -> str:
    """What the slugs of all batches of that name begin with."""
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "batch"
    return f"{words}-"


def slug_of(name: str, batch_id: uuid.UUID) -> str:
    """Fit for a key and a URL; the random end of the id makes it unique."""
    return slug_start(name) + batch_id.hex[-8:]
