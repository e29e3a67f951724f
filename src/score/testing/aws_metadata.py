"""A stand-in for the metadata services of Amazon's machines and containers, which give temporary keys."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from aiohttp import web

from score.testing.service import FakeService

_ROLE = "score-server"


class AwsMetadata(FakeService):
    """Gives the keys of ``give`` to whoever asks as an instance or a container does, with the token that it wants.

    ``instance`` and ``container`` are the environments that lead botocore here.
    """

    def __init__(self) -> None:
        super().__init__()
        self._session, self._container = secrets.token_hex(8), secrets.token_hex(8)
        self._keys: dict[str, str] = {}

    @property
    def instance(self) -> dict[str, str]:
        """Environment of a program on an instance with a role."""
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url, "AWS_EC2_METADATA_DISABLED": "false"}

    @property
    def container(self) -> dict[str, str]:
        """Environment of a program in a container with a role."""
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url}/container",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": self._container,
        }

    def give(self, access_key: str, secret_key: str, token: str, life: timedelta) -> None:
        """Give these keys from now on, which cease to work after ``life``."""
        now = datetime.now(UTC)
        self._keys = {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": access_key,
            "SecretAccessKey": secret_key,
            "Token": token,
            "LastUpdated": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "Expiration": f"{now + life:%Y-%m-%dT%H:%M:%SZ}",
        }

    def routes(self) -> Iterable[web.RouteDef]:
        roles = "/latest/meta-data/iam/security-credentials/"
        return [
            web.put("/latest/api/token", self._open_session),
            web.get(roles, self._roles),
            web.get(roles + _ROLE, self._of_instance),
            web.get("/container", self._of_container),
        ]

    async def _open_session(self, request: web.Request) -> web.Response:
        return web.Response(text=self._session)

    async def _roles(self, request: web.Request) -> web.Response:
        return self._proven(request, "X-aws-ec2-metadata-token", self._session) or web.Response(text=_ROLE)

    async def _of_instance(self, request: web.Request) -> web.Response:
        refusal = self._proven(request, "X-aws-ec2-metadata-token", self._session)
        return refusal or web.json_response(self._keys)

    async def _of_container(self, request: web.Request) -> web.Response:
        return self._proven(request, "Authorization", self._container) or web.json_response(self._keys)

    def _proven(self, request: web.Request, header: str, wanted: str) -> web.Response | None:
        """A refusal, unless the request has the token."""
        return None if request.headers.get(header) == wanted else web.Response(status=401)
