"""What a receiver's answers mean, for the delivery and for the pace of its endpoint."""

import json
import random
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clients.webhooks import SCHEDULE, Answer
from models.events import DIGEST, EVENT_TYPES, PING
from models.outbox import ClaimedDelivery, DeliveryMove
from models.states import BATCH_OUTCOMES, DeliveryState, JobState
from producer.webhooks import EVENTS, new_secret
from worker.messages import Message, as_messages
from worker.receivers import BROKEN, Tally, after_answer, pause_s

MOMENT = datetime(2026, 5, 1, 12, tzinfo=UTC)
OK = Answer(200, None, None, is_delivered=True, is_gone=False)
GONE = Answer(410, "http_410", None, is_delivered=False, is_gone=True)


def refused(status: int | None = 500, retry_after: float | None = None) -> Answer:
    return Answer(status, f"http_{status}", retry_after, is_delivered=False, is_gone=False)


def outcome(answer: Answer, *, tries: int = 0) -> DeliveryMove:
    message = Message(uuid.uuid4(), "job.failed", MOMENT, {}, tries, ((uuid.uuid4(), 1),))
    return after_answer(message, answer, random.Random(1))


def test_a_2xx_is_the_end_of_it() -> None:
    move = outcome(OK, tries=3)
    assert (move.state, move.due_s, move.http_status, move.error) == (DeliveryState.DELIVERED, None, 200, None)


@pytest.mark.parametrize("tries", range(9))
def test_a_failure_is_due_again_by_the_schedule(tries: int) -> None:
    planned = SCHEDULE[tries + 1].total_seconds()
    move = outcome(refused(), tries=tries)
    assert move.state is DeliveryState.PENDING
    assert planned <= (move.due_s or 0) <= planned * 1.1


def test_the_tenth_failure_and_a_410_are_final() -> None:
    assert outcome(refused(), tries=9).state is DeliveryState.FAILED
    assert outcome(GONE).state is DeliveryState.FAILED


def test_retry_after_may_make_it_later_never_earlier() -> None:
    assert outcome(refused(429, 700.0)).due_s == 700
    assert (outcome(refused(429, 1.0), tries=3).due_s or 0) >= 7200


def test_an_endpoint_rests_longer_with_every_failure_and_never_long() -> None:
    source = random.Random(1)
    pauses = [pause_s(failures, source) for failures in range(40)]
    assert pauses[0] == 0
    assert 0.16 <= pauses[1] <= 0.24
    assert all(4 <= pause <= 6 for pause in pauses[6:])
    assert len(set(pauses)) == 40


def tally(*answers: Answer) -> Tally:
    told = Tally()
    for answer in answers:
        told.note(answer)
    return told


def test_only_what_failed_since_the_last_success_counts() -> None:
    assert tally(refused(), refused(), OK, refused()) == Tally(took=True, failed=1)
    assert tally(refused(), OK).is_well
    assert not tally(OK, refused()).is_well


def test_a_fault_of_our_own_is_none_of_the_receiver() -> None:
    assert tally(OK, BROKEN) == Tally(took=True, broken=1)
    assert not tally(BROKEN).is_well


def test_only_a_busy_receiver_rests_the_endpoint_and_an_hour_at_most() -> None:
    assert tally(refused(503, 90.0), refused(429, 1e5)).rest_s == 3600
    assert tally(refused(503, 90.0), OK).rest_s == 90
    assert tally(refused(500, 90.0)).rest_s == 0
    assert tally(OK, GONE).is_gone


def claimed(seq: int, digest_id: uuid.UUID | None = None) -> ClaimedDelivery:
    at = MOMENT + timedelta(seconds=seq)
    fields: dict[str, Any] = {"batch_id": None, "job_id": uuid.uuid4(), "endpoint_id": uuid.uuid4()}
    return ClaimedDelivery(uuid.uuid4(), 1, seq, "job.failed", at, seq, **fields, digest_id=digest_id)


def test_single_events_are_told_one_by_one_under_their_own_ids() -> None:
    told = [claimed(1), claimed(2)]
    messages = as_messages(told, {each.id: {"id": each.seq} for each in told})
    assert [(each.id, each.data, each.members) for each in messages] == [
        (each.id, {"id": each.seq}, ((each.id, 1),)) for each in told
    ]


def test_a_digest_tells_of_all_its_jobs_at_the_time_of_the_first() -> None:
    digest_id = uuid.uuid4()
    told = [claimed(1, digest_id), claimed(2, digest_id)]
    [message] = as_messages(told, {each.id: {"id": each.seq} for each in told})
    assert (message.id, message.type, message.timestamp) == (digest_id, DIGEST, told[0].created_at)
    assert json.loads(json.dumps(message.data)) == {
        "jobs": [
            {"type": "job.failed", "timestamp": f"2026-05-01T12:00:0{seq}Z", "data": {"id": seq}} for seq in (1, 2)
        ],
        "count": 2,
    }
    assert (len(message.members), message.tries) == (2, 2)


def test_every_type_that_is_sent_may_be_asked_for_and_is_written_down() -> None:
    told = {f"job.{state}" for state in JobState if state.is_final} - {"job.skipped"}
    told |= {f"batch.{status}" for status in (*BATCH_OUTCOMES, "started", "paused")}
    told |= {"schedule.finished"}
    assert set(EVENT_TYPES) == told
    assert set(EVENTS) - told == {"*", "job.*", "batch.*", "schedule.*"}
    page = (Path(__file__).parents[2] / "docs/contract.md").read_text()
    assert all(f"`{name}`" in page for name in (*EVENTS, PING, DIGEST))


def test_secrets_are_32_random_bytes() -> None:
    assert len({new_secret() for _ in range(10)}) == 10
    assert all(len(new_secret()) == len("whsec_") + 44 for _ in range(10))
