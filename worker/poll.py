"""Stage `poll`: ask Phota how a job goes. Reading only, so it may happen any number of times."""

from clients.phota import Results
from clients.phota_requests import validate
from models.claims import ClaimedJob, Move
from worker import moves
from worker.failpoints import pass_point
from worker.kit import Kit
from worker.retry import POLL_AGE_S, next_poll_s
from worker.submit import ready


async def poll(job: ClaimedJob, kit: Kit) -> Move:
    if not job.poll_url:
        return moves.fail(job, code="needs_review", message="no address to ask Phota for this job's result")
    answer = await kit.phota.job(job.poll_url)
    pass_point("in_poll", kit.failpoint)
    kit.sightings.looked(job.operation, job.accepted_age_s, is_done=isinstance(answer, Results))
    if isinstance(answer, Results):
        return ready(job, validate(job.operation, job.params, allowed_hosts=kit.allowed_hosts), answer, kit)
    if job.accepted_age_s > POLL_AGE_S:
        return moves.fail(job, code="remote_timeout", message="Phota had not finished it after 30 minutes")
    return moves.snooze(job, answer.retry_after or next_poll_s(job.accepted_age_s, random_source=kit.random_source))
