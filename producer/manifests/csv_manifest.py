"""A manifest in CSV: a header of the contract's names, a row a job, params and the fields beside them in one row.

An empty cell is an absent field; `images` and `profile_ids` hold several separated by `|`; `metadata.NAME` is an entry
of `metadata`. Cells are separated by `,`, `;` (as Excel writes in half of Europe) or tabs, which the header tells.
"""

import csv
import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from clients.phota_requests import KNOWN_FIELDS, InvalidRequest, Problem
from producer.jobs import JobSpec
from producer.manifests.csv_rows import lines_of, rows_of
from producer.manifests.record import refused

_DELIMITERS = ",;\t"
_LISTS = frozenset({"images", "profile_ids"})
_METADATA = "metadata."
_BESIDE = frozenset(JobSpec.model_fields) - {"params", "metadata"}
_COLUMNS = KNOWN_FIELDS | _BESIDE
_SHOWN = 20  # columns that are none


def jobs_of_csv(chunks: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any] | InvalidRequest]]:
    """Jobs in manifest form, each with the line that its row begins in, from 1, or why that row is none.

    A header with a fault is all there is.
    """
    lines = lines_of(chunks)
    first = next((line for line in lines if line.data.strip()), None)
    if first is None:
        return
    rows = rows_of(chain([first], lines), delimiter=_delimiter(first.data))
    header = next(rows, None)
    if header is None:
        return
    if isinstance(header.cells, InvalidRequest):
        yield header.number, header.cells
        return
    names = [cell.strip() for cell in header.cells]
    fault = _header_fault(names)
    if fault is not None:
        yield header.number, fault
        return
    for number, cells in rows:
        yield number, cells if isinstance(cells, InvalidRequest) else _job(names, cells)


def _delimiter(header: bytes) -> str:
    """The one that parts the header into most of the contract's names."""
    line = header.decode(errors="replace").splitlines()[:1]

    def columns(delimiter: str) -> int:
        return sum(_is_column(name.strip()) for name in next(csv.reader(line, delimiter=delimiter), []))

    return max(_DELIMITERS, key=columns)


def _is_column(name: str) -> bool:
    return name in _COLUMNS or (name.startswith(_METADATA) and name != _METADATA)


def _header_fault(names: Sequence[str]) -> InvalidRequest | None:
    unknown = [name for name in names if name and not _is_column(name)]
    if unknown:
        text = f"no column of a manifest is called {'; '.join(_hint(name) for name in unknown[:_SHOWN])}"
        return InvalidRequest([Problem("header", "unknown_column", f"header: {text}")])
    doubled = [name for name, times in Counter(names).items() if name and times > 1]
    if doubled:
        return InvalidRequest([Problem("header", "duplicate_column", f"header: {', '.join(doubled)}: more than once")])
    return None


def _hint(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), sorted(_COLUMNS), n=1)
    shown = repr(name) if len(name) <= 40 else f"{name[:40]!r}…"
    return f"{shown} ({close[0]}?)" if close else shown


def _job(names: Sequence[str], cells: Sequence[str]) -> dict[str, Any] | InvalidRequest:
    if any(cell.strip() for cell in cells[len(names) :]):
        return refused(
            "too_many_cells", f"has {len(cells)} cells for {len(names)} columns; quote what holds a separator"
        )
    job: dict[str, Any] = {}
    params: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for name, cell in zip(names, cells, strict=False):
        if not cell.strip():
            continue
        if not name:
            return refused("too_many_cells", f"has {cell[:40]!r} in a column without a name")
        if name.startswith(_METADATA):
            metadata[name.removeprefix(_METADATA)] = cell
        elif name in _BESIDE:
            job[name] = cell
        else:
            params[name] = [each.strip() for each in cell.split("|")] if name in _LISTS else cell
    return job | {"params": params} | ({"metadata": metadata} if metadata else {})
