"""CSV out of chunks of bytes: rows with the line they begin in; nothing longer than a row and a chunk is held.

Cells are quoted as RFC 4180 says. A row that cannot be read is told, and reading goes on with the line behind its first
one: a quote that is never closed costs that line alone.
"""

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from clients.phota_requests import InvalidRequest
from producer.manifests.lines import LONGEST_LINE
from producer.manifests.record import refused

_BOM = b"\xef\xbb\xbf"
_CUT = LONGEST_LINE + len(_BOM) + 2  # bytes kept of a line: too many, whatever its end
_UNCLOSED = "; perhaps a quote is never closed"


class Line(NamedTuple):
    """`number` from 1; `data` with its end."""

    number: int
    data: bytes


class Row(NamedTuple):
    """`number`: of the line it begins in. `cells`, or why there are none."""

    number: int
    cells: list[str] | InvalidRequest


def lines_of(chunks: Iterable[bytes]) -> Iterator[Line]:
    """All lines, without a BOM in front. One that is too long for a row is cut, and stays too long."""
    number, rest = 0, b""
    for chunk in chunks:
        *ended, rest = (rest + chunk).split(b"\n")
        for data in ended:
            number += 1
            yield _line(number, data + b"\n")
        rest = rest[:_CUT]
    if rest:
        yield _line(number + 1, rest)


def _line(number: int, data: bytes) -> Line:
    return Line(number, data.removeprefix(_BOM) if number == 1 else data)


def rows_of(lines: Iterator[Line], *, delimiter: str) -> Iterator[Row]:
    """All rows but those whose cells are blank."""
    row = _RowLines(lines)
    cells_of_rows = csv.reader(row, delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        row.begin()
        try:
            cells = next(cells_of_rows)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError, _RowTooLong) as error:
            yield Row(row.number, _fault(error))
            row.step_back()
        else:
            if any(cell.strip() for cell in cells):
                yield Row(row.number, cells)


class _RowTooLong(Exception):  # noqa: N818 - says what it is
    pass


class _RowLines:
    """What csv.reader takes its lines from; the lines of the row at hand can be read again, all but the first."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._again: deque[Line] = deque()
        self._taken: list[Line] = []
        self._size = 0  # bytes taken

    @property
    def number(self) -> int:
        return self._taken[0].number

    def begin(self) -> None:
        self._taken, self._size = [], 0

    def step_back(self) -> None:
        self._again.extendleft(reversed(self._taken[1:]))

    def __iter__(self) -> "_RowLines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._taken.append(line)
        if self._size + len(line.data.rstrip(b"\r\n")) > LONGEST_LINE:
            raise _RowTooLong(_UNCLOSED if self._size else "")
        self._size += len(line.data)
        return line.data.decode()


def _fault(error: Exception) -> InvalidRequest:
    match error:
        case UnicodeDecodeError():
            return refused("not_utf8", f"is not UTF-8 (byte {error.start + 1})")
        case csv.Error():
            return refused("invalid_csv", f"is not CSV: {error}{_UNCLOSED if 'end of data' in str(error) else ''}")
    return refused("line_too_long", f"has more than {LONGEST_LINE // 2**10} KB{error}")
