"""What the oracle asks of batches and accounts: called what their jobs became, once they had; money to the cent."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from chaos.oracle_events import Finding, Row
from models.states import FINAL_STATES, BatchStatus


def judge_batches(jobs: Sequence[Row], batches: Sequence[Row], moves: Sequence[Row]) -> Iterator[Finding]:
    """`batches`: each with its counts and money as the product tells them. `moves`: what they were called, in order."""
    of_batch: dict[Any, list[Row]] = defaultdict(list)
    for job in jobs:
        of_batch[job["batch_id"]].append(job)
    called = {move["batch_id"]: move["status"] for move in moves}
    for batch in batches:
        truth = Counter(job["state"] for job in of_batch[batch["id"]] if not job["is_superseded"])
        wrong = [*_wrong_counts(batch, truth), *_wrong_money(batch, of_batch[batch["id"]])]
        if batch["is_closed"] and all(state in FINAL_STATES for state in truth):
            wrong += _wrong_end(batch, truth)
        if called.get(batch["id"], BatchStatus.OPEN) != batch["status"]:
            wrong.append(f"it is {batch['status']}, and was never seen to become so")
        yield from (("miscounted", f"{batch['slug']}: {each}") for each in wrong)
    for move in moves:
        if BatchStatus(move["status"]).is_final and move["unfinished"]:
            yield "miscounted", f"{move['slug']} was {move['status']} with {move['unfinished']} jobs to end"


def judge_accounts(accounts: Sequence[Row]) -> Iterator[Finding]:
    """`accounts`: what each has spent, by its days and by its jobs, once nothing is under way."""
    for account in accounts:
        if account["booked_usd"] != account["spent_usd"]:
            yield "miscounted", f"account {account['name']}: {account['booked_usd']}, not {account['spent_usd']}"


def _wrong_counts(batch: Row, truth: Counter[str]) -> Iterator[str]:
    told = batch["progress"]
    yield from (f"{state} {told[state]}, not {truth[state]}" for state in FINAL_STATES if told[state] != truth[state])
    if batch["total"] != sum(truth.values()):
        yield f"total {batch['total']}, not {sum(truth.values())}"


def _wrong_money(batch: Row, jobs: Sequence[Row]) -> Iterator[str]:
    """A charge stands in the row of the generation that went on with it, so no row's cost is left out."""
    spent = sum((job["cost_usd"] or Decimal(0) for job in jobs), Decimal(0))
    reserved = sum((job["estimate_usd"] for job in jobs if job["state"] in ("submitting", "running")), Decimal(0))
    if (batch["spent_usd"], batch["reserved_usd"]) != (spent, reserved):
        yield f"{batch['spent_usd']} spent and {batch['reserved_usd']} reserved, not {spent} and {reserved}"
    if batch["budget_usd"] is not None and spent + reserved > batch["budget_usd"]:
        yield f"{spent} + {reserved} of a budget of {batch['budget_usd']}"


def _wrong_end(batch: Row, truth: Counter[str]) -> list[str]:
    """A batch is called what its jobs have become, as docs/contract.md says."""
    good, total = truth["succeeded"] + truth["skipped"], sum(truth.values())
    expected = "completed" if good == total else "completed_with_errors" if good else "failed"
    if batch["is_cancelled"]:
        expected = "cancelled"
    elif truth["expired"] == total:
        expected = "expired"
    return [] if batch["status"] == expected else [f"it is {batch['status']}, not {expected}"]
