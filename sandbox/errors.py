"""What the embedded stack raises: both messages are meant to be printed as they are."""


class StackError(Exception):
    """The stack could not start: says what failed, the last lines of its log, and what to do."""


class AlreadyRunning(StackError):  # noqa: N818  (reads as what it says)
    """Another process runs a stack on the same home."""
