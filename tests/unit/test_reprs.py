"""What a traceback, a debugger or a careless log line would show: no object of the package shows its secrets."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

import score
from score.auth.apikeys import KeyServer
from score.client.calls import Endpoint
from score.client.settings import Settings
from score.client.tls import Tls
from score.config.keystores import Location
from score.config.sources import Value
from score.protocol.wire import Part, Specification
from score.server.reading import read_settings
from score.storage.azure.settings import AzureSettings
from score.storage.s3.settings import S3Settings
from score.transfer.http import Http, Timeouts

SECRET = "nobody-may-see-this-0"
_NAMES = re.compile(r"(?i)(secret|password|token|account_key|secret_key|signing_key|private_key)\Z|\Akey\Z")


def classes() -> Iterator[type]:
    """Every dataclass and every document of the package, but for the test kit's."""
    seen: set[type] = set()
    for module in pkgutil.walk_packages(score.__path__, "score."):
        if module.name.startswith("score.testing") or module.name.endswith("__main__"):
            continue
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if found.__module__.startswith("score.") and found not in seen:
                seen.add(found)
                yield found


def shown(kind: type) -> Iterator[str]:
    """The fields with names of secrets that an object of this class would show."""
    if dataclasses.is_dataclass(kind):
        if not hasattr(kind.__repr__, "__wrapped__"):
            return  # a representation of its own
        yield from (one.name for one in dataclasses.fields(kind) if one.repr and _NAMES.search(one.name))
    elif issubclass(kind, BaseModel):
        for name, one in kind.model_fields.items():
            if _NAMES.search(name) and one.repr and one.annotation is not SecretStr:
                yield name


def test_no_class_shows_a_field_with_the_name_of_a_secret() -> None:
    found = {f"{kind.__module__}.{kind.__qualname__}.{name}" for kind in classes() for name in shown(kind)}
    keys_of_objects = {
        one for one in found if one.endswith(".key") and not one.startswith(("score.auth", "score.server"))
    }
    assert found - keys_of_objects == set()
    assert len(list(classes())) > 100, "the package was gone through"


@dataclasses.dataclass
class _Careless:
    token: str


def test_a_careless_class_would_be_found() -> None:
    assert list(shown(_Careless)) == ["token"]


def url() -> str:
    return f"https://store.example/x?X-Amz-Signature={SECRET}"


@pytest.mark.parametrize(
    "made",
    [
        KeyServer("https://ego.example", "score", SECRET),
        Settings("https://s.example", "https://m.example", SECRET),
        Tls("a", SECRET, "", "b", SECRET),
        Endpoint(Http(1, Timeouts()), "https://s.example", SECRET),
        Location("server.ssl.key-store", "s.p12", SECRET),
        Value(SECRET, "environment ACCESSTOKEN"),
        Part(part_number=1, part_size=1, offset=0, url=url()),
        Specification(
            object_key="k", object_id="i", upload_id="u", object_size=1, object_md5=None,
            parts=[Part(part_number=1, part_size=1, offset=0, url=url())],
        ),
        S3Settings(endpoint="https://store.example", access_key="a", secret_key=SECRET),
        AzureSettings("account", "bm9ib2R5LW1heS1zZWUtdGhpcy0w", "container"),
    ],
    ids=lambda made: type(made).__name__,
)  # fmt: skip
def test_secrets_are_not_shown(made: Any) -> None:
    for text in (repr(made), str(made), f"{[made]}"):
        assert SECRET not in text
        assert "bm9ib2R5" not in text


def test_settings_of_the_server_do_not_show_theirs(tmp_path: Any) -> None:
    names = [
        "s3.secretKey", "azure.accountKey", "auth.server.clientSecret", "server.ssl.key-password",
        "server.ssl.key-store-password", "server.ssl.trust-store-password", "outgoing.ssl.trust-store-password",
    ]  # fmt: skip
    reading = read_settings(
        ["--spring.profiles.active=local", *(f"--{name}={SECRET}" for name in names)], {}, tmp_path
    )
    text = f"{reading!r} {reading.settings} {reading.warnings} {reading.settings.model_dump()}"
    assert SECRET not in text
