"""Lines out of pieces of bytes that end anywhere. Unlike `str.splitlines`, U+2028 and its like end no line."""

import re

_ENDS = re.compile(rb"\r\n|\n|\r")


class Lines:
    """Keeps no more than the line that has begun. CR, LF and CRLF end a line, also across two pieces."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_after_cr = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that this piece completes, without their ends."""
        if not piece:
            return []
        if self._is_after_cr and piece.startswith(b"\n"):
            piece = piece[1:]  # the end of this line was taken at its CR
        self._is_after_cr = piece.endswith(b"\r")
        *lines, self._rest = _ENDS.split(self._rest + piece)
        return lines

    def rest(self) -> bytes:
        """A last line that has no end."""
        rest, self._rest = self._rest, b""
        return rest
