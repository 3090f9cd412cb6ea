"""What may be answered in place of the truth, by kind of effect; each error is made anew, as it keeps its traceback."""

from collections.abc import Callable

from sqlalchemy.exc import OperationalError

from clients.phota import BadResult, GateClosed, Rejected, Throttled, Uncertain

Fault = Callable[[], Exception]

_SUBMIT: tuple[Fault, ...] = (
    lambda: Throttled("429", code="throttled", retry_after=3.0),
    lambda: Uncertain("refused", code="connect_failed", is_sent=False),
    lambda: GateClosed("402", code="no_credit", reason="no_credit"),
    lambda: Rejected("422", code="invalid_request"),
)
# Certainly nothing has happened.
REFUSALS: dict[str, tuple[Fault, ...]] = {
    "db": (lambda: database_away(),),
    "submit": _SUBMIT,
    "call": _SUBMIT,
    "poll": (
        lambda: Throttled("503", code="throttled"),
        lambda: Uncertain("refused", code="connect_failed", is_sent=False),
        lambda: GateClosed("401", code="bad_key", reason="bad_key"),
        lambda: Uncertain("500", code="http_500"),
        lambda: BadResult("another job's", code="wrong_job"),
    ),
    "download": (
        lambda: Throttled("503", code="throttled"),
        lambda: Uncertain("reset", code="reset"),
        lambda: BadResult("half", code="wrong_length"),
    ),
}


def database_away() -> Exception:
    return OperationalError("", {}, Exception("terminating connection"))


def cut() -> Exception:
    """It may have happened."""
    return Uncertain("no answer", code="timeout")


def refunded() -> Exception:
    return Uncertain("Phota answered 504", code="http_504", is_sent=False)
