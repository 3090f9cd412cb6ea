"""Client of the photabatch HTTP API: piles of photos in, finished photos out.

    from photabatch import Client

    with Client() as client:  # PHOTABATCH_API_URL, PHOTABATCH_API_KEY
        submitted = client.submit_folder("trip", "enhance", budget_usd=5)
        client.wait(submitted.batch)
        client.download(submitted.batch, "finished")

`AsyncClient` has the same methods for asyncio.
"""

from photabatch._calls import BatchOptions, ManifestOptions
from photabatch._retries import Retry
from photabatch.async_client import AsyncClient
from photabatch.client import Client
from photabatch.errors import (
    ApiError,
    Conflict,
    ConnectionFailed,
    DownloadFailed,
    Forbidden,
    Invalid,
    NoPhotos,
    NotConfigured,
    NotFound,
    PhotabatchError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    WaitTimeout,
)
from photabatch.states import BatchStatus, JobState, Operation, Priority
from photabatch.types import (
    Attempt,
    Batch,
    BatchCancelled,
    BatchRetried,
    BatchSubmitted,
    Cost,
    CostRange,
    Counts,
    ErrorCount,
    Estimate,
    EstimateWarning,
    FolderSubmitted,
    Forecast,
    Job,
    JobError,
    JobSubmitted,
    LineError,
    Output,
    Page,
    Refused,
    Result,
    Upload,
)

__all__ = [
    "ApiError",
    "AsyncClient",
    "Attempt",
    "Batch",
    "BatchCancelled",
    "BatchOptions",
    "BatchRetried",
    "BatchStatus",
    "BatchSubmitted",
    "Client",
    "Conflict",
    "ConnectionFailed",
    "Cost",
    "CostRange",
    "Counts",
    "DownloadFailed",
    "ErrorCount",
    "Estimate",
    "EstimateWarning",
    "FolderSubmitted",
    "Forbidden",
    "Forecast",
    "Invalid",
    "Job",
    "JobError",
    "JobState",
    "JobSubmitted",
    "LineError",
    "ManifestOptions",
    "NoPhotos",
    "NotConfigured",
    "NotFound",
    "Operation",
    "Output",
    "Page",
    "PhotabatchError",
    "Priority",
    "Refused",
    "Result",
    "Retry",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "Upload",
    "WaitTimeout",
]
