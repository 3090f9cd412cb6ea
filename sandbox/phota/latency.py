"""How long a simulated request takes."""

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

_FORMS = "expected SECONDS, uniform:LOW-HIGH or lognormal:MEAN,SD, all in seconds"


@dataclass(frozen=True)
class Latency:
    """A distribution of seconds.

    `2` is fixed, `uniform:1-3` is even, `lognormal:48,10` has a mean of 48 s and a standard deviation of 10 s: the
    edits with a trained profile that were measured on the live API (median 46 s, p95 67 s).
    """

    spec: str
    sample: Callable[[random.Random], float]

    @classmethod
    def parse(cls, spec: str) -> Self:
        """Raise ValueError for anything but the three forms."""
        numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", spec)]
        if re.fullmatch(r"[\d.]+", spec) and len(numbers) == 1:
            return cls(spec, lambda _: numbers[0])
        if re.fullmatch(r"uniform:[\d.]+-[\d.]+", spec) and len(numbers) == 2:
            return cls(spec, lambda chance: chance.uniform(*numbers))
        if re.fullmatch(r"lognormal:[\d.]+,[\d.]+", spec) and len(numbers) == 2 and numbers[0] > 0:
            variance = math.log(1 + (numbers[1] / numbers[0]) ** 2)
            centre = math.log(numbers[0]) - variance / 2
            return cls(spec, lambda chance: chance.lognormvariate(centre, math.sqrt(variance)))
        raise ValueError(f"{_FORMS}, got {spec!r}")
