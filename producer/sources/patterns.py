"""A pattern of rclone's filtering, compiled: what it matches, and which folders may hold a match.

Docs: https://rclone.org/filtering/. Regular expressions in `{{ }}` are refused; a set such as `[!a]` never takes a `/`.
"""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"\\(?P<escaped>.)"
    r"|(?P<stars>\*+)"
    r"|(?P<expression>\{\{)"
    r"|\[(?P<negation>[!^]?)(?P<set>(?:\[:\w+:\]|\\.|[^\]\\])+)\]"
    r"|(?P<plain>.)",
    re.DOTALL,
)
_MEMBER = re.compile(r"\[:(?P<named>\w+):\]|\\(?P<escaped>.)|(?P<plain>.)", re.DOTALL)
_STARS = {"*": "[^/]*", "**": ".*"}
_CLASSES = "dDsSwW"
_NAMED = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r"\t ",
    "digit": "0-9",
    "lower": "a-z",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "word": r"\w",
    "xdigit": "0-9A-Fa-f",
}


@dataclass(frozen=True, slots=True)
class Pattern:
    """Paths and folders have no slash in front or behind; the root is the empty folder."""

    _path: re.Pattern[str]
    _folder: re.Pattern[str]
    _ends_open: bool  # in `**`: what it matches, it matches with anything behind

    def matches(self, path: str) -> bool:
        return self._path.fullmatch(path) is not None

    def covers(self, folder: str) -> bool:
        """Whether it matches every path below; False is also said where that is not seen at once."""
        return self._ends_open and self.matches(f"{folder}/" if folder else "")

    def may_match_below(self, folder: str) -> bool:
        return self._folder.fullmatch(f"/{folder}" if folder else "") is not None


def compile_pattern(text: str) -> Pattern:
    """Raise ValueError that says which pattern is malformed, and why."""
    try:
        return _compiled(text)
    except (ValueError, re.error) as error:
        raise ValueError(f"pattern {text!r}: {error}") from None


def _compiled(text: str) -> Pattern:
    if not text:
        raise ValueError("is empty")
    glob = _Glob(text.removeprefix("/") + ("**" if text.endswith("/") else ""))
    is_rooted = text.startswith("/")
    path = glob.path if is_rooted else f"(?:.*/)?{glob.path}"
    return Pattern(_regex(path), _regex(glob.folders() if is_rooted else ".*"), glob.ends_open)


def _regex(source: str) -> re.Pattern[str]:
    return re.compile(source, re.ASCII | re.DOTALL)


class _Glob:
    """A pattern without the slash in front. `path`: a regular expression for all of it."""

    def __init__(self, text: str) -> None:
        self._depth = 0  # of braces
        self._parents: list[str] = []  # each folder that a match lies in, as far as they are fixed
        self._segment = ""
        self._is_deep = False  # below the parents a match may lie anywhere
        self.path = ""
        self.ends_open = False
        for token in _TOKEN.finditer(text):
            self._add(token)
        if self._depth:
            raise ValueError("has a { that is never closed")

    def folders(self) -> str:
        """A regular expression for the folders that may hold a match, each with a slash in front."""
        below = "(?:/.*)?" if self._is_deep else ""
        for parent in reversed(self._parents):
            below = f"(?:/{parent}{below})?"
        return below

    def _add(self, token: re.Match[str]) -> None:
        piece = self._piece(token)
        self.path += piece
        self.ends_open = token["stars"] == "**"
        is_slash = token["plain"] == "/"
        if token["stars"] == "**" or (is_slash and self._depth):
            self._is_deep = True
        elif not self._is_deep and is_slash:
            self._parents.append(self._segment)
            self._segment = ""
        else:
            self._segment += piece

    def _piece(self, token: re.Match[str]) -> str:
        match token.lastgroup:
            case "escaped":
                return _escaped(token["escaped"])
            case "stars" if token["stars"] not in _STARS:
                raise ValueError("has more than two stars in a row")
            case "stars":
                return _STARS[token["stars"]]
            case "set":
                return f"(?!/)[{'^' if token['negation'] else ''}{_members(token['set'])}]"
            case "expression":
                raise ValueError("has a regular expression in {{ }}, which is not taken; nor do braces begin together")
        return self._plain(token["plain"])

    def _plain(self, letter: str) -> str:
        match letter:
            case "?":
                return "[^/]"
            case "{":
                self._depth += 1
                return "(?:"
            case "}" if self._depth:
                self._depth -= 1
                return ")"
            case "," if self._depth:
                return "|"
            case "[":
                raise ValueError("has a [ that is never closed, or nothing between [ and ]")
            case "}" | "]":
                raise ValueError(f"has a {letter} that nothing opens")
            case "\\":
                raise ValueError("ends in a backslash")
        return re.escape(letter)


def _members(text: str) -> str:
    """What stands between [ and ]."""
    return "".join(_member(each) for each in _MEMBER.finditer(text))


def _member(token: re.Match[str]) -> str:
    if token["named"]:
        if token["named"] not in _NAMED:
            raise ValueError(f"has no known class [:{token['named']}:]")
        return _NAMED[token["named"]]
    if token["escaped"]:
        return _escaped(token["escaped"], in_set=True)
    return "-" if token["plain"] == "-" else re.escape(token["plain"])


def _escaped(letter: str, *, in_set: bool = False) -> str:
    if letter in _CLASSES:
        return f"\\{letter}" if in_set else rf"(?!/)\{letter}"
    if letter.isalnum():
        raise ValueError(f"has \\{letter}, which means nothing")
    return re.escape(letter)
