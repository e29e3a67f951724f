"""A secured server with files of one study, and the means to make tokens for it: for tests of authorization."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3

from score.auth.embedded import KeyFile
from score.server.build import open_service
from score.server.settings import JWT, Settings
from score.testing.authorization import STUDY, SYSTEM, Access
from score.testing.ego import FakeEgo
from score.testing.fake_keycloak import FakeKeycloak
from score.testing.server import RunningServer

DATA = b"##fileformat=VCF"
"""The bytes of every file: enough of a VCF to be given whole."""
MD5 = hashlib.md5(DATA).hexdigest()
Keys = FakeEgo | FakeKeycloak | KeyFile


class SecuredSite:
    """A running server under the profiles ``local`` and ``secure``; ``keys`` is where its API keys are made.

    ``objects`` are the registered files of the study: ``("up", access)`` may be uploaded, ``("down", access)`` is
    published.
    """

    def __init__(self, url: str, keys: Keys, http: urllib3.PoolManager) -> None:
        self.url = url
        self.keys = keys
        self.http = http
        self.objects: dict[tuple[str, Access], str] = {}
        self.uploads: dict[Access, str] = {}
        self.system = self.make_key(*SYSTEM)

    def call(
        self, method: str, target: str, token: str | None = None, body: bytes | None = None, **headers: str
    ) -> Any:
        """The answer to a call, with ``token`` as bearer."""
        given = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.http.request(method, self.url + target, headers=given | headers, body=body)

    def good(self, method: str, target: str, document: object = None) -> Any:
        """The JSON of a call by the system, which must succeed."""
        body = None if document is None else json.dumps(document).encode()
        answer = self.call(method, target, self.system, body)
        assert answer.status == 200, answer.data
        return answer.json() if answer.data else None

    def make_key(self, *scopes: str) -> str:
        """A new API key."""
        if isinstance(self.keys, KeyFile):
            return self.keys.create("somebody", scopes)
        return self.keys.issue_key(*scopes)

    def make_expired_key(self, *scopes: str) -> str:
        """A new API key that is expired."""
        if isinstance(self.keys, KeyFile):
            return self.keys.create("somebody", scopes, time.time() - 5)
        return self.keys.issue_key(*scopes, lasts=-5)

    def register(self, name: str, access: str = "controlled", study: str = STUDY) -> tuple[str, str]:
        """Register a file of :data:`DATA`; its analysis, and its object id."""
        if study not in self.good("GET", "/studies/all"):
            self.good("POST", f"/studies/{study}/", {"studyId": study, "name": study})
        file = {"fileName": name, "fileSize": len(DATA), "fileMd5sum": MD5, "fileAccess": access}
        payload = {"studyId": study, "analysisType": {"name": "x"}, "samples": [], "files": [file]}
        analysis = self.good("POST", f"/submit/{study}", payload)["analysisId"]
        (found,) = self.good("GET", f"/studies/{study}/analysis/{analysis}/files")
        return analysis, found["objectId"]

    def publish(self, analysis: str, identity: str, study: str = STUDY) -> None:
        """Upload the file, and publish its analysis."""
        self.good("POST", f"/upload/{identity}?uploadId={self.begin(identity)}")
        self.good("PUT", f"/studies/{study}/analysis/publish/{analysis}")

    def populate(self) -> None:
        """Make ``objects``."""
        kinds: tuple[Access, Access] = ("open", "controlled")
        for access in kinds:
            self.objects["up", access] = self.register(f"up-{access}", access)[1]
            analysis, self.objects["down", access] = self.register(f"down-{access}", access)
            self.publish(analysis, self.objects["down", access])

    def begin(self, identity: str) -> str:
        """An upload in progress whose only part is sent and recorded."""
        started = self.good("POST", f"/upload/{identity}/uploads?fileSize={len(DATA)}&md5={MD5}&overwrite=true")
        assert self.http.request("PUT", started["parts"][0]["url"], body=DATA).status == 200
        upload: str = started["uploadId"]
        self.good("POST", f"/upload/{identity}/parts?partNumber=1&uploadId={upload}&md5={MD5}&etag={MD5}")
        return upload

    def upload_of(self, access: Access) -> str:
        """The id of the upload in progress, begun where none is."""
        if access not in self.uploads:
            self.uploads[access] = self.begin(self.objects["up", access])
        return self.uploads[access]

    def clear(self, access: Access) -> None:
        """Leave neither the object nor an upload of it."""
        self.upload_of(access)  # what is not there cannot be removed
        self.good("DELETE", f"/admin/objects/{self.objects['up', access]}")
        del self.uploads[access]

    def is_untouched(self, identity: str, upload: str) -> bool:
        """Whether an upload that ``begin`` began is as it was."""
        status = self.good("GET", f"/upload/{identity}/status?fileSize={len(DATA)}")
        return (status["uploadId"], status["parts"][0]["sourceMd5"]) == (upload, MD5)


def check_form(answer: Any, target: str) -> None:
    """Refusals are JSON, say what is needed, and challenge where a token would help."""
    if answer.status < 400:
        return
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    if target.startswith("/htsget/"):
        document = document["htsget"]
        assert document["error"] == {401: "InvalidAuthentication", 403: "PermissionDenied"}[answer.status]
    else:
        assert (document["status"], document["path"]) == (answer.status, target.partition("?")[0])
    assert ("www-authenticate" in answer.headers) is (answer.status == 401)
    if answer.status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    if answer.status == 403:
        assert document["message"].startswith("Token missing required scope to ")
        assert "score.READ" in document["message"] or "score.WRITE" in document["message"]


def client_of(server: FakeEgo | FakeKeycloak) -> dict[str, object]:
    return {
        "auth.server.url": server.check_url,
        "auth.server.clientId": server.client_id,
        "auth.server.clientSecret": server.client_secret,
    }


@contextmanager
def secured_site(folder: Path, keys: Keys, **settings: object) -> Iterator[SecuredSite]:
    """A running site; ``settings``, with ``_`` for ``.``, replace those that follow from ``keys``."""
    given: dict[str, object] = {"local.directory": folder, "profiles": ("local", "secure")}
    if isinstance(keys, KeyFile):
        given["auth.embedded.file"] = str(keys.path)
    else:
        given |= client_of(keys)
    if isinstance(keys, FakeEgo):
        given[f"{JWT}.public-key-location"] = keys.public_key_url
    if isinstance(keys, FakeKeycloak):
        given["auth.server.provider"] = "keycloak"
        given |= {"auth.server.keycloak.host": keys.url, "auth.server.keycloak.realm": keys.realm}
    chosen = Settings.model_validate(given | {name.replace("_", "."): value for name, value in settings.items()})
    opening: Callable[[], Any] = lambda: open_service(chosen)  # noqa: E731
    with RunningServer(opening, chosen) as server, urllib3.PoolManager(retries=False, timeout=60) as http:
        yield SecuredSite(server.url, keys, http)
