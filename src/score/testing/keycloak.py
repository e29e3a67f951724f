"""A Keycloak of one's own for tests: on a free loopback port, with realms made as tests need them, ended by its id.

The installed folder is used as it is; a folder of its own for each run holds what Keycloak writes, and its database
is in memory.
"""

from __future__ import annotations

import fcntl
import json
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from score.errors import Unavailable
from score.testing.processes import DIRECT, Daemon, running
from score.testing.secrecy import secret

MEMORY = "768m"
CLIENT, SECRET = "score", "scoresecret1234"
"""The client of a realm that has the resources; Score's ``auth.server.clientId``."""
PASSWORD = "password"
"""Of every user of a realm."""
_ADMIN = "admin"
_OPTIONS = (
    *("-Xms64m", f"-Xmx{MEMORY}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-Djava.util.logging.manager=org.jboss.logmanager.LogManager", "-Dquarkus-log-max-startup-records=10000"),
    *("--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED"),
    "--add-opens=java.base/java.security=ALL-UNNAMED",
)
_START = (
    *("start", "--optimized", "--http-enabled=true", "--hostname-strict=false", "--hostname-strict-https=false"),
    "--db-pool-min-size=1",  # the database in memory ends with its last connection, which idle ones do in minutes
)


@dataclass(frozen=True, slots=True)
class TestRealm:
    """A realm: users ``operator`` (system), ``submitter`` and ``reader`` (study TEST-CA), ``stranger`` (OTHER-CA and
    DOT.TED), ``nobody``; clients ``pipeline`` (system), ``idle`` (nothing), and ``hasty``, whose tokens live 1 s."""

    __test__ = False

    keycloak: Keycloak
    name: str

    @property
    def url(self) -> str:
        """The issuer of its tokens."""
        return f"{self.keycloak.url}/realms/{self.name}"

    def token(self, user: str, client: str = CLIENT, *, kind: str = "access_token") -> str:
        """A JWT of a user, by password; ``kind`` may be ``id_token`` or ``refresh_token``."""
        form = {
            "grant_type": "password",
            "username": user,
            "password": PASSWORD,
            "client_id": client,
            "scope": "openid",
        }
        return secret(str(self._ask(form | ({"client_secret": SECRET} if client == CLIENT else {}))[kind]))

    def expired_token(self, user: str) -> str:
        """A JWT of a user that Keycloak takes no more, as soon as that is so."""
        token = self.token(user, "hasty")
        while self.takes(token):
            pass
        return token

    def takes(self, token: str) -> bool:
        """Whether Keycloak takes a JWT, whatever it is good for."""
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:uma-ticket", "audience": CLIENT}
        try:
            self._ask(form, {"Authorization": f"Bearer {token}"})
        except Unavailable as refusal:
            return "answers 401" not in str(refusal)
        return True

    def client_token(self, client: str = "pipeline") -> str:
        """A JWT of a client's own, by client credentials."""
        form = {"grant_type": "client_credentials", "client_id": client, "client_secret": f"{client}secret"}
        return secret(str(self._ask(form)["access_token"]))

    def rotate(self) -> None:
        """Sign with a new key from now on; tokens of the old one stay valid."""
        (realm,) = [one for one in self.keycloak.ask("GET", "/admin/realms") if one["realm"] == self.name]
        component = {
            "name": uuid.uuid4().hex,
            "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "parentId": realm["id"],
            "config": {"priority": [str(200 + int(time.time()))], "algorithm": ["RS256"], "keySize": ["2048"]},
        }
        self.keycloak.ask("POST", f"/admin/realms/{self.name}/components", component)

    def log_out(self, user: str) -> None:
        """End all sessions of a user; Keycloak takes their tokens no more."""
        (found,) = self.keycloak.ask("GET", f"/admin/realms/{self.name}/users?exact=true&username={user}")
        self.keycloak.ask("POST", f"/admin/realms/{self.name}/users/{found['id']}/logout")

    def _ask(self, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        return self.keycloak.post_form(f"/realms/{self.name}/protocol/openid-connect/token", form, headers)


class Keycloak:
    """A Keycloak server at ``url``, ``http://host:port``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._token = ("", 0.0)

    def make_realm(self) -> TestRealm:
        """A new realm, so that what a test does to it concerns no other."""
        name = f"realm-{uuid.uuid4().hex[:8]}"
        document = json.loads(Path(__file__).with_name("realm.json").read_text())
        self.ask("POST", "/admin/realms", {"realm": name, **document})
        return TestRealm(self, name)

    def ask(self, method: str, path: str, document: object = None) -> Any:
        """A call to its administration; the JSON of the answer, None where there is none."""
        headers = {"Authorization": f"Bearer {self._admin()}", "Content-Type": "application/json"}
        body = None if document is None else json.dumps(document).encode()
        return self._send(urllib.request.Request(self.url + path, body, headers, method=method))

    def post_form(
        self, path: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """POST a form; the JSON of the answer. Unavailable, with Keycloak's words, where that is a refusal."""
        request = urllib.request.Request(self.url + path, urllib.parse.urlencode(form).encode(), dict(headers or {}))
        document: dict[str, Any] = self._send(request)
        return document

    def _admin(self) -> str:
        token, until = self._token
        if time.monotonic() > until:
            form = {"grant_type": "password", "client_id": "admin-cli", "username": _ADMIN, "password": PASSWORD}
            said = self.post_form("/realms/master/protocol/openid-connect/token", form)
            token = str(said["access_token"])
            self._token = (token, time.monotonic() + float(said["expires_in"]) / 2)
        return token

    def _send(self, request: urllib.request.Request) -> Any:
        try:
            with DIRECT.open(request, timeout=60) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode(errors="replace")[:500]
            raise Unavailable(f"Keycloak answers {error.code} to {request.selector}: {said}") from None
        return json.loads(body) if body else None


class _Server(Daemon):
    """The program. Its database is in memory."""

    NAME = "Keycloak"
    READY_WITHIN = 240.0  # 20 on two idle cores, a multiple of that beside other tests

    def __init__(self, program: Path, folder: Path) -> None:
        super().__init__(folder)
        self._home = program.resolve().parent.parent

    @property
    def url(self) -> str:
        """``http://host:port``."""
        return f"http://127.0.0.1:{self._port}"

    def _command(self, data: Path) -> list[str]:
        own = Path(tempfile.mkdtemp(dir=data))
        for entry in self._home.iterdir():
            if entry.name != "data":
                (own / entry.name).symlink_to(entry)
        program = ["java", *_OPTIONS, f"-Dkc.home.dir={own}", "-cp", str(own / "lib" / "quarkus-run.jar")]
        address = ["--http-host=127.0.0.1", f"--http-port={self._port}"]
        return [*program, "io.quarkus.bootstrap.runner.QuarkusEntryPoint", *_START, *address]

    def _settings(self) -> dict[str, str]:
        return {"KEYCLOAK_ADMIN": _ADMIN, "KEYCLOAK_ADMIN_PASSWORD": PASSWORD}

    def _is_ready(self) -> bool:
        with suppress(OSError, Unavailable):
            return bool(Keycloak(self.url).ask("GET", "/admin/realms"))
        return False


@contextmanager
def shared_keycloak(folder: Path) -> Iterator[Keycloak]:
    """A running :class:`Keycloak`, one for all processes that name this folder. The first one starts it, and ends it
    when all others have left; that they did the system knows by their locks, also of those that crashed."""
    note = folder / "keycloak.url"
    with open(folder / "keycloak.lock", "a") as lock, open(folder / "keycloak.users", "a") as users:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if note.exists():
            fcntl.flock(users, fcntl.LOCK_SH)
            fcntl.flock(lock, fcntl.LOCK_UN)
            yield Keycloak(note.read_text())
            return
        with running(_Server.NAME, _Server) as server:
            note.write_text(server.url)
            fcntl.flock(lock, fcntl.LOCK_UN)
            try:
                yield Keycloak(server.url)
            finally:
                fcntl.flock(lock, fcntl.LOCK_EX)
                note.unlink()  # nobody new comes
                fcntl.flock(users, fcntl.LOCK_EX)
