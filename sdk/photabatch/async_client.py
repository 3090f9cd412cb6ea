"""The client for asyncio: as `client.py`, method by method."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar, Unpack

import httpx

from photabatch import _answers, _calls, _folder
from photabatch._ahead import amap_ahead
from photabatch._bodies import AsyncJobs, FilePath, JobSpec
from photabatch._calls import BatchOptions, BatchRef, Call, JobRef, ManifestOptions
from photabatch._downloads import Target, Wanted, wanted_of
from photabatch._fetching import DOWNLOADS_AT_ONCE, AsyncFetcher
from photabatch._retries import DEFAULT, ONCE, Retry
from photabatch._session import AsyncSession, Timeout
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


class AsyncClient:
    """`Client` for asyncio: same arguments, same methods, same errors, and what is said there holds here.

    `on_progress` stays an ordinary function. Jobs may come from an asynchronous iterable, too; an ordinary one is read
    in the event loop, files are read and written in threads. Iterators that are left early want `contextlib.aclosing`.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: Timeout = None,
        http: httpx.AsyncClient | None = None,
        files: httpx.AsyncClient | None = None,
        retry: Retry = DEFAULT,
    ) -> None:
        """Raise NotConfigured."""
        self._session = AsyncSession(Settings.read(url, api_key), timeout, http, retry)
        self._fetcher = AsyncFetcher(files, retry)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._session.close()
        await self._fetcher.close()

    async def submit_job(self, job: JobSpec, *, idempotency_key: str | None = None) -> JobSubmitted:
        """Queue one job. Raise Invalid."""
        return await self._session.ask(_calls.submit_job(job, idempotency_key), _answers.job_submitted)

    async def job(self, job_id: JobRef) -> Job:
        """With its outputs, attempts and cost."""
        return await self._session.ask(_calls.job(job_id), _answers.job)

    async def submit_batch(self, jobs: AsyncJobs, **options: Unpack[BatchOptions]) -> BatchSubmitted:
        """Queue any number of jobs, streamed; a generator is read once. Raise Invalid."""
        return await self._session.ask(_calls.submit_batch(jobs, options), _answers.batch_submitted)

    async def submit_manifest(
        self, manifest: FilePath | IO[bytes], **options: Unpack[ManifestOptions]
    ) -> BatchSubmitted:
        """Queue the jobs of a JSONL file, streamed from disk. Raise Invalid, OSError."""
        return await self._session.ask(_calls.submit_manifest(manifest, options), _answers.batch_submitted)

    async def estimate(self, jobs: AsyncJobs | FilePath | IO[bytes], **options: Unpack[BatchOptions]) -> Estimate:
        """What these jobs, or those of a manifest, would cost. Nothing is queued or spent. Raise Invalid."""
        return await self._session.ask(_calls.estimate(jobs, options), _answers.estimate)

    async def upload(self, photo: bytes | FilePath, *, name: str | None = None) -> Upload:
        """Store one photo, up to 64 MB; the same twice is stored once. Raise Invalid if it is none, OSError."""
        return await self._session.ask(_calls.upload(photo, name), _answers.upload)

    async def submit_folder(
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

        Photos that are refused do not stop the others: they are in the answer. A mistake in the arguments is told
        before the second photo is uploaded. Raise NoPhotos, Invalid, TypeError, ValueError, OSError.
        """
        plan = await asyncio.to_thread(_folder.FolderPlan, folder, operation, params, output, on_progress, options)
        photos = iter(plan.photos)
        while not plan.jobs and (first := next(photos, None)):
            plan.add(*await self._upload(first))
        plan.check()
        await self.estimate(plan.jobs, **plan.trial_options)
        async with aclosing(amap_ahead(self._upload, photos, at_once=_folder.UPLOADS_AT_ONCE)) as uploads:
            async for photo, outcome in uploads:
                plan.add(photo, outcome)
        return plan.submitted(await self.submit_batch(plan.jobs, **plan.options))

    async def batch(self, batch_id: BatchRef) -> Batch:
        return await self._session.ask(_calls.batch(batch_id), _answers.batch)

    def batches(self, *, status: BatchStatus | str | None = None) -> AsyncGenerator[Batch, None]:
        """All of the account, newest first, page after page."""
        return self._pages(lambda after: _calls.batches(status, after=after), _answers.batch)

    def jobs(
        self, batch_id: BatchRef, *, state: JobState | str | None = None, code: str | None = None
    ) -> AsyncGenerator[Job, None]:
        """Of one batch, in the order of their making, page after page; `code`: of their error."""
        return self._pages(lambda after: _calls.jobs(batch_id, state, code, after=after), _answers.job)

    async def results(self, batch_id: BatchRef) -> AsyncGenerator[Result, None]:
        """What has finished so far, streamed in no order. Raise ConnectionFailed if the stream breaks off."""
        async with self._session.stream(_calls.results(batch_id)) as response:
            lines = _answers.ResultLines(response)
            async for piece in response.aiter_bytes():
                for result in lines.feed(piece):
                    yield result
            for result in lines.rest():
                yield result

    async def download(self, batch_id: BatchRef, folder: FilePath) -> list[Path]:
        """Fetch every output so far into a folder, eight at once, verified; return the files.

        Raise DownloadFailed, OSError.
        """
        target = Target(folder)
        async with (
            aclosing(self._wanted(batch_id)) as wanted,
            aclosing(
                amap_ahead(lambda each: self._fetcher.fetch(target, each), wanted, at_once=DOWNLOADS_AT_ONCE)
            ) as paths,
        ):
            return [path async for path in paths]

    def events(self, batch_id: BatchRef) -> AsyncGenerator[Batch, None]:
        """The batch at every change, about once a second at most, until it is final; connects again when cut off."""
        return self._follow(batch_id, Following(self._session.retry))

    async def wait(
        self,
        batch_id: BatchRef,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as the blocking client's, which tells the batch as last seen
        on_progress: Callable[[Batch], object] | None = None,
    ) -> Batch:
        """The batch once it is final. Raise WaitTimeout after `timeout` seconds."""
        waiting = Waiting(timeout, on_progress, self._session.retry)
        async with aclosing(self._looks(batch_id, waiting)) as looks:
            async for seen in looks:
                if waiting.is_ended_by(seen):
                    return seen
        raise waiting.timed_out()

    async def pause(self, batch_id: BatchRef, *, idempotency_key: str | None = None) -> Batch:
        """Admit no more jobs; those under way finish. Raise Conflict if the batch is final."""
        return await self._session.ask(_calls.act(batch_id, "pause", idempotency_key), _answers.batch)

    async def resume(
        self, batch_id: BatchRef, *, budget_usd: Decimal | float | None = None, idempotency_key: str | None = None
    ) -> Batch:
        """Go on. Raise Conflict, code `budget_reached`, where that takes a higher `budget_usd`."""
        call = _calls.act(batch_id, "resume", idempotency_key, budget_usd=budget_usd)
        return await self._session.ask(call, _answers.batch)

    async def cancel(self, batch_id: BatchRef, *, idempotency_key: str | None = None) -> BatchCancelled:
        """Stop. What is paid for is still collected. Raise Conflict if the batch is final."""
        return await self._session.ask(_calls.act(batch_id, "cancel", idempotency_key), _answers.batch_cancelled)

    async def retry(
        self,
        batch_id: BatchRef,
        *,
        code: str | None = None,
        pay_again: bool | None = None,
        idempotency_key: str | None = None,
    ) -> BatchRetried:
        """Try all failed jobs again, or those with one error `code`. Raise Conflict if the batch was cancelled."""
        call = _calls.act(batch_id, "retry", idempotency_key, code=code, pay_again=pay_again)
        return await self._session.ask(call, _answers.batch_retried)

    async def _upload(self, photo: _folder.Photo) -> tuple[_folder.Photo, Upload | Refused]:
        retry = self._session.retry.patient()  # one of thousands should not end them all
        try:
            call = _calls.upload(photo.path, None)  # a name would only be told back, in front of what is wrong
            return photo, await self._session.ask(call, _answers.upload, retry=retry)
        except (Invalid, OSError) as error:
            return photo, _folder.refused(photo, error)

    async def _pages(
        self, call_of: Callable[[str | None], Call], reader: _answers.Reader[T]
    ) -> AsyncGenerator[T, None]:
        after = None
        while True:
            page = await self._session.ask(call_of(after), _answers.page_of(reader))
            for each in page.data:
                yield each
            if not page.has_more or page.next_after is None:
                return
            after = page.next_after

    async def _wanted(self, batch_id: BatchRef) -> AsyncGenerator[Wanted, None]:
        async with aclosing(self.results(batch_id)) as results:
            async for result in results:
                for each in wanted_of(result):
                    yield each

    async def _looks(self, batch_id: BatchRef, waiting: Waiting) -> AsyncGenerator[Batch, None]:
        """By events as long as they come, then by asking, until the time is over."""
        with suppress(PhotabatchError):  # whatever it is, asking shows whether it matters
            following = Following(self._session.retry, until=waiting.follow_until)
            async with aclosing(self._follow(batch_id, following)) as events:
                async for seen in events:
                    yield seen
        pause: float | None = 0.0
        while pause is not None:
            await asyncio.sleep(pause)
            call = _calls.batch(batch_id, read_s=waiting.read_s)
            yield await self._session.ask(call, _answers.batch, retry=waiting.retry)
            pause = waiting.pause_s()

    async def _follow(self, batch_id: BatchRef, following: Following) -> AsyncGenerator[Batch, None]:
        while not following.is_over:
            lost: PhotabatchError | None = None
            try:
                call = _calls.events(batch_id, silence_s=following.silence_s)
                async with self._session.stream(call, retry=ONCE) as response:
                    following.connected(response)
                    async for piece in response.aiter_bytes():
                        for seen in following.feed(piece):
                            yield seen
                        if following.is_over:
                            return
            except PhotabatchError as error:
                lost = error
            await asyncio.sleep(following.pause_after(lost))
