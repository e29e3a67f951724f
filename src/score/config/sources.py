"""Where settings come from, lowest to highest: files, dotenv files, environment, command line. Protocol, section 8.

Names are relaxed as in Spring Boot: case, ``.``, ``-`` and ``_`` do not matter, so that ``s3.accessKey``,
``S3_ACCESSKEY`` and ``S3_ACCESS_KEY`` are one setting. No message that is made here holds a secret value.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from score.config import words
from score.config.files import documents, is_there, label, text_of
from score.config.formats import Document, Line, read_dotenv, read_options, read_yaml, unquote
from score.errors import Misconfigured

_INDEX = re.compile(r"\[(\d+)]")
_PROFILE = re.compile(r"[\w.@+-]{1,100}")
"""A profile's name, which is a part of the names of files too."""
_CREDENTIALS = re.compile(r"://[^/?#]*@|\?[^=]*=")
"""User and password in a URL, or a query, where signatures and tokens are."""
_PLACEHOLDER = re.compile(r"\$\{([^${}:]+)(?::([^${}]*))?}")
_LOCATIONS = ("spring.config.location", "spring.config.additional-location")
"""Settings that name files of settings; those of a later one win."""
_INLINE = "spring.application.json"
"""A setting that holds others, as JSON."""
_ACTIVE = ("spring.profiles.active", "spring.profiles.default")
"""Settings that name the profiles; the second counts where the first names none."""
_INCLUDE = "spring.profiles.include"
"""A setting that names more of them, wherever it stands: each of its places counts."""
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

    ``folder`` holds ``application.{yml,yaml,properties}``, in itself, in Spring Boot's ``config/`` or in ``conf/``,
    ``.env`` and ``.env.score``, in itself or in ``conf/``; also ``application-<profile>.*``. ``known`` are the names
    of all settings, and ``valued`` those of them that are no switches, which an option without a value turns on;
    ``misspelled`` maps published wrong names to right ones (taken, with a warning). What is no setting is reported in
    ``Values.unknown`` if it is an option or begins with one of ``prefixes``; files and the environment have other
    names for other programs. ``profiles`` replace those that the sources name, but for included ones.

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
        _Layer(label(file, folder), document.lines)
        for file in (folder / ".env", folder / "conf" / ".env", folder / ".env.score", folder / "conf" / ".env.score")
        if is_there(file)
        for document in read_dotenv(text_of(file))
    ]
    variables = _Layer("environment", [Line(name, text) for name, text in environ.items()], comments=True)
    inline = [line for line in (*variables.lines, *options.lines) if canonical(line.name) == canonical(_INLINE)]
    held = [document for line in inline[-1:] for document in read_yaml(line.text, _INLINE)]  # JSON is YAML too
    above = [_Layer(_INLINE, document.lines) for document in held]
    top = [*dotenv, variables, *above, _Layer("option", options.lines, comments=False)]

    named = gathered.merge(top)
    places = [folder, folder / "config", folder / "conf"]
    for name in _LOCATIONS:
        places += _locations(name, named.get(canonical(name)), folder)
    always = documents(places, folder)
    included: list[str] = []
    while True:
        active = _active(gathered.merge([*_unconditional(always), *top]), environ, profiles, included)
        read = [*always, *(one for profile in active for one in documents(places, folder, profile))]
        layers = [_Layer(file, document.lines) for file, document in read if _applies(document, file, active)]
        more = [name for layer in layers for name in _names(gathered.merge([layer]), _INCLUDE, environ)]
        if set(more) <= set(active):
            break
        included += more

    gathered.report = True
    everything = gathered.merge([*layers, *top])
    if not set(_active(everything, environ, profiles, included)) <= set(active):
        raise Misconfigured(
            "Settings that count under a profile alone say which profiles are active (spring.profiles.*).",
            hint="Say it where it counts always: in application.*, the environment or an option; or let the profile "
            "include the others (spring.profiles.include).",
        )
    found = {
        name: _resolve(value, everything, environ) for name, value in everything.items() if name in gathered.known
    }
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
        """The value in force of every name, also of those that are no settings: values may refer to them."""
        found: dict[str, Value] = {}
        for layer in layers:
            lists: dict[str, list[tuple[int, Value]]] = {}
            here: dict[str, Line] = {}
            for line in layer.lines:
                name = canonical(line.name)
                value = self._value(line, layer, name)
                if index := _INDEX.search(line.name):
                    lists.setdefault(name, []).append((int(index[1]), value))
                    continue
                before = here.setdefault(name, line)
                if name in self.known and before.name != line.name and before.text != line.text:
                    self._warn(
                        f"{line.name} ({layer.where(line)}) is the same setting as {before.name}"
                        f" ({layer.where(before)}), and has another value, which counts."
                    )
                found[name], here[name] = value, line
            for name, items in lists.items():
                items.sort(key=lambda item: item[0])
                found[name] = Value(",".join(value.text for _, value in items), items[0][1].origin)
            for bad in [name for name in here if name in self.misspelled]:
                good = self.misspelled[bad]
                beside = here.setdefault(canonical(good), here[bad])
                if beside is here[bad] or not beside.text:
                    found[canonical(good)] = found[bad]
                what = "is taken as" if found[canonical(good)] is found[bad] else "has no effect beside"
                self._warn(f"{here[bad].name} ({layer.where(here[bad])}) {what} {good}, which is the setting's name.")
        return found

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

    def _value(self, line: Line, layer: _Layer, name: str) -> Value:
        bare = unquote(line.text, comments=layer.comments)
        where = layer.where(line)
        if name not in self.known and name not in self.misspelled:
            if self.report and self._ours(line, layer):
                self.unknown[name] = Unknown(line.name, where, self._likeliest(name))
            return Value(bare.text, where)
        if bare.stray:
            self._warn(f"{line.name} ({where}): {bare.stray!r} after the closing quote is ignored.")
        if bare.comment and not line.line:
            self._warn(f"{line.name} ({where}): what follows '#' is taken as a comment; quote the value to keep it.")
        return Value(bare.text, where)

    def _warn(self, sentence: str) -> None:
        if self.report and sentence not in self.warnings:
            self.warnings.append(sentence)


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


def _unconditional(read: Iterable[tuple[str, Document]]) -> list[_Layer]:
    return [_Layer(file, document.lines) for file, document in read if not document.profiles]


def _names(found: Mapping[str, Value], setting: str, environ: Mapping[str, str]) -> list[str]:
    """The profiles that a setting names. Raises Misconfigured."""
    value = found.get(canonical(setting))
    if value is None:
        return []
    value = _resolve(value, found, environ)
    listed = [name for name in re.split(r"[,\s]+", value.text) if name]
    if not all(_PROFILE.fullmatch(name) for name in listed):
        raise wrong(setting, value, "a list of names with commas between them, as default,secure")
    return listed


def _active(
    found: Mapping[str, Value], environ: Mapping[str, str], chosen: Sequence[str], included: Sequence[str]
) -> tuple[str, ...]:
    """The active profiles: those that are ``chosen``, or named, then those that are included, also by settings under
    the condition of a profile; each is followed by the members of the group of its name. Who names ``secure`` in one
    of these ways means it."""
    named = chosen or _names(found, _ACTIVE[0], environ) or _names(found, _ACTIVE[1], environ)
    active: list[str] = []
    waiting = [*named, *_names(found, _INCLUDE, environ), *included]
    while waiting:
        name = waiting.pop(0)
        if name not in active:
            active.append(name)
            waiting[:0] = _names(found, f"spring.profiles.group.{name}", environ)
    return tuple(active)


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

    text, before = value.text, ""
    for _ in range(8):  # a default may hold another one: the innermost comes first
        if "${" in text and text != before:
            text, before = _PLACEHOLDER.sub(meant, text), text
    return Value(text, value.origin)
