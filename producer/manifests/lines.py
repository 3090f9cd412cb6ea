"""Lines out of chunks of bytes that end anywhere; nothing longer than a line and a chunk is held."""

from typing import NamedTuple

LONGEST_LINE = 64 * 2**10  # bytes, without its end
_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line that is not blank. `number` from 1, blank ones counted; `data` is None where it was too long."""

    number: int
    data: bytes | None


class LineReader:
    """Feed it chunks, then call `end`: the last line needs no line end. Takes `\\r\\n` too, and a BOM in front."""

    def __init__(self) -> None:
        self.number = 0  # of lines that have ended, blank ones too
        self._rest = b""
        self._is_too_long = False  # the line that has begun: its bytes are passed over

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that have ended."""
        *ended, self._rest = (self._rest + chunk).split(b"\n")
        lines = [line for data in ended if (line := self._line(data)) is not None]
        if len(self._rest) > LONGEST_LINE + len(_BOM) + 1:  # beyond a BOM and a `\r`
            self._is_too_long, self._rest = True, b""
        return lines

    def end(self) -> list[Line]:
        """What came after the last line end."""
        line = self._line(self._rest)
        self._rest = b""
        return [] if line is None else [line]

    def _line(self, data: bytes) -> Line | None:
        self.number += 1
        if self.number == 1:
            data = data.removeprefix(_BOM)
        data = data.strip(b" \t\r")
        if self._is_too_long or len(data) > LONGEST_LINE:
            self._is_too_long = False
            return Line(self.number, None)
        return Line(self.number, data) if data else None
