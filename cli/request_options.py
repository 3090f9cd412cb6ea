"""The request parameters of the contract as options, and the recipe they make."""

from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import click

from cli.exits import UsageFault
from clients.phota_requests import InvalidRequest, Operation
from producer.jobs import CheckedJob, check
from producer.photos import Address, Photo
from producer.upload import Recipe
from settings import get_settings


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
    click.option(
        "--op", "operation", type=click.Choice([each.value for each in Operation]), required=True, help="What to do."
    ),
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
    click.option("--name", help="What the batch is called."),
)


def request_options(function: F) -> F:
    """All of them, in the order of the help text."""
    for option in reversed(_PARAMS + _JOB):
        function = option(function)
    return function


def recipe_of(operation: str, options: dict[str, Any], *, output: str | None) -> tuple[Recipe, CheckedJob]:
    """The recipe, and one job checked on behalf of all. Raise UsageFault naming every bad parameter."""
    params = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    params = {name: value for name, value in params.items() if value not in (None, [])}
    recipe = Recipe(Operation(operation), params, output=output)
    return recipe, _checked(recipe.job_of("s3://bucket/photo.jpg", "photo.jpg"))


def check_addresses(pictures: Sequence[Photo | Address], recipe: Recipe) -> None:
    """Raise UsageFault for an address that Phota cannot be given."""
    for picture in pictures:
        if isinstance(picture, Address):
            _checked(recipe.job_of(picture.url, picture.custom_id))


def _checked(job: dict[str, Any]) -> CheckedJob:
    try:
        return check(job, allowed_hosts=get_settings().allowed_hosts)
    except InvalidRequest as error:
        raise UsageFault("\n".join(problem.message for problem in error.problems)) from None
