"""What outlives a request: pictures, and with a data folder also jobs and charges."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


class Store:
    """Blobs by name and a journal of records: in memory, or in a folder that a restarted simulator reads again."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._blobs: dict[str, bytes] = {}
        self._journal: IO[str] | None = None
        if folder:
            (folder / "blobs").mkdir(parents=True, exist_ok=True)
            self._journal = (folder / "journal.jsonl").open("a", encoding="utf-8")
            self._journal.write("\n")  # ends a line that a kill cut short

    @property
    def is_lasting(self) -> bool:
        return self._folder is not None

    def put(self, name: str, data: bytes) -> None:
        """Whole or not at all, so that a kill leaves no half picture."""
        if self._folder is None:
            self._blobs[name] = data
            return
        partial = self._folder / "blobs" / f"{name}.part"
        partial.write_bytes(data)
        partial.replace(self._folder / "blobs" / name)

    def get(self, name: str) -> bytes:
        """Raise KeyError for a name never put."""
        if self._folder is None:
            return self._blobs[name]
        try:
            return (self._folder / "blobs" / name).read_bytes()
        except FileNotFoundError as error:
            raise KeyError(name) from error

    def drop(self, name: str) -> None:
        self._blobs.pop(name, None)
        if self._folder:
            (self._folder / "blobs" / name).unlink(missing_ok=True)

    def record(self, kind: str, fields: dict[str, Any]) -> None:
        """Handed to the system before it returns: a killed process loses nothing it answered for."""
        if self._journal:
            self._journal.write(json.dumps({"kind": kind} | fields) + "\n")
            self._journal.flush()

    def records(self) -> Iterator[dict[str, Any]]:
        """Oldest first. A line cut short by a kill is passed over: nobody was told of it."""
        if self._folder is None:
            return
        with (self._folder / "journal.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    continue

    def clear(self) -> None:
        self._blobs.clear()
        if self._folder and self._journal:
            self._journal.truncate(0)
            for path in (self._folder / "blobs").iterdir():
                path.unlink()
