"""The command `photabatch`."""

import sys
from importlib.metadata import version

import click
from sqlalchemy.exc import OperationalError

from cli.demo import demo
from cli.environment import env
from cli.exits import CommandError, Exit
from cli.processes import dispatcher, migrate, simulator, up, worker
from cli.run import run
from cli.sheet import sheet
from cli.status import cancel, results, status, watch
from cli.terminal import say
from clients.storage import StorageError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("photabatch"), prog_name="photabatch")
def photabatch() -> None:
    """Edit, generate and enhance photos in bulk through the Phota API."""


for each in (demo, up, run, status, watch, results, sheet, cancel, env, migrate, dispatcher, worker, simulator):
    photabatch.add_command(each)


def main() -> None:
    """Run a command; every error people can do something about ends in a message and an exit code of the contract."""
    sys.exit(_main())


def _main() -> int:
    try:
        outcome = photabatch.main(standalone_mode=False)
    except click.exceptions.Abort:
        return Exit.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except CommandError as error:
        say(str(error), style="red")
        return error.code
    except StorageError as error:
        say(f"S3: {error}", style="red")
        return Exit.TEMPORARY if error.is_retryable else Exit.CANNOT_START
    except OperationalError as error:
        say(f"The database went away: {str(error.orig).splitlines()[0]}\nNothing is lost; try again.", style="red")
        return Exit.TEMPORARY
    return int(outcome or 0)


if __name__ == "__main__":
    main()
