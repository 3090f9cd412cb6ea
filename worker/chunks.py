"""A message arrives: claim its ids, run the stage for all of them at once, write each transition as it comes."""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from clients.failpoints import pass_point
from clients.phota import PhotaError
from models.claims import AttemptRecord, ClaimedJob, Move, claim, claim_again
from models.engine import DATABASE_AWAY
from models.states import Hold, JobState, Stage
from worker.kit import Kit
from worker.leases import Leases
from worker.moves import hand_back
from worker.outcomes import after_error
from worker.poll import poll
from worker.recorder import Recorder
from worker.store import store
from worker.submit import submit

log = logging.getLogger(__name__)

STAGES: dict[Stage, Callable[[ClaimedJob, Kit], Awaitable[Move]]] = {
    Stage.SUBMIT: submit,
    Stage.POLL: poll,
    Stage.STORE: store,
}


class Chunks:
    def __init__(self, engine: AsyncEngine, kit: Kit, recorder: Recorder[Move], leases: Leases) -> None:
        self._engine = engine
        self._kit = kit
        self._recorder = recorder
        self._leases = leases

    async def work(self, stage: Stage, ids: Sequence[uuid.UUID]) -> None:
        """All jobs of the chunk concurrently; returns when each has moved on or was handed back."""
        jobs = await self._claim(stage, ids)
        pass_point("after_claim", self._kit.failpoint)
        for job in jobs:
            self._leases.take(job)
        await asyncio.gather(*(self._carry(job) for job in jobs))

    async def _claim(self, stage: Stage, ids: Sequence[uuid.UUID]) -> list[ClaimedJob]:
        """A database that is away is waited for: with the message gone its ids would rest until they are sent again."""
        jobs: list[ClaimedJob] | None = None
        unsure: list[ClaimedJob] = []  # taken by a claim whose COMMIT had no answer
        pause_s = 0.1
        while True:
            try:
                async with self._engine.begin() as connection:
                    jobs = await (
                        claim_again(connection, stage, ids, unsure) if unsure else claim(connection, stage, ids)
                    )
                    unsure = jobs or unsure
                if jobs is not None:
                    return jobs
            except DATABASE_AWAY as error:
                log.warning("database away, %d ids wait to be claimed: %s", len(ids), type(error).__name__)
            await asyncio.sleep(pause_s)
            pause_s = min(2.0, pause_s * 2)

    async def _carry(self, job: ClaimedJob) -> None:
        """Through as many stages as the lease carries it."""
        try:
            while True:
                move = await self._step(job)
                took = asyncio.ensure_future(self._recorder.write(move))
                try:
                    is_mine = await asyncio.shield(took) and move.hold is Hold.HELD
                finally:  # also when the process stops: what is being written decides where the job stands
                    if await took and move.hold is Hold.HELD:
                        job = replace(job, state=move.state, attempt=move.attempt, result_urls=move.result_urls)
                if not took.result():
                    log.warning("job %s: its row has moved on without this worker, nothing written", job.id)
                if not is_mine:
                    break
                pass_point("between_stages", self._kit.failpoint)
            pass_point("after_commit", self._kit.failpoint)
        except asyncio.CancelledError:
            await self._recorder.write(hand_back(job))
        except Exception:
            log.exception("job %s: its transition could not be written", job.id)
        finally:
            self._leases.drop(job)
            self._kit.inline.pop(job.id, None)
            self._kit.sightings.nudge()

    async def _step(self, job: ClaimedJob) -> Move:
        """One stage; whatever it raises becomes a transition."""
        stage = job.state.stage
        assert stage is not None, "only jobs in a stage are claimed"  # noqa: S101
        started_at = datetime.now(UTC)
        error: Exception | None = None
        try:
            move = await STAGES[stage](job, self._kit)
        except Exception as caught:
            error = caught
            move = after_error(job, error, self._kit)
        if error is None and move.state is job.state is JobState.RUNNING:
            return move  # waiting is not an attempt
        return replace(move, record=_record(stage, started_at, move, error))


def _record(stage: Stage, started_at: datetime, move: Move, error: Exception | None) -> AttemptRecord:
    seen = error if isinstance(error, PhotaError) else None
    return AttemptRecord(
        stage=stage,
        started_at=started_at,
        duration_ms=int((datetime.now(UTC) - started_at).total_seconds() * 1000),
        http_status=seen.http_status if seen else move.http_status,
        request_id=seen.request_id if seen else move.request_id,
        error_code=move.error_code,
        error_message=move.error_message,
    )
