"""The command `photabatch`."""

import importlib
import sys
from importlib.metadata import version

import click
from sqlalchemy.exc import OperationalError

from cli.exits import CommandError, Exit
from cli.terminal import say
from clients.log_lines import tell_uncaught

COMMANDS = {
    "demo": "cli.demo",
    "up": "cli.processes",
    "plan": "cli.plan",
    "run": "cli.run",
    "submit": "cli.manifests",
    "status": "cli.status",
    "watch": "cli.status",
    "results": "cli.results",
    "sheet": "cli.sheet",
    "pause": "cli.control",
    "resume": "cli.control",
    "cancel": "cli.control",
    "retry": "cli.control",
    "schedule": "cli.schedule",
    "trigger": "cli.trigger",
    "events": "cli.events",
    "watch-folder": "cli.watch_folder",
    "webhook": "cli.webhook",
    "key": "cli.keys",
    "account": "cli.keys",
    "env": "cli.environment",
    "migrate": "cli.processes",
    "dispatcher": "cli.processes",
    "worker": "cli.processes",
    "api": "cli.processes",
    "simulator": "cli.processes",
}


class Commands(click.Group):
    """Imports a command when it is asked for: a process of the fleet needs a fraction of what all commands need."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  the signature is click's
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module = COMMANDS.get(cmd_name)
        command: click.Command | None = (
            getattr(importlib.import_module(module), cmd_name.replace("-", "_")) if module else None
        )
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("photabatch"), prog_name="photabatch")
def photabatch() -> None:
    """Edit, generate and enhance photos in bulk through the Phota API."""


def main() -> None:
    """Run a command; every error people can do something about ends in a message and an exit code of the contract."""
    tell_uncaught()
    sys.exit(_main())


def _main() -> int:
    try:
        return int(photabatch.main(standalone_mode=False) or 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except CommandError as error:
        say(str(error), style="red")
        return error.code
    except OperationalError as error:
        say(f"The database went away: {str(error.orig).splitlines()[0]}\nNothing is lost; try again.", style="red")
        return Exit.TEMPORARY
    except Exception as error:
        return _storage_fault(error)


def _storage_fault(error: Exception) -> int:
    """S3 errors of any command; anything else is a bug and keeps its traceback."""
    from clients.storage_errors import StorageError

    if not isinstance(error, StorageError):
        raise error
    say(f"S3: {error}\nCheck PHOTABATCH_S3_ENDPOINT_URL and the AWS_ variables.", style="red")
    return Exit.TEMPORARY if error.is_retryable else Exit.CANNOT_START


if __name__ == "__main__":
    main()
