"""A zip that is written from front to end, its table of contents on disk: memory is the same at a million entries."""

import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import IO, Self
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

_CHUNK = 2**20  # bytes
_IN_MEMORY = 2**20  # bytes of the table of contents, before it goes to disk
_MODE = 0o100644 << 16  # a plain file that its owner may write and all may read
_KEPT = (
    "filename",
    "date_time",
    "compress_type",
    "create_version",
    "extract_version",
    "flag_bits",
    "external_attr",
    "CRC",
    "compress_size",
    "file_size",
    "header_offset",
)


class ZipStream:
    """Entries are added one after the other. Only when its block ends well the archive gets its end.

    Without it no reader takes the archive for whole. Pictures are stored as they are, texts are compressed.
    `is_pipe`: nothing in `target` is gone back to, even if it pretends that one can, as files opened by `>>` do.
    """

    def __init__(self, target: IO[bytes], *, is_pipe: bool = False) -> None:
        self._zip = ZipFile(_Pipe(target) if is_pipe else target, "w", ZIP_STORED, allowZip64=True)
        self._entries = _Entries()
        self._zip.filelist = self._entries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._zip.fp = None  # or it would write its end, now or when it is collected
        self._zip.close()
        self._entries.close()

    def add(self, name: str, file: IO[bytes], *, size: int, changed_at: datetime, is_text: bool = False) -> None:
        """The rest of `file`, of `size` bytes. Raise OSError."""
        entry = ZipInfo(name, changed_at.astimezone().timetuple()[:6])  # zip knows no time zones
        entry.compress_type = ZIP_DEFLATED if is_text else ZIP_STORED
        entry.external_attr = _MODE
        entry.file_size = size  # decides whether the header has room for a large one
        with self._zip.open(entry, "w") as out:
            shutil.copyfileobj(file, out, _CHUNK)
        self._zip.NameToInfo.clear()


class _Pipe:
    """As much of a file as `zipfile` needs where it cannot seek."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write = file.write
        self.flush = file.flush
        self.close = file.close


class _Entries(list[ZipInfo]):
    """The list that `zipfile` appends what is written to, and reads once for the table of contents; on disk."""

    def __init__(self) -> None:
        super().__init__()
        self._file = SpooledTemporaryFile(_IN_MEMORY, prefix="photabatch-")  # noqa: SIM115  see `close`
        self._count = 0

    def append(self, entry: ZipInfo) -> None:
        self._file.write(json.dumps([getattr(entry, name) for name in _KEPT]).encode() + b"\n")
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ZipInfo]:
        self._file.seek(0)
        for line in self._file:
            entry = ZipInfo()
            for name, value in zip(_KEPT, json.loads(line), strict=True):
                setattr(entry, name, value)
            yield entry

    def close(self) -> None:
        self._file.close()
