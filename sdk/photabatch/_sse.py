"""Server-sent events out of a stream of bytes, as the HTML standard reads them, but for `id` and `retry`."""

from dataclasses import dataclass

from photabatch._lines import Lines

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ServerEvent:
    event: str
    data: str


class EventReader:
    """Feed it the pieces of one connection, in order."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._is_first = True
        self._event = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """The events that this piece completes. One without data is none, and neither is a comment."""
        found = [self._read(line) for line in self._lines.feed(piece)]
        return [event for event in found if event is not None]

    def _read(self, line: bytes) -> ServerEvent | None:
        if self._is_first:
            line, self._is_first = line.removeprefix(_BOM), False
        if not line:
            return self._complete()
        name, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        return None

    def _complete(self) -> ServerEvent | None:
        event, data = self._event, self._data
        self._event, self._data = "", []
        return ServerEvent(event or "message", "\n".join(data)) if data else None
