"""Manifests on the command line: `submit`, and what `plan` and `run` do with one."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import click
from pydantic_core import from_json, to_json
from sqlalchemy import Connection, Engine

from cli.exits import CommandError, Exit, UsageFault
from cli.fleet import load_settings, open_database, services
from cli.manner import Manner, attended, earlier_batch, refuse_lonely_detach, see_through, set_going
from cli.orders import RESULTS, check_bucket, check_destination, check_services, check_webhook, confirm, tell_bill
from cli.request_options import limits_of, params_of, request_options
from cli.terminal import emit, say
from clients.s3_uri import S3Uri
from clients.storage import Storage
from models import Priority
from models.contents import count_done
from models.inserts import BatchRef
from producer.batches import BatchLimits, close_batch, open_batch
from producer.content import with_content
from producer.estimating import Tally
from producer.jobs import CheckedJob
from producer.manifests.bulk import queue_spooled
from producer.manifests.checking import Checker, TooManyJobs
from producer.manifests.manifest_files import is_manifest, read_manifest
from producer.manifests.spool import Spool
from producer.ownership import OPERATOR, Owner, Room
from settings import Settings, get_settings

_FAULTS_SHOWN = 20
_BUCKETS = 100  # whose being there is looked at before anything is queued


def is_manifest_run(sources: tuple[str, ...]) -> bool:
    """Whether the one source is a manifest: by its name, or standard input."""
    return len(sources) == 1 and (sources[0] == "-" or ("://" not in sources[0] and is_manifest(sources[0])))


@dataclass(frozen=True, slots=True)
class Checked:
    """A manifest that has been read: its jobs wait in the spool. `digest`: of all its jobs."""

    spool: Spool
    tally: Tally
    digest: str
    buckets: frozenset[str]  # that lines name for their outputs
    seen: int


@contextmanager
def checked(source: str, defaults: dict[str, Any], owner: Owner, *, is_redo: bool) -> Iterator[Checked]:
    """Every line checked and told of. Raise UsageFault, or CommandError where there is none."""
    spool, tally, digest, buckets = Spool("line"), Tally(), hashlib.sha256(), set[str]()

    def keep(number: int, job: CheckedJob) -> None:
        known = with_content(job, is_redo=is_redo)
        tally.add(number, known)
        spool.add(number, known)
        if known.output is not None and len(buckets) < _BUCKETS:
            buckets.add(S3Uri.parse(known.output).bucket)
        digest.update(to_json([known.content_key, known.params.body(), known.spec, known.output]))

    checker = Checker(spool, keep, allowed_hosts=get_settings().allowed_hosts, owner=owner, defaults=defaults)
    try:
        try:
            read_manifest(None if source == "-" else Path(source), checker)
        except OSError as error:
            raise UsageFault(f"{source}: {error.strerror}") from None
        except TooManyJobs as error:
            raise UsageFault(f"{source}: {error}; send it in parts") from None
        if not checker.seen:
            raise CommandError(f"{source}: no jobs in it", Exit.NOTHING_TO_DO)
        yield Checked(spool, tally, digest.hexdigest(), frozenset(buckets), checker.seen)
    finally:
        spool.close()


def plan_manifest(
    source: str, operation: str | None, options: dict[str, Any], *, engine: Engine | None, as_json: bool, is_redo: bool
) -> int:
    """What it would do and cost; every bad line."""
    limits, _, _, defaults = _sorted_out(operation, options)
    with checked(source, defaults, Owner(OPERATOR, get_settings().s3_bucket), is_redo=is_redo) as manifest:
        if manifest.spool.refused:
            _tell_faults(source, manifest.spool, as_json=as_json)
        jobs, low, high = _bill(engine, manifest, is_redo=is_redo)
        _tell_warnings(manifest, limits)
        tell_bill(jobs, low, high, what=Path(source).name, budget_usd=limits.budget_usd)
        if as_json:
            cost = {"low": float(low), "high": float(high)}
            sums = {"lines": manifest.seen, "invalid": manifest.spool.refused, "jobs": jobs, "cost_usd": cost}
            emit({"summary": sums | {"done_before": manifest.tally.jobs - jobs}})
    if manifest.spool.refused:
        return Exit.USAGE
    return Exit.SUCCEEDED if jobs else Exit.NOTHING_TO_DO


def run_manifest(source: str, operation: str | None, options: dict[str, Any], manner: Manner, *, is_redo: bool) -> int:
    """Queue all lines in one transaction, wait, download."""
    limits, name, out, defaults = _sorted_out(operation, options)
    webhook_url, priority = options.pop("webhook_url", None), Priority[options.pop("priority", "normal").upper()]
    with services(with_workers=not manner.detach) as settings:
        engine, storage = open_database(settings), Storage.from_settings(settings)
        check_webhook(webhook_url, settings)
        check_services(settings, storage)
        is_local = not manner.detach and not (out and out.startswith("s3://"))
        check_destination(None, (Path(out) if out else RESULTS) if is_local else None, storage)
        with checked(source, defaults, Owner(OPERATOR, settings.s3_bucket), is_redo=is_redo) as manifest:
            for bucket in sorted(manifest.buckets):
                check_bucket(storage, bucket, "output")
            batch_name = name or f"{Path(source).stem if source != '-' else 'manifest'}"
            run_key = hashlib.sha256(json.dumps([manifest.digest, out, name, is_redo]).encode()).hexdigest()
            batch = earlier_batch(engine, run_key, manner)
            if batch is None:
                batch = _queue(
                    engine,
                    settings,
                    manifest,
                    source,
                    manner,
                    is_redo=is_redo,
                    batch={
                        "name": batch_name,
                        "limits": limits,
                        "priority": priority,
                        "webhook_url": webhook_url,
                        "run_key": run_key,
                    },
                )
            else:
                _go_on(engine, batch, limits, manner)
        folder = (Path(out) if out else RESULTS / batch.name) if is_local else None
        with attended(batch):
            return see_through(engine, storage, batch, folder, manner, seconds=0.0)


def _go_on(engine: Engine, batch: BatchRef, limits: BatchLimits, manner: Manner) -> None:
    """Its lines went in together: none is missing, so that it takes no more."""
    set_going(engine, batch, limits, manner, takes_more=False)


def _queue(
    engine: Engine,
    settings: Settings,
    manifest: Checked,
    source: str,
    manner: Manner,
    *,
    is_redo: bool,
    batch: dict[str, Any],
) -> BatchRef:
    spool = manifest.spool
    if spool.refused and not manner.skip_invalid:
        _tell_faults(source, spool, as_json=manner.as_json)
        raise _invalid(spool)
    limits: BatchLimits = batch["limits"]
    _tell_warnings(manifest, limits)
    jobs, low, high = _bill(engine, manifest, is_redo=is_redo)
    tell_bill(jobs, low, high, what=Path(source).name, budget_usd=limits.budget_usd)
    if jobs:
        confirm(settings, yes=manner.yes, budget_usd=limits.budget_usd)
    refused = spool.refused
    with engine.begin() as connection:
        opened = _insert(connection, manifest, batch, settings)
        if spool.refused > refused and not manner.skip_invalid:  # found while they went in: a custom_id twice
            _tell_faults(source, spool, as_json=manner.as_json)
            raise _invalid(spool)
    if spool.refused:
        _tell_faults(source, spool, as_json=manner.as_json)
        say(f"{spool.refused} lines are left out.", style="yellow")
    return opened


def _insert(connection: Connection, manifest: Checked, batch: dict[str, Any], settings: Settings) -> BatchRef:
    opened = open_batch(connection, **batch)
    queue_spooled(connection, manifest.spool, opened, Owner(OPERATOR, settings.s3_bucket), Room(connection, OPERATOR))
    close_batch(connection, opened)
    return opened


def _invalid(spool: Spool) -> UsageFault:
    return UsageFault(f"{spool.refused} lines are invalid; nothing was queued. Correct them, or use --skip-invalid.")


def _sorted_out(
    operation: str | None, options: dict[str, Any]
) -> tuple[BatchLimits, str | None, str | None, dict[str, Any]]:
    """Limits, name, destination, and what lines that leave it open are completed with. Raise UsageFault."""
    if any(options.pop(name, None) for name in ("include", "exclude", "files_from")):
        raise UsageFault("a manifest names its pictures: --include, --exclude and --files-from are for folders")
    options.pop("count", None)
    limits, name, out = limits_of(options), options.pop("name", None), options.pop("out", None)
    params = params_of({key: value for key, value in options.items() if key not in ("webhook_url", "priority")})
    if params and operation is None:
        raise UsageFault(f"--{next(iter(params)).replace('_', '-')} completes the lines of one operation: add --op")
    defaults: dict[str, Any] = {"operation": operation, "params": params} if operation else {}
    return limits, name, out, defaults | ({"output": out} if out and out.startswith("s3://") else {})


def _bill(engine: Engine | None, manifest: Checked, *, is_redo: bool) -> tuple[int, Decimal, Decimal]:
    """Jobs that would be called, and the least and the most that they cost."""
    tally = manifest.tally
    jobs, usd = (0, Decimal(0)) if engine is None or is_redo else _done(engine, manifest.spool)
    if jobs:
        say(f"{jobs:,} of {tally.jobs:,} were done before and are skipped; --redo does them again.")
    share = 1 - usd / tally.high_usd if tally.high_usd else Decimal(0)
    return tally.jobs - jobs, tally.low_usd * share, tally.high_usd - usd


def _done(engine: Engine, spool: Spool) -> tuple[int, Decimal]:
    with engine.connect() as connection:
        counts = [count_done(connection, bite.rows) for bite in spool.bites()]
    return sum(jobs for jobs, _ in counts), sum((usd for _, usd in counts), Decimal(0))


def _tell_warnings(manifest: Checked, limits: BatchLimits) -> None:
    for warning in manifest.tally.warnings(budget_usd=limits.budget_usd, room=None):
        say(warning.message, style="yellow")


def _tell_faults(source: str, spool: Spool, *, as_json: bool) -> None:
    """The first ones for people, all of them for programs."""
    name = "standard input" if source == "-" else source
    for fault in islice(spool.faults(), _FAULTS_SHOWN):
        told = from_json(fault)
        say(f"{name}, line {told['line']}: {told['message']}", style="red")
    if spool.refused > _FAULTS_SHOWN:
        say(f"… {spool.refused:,} invalid lines in all; --json prints every one", style="red")
    if as_json:
        for fault in spool.faults():
            emit(from_json(fault))


@click.command()
@click.argument("manifest", metavar="MANIFEST")
@request_options
@click.option("--out", metavar="DEST", help="s3://bucket/prefix for lines that name no output.")
@click.option("--skip-invalid", is_flag=True, help="Leave out lines that are invalid, instead of refusing all.")
@click.option("--redo", "is_redo", is_flag=True, help="Do again, and pay again, what was done before.")
@click.option("--yes", is_flag=True, help="Do not ask before the first charge.")
@click.option("--json", "as_json", is_flag=True, help="Print the batch object.")
def submit(manifest: str, operation: str | None, **options: Any) -> int:
    """Queue the jobs of MANIFEST (.jsonl, .csv, or - for standard input) and return; all lines or none.

    --op and the parameters complete lines that leave them open. The same manifest again, while its batch is not
    finished, queues nothing twice.
    """
    load_settings()
    refuse_lonely_detach("submit")
    chosen = {name: options.pop(name) for name in ("skip_invalid", "yes", "as_json")}
    is_redo = options.pop("is_redo")
    return run_manifest(manifest, operation, options, Manner(detach=True, **chosen), is_redo=is_redo)
