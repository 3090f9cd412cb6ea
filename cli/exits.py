"""Exit codes, and the errors that carry one."""

from enum import IntEnum


class Exit(IntEnum):
    """docs/contract.md, "Command line"."""

    SUCCEEDED = 0
    INTERNAL = 1
    USAGE = 2
    SOME_FAILED = 3
    TEMPORARY = 5
    CANNOT_START = 7
    BUDGET = 8
    NOTHING_TO_DO = 9
    DEADLINE = 10
    INTERRUPTED = 130


class CommandError(Exception):
    """Ends a command with a message for people: what is wrong, where, what to do."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.code = code


class CannotStart(CommandError):  # noqa: N818
    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.CANNOT_START)


class UsageFault(CommandError):  # noqa: N818
    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.USAGE)
