"""Where triggers look and where their results go."""

import pytest

from clients.s3_uri import S3Uri
from producer.uploads.loop_guard import Route, destination_of, loop_through


def route(name: str, source: str, destination: str) -> Route:
    return Route(name, S3Uri.parse(source), S3Uri.parse(destination))


@pytest.mark.parametrize(
    ("source", "destination", "is_loop"),
    [
        ("s3://aaa/in/", "s3://aaa/out/", False),
        ("s3://aaa/in/", "s3://bbb/in/", False),
        ("s3://aaa/in/", "s3://aaa/in/done/", True),
        ("s3://aaa/in/done/", "s3://aaa/in/", True),
        ("s3://aaa/in", "s3://aaa/inside/", True),
        ("s3://aaa/", "s3://aaa/anything/", True),
        ("s3://aaa/in/", "s3://aaa/in2/", False),
    ],
)
def test_a_trigger_feeds_itself_where_its_places_meet(source: str, destination: str, is_loop: bool) -> None:
    assert bool(loop_through(route("t", source, destination), [])) == is_loop


def test_a_way_back_over_others_is_told_by_their_names() -> None:
    new = route("new", "s3://xxx/1/", "s3://xxx/2/")
    others = [route("b", "s3://xxx/3/", "s3://xxx/1/deep/"), route("a", "s3://xxx/2/", "s3://xxx/3/")]
    assert loop_through(new, others) == ["new", "a", "b", "new"]


def test_a_loop_of_others_is_not_that_of_the_new_one() -> None:
    others = [route("a", "s3://xxx/2/", "s3://xxx/3/"), route("b", "s3://xxx/3/", "s3://xxx/2/")]
    assert loop_through(route("new", "s3://xxx/1/", "s3://xxx/2/"), others) == []


@pytest.mark.parametrize(
    ("template", "begins"),
    [
        ("s3://bbb/done/{batch}/{custom_id}-{index}.{ext}", "s3://bbb/done/my-uploads-"),
        ("s3://bbb/{batch}/{custom_id}-{index}.{ext}", "s3://bbb/my-uploads-"),
        ("s3://bbb/done/{custom_id}-{index}.{ext}", "s3://bbb/done/"),
        ("s3://bbb/{operation}/{batch}/{custom_id}-{index}.{ext}", "s3://bbb/"),
    ],
)
def test_all_that_is_certain_of_an_output_is_how_its_key_begins(template: str, begins: str) -> None:
    assert str(destination_of(template, "my uploads")) == begins
