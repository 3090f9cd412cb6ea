"""What can go wrong, and what to do now.

PhotabatchError
├── NotConfigured       no key, or no usable address: set PHOTABATCH_API_KEY, PHOTABATCH_API_URL
├── ApiError            the API said no; `code` is stable, the message says what to do
│   ├── Unauthorized    401: the key is unknown or revoked
│   ├── Forbidden       403: the key lacks a scope
│   ├── NotFound        404: no such job or batch in this account
│   ├── Conflict        409: not in this state, or the idempotency key was used for something else
│   ├── Invalid         400, 413, 415, 422: `errors` names what is wrong, by line or index; never send it unchanged
│   ├── TooManyRequests 429: again after `retry_after` seconds
│   └── Unavailable     502, 503, 504: again later
├── ConnectionFailed    no answer; with the same `idempotency_key` it is safe to ask again
├── DownloadFailed      a picture could not be fetched, or is not what was announced
├── NoPhotos            a folder without a single photo that could be uploaded
└── WaitTimeout         the batch goes on, `batch` is how it was last seen
"""

# ruff: noqa: N818 - the names say what happened, the tree that they are errors

from collections.abc import Sequence

from photabatch.types import Batch, LineError, Refused

_SHOWN = 3  # errors of a submission that a message quotes


class PhotabatchError(Exception):
    """Everything that this package raises, but for ValueError and TypeError of wrong arguments and OSError of files."""


class NotConfigured(PhotabatchError):
    """Neither an argument nor the environment says what is needed."""


class ApiError(PhotabatchError):
    """An answer that is no success. `request`: its method and path; `retry_after`: seconds, where the API told."""

    def __init__(
        self,
        detail: str,
        *,
        status: int = 0,
        code: str = "",
        errors: Sequence[LineError] = (),
        request: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.errors = tuple(errors)
        self.request = request
        self.retry_after = retry_after

    def __str__(self) -> str:
        untold = [error for error in self.errors if not error.message or error.message not in self.detail]
        shown = "; ".join(_one_line(error) for error in untold[:_SHOWN])
        more = f" and {len(untold) - _SHOWN} more" if len(untold) > _SHOWN else ""
        return f"{self.detail}{f' {shown}{more}' if shown else ''} ({self.status} {self.code}, {self.request})"


class Unauthorized(ApiError):
    """401"""


class Forbidden(ApiError):
    """403"""


class NotFound(ApiError):
    """404"""


class Conflict(ApiError):
    """409"""


class Invalid(ApiError):
    """400, 413, 415, 422"""


class TooManyRequests(ApiError):
    """429"""


class Unavailable(ApiError):
    """502, 503, 504"""


class ConnectionFailed(PhotabatchError):
    """Connection refused, lost or silent. `idempotency_key`: of the POST that it happened to."""

    def __init__(self, message: str, *, idempotency_key: str | None = None) -> None:
        super().__init__(message)
        self.idempotency_key = idempotency_key


class DownloadFailed(PhotabatchError):
    """`job_id` and `index` say which output."""

    def __init__(self, message: str, *, job_id: str = "", index: int = 0) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.index = index


class NoPhotos(PhotabatchError):
    """`refused`: the files that were tried; empty where there was none."""

    def __init__(self, message: str, *, refused: Sequence[Refused] = ()) -> None:
        super().__init__(message)
        self.refused = tuple(refused)


class WaitTimeout(PhotabatchError):
    """`batch`: as last seen; None if it was not seen at all."""

    def __init__(self, message: str, *, batch: Batch | None = None) -> None:
        super().__init__(message)
        self.batch = batch


def _one_line(error: LineError) -> str:
    where = "" if error.index is None else f"job {error.index}: "
    where = where if error.line is None else f"line {error.line}: "
    param = (error.param or "").rpartition(".")[2]
    return f"{where}{'' if not param or param in error.message else f'{param}: '}{error.message or error.code}"
