"""What the values of settings may be: each kind checks a text, and says what it expected. Protocol, section 8."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import BeforeValidator

from score.config.cron import parse
from score.config.words import boolean, whole

_HOST = r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){0,40}\.?|\[[0-9A-Fa-f:.]{2,45}\]"
_ADDRESS = re.compile(rf"(?:(https?)://)?(?:{_HOST})(?::([0-9]{{1,5}}))?(/[!-~]{{0,500}})?", re.IGNORECASE)


def _address(text: object, wanted: str = "an address such as https://host:9000") -> re.Match[str]:
    found = _ADDRESS.fullmatch(str(text))
    if found is None or int(found[2] or 0) > 65535 or any(sign in (found[3] or "") for sign in "?#"):
        raise ValueError(wanted)
    return found


def _endpoint(text: object) -> object:
    _address(text)
    return text


def _url(text: object) -> object:
    wanted = "a URL such as http://host:8080"
    if not _address(text, wanted)[1]:
        raise ValueError(wanted)
    return str(text).rstrip("/")


def _blob_endpoint(text: object) -> object:
    if any(sign in str(text) for sign in "@?#"):  # a signature or a password, which is not to be shown
        raise ValueError("http(s)://host[:port][/path] without user, password and query")
    return text


def _key_location(text: object) -> object:
    if re.match(r"(?i)https?://[^/?#]*@", str(text)):
        raise ValueError("a file, or a URL without user and password")
    return text


def _folder(text: object) -> object:
    inner = str(text).strip("/")
    if len(inner.encode()) > 200 or any(name in ("", ".", "..") for name in inner.split("/") if inner):
        raise ValueError("a folder such as data, without . and ..")
    return text


def _context_path(text: object) -> object:
    path = str(text).rstrip("/")
    if re.fullmatch(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,63}){0,8}", path) is None:
        raise ValueError("a path such as /storage-api: it begins with a slash; letters, digits, . _ ~ and -")
    return path


def _name(text: object) -> object:
    if str(text) != str(text).strip("/"):
        raise ValueError("a name without slashes at its ends")
    return _folder(text)


def _bucket(text: object) -> object:
    # The published examples hold places to fill in, <object_bucket> and {{object_bucket}}: the store refuses those.
    if re.fullmatch(r"[A-Za-z0-9<{][A-Za-z0-9._<>{}-]{0,254}", str(text)) is None or ".." in str(text):
        raise ValueError("the name of a bucket: letters, digits, dot, dash and underscore")
    return text


def _cron(text: object) -> object:
    parse(str(text))
    return text


def _words(text: object) -> tuple[str, ...]:
    return tuple(word.strip() for word in str(text).split(",") if word.strip())


def _origins(text: object) -> object:
    words = _words(text)
    for word in words:
        found = _ADDRESS.fullmatch(word)
        if word != "*" and (found is None or not found[1] or found[3]):
            raise ValueError("a list of origins such as https://portal.example.org, or *")
    return tuple(word.lower() for word in words)


def _networks(text: object) -> object:
    try:
        return tuple(ip_network(word, strict=False) for word in _words(text))
    except ValueError:
        raise ValueError("a list of addresses or networks such as 10.0.0.0/8") from None


def _protocols(text: object) -> object:
    words = _words(text)
    if not words or not {"TLSv1.2", "TLSv1.3"}.issuperset(words):
        raise ValueError("TLSv1.2, TLSv1.3 or both; older ones are not safe")
    return words


def _one_of(*words: str) -> BeforeValidator:
    def check(text: object) -> object:
        word = str(text).lower()
        if word not in words:
            raise ValueError(f"{', '.join(words[:-1])} or {words[-1]}")
        return word

    return BeforeValidator(check)


Switch = Annotated[bool, BeforeValidator(boolean)]
Whole = Annotated[int, BeforeValidator(whole)]
Url = Annotated[str, BeforeValidator(_url)]
Cron = Annotated[str, BeforeValidator(_cron)]
Endpoint = Annotated[str, BeforeValidator(_endpoint)]
BlobEndpoint = Annotated[str, BeforeValidator(_blob_endpoint)]
KeyLocation = Annotated[str, BeforeValidator(_key_location)]
Folder = Annotated[str, BeforeValidator(_folder)]
ContextPath = Annotated[str, BeforeValidator(_context_path)]
Name = Annotated[str, BeforeValidator(_name)]
Bucket = Annotated[str, BeforeValidator(_bucket)]
Origins = Annotated[tuple[str, ...], BeforeValidator(_origins)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]
ClientAuth = Annotated[Literal["none", "want", "need"], _one_of("none", "want", "need")]
Protocols = Annotated[tuple[str, ...], BeforeValidator(_protocols)]
Format = Annotated[Literal["human", "json"], _one_of("human", "json")]
Level = Annotated[str, _one_of("trace", "debug", "info", "warn", "error", "fatal", "off")]
