"""The notations in which settings are written: Java properties, YAML, dotenv and command-line options.

Pure: text in, :class:`Line` out. What a name means is decided in ``sources``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from score.errors import Misconfigured

_QUOTED = re.compile(r"""(?P<quote>["'])(?P<inner>.*?)(?P=quote)\s*(?P<stray>[:;,]*)\s*(?P<comment>\#.*)?\Z""", re.S)
_COMMENT = re.compile(r"(^|\s+)#.*\Z", re.S)
_DOTENV = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][\w.\-\[\]]*)\s*=\s*(?P<value>.*)\Z")
_TABS = re.compile(r"\t+(?=[ \t]*\r?$)", re.MULTILINE)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.S)
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


class Line(NamedTuple):
    """One setting as it is written: its name, its raw text, and the line it stands on (from 1; 0: none)."""

    name: str
    text: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """A file, or the part of one between separators (``---``). ``profiles`` is the condition under which it counts,
    as written; empty: always."""

    lines: Sequence[Line]
    profiles: str = ""


class Bare(NamedTuple):
    """A value without its quotes and its trailing comment. ``stray`` is punctuation after the closing quote."""

    text: str
    stray: str = ""
    comment: bool = False


def unquote(text: str, *, comments: bool = True) -> Bare:
    """``text`` without the quotes around it and without a trailing `` # comment``, as in the published examples."""
    stripped = text.strip()
    if found := _QUOTED.match(stripped):
        inner, stray, comment = found["inner"], found["stray"], found["comment"]
        if comments or not (stray or comment):
            return Bare(inner, stray, bool(comment))
    if comments and (comment_at := _COMMENT.search(stripped)):
        return Bare(stripped[: comment_at.start()], "", True)
    return Bare(stripped)


def read_properties(text: str) -> list[Document]:
    """Java properties: escapes, continuation lines, ``=``, ``:`` or blanks between name and value; ``#---`` parts."""
    documents: list[Document] = []
    lines: list[Line] = []
    for number, logical in _logical_lines(text):
        if logical in ("#---", "!---"):
            documents.append(_conditional(lines))
            lines = []
        elif logical[0] not in "#!":
            lines.append(_property(logical, number))
    return [*documents, _conditional(lines)]


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations joined, blank ones left out, each with the number of its first line."""
    joined, start = "", 0
    for number, raw in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        piece = raw.lstrip(" \t\f")
        if not joined:
            start = number
            if piece[:1] in ("#", "!"):
                yield number, piece.rstrip()
                continue
        if (len(piece) - len(piece.rstrip("\\"))) % 2:
            joined += piece[:-1]
            continue
        joined += piece
        if joined:
            yield start, joined
        joined = ""
    if joined:
        yield start, joined


def _property(logical: str, number: int) -> Line:
    name, at = "", 0
    while at < len(logical) and logical[at] not in "=: \t\f":
        step = 2 if logical[at] == "\\" else 1
        name += logical[at : at + step]
        at += step
    rest = logical[at:].lstrip(" \t\f")
    if rest[:1] in ("=", ":"):
        rest = rest[1:].lstrip(" \t\f")
    return Line(_unescape(name), _unescape(rest), number)


def _unescape(text: str) -> str:
    def plain(found: re.Match[str]) -> str:
        code = found[1]
        return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPED.get(code, code)

    return _ESCAPE.sub(plain, text)


def read_dotenv(text: str) -> list[Document]:
    """``NAME=value`` lines, ``export`` allowed; what is neither that nor a comment is passed over."""
    lines = []
    for number, raw in enumerate(text.splitlines(), 1):
        if found := _DOTENV.match(raw.strip()):
            lines.append(Line(found["name"], found["value"], number))
    return [Document(lines)]


def read_yaml(text: str, file: str) -> list[Document]:
    """YAML mappings, flattened to dotted names; scalars keep their spelling. Raises Misconfigured."""
    import yaml  # 30 ms that only those pay who have such a file

    documents = []
    root: Any  # None for a part that says nothing
    try:
        # A tab at the end of a line is nothing to YAML, but an error to this reader of it.
        for root in yaml.compose_all(_TABS.sub("", text), Loader=yaml.SafeLoader):
            if root is None:
                continue
            if not isinstance(root, yaml.MappingNode):
                raise Misconfigured(
                    f"{file}:{root.start_mark.line + 1} holds no settings (a mapping is expected).",
                    hint="Settings are lines such as storage.url: https://score.example.org.",
                )
            documents.append(_conditional(list(_flatten(root, "", yaml.SafeLoader("").flatten_mapping))))
    except yaml.MarkedYAMLError as error:
        at = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Misconfigured(f"{file}{at} is not YAML: {error.problem}.", hint="Mend that line.") from None
    except yaml.YAMLError:
        raise Misconfigured(f"{file} is not YAML.", hint="Mend the file.") from None
    return documents


def _flatten(node: Any, path: str, merge: Callable[[Any], object]) -> Iterator[Line]:
    """The settings below a node; ``merge`` puts what ``<<`` names before a mapping's own."""
    if node.id == "mapping":
        merge(node)
        for key, value in node.value:
            yield from _flatten(value, f"{path}.{key.value}" if path else str(key.value), merge)
    elif node.id == "sequence":
        for index, value in enumerate(node.value):
            yield from _flatten(value, f"{path}[{index}]", merge)
    else:
        text = "" if node.tag.endswith(":null") else str(node.value)
        # Quotes of YAML's own are gone already; these keep a "#" inside them from being taken for a comment.
        yield Line(path, f'"{text}"' if node.style in ("'", '"') else text, node.start_mark.line + 1)


def _conditional(lines: list[Line]) -> Document:
    """The document with its condition taken out of it."""
    conditions = {"spring.config.activate.on-profile", "spring.profiles"}
    profiles = ",".join(unquote(line.text).text for line in lines if re.sub(r"\[\d+]", "", line.name) in conditions)
    return Document([line for line in lines if re.sub(r"\[\d+]", "", line.name) not in conditions], profiles)


@dataclass(frozen=True, slots=True)
class Options:
    """A command line: ``--name=value`` and ``--name value``, and the words that are neither. Names that are ``alone``
    have the value ``true``."""

    lines: list[Line] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)


def read_options(arguments: Sequence[str]) -> Options:
    """Take a command line apart. A word that begins with ``--`` is never the value of the option before it."""
    options = Options()
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or len(word) == 2:
            options.rest.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        if not equals and words and not words[0].startswith("--"):
            value = words.pop(0)
        elif not equals:
            value = "true"
            options.alone.append(name)
        options.lines.append(Line(name, value))
    return options
