"""Outputs must not come back as uploads: where triggers look and where their results go, as a graph."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clients.s3_uri import S3Uri
from producer.slugs import slug_start


@dataclass(frozen=True, slots=True)
class Route:
    """From where to where a trigger carries pictures. Keys are the beginnings of keys.

    The suffix does not count: what comes out as JPEG today may be PNG tomorrow.
    """

    name: str
    source: S3Uri
    destination: S3Uri

    def feeds(self, other: "Route") -> bool:
        """Whether a result of this one could lie where the other looks."""
        ours, theirs = self.destination, other.source
        is_below = ours.key.startswith(theirs.key) or theirs.key.startswith(ours.key)
        return ours.bucket == theirs.bucket and is_below


def destination_of(output: str, batch_name: str) -> S3Uri:
    """What all keys of an output template begin with, in batches of that name."""
    template = S3Uri.parse(output)
    fixed, _, field = template.key.partition("{")
    if field.startswith("batch}"):
        fixed += slug_start(batch_name)
    return S3Uri(template.bucket, fixed)


def loop_through(new: Route, others: Iterable[Route]) -> Sequence[str]:
    """Names of the triggers on the way from `new` back to itself, it included at both ends; none if there is none."""
    left = list(others)
    ways = [[new]]
    while ways:
        way = ways.pop(0)
        if way[-1].feeds(new):
            return [each.name for each in [*way, new]]
        for follower in [each for each in left if way[-1].feeds(each)]:
            left.remove(follower)
            ways.append([*way, follower])
    return []
