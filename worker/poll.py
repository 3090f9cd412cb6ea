"""Stage `poll`: ask Phota how a job goes. Reading only, so it may happen any number of times."""

from decimal import Decimal

from clients.failpoints import pass_point
from clients.phota import Results
from clients.phota_prices import settled
from clients.phota_requests import InvalidRequest, validate
from models.claims import ClaimedJob, Move
from worker import moves
from worker.kit import Kit
from worker.retry import POLL_AGE_S
from worker.submit import look_in_s, ready


async def poll(job: ClaimedJob, kit: Kit) -> Move:
    if not job.poll_url:
        message = "no address to ask Phota for this job's result"
        return moves.fail(job, code="needs_review", message=message, may_be_charged=True)
    answer = await kit.phota.job(job.poll_url, prompt=str(job.params.get("prompt") or ""))
    pass_point("in_poll", kit.failpoint)
    if job.is_start_known:
        kit.sightings.looked(job.operation, job.accepted_age_s, is_done=isinstance(answer, Results))
    if isinstance(answer, Results):
        return ready(job, answer, kit, cost_usd=_cost(job, answer, kit))
    if job.accepted_age_s > POLL_AGE_S:
        message = "Phota had not finished it after 30 minutes"
        return moves.fail(job, code="remote_timeout", message=message, may_be_charged=True)
    return moves.snooze(job, answer.retry_after or look_in_s(job.operation, kit, age_s=job.accepted_age_s))


def _cost(job: ClaimedJob, results: Results, kit: Kit) -> Decimal:
    """By the price table; its estimate where the rules have changed since and do not take the job any more."""
    try:
        params = validate(job.operation, job.params, allowed_hosts=kit.allowed_hosts)
    except InvalidRequest:
        return job.estimate_usd
    return settled(params, results.known_subjects)
