"""When too much of a batch has failed: SQL over `batch` and its `progress`, for who pauses it and who admits."""

JUDGED = 20  # jobs that end before a batch's failures are judged
BAD = "(progress.failed + progress.rejected)"
ENDED = f"(progress.succeeded + {BAD})"
SEEN = f"({ENDED} - batch.forgiven_ended)"  # since it was last resumed or retried
IS_FAILING = (
    f"({SEEN} >= {JUDGED} AND {BAD} - batch.forgiven_failed > batch.max_failure_rate * {SEEN}"
    " AND batch.max_failure_rate IS NOT NULL)"
)
# How many may be under way until it is judged: what has not ended yet of the jobs that the judgement takes.
UNJUDGED = (
    f"CASE WHEN batch.max_failure_rate IS NOT NULL AND {SEEN} < {JUDGED} THEN {JUDGED} - {SEEN} - progress.storing END"
)
