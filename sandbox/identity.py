"""Under which user Postgres runs: it refuses to be root."""

import os
import pwd
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sandbox.errors import StackError
from sandbox.service import bare_environment

NOBODY_UID = 65534


@dataclass(frozen=True)
class Identity:
    """A prefix for the command line and a user to change to; neither means: as we are."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None

    def run(self, argv: Sequence[str | Path], *, log: IO[str] | int = subprocess.DEVNULL) -> bool:
        """Run to the end, both outputs into `log`; False if it failed or could not be started."""
        try:
            done = subprocess.run(  # noqa: S603  programs of our wheels, no shell
                [*self.prefix, *argv],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=bare_environment(),
                start_new_session=True,
                user=self.uid,
                group=self.uid,
                extra_groups=None if self.uid is None else [],
            )
        except OSError:
            return False
        return done.returncode == 0

    def own(self, path: Path) -> None:
        """Hand over a folder or file; only root has to, or can."""
        owner = os.geteuid() if self.uid is None else self.uid
        if os.geteuid() == 0 and path.stat().st_uid != owner:
            for entry in (path, *path.rglob("*")):
                os.chown(entry, owner, owner, follow_symlinks=False)


def choose_identity(program: Path, *, folder: Path) -> Identity:
    """The first under which `program` starts and `folder` is reachable. Raise StackError if there is none."""
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return Identity()
    for identity in _substitutes():
        if _works(identity, program, folder):
            return identity
    raise StackError(
        f"Postgres refuses to run as root or as a nameless user, and no other way works here: `unshare --user` is not "
        f"allowed, and the user nobody cannot use {program} with data in {folder}. Run photabatch as an ordinary user, "
        f"or set PHOTABATCH_DATABASE_URL to a Postgres of your own."
    )


def _substitutes() -> Iterator[Identity]:
    """`initdb` also wants a user with a name, and nobody is the one that every system has."""
    uid = NOBODY_UID if _has_name(NOBODY_UID) else pwd.getpwnam("nobody").pw_uid
    yield Identity(prefix=("unshare", "--user", f"--map-user={uid}", f"--map-group={uid}"))
    if os.geteuid() == 0:
        yield Identity(uid=uid)


def _works(identity: Identity, program: Path, folder: Path) -> bool:
    if identity.uid is not None:
        folder.chmod(0o711)  # the way through to the data folder, which stays closed to all others
    return identity.run([program, "--version"]) and identity.run(["test", "-x", folder])


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
