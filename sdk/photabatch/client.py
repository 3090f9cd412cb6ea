"""The blocking client. What it asks is made in `_calls.py`, what it returns in `_answers.py`."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar, Unpack

import httpx

from photabatch import _answers, _calls, _folder
from photabatch._ahead import map_ahead
from photabatch._bodies import FilePath, Jobs, JobSpec
from photabatch._calls import BatchOptions, BatchRef, Call, JobRef, ManifestOptions
from photabatch._downloads import Target, wanted_of
from photabatch._fetching import DOWNLOADS_AT_ONCE, Fetcher
from photabatch._retries import DEFAULT, ONCE, Retry
from photabatch._session import Session, Timeout
from photabatch._settings import Settings
from photabatch._waiting import Following, Waiting
from photabatch.errors import Invalid, PhotabatchError
from photabatch.states import BatchStatus, JobState, Operation
from photabatch.types import (
    Batch,
    BatchCancelled,
    BatchRetried,
    BatchSubmitted,
    Estimate,
    FolderSubmitted,
    Job,
    JobSubmitted,
    Refused,
    Result,
    Upload,
)

T = TypeVar("T")


class Client:
    """One account of the photabatch API; may be used by several threads.

    `url` and `api_key` default to `PHOTABATCH_API_URL` (else `http://127.0.0.1:8080`) and `PHOTABATCH_API_KEY`.
    `timeout`: seconds without a byte before a connection is given up, 60 as a rule. `http` and `files` replace the
    httpx clients for the API and for presigned addresses; those stay open, and `files` never sees the key.

    Lost connections, 429, 502, 503 and 504 are tried again as `retry` says, a POST with the same `Idempotency-Key`, so
    that nothing is queued or paid twice. Every method raises ApiError and ConnectionFailed (`photabatch.errors`).
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: Timeout = None,
        http: httpx.Client | None = None,
        files: httpx.Client | None = None,
        retry: Retry = DEFAULT,
    ) -> None:
        """Raise NotConfigured."""
        self._session = Session(Settings.read(url, api_key), timeout, http, retry)
        self._fetcher = Fetcher(files, retry)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()
        self._fetcher.close()

    def submit_job(self, job: JobSpec, *, idempotency_key: str | None = None) -> JobSubmitted:
        """Queue one job: `{"operation": "enhance", "params": {"image": "https://…"}}`. Raise Invalid."""
        return self._session.ask(_calls.submit_job(job, idempotency_key), _answers.job_submitted)

    def job(self, job_id: JobRef) -> Job:
        """With its outputs, attempts and cost."""
        return self._session.ask(_calls.job(job_id), _answers.job)

    def submit_batch(self, jobs: Jobs, **options: Unpack[BatchOptions]) -> BatchSubmitted:
        """Queue any number of jobs, all or (with `skip_invalid`) the good ones. Options: see `BatchOptions`.

        Jobs are streamed, so a generator of a million needs no memory. It can be read only once, though: should the
        connection break, ConnectionFailed is raised and holds the `idempotency_key` to submit the same jobs with again.
        A list or tuple is sent again here. Raise Invalid, whose `errors` name lines from 1 (with `metadata`: indexes
        from 0).
        """
        return self._session.ask(_calls.submit_batch(jobs, options), _answers.batch_submitted)

    def submit_manifest(self, manifest: FilePath | IO[bytes], **options: Unpack[ManifestOptions]) -> BatchSubmitted:
        """Queue the jobs of a JSONL file, streamed from disk. A path is sent again after trouble, an open file is not.

        Raise Invalid, OSError.
        """
        return self._session.ask(_calls.submit_manifest(manifest, options), _answers.batch_submitted)

    def estimate(self, jobs: Jobs | FilePath | IO[bytes], **options: Unpack[BatchOptions]) -> Estimate:
        """What these jobs, or those of a manifest, would cost. Nothing is queued or spent. Raise Invalid."""
        return self._session.ask(_calls.estimate(jobs, options), _answers.estimate)

    def upload(self, photo: bytes | FilePath, *, name: str | None = None) -> Upload:
        """Store one photo, up to 64 MB; the same twice is stored once. Raise Invalid if it is none, OSError."""
        return self._session.ask(_calls.upload(photo, name), _answers.upload)

    def submit_folder(
        self,
        folder: FilePath,
        operation: Operation,
        *,
        params: Mapping[str, Any] | None = None,
        output: str | None = None,
        on_progress: Callable[[int, int], object] | None = None,
        **options: Unpack[BatchOptions],
    ) -> FolderSubmitted:
        """Upload every photo below a folder, eight at once, and queue one batch of them.

        `params`: the operation's, without the photo; `output`: `s3://bucket/prefix`; `on_progress(done, total)` counts
        photos. Each job's `custom_id` is the photo's path below the folder, the batch's `name` that of the folder.
        What was done to the same photo before is not done and paid again, unless `skip_done=False`: call it again
        after whatever went wrong, and with new photos.
        Photos that are refused do not stop the others: they are in the answer. A mistake in the arguments is told
        before the second photo is uploaded. Raise NoPhotos, Invalid, TypeError, ValueError, OSError.
        """
        plan = _folder.FolderPlan(folder, operation, params, output, on_progress, options)
        photos = iter(plan.photos)
        while not plan.jobs and (first := next(photos, None)):
            plan.add(*self._upload(first))
        plan.check()
        self.estimate(plan.jobs, **plan.trial_options)
        for photo, outcome in map_ahead(self._upload, photos, at_once=_folder.UPLOADS_AT_ONCE):
            plan.add(photo, outcome)
        return plan.submitted(self.submit_batch(plan.jobs, **plan.options))

    def batch(self, batch_id: BatchRef) -> Batch:
        return self._session.ask(_calls.batch(batch_id), _answers.batch)

    def batches(self, *, status: BatchStatus | str | None = None) -> Iterator[Batch]:
        """All of the account, newest first, page after page."""
        return self._pages(lambda after: _calls.batches(status, after=after), _answers.batch)

    def jobs(
        self, batch_id: BatchRef, *, state: JobState | str | None = None, code: str | None = None
    ) -> Iterator[Job]:
        """Of one batch, in the order of their making, page after page; `code`: of their error."""
        return self._pages(lambda after: _calls.jobs(batch_id, state, code, after=after), _answers.job)

    def results(self, batch_id: BatchRef) -> Iterator[Result]:
        """What has finished so far, streamed in no order. Raise ConnectionFailed if the stream breaks off."""
        with self._session.stream(_calls.results(batch_id)) as response:
            lines = _answers.ResultLines(response)
            for piece in response.iter_bytes():
                yield from lines.feed(piece)
            yield from lines.rest()

    def download(self, batch_id: BatchRef, folder: FilePath) -> list[Path]:
        """Fetch every output so far into a folder, eight at once, under the jobs' `custom_id`s; return the files.

        Each is verified by its SHA-256 and appears whole or not at all. A file that is there with the same bytes is
        left alone, and one with other bytes too: the new one's name then ends in the job's id. So after an error, or
        while the batch runs, simply call again. Raise DownloadFailed, OSError.
        """
        target = Target(folder)
        wanted = (each for result in self.results(batch_id) for each in wanted_of(result))
        return list(map_ahead(lambda each: self._fetcher.fetch(target, each), wanted, at_once=DOWNLOADS_AT_ONCE))

    def events(self, batch_id: BatchRef) -> Iterator[Batch]:
        """The batch at every change, about once a second at most, until it is final; connects again when cut off."""
        return self._follow(batch_id, Following(self._session.retry))

    def wait(
        self,
        batch_id: BatchRef,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Batch], object] | None = None,
    ) -> Batch:
        """The batch once it is final; `on_progress` is called with it at every change until then.

        Listens to events, and where none come through looks every few seconds. Raise WaitTimeout after `timeout`
        seconds.
        """
        waiting = Waiting(timeout, on_progress, self._session.retry)
        for seen in self._looks(batch_id, waiting):
            if waiting.is_ended_by(seen):
                return seen
        raise waiting.timed_out()

    def pause(self, batch_id: BatchRef, *, idempotency_key: str | None = None) -> Batch:
        """Admit no more jobs; those under way finish. Raise Conflict if the batch is final."""
        return self._session.ask(_calls.act(batch_id, "pause", idempotency_key), _answers.batch)

    def resume(
        self, batch_id: BatchRef, *, budget_usd: Decimal | float | None = None, idempotency_key: str | None = None
    ) -> Batch:
        """Go on. Raise Conflict, code `budget_reached`, where that takes a higher `budget_usd`."""
        call = _calls.act(batch_id, "resume", idempotency_key, budget_usd=budget_usd)
        return self._session.ask(call, _answers.batch)

    def cancel(self, batch_id: BatchRef, *, idempotency_key: str | None = None) -> BatchCancelled:
        """Stop. What is paid for is still collected. Raise Conflict if the batch is final."""
        return self._session.ask(_calls.act(batch_id, "cancel", idempotency_key), _answers.batch_cancelled)

    def retry(
        self,
        batch_id: BatchRef,
        *,
        code: str | None = None,
        pay_again: bool | None = None,
        idempotency_key: str | None = None,
    ) -> BatchRetried:
        """Try all failed jobs again, or those with one error `code`.

        What is or may be paid for is collected without a new charge; where that is no longer possible, only with
        `pay_again`. Raise Conflict if the batch was cancelled.
        """
        call = _calls.act(batch_id, "retry", idempotency_key, code=code, pay_again=pay_again)
        return self._session.ask(call, _answers.batch_retried)

    def _upload(self, photo: _folder.Photo) -> tuple[_folder.Photo, Upload | Refused]:
        retry = self._session.retry.patient()  # one of thousands should not end them all
        try:
            call = _calls.upload(photo.path, None)  # a name would only be told back, in front of what is wrong
            return photo, self._session.ask(call, _answers.upload, retry=retry)
        except (Invalid, OSError) as error:
            return photo, _folder.refused(photo, error)

    def _pages(self, call_of: Callable[[str | None], Call], reader: _answers.Reader[T]) -> Iterator[T]:
        after = None
        while True:
            page = self._session.ask(call_of(after), _answers.page_of(reader))
            yield from page.data
            if not page.has_more or page.next_after is None:
                return
            after = page.next_after

    def _looks(self, batch_id: BatchRef, waiting: Waiting) -> Iterator[Batch]:
        """By events as long as they come, then by asking, until the time is over."""
        with suppress(PhotabatchError):  # whatever it is, asking shows whether it matters
            yield from self._follow(batch_id, Following(self._session.retry, until=waiting.follow_until))
        pause: float | None = 0.0
        while pause is not None:
            time.sleep(pause)
            call = _calls.batch(batch_id, read_s=waiting.read_s)
            yield self._session.ask(call, _answers.batch, retry=waiting.retry)
            pause = waiting.pause_s()

    def _follow(self, batch_id: BatchRef, following: Following) -> Iterator[Batch]:
        while not following.is_over:
            lost: PhotabatchError | None = None
            try:
                call = _calls.events(batch_id, silence_s=following.silence_s)
                with self._session.stream(call, retry=ONCE) as response:
                    following.connected(response)
                    for piece in response.iter_bytes():
                        yield from following.feed(piece)
                        if following.is_over:
                            return
            except PhotabatchError as error:
                lost = error
            time.sleep(following.pause_after(lost))
