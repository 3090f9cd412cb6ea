"""A folder as a batch: which photos, under which names, with which jobs. Pure but for looking into the folder."""

import hashlib
import os
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from photabatch import _calls
from photabatch._bodies import FilePath
from photabatch._calls import BatchOptions
from photabatch.errors import Invalid, NoPhotos
from photabatch.states import Operation
from photabatch.types import BatchSubmitted, FolderSubmitted, Refused, Upload

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif"})  # what Phota takes
UPLOADS_AT_ONCE = 8
LONGEST_ID = 512  # characters, docs/contract.md
_HASH_DIGITS = 16
_HINT = "; an operation's own fields go into params={…}"
_OPERATIONS = get_args(Operation)

Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Photo:
    """A file and what it is called in its batch: its path below the folder."""

    path: Path
    custom_id: str


def find_photos(folder: FilePath) -> list[Photo]:
    """In order of their paths; hidden files and folders are passed over. Raise OSError, NoPhotos."""
    root = Path(folder)
    photos = []
    for here, folders, files in os.walk(root, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(here, name) for name in files if not name.startswith("."))
        photos += [path.relative_to(root).as_posix() for path in paths if path.suffix.lower() in SUFFIXES]
    if not photos:
        raise NoPhotos(f"no photos below {root} ({', '.join(sorted(SUFFIXES))})")
    return [Photo(root / name, custom_id_of(name)) for name in sorted(photos)]


def custom_id_of(name: str) -> str:
    """The name itself; one that had to be cleaned or cut ends in a hash, so that different ones stay different."""
    clean = "".join("_" if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in name)
    if clean == name and len(name) <= LONGEST_ID:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{clean[: LONGEST_ID - _HASH_DIGITS - 1]}~{digest}"


class FolderPlan:
    """The jobs of a folder, gathered while its photos are uploaded.

    `options`: of the batch. Raise OSError, NoPhotos, TypeError, ValueError: all that can be told before an upload.
    """

    def __init__(
        self,
        folder: FilePath,
        operation: str,
        params: Mapping[str, Any] | None,
        output: str | None,
        on_progress: Progress | None,
        options: Mapping[str, Any],
    ) -> None:
        _calls.check_names(options, hint=_HINT)
        self._fixed = {"operation": operation} | ({"output": output} if output else {})
        self._params = dict(params or {})
        params_of(operation, self._params, image="")  # refuses before the first upload
        self.photos = find_photos(folder)
        if options.get("metadata"):
            _calls.check_number(len(self.photos))
        self.jobs: list[dict[str, Any]] = []
        name = custom_id_of(Path(folder).resolve().name or "photos")
        self.options = cast(BatchOptions, {"name": name, "skip_done": True, **options})
        _calls.submit_batch([], self.options)  # refuses them before the first upload
        self._refused: list[Refused] = []
        self._on_progress = on_progress
        self._folder = Path(folder)

    def add(self, photo: Photo, outcome: Upload | Refused) -> None:
        if isinstance(outcome, Refused):
            self._refused.append(outcome)
        else:
            params = params_of(self._fixed["operation"], self._params, image=outcome.image)
            self.jobs.append({"custom_id": photo.custom_id, **self._fixed, "params": params})
        if self._on_progress:
            self._on_progress(len(self.jobs) + len(self._refused), len(self.photos))

    @property
    def trial_options(self) -> BatchOptions:
        """To estimate the first job with: what is wrong with it, or with an option, is wrong with all."""
        told = {name: value for name, value in self.options.items() if name not in ("idempotency_key", "skip_invalid")}
        return cast(BatchOptions, told)

    def check(self) -> None:
        """Raise NoPhotos if nothing is left to submit."""
        if not self.jobs:
            first = self._refused[0]
            raise NoPhotos(
                f"none of the {len(self.photos)} photos below {self._folder} could be uploaded; "
                f"{first.custom_id}: {first.message}",
                refused=self._refused,
            )

    def submitted(self, batch: BatchSubmitted) -> FolderSubmitted:
        return FolderSubmitted(batch, tuple(self._refused))


def refused(photo: Photo, error: Invalid | OSError) -> Refused:
    if isinstance(error, Invalid):
        return Refused(photo.path, photo.custom_id, error.code, error.detail)
    return Refused(photo.path, photo.custom_id, "unreadable_file", error.strerror or str(error))


def params_of(operation: str, params: Mapping[str, Any], *, image: str) -> dict[str, Any]:
    """With the photo where the operation takes it. Raise ValueError."""
    if operation == "enhance":
        return {**params, "image": image}
    if operation == "edit":
        return {**params, "images": [image, *params.get("images", ())]}
    if operation == "remix":
        return {**params, "input_image": image}
    if operation not in _OPERATIONS:
        taken = ", ".join(name for name in _OPERATIONS if name != "generate")
        raise ValueError(f"{operation} is no operation; one of {taken}")
    raise ValueError(f"{operation} takes no photos; a folder can be enhanced, edited or remixed")


def _raise(error: OSError) -> None:
    raise error
