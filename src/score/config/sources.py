"""Where settings come from, lowest to highest: files, dotenv files, environment, command line. Protocol, section 8.

Names are relaxed as in Spring Boot: case, ``.``, ``-`` and ``_`` do not matter, so that ``s3.accessKey``,
``S3_ACCESSKEY`` and ``S3_ACCESS_KEY`` are one setting. No message that is made here holds a secret value.
"""

from __future__ import annotations

import difflib
import re
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from score.config import words
from score.config.formats import Document, Line, read_dotenv, read_options, read_properties, read_yaml, unquote
from score.errors import Misconfigured

_INDEX = re.compile(r"\[(\d+)]")
_PROFILE = re.compile(r"[\w.@+-]{1,100}")
"""A profile's name, which is a part of the names of files too."""
_CREDENTIALS = re.compile(r"://[^/?#]*@")
"""User and password in a URL."""
_PLACEHOLDER = re.compile(r"\$\{([^${}:]+)(?::([^${}]*))?}")
_LOCATIONS = ("spring.config.location", "spring.config.additional-location")
"""Settings that name files of settings; those of a later one win."""
_FRAMEWORK = {"spring", "logging", "log", "management", "endpoints", "debug", "trace"}
"""First words of Spring Boot's own options, which command lines for the reference hold."""
# Kubernetes gives every service's address to every pod: S3_SERVICE_HOST, S3_PORT_9000_TCP, ...
_KUBERNETES = re.compile(r"_(SERVICE_(HOST|PORT\w*)|PORT(_\d+_(TCP|UDP)\w*)?)\Z")


@dataclass(frozen=True, slots=True)
class Value:
    """The text of a setting, quotes and comments taken off, and where it stands (``conf/application.properties:12``,
    ``environment S3_ENDPOINT``, ``option --s3.endpoint``)."""

    text: str = field(repr=False)
    origin: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """An option, or a name under one of our prefixes, that is no setting; ``meant``: the likeliest one, or empty."""

    name: str
    origin: str
    meant: str = ""

    def __str__(self) -> str:
        question = f" Did you mean {self.meant}?" if self.meant else ""
        return f"{self.name} ({self.origin}) is no setting of this program and is ignored.{question}"


def canonical(name: str) -> str:
    """The form of a name by which settings are compared: lower case, without ``.``, ``-``, ``_`` and indexes."""
    return re.sub(r"[._-]", "", _INDEX.sub("", name)).lower()


@dataclass(frozen=True, slots=True)
class Values:
    """What was found. Settings are asked for by any spelling of their name.

    ``warnings`` are sentences about misspelled names and odd notations; ``unknown`` the names that are no settings;
    ``profiles`` the active ones, as named; ``rest`` the words of the command line that are no options.
    """

    found: Mapping[str, Value]
    warnings: tuple[str, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    profiles: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()

    def get(self, name: str) -> Value | None:
        """The value of a setting, None where nobody set it. An empty text counts as set."""
        return self.found.get(canonical(name))

    def text(self, name: str, default: str = "") -> str:
        """The text of a setting; ``default`` where it is not set, or set to nothing."""
        value = self.get(name)
        return value.text if value and value.text else default

    def path(self, name: str) -> Path | None:
        """A setting that is a path, ``~`` at its start being the user's folder. Raises Misconfigured."""
        value = self.get(name)
        if value is None or not value.text:
            return None
        try:
            return Path(value.text).expanduser()
        except RuntimeError:
            raise wrong(name, value, "a path, with a user that there is after ~,") from None

    def boolean(self, name: str, default: bool) -> bool:
        """A setting that is ``true`` or ``false``. Raises Misconfigured."""
        value = self.get(name)
        if value is None or not value.text:
            return default
        try:
            return words.boolean(value.text)
        except ValueError as error:
            raise wrong(name, value, str(error)) from None

    def integer(self, name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
        """A setting that is a whole number, both bounds included. Raises Misconfigured."""
        value = self.get(name)
        if value is None or not value.text:
            return default
        expected = f"a whole number from {least}" + (f" to {most}" if most is not None else "")
        try:
            number = words.whole(value.text)
        except ValueError:
            raise wrong(name, value, expected) from None
        if number < least or (most is not None and number > most):
            raise wrong(name, value, expected)
        return number

    def number(self, name: str, default: float, *, least: float = 0.0) -> float:
        """A setting that is a number, ``least`` included. Raises Misconfigured."""
        value = self.get(name)
        if value is None or not value.text:
            return default
        if re.fullmatch(r"[+-]?(\d{1,15}(\.\d{0,15})?|\.\d{1,15})", value.text) is None or float(value.text) < least:
            raise wrong(name, value, f"a number from {least:g}")
        return float(value.text)


def wrong(name: str, value: Value, expected: str, *, secret: bool = False) -> Misconfigured:
    """The error for a value that cannot be right."""
    hidden = secret or _CREDENTIALS.search(value.text)
    said = "has a value that cannot be right" if hidden else f"is {value.text[:80]!r}"
    return Misconfigured(f"{name} ({value.origin}) {said}: {expected} is expected.", hint="Change it there.")


def load(
    *,
    arguments: Sequence[str],
    environ: Mapping[str, str],
    folder: Path,
    known: Iterable[str],
    valued: Iterable[str] = (),
    misspelled: Mapping[str, str] | None = None,
    prefixes: Iterable[str] = (),
    profiles: Sequence[str] = (),
) -> Values:
    """Read every source and let the higher win.

    ``folder`` holds ``application.{yml,yaml,properties}``, ``.env`` and ``.env.score``, in itself or in ``conf/``;
    also ``application-<profile>.*``. ``known`` are the names of all settings, and ``valued`` those of them that are
    no switches, which an option without a value turns on; ``misspelled`` maps published wrong names to right ones
    (taken, with a warning). What is no setting is reported in ``Values.unknown`` if it is an option or begins with
    one of ``prefixes``; files and the environment have other names for other programs.
    ``profiles`` replace those that the sources name.

    Raises Misconfigured: a file that cannot be read or is not in its format, a location that does not exist, or an
    option without a value that needs one.
    """
    gathered = _Gathered(
        {canonical(name): name for name in (*known, "spring.profiles.active", *_LOCATIONS)},
        {canonical(bad): good for bad, good in (misspelled or {}).items()},
        tuple(prefix.lower() for prefix in prefixes),
    )
    options = read_options(arguments)
    if options.alone:
        needing = {canonical(name) for name in (*valued, "spring.profiles.active", *_LOCATIONS)}
        gathered.require_values(options.alone, needing)
    dotenv = [
        _Layer(_label(file, folder), document.lines)
        for file in (folder / ".env", folder / "conf" / ".env", folder / ".env.score", folder / "conf" / ".env.score")
        if _is_there(file)
        for document in read_dotenv(_text(file))
    ]
    variables = _Layer("environment", [Line(name, text) for name, text in environ.items()], comments=True)
    top = [*dotenv, variables, _Layer("option", options.lines, comments=False)]

    named = gathered.merge(top)
    places = [folder, folder / "conf"]
    for name in _LOCATIONS:
        places += _locations(name, named.get(canonical(name)), folder)
    bottom = _files(places, "application", folder)
    active = tuple(profiles) or _active(gathered.merge([*_unconditional(bottom), *top]))
    for profile in active:
        bottom += _files(places, f"application-{profile}", folder)

    gathered.report = True
    layers = [_Layer(file, document.lines) for file, document in bottom if _applies(document, file, active)]
    found = gathered.merge([*layers, *top])
    found = {name: _resolve(value, found, environ) for name, value in found.items()}
    return Values(found, tuple(gathered.warnings), tuple(gathered.unknown.values()), active, tuple(options.rest))


@dataclass(frozen=True, slots=True)
class _Layer:
    origin: str
    lines: Sequence[Line]
    comments: bool = True

    def where(self, line: Line) -> str:
        if self.origin == "option":
            return f"option --{line.name}"
        return f"{self.origin}:{line.line}" if line.line else f"{self.origin} {line.name}"


@dataclass(slots=True)
class _Gathered:
    """Merges layers; with ``report``, notes what the user should know on the way."""

    known: Mapping[str, str]
    misspelled: Mapping[str, str]
    prefixes: tuple[str, ...]
    report: bool = False
    warnings: list[str] = field(default_factory=list)
    unknown: dict[str, Unknown] = field(default_factory=dict)

    def require_values(self, alone: Iterable[str], needing: Collection[str]) -> None:
        """Raises Misconfigured where one of the options without a value is a setting that needs one."""
        for name in alone:
            if canonical(self.misspelled.get(canonical(name), name)) in needing:
                raise Misconfigured(f"--{name} was given without a value.", hint=f"Write --{name}=...")

    def merge(self, layers: Iterable[_Layer]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for layer in layers:
            lists: dict[str, list[tuple[int, Value]]] = {}
            for line in layer.lines:
                name = self._name(line, layer)
                if name is None:
                    continue
                value = self._value(line, layer)
                if index := _INDEX.search(line.name):
                    lists.setdefault(name, []).append((int(index[1]), value))
                else:
                    found[name] = value
            for name, items in lists.items():
                items.sort(key=lambda item: item[0])
                found[name] = Value(",".join(value.text for _, value in items), items[0][1].origin)
        return found

    def _name(self, line: Line, layer: _Layer) -> str | None:
        name = canonical(line.name)
        if name in self.known:
            return name
        if name in self.misspelled:
            right = self.misspelled[name]
            self._warn(f"{line.name} ({layer.where(line)}) is taken as {right}, which is the setting's name.")
            return canonical(right)
        if self.report and self._ours(line, layer):
            self.unknown[name] = Unknown(line.name, layer.where(line), self._likeliest(name))
        return None

    def _ours(self, line: Line, layer: _Layer) -> bool:
        first = re.split(r"[._\-\[]", line.name.lower())[0]
        if layer.origin == "option":
            return first not in _FRAMEWORK
        return first in self.prefixes and not (layer.origin == "environment" and _KUBERNETES.search(line.name))

    def _likeliest(self, name: str) -> str:
        close = difflib.get_close_matches(name, self.known, 1, 0.75) or sorted(
            (one for one in self.known if len(name) > 3 and one.endswith(name)), key=len
        )
        return self.known[close[0]] if close else ""

    def _value(self, line: Line, layer: _Layer) -> Value:
        bare = unquote(line.text, comments=layer.comments)
        where = layer.where(line)
        if bare.stray:
            self._warn(f"{line.name} ({where}): {bare.stray!r} after the closing quote is ignored.")
        if bare.comment and not line.line:
            self._warn(f"{line.name} ({where}): what follows '#' is taken as a comment; quote the value to keep it.")
        return Value(bare.text, where)

    def _warn(self, sentence: str) -> None:
        if self.report and sentence not in self.warnings:
            self.warnings.append(sentence)


def _label(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)


def _is_there(file: Path) -> bool:
    """Whether there is such a file. Raises Misconfigured where it cannot be told, as in a folder of another user."""
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError) -> Misconfigured:
    return Misconfigured(
        f"The settings in {file} cannot be read: {error.strerror}.",
        hint="Have it made readable, or start in another folder.",
    )


def _text(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # the encoding of properties files of old


def _files(places: Iterable[Path], stem: str, folder: Path) -> list[tuple[str, Document]]:
    """The documents of every file of that name, lowest first. A place may be a file itself."""
    documents = []
    for place in places:
        if _is_there(place) and stem != "application":
            continue
        files = [place] if _is_there(place) else [place / f"{stem}.{kind}" for kind in ("yml", "yaml", "properties")]
        for file in files:
            if _is_there(file):
                label, text = _label(file, folder), _text(file)
                read = read_yaml(text, label) if file.suffix in (".yml", ".yaml") else read_properties(text)
                documents += [(label, document) for document in read]
    return documents


def _locations(name: str, value: Value | None, folder: Path) -> list[Path]:
    """The files and folders of one of ``_LOCATIONS``: a comma list, ``file:`` and ``optional:`` allowed."""
    places = []
    for word in re.split(r"[,;]", value.text if value else ""):
        optional, text = word.strip().startswith("optional:"), word.strip().removeprefix("optional:")
        if not text or text.startswith("classpath:"):
            continue
        place = folder / re.sub(r"\Afile:(//(?=/))?", "", text)
        try:
            there = place.exists()
        except (OSError, ValueError):  # too long, or of signs that no name has
            assert value is not None
            raise wrong(name, value, "a list of files and folders") from None
        if there:
            places.append(place)
        elif not optional:
            raise Misconfigured(
                f"{name} ({value and value.origin}) names {place}, which is not there.",
                hint="Correct it, or write that file.",
            )
    return places


def _unconditional(documents: Iterable[tuple[str, Document]]) -> list[_Layer]:
    return [_Layer(file, document.lines) for file, document in documents if not document.profiles]


def _active(found: Mapping[str, Value]) -> tuple[str, ...]:
    value = found.get("springprofilesactive")
    names = tuple(name for name in re.split(r"[,\s]+", value.text if value else "") if name)
    if value is not None and not all(_PROFILE.fullmatch(name) for name in names):
        raise wrong("spring.profiles.active", value, "a list of names with commas between them, as default,secure")
    return names


def _applies(document: Document, file: str, active: Sequence[str]) -> bool:
    """Whether the document's condition holds: a comma list of profiles, ``!`` before one for its absence."""
    if not document.profiles:
        return True
    if re.search(r"[&|()]", document.profiles):
        raise Misconfigured(
            f"{file} holds settings for the profiles {document.profiles!r}, an expression that is not understood.",
            hint="Name profiles with commas between them.",
        )
    names = [name for name in re.split(r"[,\s]+", document.profiles) if name]
    here = active or ("default",)
    return any(name[1:] not in here if name.startswith("!") else name in here for name in names)


def _resolve(value: Value, found: Mapping[str, Value], environ: Mapping[str, str], depth: int = 0) -> Value:
    """``value`` with each ``${name}`` and ``${name:default}`` replaced, as Spring Boot does."""

    def meant(match: re.Match[str]) -> str:
        name, default = match[1].strip(), match[2]
        other = found.get(canonical(name))
        if name in environ:
            return unquote(environ[name]).text
        if other is not None and other is not value and depth < 8:
            return _resolve(other, found, environ, depth + 1).text
        if default is not None:
            return default
        raise Misconfigured(
            f"The setting at {value.origin} refers to ${{{name}}}, which is set nowhere.",
            hint="Set it, or give a default: ${name:default}.",
        )

    return Value(_PLACEHOLDER.sub(meant, value.text), value.origin) if "${" in value.text else value
