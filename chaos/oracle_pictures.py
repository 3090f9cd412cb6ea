"""What the oracle asks of pictures: each is in the bucket, whole, and was made for the job whose row names it."""

import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from chaos.oracle_events import Finding, Row
from chaos.world import World
from clients.storage import StorageError

_MAX_BYTES = 2**20
_AT_ONCE = 8  # objects read


def judge_outputs(
    world: World, jobs: Sequence[Row], outputs: Sequence[Row], ledger: Sequence[Row]
) -> Iterator[Finding]:
    """Every object is read."""
    made_by: dict[str, list[str]] = defaultdict(list)
    for charge in ledger:
        made_by[charge["client_request_id"]].append(charge["job_id"])
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        faults = list(pool.map(lambda output: _fault_of(world, output, made_by), outputs))
    yield from (("partial", fault) for fault in faults if fault)
    yield from missing_outputs(jobs, outputs, ledger)


def missing_outputs(jobs: Sequence[Row], outputs: Sequence[Row], ledger: Sequence[Row]) -> Iterator[Finding]:
    """A job that succeeded has every picture that was paid for."""
    kept = Counter(output["id"] for output in outputs)
    paid = {charge["client_request_id"]: charge["outputs"] for charge in ledger}
    for job in jobs:
        wanted = paid.get(job["client_request_id"], 1)
        if job["state"] == "succeeded" and kept[job["id"]] != wanted:
            yield "partial", f"{job['id']} has {kept[job['id']]} of {wanted} pictures"


def asked_otherwise(jobs: Sequence[Row], asked: Sequence[Row]) -> Iterator[Finding]:
    """`asked`: what Phota was asked for; by a job's request it is what its row says."""
    prompts = {job["client_request_id"]: job["prompt"] for job in jobs}
    for order in asked:
        prompt, request = order["params"]["prompt"], order["client_request_id"]
        if request in prompts and (prompt or None) != prompts[request]:
            yield "partial", f"request {request} asked for {prompt!r}, not {prompts[request]!r}"


def _fault_of(world: World, output: Row, made_by: Mapping[str, Sequence[str]]) -> str | None:
    try:
        data = world.storage.get(output["bucket"], output["key"], max_bytes=_MAX_BYTES)
    except StorageError as error:
        return f"{output['id']} {output['key']}: {error}"
    return picture_fault(output, data, made_by)


def picture_fault(output: Row, data: bytes, made_by: Mapping[str, Sequence[str]]) -> str | None:
    """What is wrong with a stored picture; None if nothing is. `made_by`: by request, Phota's jobs in its ledger."""
    name = f"{output['id']} {output['key']}"
    if output["state"] != "succeeded":
        return f"{name}: of a job that is {output['state']}"
    if (len(data), hashlib.sha256(data).hexdigest()) != (output["bytes"], output["sha256"]):
        return f"{name}: {len(data)} bytes, not those of its row"
    try:
        Image.open(io.BytesIO(data)).load()
    except (OSError, SyntaxError) as error:
        return f"{name}: {error}"
    is_own = any(job.encode() in data for job in made_by.get(output["client_request_id"], ()))
    return None if is_own else f"{name}: the picture of another job"
