"""What is done to every picture of a run, a schedule or a trigger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from clients.phota_requests import Operation
from clients.s3_uri import S3Uri
from producer.content import identity_of_object, with_content
from producer.jobs import CheckedJob, check
from producer.ownership import Owner


@dataclass(frozen=True, slots=True)
class Recipe:
    """The operation, its parameters beside the picture itself, and further fields of every job."""

    operation: Operation
    params: Mapping[str, Any]
    output: str | None = None
    job: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """For a row; `output` stands in a column of its own."""
        return {"operation": self.operation.value, "params": dict(self.params), "job": dict(self.job or {})}

    @classmethod
    def from_json(cls, row: Mapping[str, Any], *, output: str | None) -> Self:
        return cls(Operation(row["operation"]), row["params"], output, row.get("job") or None)

    @property
    def mixes_batches(self) -> bool:
        """Whether two results of one name would get the same key, though they are of two batches."""
        return self.output is not None and "{" in self.output and "{batch}" not in self.output

    def job_of(self, image: str, custom_id: str) -> dict[str, Any]:
        """A job in manifest form."""
        if self.operation is Operation.GENERATE:
            return self._job(self.params, custom_id)
        field = {Operation.EDIT: "images", Operation.REMIX: "input_image"}.get(self.operation, "image")
        params = {**self.params, field: [image] if field == "images" else image}
        return self._job(params, custom_id)

    def _job(self, params: Mapping[str, Any], custom_id: str) -> dict[str, Any]:
        return {
            **(self.job or {}),
            "operation": self.operation,
            "params": dict(params),
            "custom_id": custom_id,
            "output": self.output,
        }

    def identities(self, picture: str) -> list[str]:
        """Of the images of a job of that picture; a remix' style is known by its address."""
        style = self.params.get("reference_image")
        return [picture] if self.operation is not Operation.REMIX else [picture, str(style)]


def object_job(
    recipe: Recipe,
    uri: S3Uri,
    *,
    etag: str,
    size: int,
    custom_id: str,
    owner: Owner,
    allowed_hosts: Sequence[str] = (),
    is_redo: bool = False,
    source: Mapping[str, Any] | None = None,
) -> CheckedJob:
    """A job of an object in a bucket, known by its ETag and size in bytes. `source`: more to keep of where it is from.

    Raise InvalidRequest.
    """
    known = {"path": str(uri), "bytes": size, "etag": etag, **(source or {})}
    job = check(recipe.job_of(str(uri), custom_id), allowed_hosts=allowed_hosts, source=known, owner=owner)
    identities = recipe.identities(identity_of_object(etag, size))
    return with_content(job, identities, account_id=owner.account.id, is_redo=is_redo)
