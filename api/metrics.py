"""Prometheus metrics: of the whole installation from the database, of this process from its meters."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.keys import Operator
from api.metering import Meters
from api.openapi import ERRORS
from models.gauges import LONE_WINDOW, Gauges, read_gauges
from models.states import BatchStatus, JobState

router = APIRouter(tags=["operation"])

_WINDOW = f"{LONE_WINDOW.total_seconds() / 3600:.0f} h"
_EXAMPLE = """\
# HELP photabatch_jobs Jobs of all batches, by state.
# TYPE photabatch_jobs gauge
photabatch_jobs{state="queued"} 812.0
"""


class Metrics:
    """Of one application; prometheus-client's own registry would be shared by all of a process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a sample more a series, which nobody reads
        self.registry = CollectorRegistry()
        self.meters = Meters(self.registry)
        ProcessCollector(registry=self.registry)


class _Read(Collector):
    """Numbers that have just been read from the database."""

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        seen = self._gauges
        yield _by("state", "jobs", "Jobs of all batches, by state.", seen.jobs, JobState)
        lone = f"Jobs without a batch: unfinished ones, and finished ones of those submitted in the last {_WINDOW}."
        yield _by("state", "lone_jobs", lone, seen.lone_jobs, JobState)
        yield _by("status", "batches", "Batches, by status.", seen.batches, BatchStatus)
        spent = float(seen.spent_usd)
        yield CounterMetricFamily("photabatch_spent_usd", "What the jobs of all batches have cost.", spent)
        due = "How long the job that waits longest for a worker has been due; some seconds are normal."
        yield GaugeMetricFamily("photabatch_oldest_due_seconds", due, seen.oldest_due_s)
        limit = "Requests to Phota that may be in flight at once, fleet-wide."
        yield GaugeMetricFamily("photabatch_in_flight_limit", limit, seen.in_flight_limit)
        gate = GaugeMetricFamily("photabatch_gate_closed", "1 while Phota is not called, and why.", labels=["reason"])
        gate.add_metric([seen.closed_reason or ""], float(seen.closed_reason is not None))
        yield gate
        told = GaugeMetricFamily("photabatch_deliveries", "Webhook events that are not delivered.", labels=["state"])
        told.add_metric(["pending"], seen.webhooks.pending)
        told.add_metric(["failed"], seen.webhooks.failed)
        yield told
        age = "Age of the oldest webhook event that is not delivered yet."
        yield GaugeMetricFamily("photabatch_oldest_delivery_seconds", age, seen.webhooks.oldest_pending_s)
        off = "Webhook endpoints that are called no more, since they were gone or kept failing."
        yield GaugeMetricFamily("photabatch_endpoints_disabled", off, seen.webhooks.disabled_endpoints)


def _by(label: str, name: str, text: str, counts: Mapping[str, int], words: Iterable[StrEnum]) -> Metric:
    """A sample a word, also where there is nothing to count."""
    family = GaugeMetricFamily(f"photabatch_{name}", text, labels=[label])
    for word in words:
        family.add_metric([word.value], counts.get(word, 0))
    return family


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}}}, **ERRORS},
)
def read_metrics(request: Request, _: Operator) -> Response:
    """Of all accounts together, read from the database now; and of the process that answers."""
    with request.app.state.engine.connect() as connection:
        gauges = read_gauges(connection)
    metrics: Metrics = request.app.state.metrics
    return Response(
        generate_latest(_Read(gauges)) + generate_latest(metrics.registry),
        media_type=CONTENT_TYPE_PLAIN_0_0_4,
    )
