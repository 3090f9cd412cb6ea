"""Trained identities of the one account."""

import re
import time
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.phota.errors import PhotaError, UnprocessableError, not_found

_TIERS = {"standard": (10, 50), "fast": (5, 10)}


class NewProfile(BaseModel):
    """Body of `profiles/add`."""

    model_config = ConfigDict(extra="forbid")

    image_urls: list[str] = Field(min_length=5, max_length=50)
    training_tier: Literal["standard", "fast"] = "standard"
    tag: str | None = Field(None, min_length=1, max_length=128)

    @classmethod
    def parse(cls, body: bytes) -> "NewProfile":
        """Raise UnprocessableError or PhotaError 400."""
        try:
            new = cls.model_validate_json(body)
        except ValidationError as error:
            raise UnprocessableError(
                [{"loc": ["body", *e["loc"]], "msg": e["msg"], "type": e["type"]} for e in error.errors()]
            ) from error
        low, high = _TIERS[new.training_tier]
        if not low <= len(new.image_urls) <= high:
            raise PhotaError(400, "BAD_REQUEST", f"{new.training_tier} training takes {low} to {high} images")
        if not all(re.match("https?://", url) for url in new.image_urls):
            raise PhotaError(400, "BAD_REQUEST", "training images must be public URLs")
        return new


@dataclass(frozen=True, slots=True)
class Profile:
    """Training runs by the clock: `started_at` and `ready_at` are Unix seconds."""

    ready_at: float
    tag: str | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started_at: float = field(default_factory=time.time)

    @property
    def status(self) -> str:
        left = self.ready_at - time.time()
        if left <= 0:
            return "READY"
        done = 1 - left / (self.ready_at - self.started_at)
        return "VALIDATING" if done < 0.2 else "QUEUING" if done < 0.4 else "IN_PROGRESS"

    def record(self) -> dict[str, Any]:
        return asdict(self)


class Profiles:
    def __init__(self, ready: tuple[str, ...]) -> None:
        self._known = {name: Profile(ready_at=0, id=name) for name in ready}

    def add(self, profile: Profile) -> None:
        self._known[profile.id] = profile

    def get(self, profile_id: str) -> Profile:
        """Raise PhotaError 404."""
        if profile_id not in self._known:
            raise not_found(f"profile {profile_id}")
        return self._known[profile_id]

    def remove(self, profile_id: str) -> None:
        """Raise PhotaError 404."""
        self.get(profile_id)
        del self._known[profile_id]

    def list(self, tag: str | None) -> list[dict[str, str]]:
        found = [profile for profile in self._known.values() if tag is None or profile.tag == tag]
        return [{"profile_id": profile.id, "status": profile.status} for profile in found]

    def check_usable(self, profile_ids: tuple[str, ...]) -> None:
        """PhotaError 404 for an unknown one, 400 for one that is not trained yet."""
        for profile_id in profile_ids:
            if self.get(profile_id).status != "READY":
                raise PhotaError(400, "PROFILE_NOT_READY", f"profile {profile_id} is not trained yet")
