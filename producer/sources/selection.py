"""Which paths of a tree are taken: `--include` and `--exclude` with rclone's patterns."""

from collections.abc import Sequence

from producer.sources.patterns import compile_pattern


class Selection:
    """Patterns with `*`, `**`, `?`, `[a-z]`, `{jpg,png}`; case counts.

    A leading `/` holds a pattern to the root, otherwise it matches at the end of a path, whole names only; one that
    ends in `/` means the folder and all below. Given `include`, everything else is left out. Unlike rclone, which
    looks at `--include` first and advises against both: what `exclude` matches is left out even if it is included.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        """Raise ValueError that says which pattern is malformed, and why."""
        self._include = tuple(compile_pattern(each) for each in include)
        self._exclude = tuple(compile_pattern(each) for each in exclude)

    def takes(self, path: str) -> bool:
        """`path`: below the root, with `/`, and none in front."""
        is_included = not self._include or any(pattern.matches(path) for pattern in self._include)
        return is_included and not any(pattern.matches(path) for pattern in self._exclude)

    def may_hold(self, folder: str) -> bool:
        """Whether to descend. False only if nothing below is taken; the root is empty."""
        is_included = not self._include or any(pattern.may_match_below(folder) for pattern in self._include)
        return is_included and not any(pattern.covers(folder) for pattern in self._exclude)


EVERYTHING = Selection()
