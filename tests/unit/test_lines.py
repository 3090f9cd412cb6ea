"""Lines come out the same however their bytes were cut into chunks."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from producer.manifests.lines import LONGEST_LINE, Line, LineReader

texts = st.lists(st.sampled_from([b"{}", b"  ", b"", b'{"a": 1}\r', b"\xff", b"x" * 40, b"\t1 "]), max_size=12)


def read(chunks: Iterable[bytes]) -> list[Line]:
    reader = LineReader()
    return [line for chunk in chunks for line in reader.feed(chunk)] + reader.end()


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(lines=texts, places=st.lists(st.integers(0, 200)), is_ended=st.booleans())
def test_chunks_cut_anywhere_give_the_same_lines(lines: list[bytes], places: list[int], is_ended: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if is_ended else b"")
    expected = [Line(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    assert read(cut(data, places)) == expected


@given(size=st.integers(LONGEST_LINE - 2, LONGEST_LINE + 70_000), chunk=st.integers(1_000, 80_000))
def test_a_line_beyond_the_limit_is_told_and_the_next_one_read(size: int, chunk: int) -> None:
    data = b"x" * size + b"\n{}\n"
    lines = read(data[start : start + chunk] for start in range(0, len(data), chunk))
    assert [line.number for line in lines] == [1, 2]
    assert (lines[0].data is None) == (size > LONGEST_LINE)
    assert lines[1].data == b"{}"


def test_the_last_line_may_be_the_one_that_is_too_long() -> None:
    assert read([b"{}\n", b"x" * LONGEST_LINE, b"x"]) == [Line(1, b"{}"), Line(2, None)]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert read([b"\xef\xbb", b"\xbf{}\n\xef\xbb\xbf{}"]) == [Line(1, b"{}"), Line(2, b"\xef\xbb\xbf{}")]


def test_what_is_held_is_bounded_by_a_line_and_a_chunk() -> None:
    reader = LineReader()
    for _ in range(100):
        assert reader.feed(b"x" * 50_000) == []
        assert len(reader._rest) <= LONGEST_LINE + 4
