"""Photos judged before a run: what would be done, what not and why, and how it is told."""

from collections.abc import Collection, Sequence
from typing import Any

import pytest

from cli.preflight import show_preflight
from cli.terminal import console
from clients.image_survey import Fault, Surveyed
from clients.images import ImageInfo
from clients.phota_requests import Operation
from producer.runs.preflight import Candidate, Kind, Notice, Preflight, Verdict, returned_side


def sound(
    name: str = "a.jpg", size: tuple[int, int] = (1600, 1200), *, sha256: str | None = None, orientation: int = 1
) -> Candidate:
    info = ImageInfo("JPEG", "image/jpeg", "jpg", *size, orientation)
    return Candidate(name, Surveyed(f"/photos/{name}", 1000, sha256 or f"sha of {name}", info))


def faulty(name: str, code: str, message: str = "it is bad") -> Candidate:
    return Candidate(name, Surveyed(f"/photos/{name}", 10, None, None, Fault(code, message)))


def judged(*candidates: Candidate, **options: Any) -> list[Verdict]:
    with Preflight(**options) as preflight:
        return preflight.add(candidates)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("empty_file", Kind.CORRUPT),
        ("truncated_image", Kind.CORRUPT),
        ("image_crashed_decoder", Kind.CORRUPT),
        ("image_too_slow", Kind.CORRUPT),
        ("not_an_image", Kind.UNSUPPORTED),
        ("unsupported_format", Kind.UNSUPPORTED),
        ("file_too_large", Kind.TOO_LARGE),
        ("image_too_large", Kind.TOO_LARGE),
        ("unreadable", Kind.UNREADABLE),
    ],
)
def test_a_fault_tells_the_kind(code: str, kind: Kind) -> None:
    [verdict] = judged(faulty("a.jpg", code, "why"))
    assert (verdict.kind, verdict.message, verdict.notices) == (kind, "why", ())
    assert kind.is_refused


@pytest.mark.parametrize(
    ("size", "orientation", "notices"),
    [
        ((1600, 1200), 1, ()),
        ((4096, 512), 1, ()),
        ((4097, 2000), 1, (Notice.OVER_4096,)),
        ((2000, 4097), 1, (Notice.OVER_4096,)),
        ((4000, 511), 1, (Notice.TOO_SMALL,)),
        ((1600, 1200), 3, (Notice.TURNED,)),
        ((300, 9000), 6, (Notice.TOO_SMALL, Notice.OVER_4096, Notice.TURNED)),
    ],
)
def test_what_may_disappoint_is_noticed(size: tuple[int, int], orientation: int, notices: tuple[Notice, ...]) -> None:
    [verdict] = judged(sound(size=size, orientation=orientation))
    assert (verdict.kind, verdict.notices) == (Kind.READY, notices)


@pytest.mark.parametrize(
    ("operation", "resolution", "side"),
    [
        (Operation.ENHANCE, "4K", 2048),
        (Operation.REMIX, "1K", 2048),
        (Operation.EDIT, "1K", 1024),
        (Operation.EDIT, "4K", 4096),
    ],
)
def test_a_photo_larger_than_what_comes_back_is_noticed(operation: Operation, resolution: str, side: int) -> None:
    returned = returned_side(operation, resolution)
    same, larger = judged(sound("a", (side, 600)), sound("b", (600, side + 1)), returned=returned)
    assert Notice.COMES_BACK_SMALLER not in same.notices
    assert Notice.COMES_BACK_SMALLER in larger.notices


def test_nothing_comes_back_smaller_where_nothing_goes_in() -> None:
    assert returned_side(Operation.GENERATE, "1K") is None
    assert judged(sound(size=(4000, 3000)))[0].notices == ()


def test_the_size_is_told_as_the_photo_is_seen() -> None:
    [verdict] = judged(sound(size=(1600, 1200), orientation=8))
    assert (verdict.width, verdict.height) == (1200, 1600)


def test_the_same_content_is_done_once() -> None:
    with Preflight() as preflight:
        preflight.add([sound("a/1.jpg", sha256="x"), sound("b.jpg")])
        again = preflight.add([sound("c.jpg", sha256="x"), sound("d.jpg", sha256="x")])
    assert [(each.kind, each.same_as) for each in again] == [(Kind.DUPLICATE, "a/1.jpg")] * 2
    assert (preflight.jobs, preflight.photos, preflight.bytes, preflight.bytes_to_do) == (2, 4, 4000, 2000)


def test_what_is_refused_is_nobodys_first() -> None:
    bad = Candidate("bad.jpg", Surveyed("bad.jpg", 10, "x", None, Fault("truncated_image", "cut")))
    assert [each.kind for each in judged(bad, sound("good.jpg", sha256="x"))] == [Kind.CORRUPT, Kind.READY]


def test_objects_are_told_apart_by_what_the_caller_says() -> None:
    [nameless] = [Candidate("n", Surveyed("n", 1, None, None))]
    objects = [Candidate(name, Surveyed(name, 1, None, None), f"etag:{name[0]}") for name in ("x1", "y1", "x2")]
    verdicts = judged(nameless, *objects, nameless)
    assert [each.kind for each in verdicts] == [Kind.READY, Kind.READY, Kind.READY, Kind.DUPLICATE, Kind.READY]
    assert verdicts[3].same_as == "x1"


def test_what_was_done_before_is_asked_for_once_a_group() -> None:
    asked: list[list[str]] = []

    def done(contents: Sequence[str]) -> Collection[str]:
        asked.append(list(contents))
        return ["sha256:x"]

    group = [sound("a", sha256="x"), sound("b", sha256="y"), sound("c", sha256="x"), faulty("d", "empty_file")]
    kinds = [each.kind for each in judged(*group, done=done)]
    assert kinds == [Kind.DONE_BEFORE, Kind.READY, Kind.DONE_BEFORE, Kind.CORRUPT]
    assert asked == [["sha256:x", "sha256:y"]]


def test_a_line_for_each_photo() -> None:
    first, second, third = judged(
        sound("a", (5000, 600), sha256="x"), sound("b", sha256="x"), faulty("c", "empty_file")
    )
    assert first.as_json() == {
        "custom_id": "a",
        "kind": "ready",
        "warnings": ["over_4096"],
        "width": 5000,
        "height": 600,
        "bytes": 1000,
        "sha256": "x",
        "message": None,
        "same_as": None,
    }
    assert (second.as_json()["kind"], second.as_json()["same_as"]) == ("duplicate", "a")
    assert (third.as_json()["kind"], third.as_json()["message"]) == ("corrupt", "it is bad")


def test_the_summary_adds_up() -> None:
    with Preflight() as preflight:
        preflight.add([sound(f"{number}.jpg", orientation=3) for number in range(5)])
        preflight.add([faulty("bad.gif", "unsupported_format")])
    summary = preflight.summary()
    assert sum(summary["kinds"].values()) == summary["photos"] == 6
    assert (summary["jobs"], summary["warnings"]["turned"], preflight.refused) == (5, 5, 1)
    assert summary["examples"]["turned"] == ["0.jpg", "1.jpg", "2.jpg"]
    assert summary["examples"]["unsupported"] == ["bad.gif"]


def test_the_table_names_kinds_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with Preflight(returned=2048) as preflight:
        preflight.add([sound("a.jpg", sha256="x"), sound("b.jpg", sha256="x")])
        preflight.add(
            [sound("[b]" + "long/" * 90 + "end.jpg", (4000, 3000)), faulty("bad.gif", "not_an_image", "a page")]
        )
        show_preflight(preflight)
    lines = [line.rstrip() for line in capsys.readouterr().err.splitlines()]
    assert [line.split()[:2] for line in lines if not line.startswith(" ")] == [
        ["photos", "4"],
        ["ready", "2"],
        ["duplicate", "1"],
        ["unsupported", "1"],
        ["comes", "back"],
    ]
    assert [line.strip() for line in lines if "=" in line] == ["b.jpg = a.jpg"]
    assert "bad.gif: a page" in lines[-3]
    assert lines[-1].endswith("long/long/end.jpg 4000×3000")
    assert max(map(len, lines)) <= console.width


def test_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    with Preflight() as preflight:
        preflight.add([faulty("[red]a[/].jpg", "empty_file", "the file is [/] empty")])
        show_preflight(preflight)
    assert "[red]a[/].jpg: the file is [/] empty" in capsys.readouterr().err
