"""The rows in memory do what Postgres does, so that what is found out about the ones holds of the others."""

from sqlalchemy import Engine

from tests.integration.twins import Twins, clocked

_LEAST, _MOST = 400, 4_000  # calls; how many it takes until everything was seen, chance has it
_LIKED = ("claim", "claim", "record", "record", "record", "take_due", "take_retries", "advance")
_RARE = ("admit", "retry", "submit", "take_lost", "unsend", "fail_poison", "expire", "keep", "wake", "retry")
_CALLS = (
    "admit",
    "claim",
    "refused",
    "take_due",
    "take_retries",
    "take_lost",
    "keep",
    "wake",
    "worker_lost",
    "expired",
)
_STATES = ("to queued", "to submitting", "to running", "to storing", "to succeeded", "to failed", "to rejected")
_FATES = ("retry fresh", "retry collect", "retry resend")


def test_hundreds_of_calls_leave_the_same_rows_in_postgres_and_in_memory(engine: Engine) -> None:
    wanted = {*_CALLS, *_STATES, *_FATES}
    with clocked(engine).connect() as connection:
        twins = Twins(connection, seed=3)
        for number in range(_MOST):
            twins.call(twins.chance.choice(_LIKED + _RARE))
            if number % 10 == 0:
                twins.compare_beside()
            if number > _LEAST and wanted <= set(+twins.seen):
                break
        twins.call("cancel")
        twins.compare_beside()
    assert wanted - set(+twins.seen) == set()
    assert twins.seen["cancel"] > 0
