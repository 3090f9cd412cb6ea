"""The request parameters of the contract as options, and the recipe they make."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.exits import UsageFault
from cli.moments import parse_moment
from clients.phota_requests import InvalidRequest, Operation
from models.windows import Window
from producer.batches import BatchLimits
from producer.jobs import CheckedJob, check
from producer.recipes import Recipe
from producer.sources.photos import Address
from producer.sources.selection import Selection
from settings import get_settings

_LONGEST_NAME = 200  # bytes; file systems take 255, and a name may get an ending


def _name(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """The folder of the results is called so too, unless `--out` says otherwise."""
    if name is not None and len(name.encode()) > _LONGEST_NAME:
        raise click.BadParameter(f"{len(name.encode()):,} bytes; {_LONGEST_NAME} at most", context, option)
    return name


class Money(click.ParamType[Decimal]):
    """A sum in USD: 0 to 99,999,999, four decimals at most."""

    name = "USD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """As click calls it."""
        try:
            amount = Decimal(value)
        except InvalidOperation:
            self.fail(f"{value!r} is not a sum of money", param, ctx)
        if not amount.is_finite() or not 0 <= amount < 100_000_000:
            self.fail(f"{value} is not between 0 and 99,999,999", param, ctx)
        return amount.quantize(Decimal("0.0001"))


F = TypeVar("F", bound=Callable[..., Any])

_PARAMS = (
    click.option("--op", "operation", type=click.Choice([each.value for each in Operation]), help="What to do."),
    click.option("--prompt", help="What to change or make; [[profile_id]] names a person."),
    click.option("--profile-id", "profile_ids", multiple=True, help="A person to keep; may be repeated."),
    click.option("--reference-image", help="remix: https:// or s3:// address of the style."),
    click.option("--base-model", help="nb2 (default), gpt-image-2, qwen-image-2, flux-2, reve."),
    click.option("--resolution", help="1K (default), 2K, 4K, as the model allows."),
    click.option("--aspect-ratio", help="auto (default), 1:1, 3:4, 4:3, 9:16, 16:9."),
    click.option("--quality", help="gpt-image-2 only: auto, low, medium, high."),
    click.option("-n", "--num-output-images", type=int, help="1 (default) to 4 a job."),
    click.option("--output-format", help="jpg (default) or png."),
)
_JOB = (
    click.option("--priority", type=click.Choice(["interactive", "normal", "bulk"]), default="normal"),
    click.option("--webhook", "webhook_url", metavar="URL", help="Where batch events are posted."),
    click.option("--budget", type=Money(), metavar="USD", help="Never spend more than this."),
    click.option("--window", metavar="HH:MM-HH:MM@ZONE", help="Begin nothing outside it: 22:00-06:00@Europe/Paris."),
    click.option("--deadline", metavar="MOMENT", help="What waits then expires: 06:00, 8h, 2026-12-24T06:00+01:00."),
    click.option(
        "--max-failure-rate",
        type=click.FloatRange(0, 1),
        metavar="RATE",
        help="Pause when more than this share failed, judged from 20 jobs on: 0.2.",
    ),
    click.option("--name", callback=_name, help="What the batch is called."),
)
_SELECTION = (
    click.option("--include", multiple=True, metavar="PATTERN", help="Only these, as in rclone: '*.jpg', '/raw/**'."),
    click.option("--exclude", multiple=True, metavar="PATTERN", help="Not these."),
    click.option(
        "--files-from",
        type=click.Path(path_type=Path, dir_okay=False, exists=True, allow_dash=True),
        metavar="FILE",
        help="Only what its lines name, below the one SRC; - for standard input.",
    ),
)


def request_options(function: F) -> F:
    """Phota's parameters and what is said of the batch, in the order of the help text."""
    return _with(_PARAMS + _JOB, function)


def param_options(function: F) -> F:
    """Phota's parameters alone."""
    return _with(_PARAMS, function)


def selection_options(function: F) -> F:
    """Which pictures of a source are taken."""
    return _with(_SELECTION, function)


def _with(options: Sequence[Callable[[F], F]], function: F) -> F:
    for option in reversed(options):
        function = option(function)
    return function


def limits_of(options: dict[str, Any]) -> BatchLimits:
    """Takes `budget`, `window`, `deadline` and `max_failure_rate` out of the options. Raise UsageFault."""
    return BatchLimits(
        budget_usd=options.pop("budget", None),
        window=_window(options.pop("window", None)),
        deadline=_deadline(options.pop("deadline", None)),
        max_failure_rate=options.pop("max_failure_rate", None),
    )


def _window(text: str | None) -> Window | None:
    try:
        return Window.parse(text) if text else None
    except ValueError as error:
        raise UsageFault(f"--window {text}: {error}") from None


def _deadline(text: str | None) -> datetime | None:
    now = datetime.now(UTC)
    try:
        moment = parse_moment(text, now) if text else None
    except ValueError as error:
        raise UsageFault(f"--deadline: {error}") from None
    if moment is not None and moment <= now:
        raise UsageFault(f"--deadline {text}: has passed already")
    return moment


def selection_of(options: dict[str, Any]) -> Selection:
    """Takes `include` and `exclude` out of the options. Raise UsageFault."""
    try:
        return Selection(options.pop("include", ()), options.pop("exclude", ()))
    except ValueError as error:
        raise UsageFault(str(error)) from None


def recipe_of(operation: str, options: dict[str, Any], *, output: str | None) -> tuple[Recipe, CheckedJob]:
    """The recipe, and one job checked on behalf of all. Raise UsageFault naming every bad parameter."""
    recipe = Recipe(Operation(operation), params_of(options), output=output)
    return recipe, _checked(recipe.job_of("s3://bucket/photo.jpg", "photo.jpg"))


def params_of(options: dict[str, Any]) -> dict[str, Any]:
    """Phota's parameters among the options, without those that were left out."""
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return {name: value for name, value in given.items() if value not in (None, [])}


def check_address(address: Address, recipe: Recipe) -> None:
    """Raise UsageFault for an address that Phota cannot be given."""
    _checked(recipe.job_of(address.url, address.custom_id))


def _checked(job: dict[str, Any]) -> CheckedJob:
    try:
        return check(job, allowed_hosts=get_settings().allowed_hosts)
    except InvalidRequest as error:
        raise UsageFault("\n".join(problem.message for problem in error.problems)) from None
