"""What every kind of token may do in every call: the table of the contract's section 7, for a test and for the docs.

Pure data: nothing here is read off the implementation. ``None`` as scopes means that the token is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

STUDY = "TEST-CA"
PROVIDERS = ("ego", "keycloak", "embedded")
Access = Literal["open", "controlled"]
Need = Literal["nothing", "a valid token", "download", "upload", "upload to all studies"]

SYSTEM = ("score.READ", "score.WRITE")
READER = ("score.READ",)
MEMBER = ("PROGRAMDATA-TEST-CA.READ", "PROGRAMDATA-TEST-CA.WRITE")
STUDY_READER = ("PROGRAMDATA-TEST-CA.READ",)
STRANGER = ("PROGRAMDATA-OTHER-CA.READ", "PROGRAMDATA-OTHER-CA.WRITE")


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the protocol; ``{up}`` is an object that may be uploaded, ``{down}`` one that is published, ``{id}``
    the id of the upload in progress. ``prepared``: it needs that upload; ``consumes``: it is gone afterwards;
    ``afresh``: it needs neither that upload nor the object to be there."""

    method: str
    path: str
    need: Need
    query: str = ""
    prepared: bool = False
    consumes: bool = False
    afresh: bool = False

    @property
    def shown(self) -> str:
        """The call as the docs name it."""
        path = self.path.replace("{up}", "{id}").replace("{down}", "{id}")
        return f"{self.method} {path}" + ("?exclude-urls" if "exclude-urls" in self.query else "")


PART = "partNumber=1&uploadId={id}"
CALLS = (
    Call("GET", "/profile", "nothing"),
    Call("GET", "/download/ping", "nothing"),
    Call("GET", "/actuator/health", "nothing"),
    Call("GET", "/health", "nothing"),
    Call("GET", "/swagger-ui.html", "nothing"),
    Call("GET", "/v2/api-docs", "nothing"),
    Call("GET", "/htsget/reads/service-info", "nothing"),
    Call("GET", "/htsget/variants/service-info", "nothing"),
    Call("GET", "/listing", "a valid token"),
    Call("GET", "/download/{down}", "download", "offset=0&length=-1"),
    Call("GET", "/download/{down}", "download", "offset=0&length=-1&exclude-urls=true"),
    Call("GET", "/htsget/variants/{down}", "download"),
    Call("POST", "/htsget/variants/{down}", "download"),
    Call("GET", "/upload/{up}", "upload"),
    Call("GET", "/upload/test/{up}", "upload"),
    Call("GET", "/upload/{up}/status", "upload", "fileSize=16", prepared=True),
    Call("POST", "/upload/{up}/recovery", "upload", "fileSize=16", prepared=True),
    Call("POST", "/upload/{up}/parts", "upload", PART + "&md5={md5}&etag={md5}", prepared=True),
    Call("DELETE", "/upload/{up}/parts", "upload", PART, prepared=True, consumes=True),
    Call("POST", "/upload/{up}/uploads", "upload", "fileSize=16&overwrite=true", consumes=True),
    Call("POST", "/upload/{up}/begin", "upload", "fileSize=16", consumes=True, afresh=True),
    Call("POST", "/upload/{up}", "upload", "uploadId={id}", prepared=True, consumes=True),
    Call("DELETE", "/upload/{up}", "upload", prepared=True, consumes=True),
    Call("DELETE", "/admin/objects/{up}", "upload to all studies", prepared=True, consumes=True),
    Call("POST", "/upload/cancel", "upload to all studies", consumes=True),
)


@dataclass(frozen=True, slots=True)
class Credential:
    """What a caller shows. ``kind`` says how it is made; ``scopes`` is None where it is no valid token."""

    name: str
    kind: str
    scopes: tuple[str, ...] | None = None

    @property
    def absent(self) -> bool:
        """Whether there is no bearer token at all."""
        return self.kind in ("none", "basic")

    @property
    def is_jwt(self) -> bool:
        """Whether it has the form of a JWT."""
        return self.kind.startswith("jwt")


CREDENTIALS = (
    Credential("no token", "none"),
    Credential("Basic credentials", "basic"),
    Credential("an empty bearer", "empty"),
    Credential("a word that is no token", "word"),
    Credential("UUID that is no key", "unknown"),
    Credential("key without scopes", "key", ()),
    Credential("study key, READ", "key", STUDY_READER),
    Credential("study key, READ and WRITE", "key", MEMBER),
    Credential("other study's key", "key", STRANGER),
    Credential("system key, READ", "key", READER),
    Credential("system key, READ and WRITE", "key", SYSTEM),
    Credential("expired key", "expired key"),
    Credential("revoked key", "revoked key"),
    Credential("JWT without scopes", "jwt nobody", ()),
    Credential("JWT of the study, READ", "jwt reader", STUDY_READER),
    Credential("JWT of the study, READ and WRITE", "jwt submitter", MEMBER),
    Credential("JWT of another study", "jwt stranger", STRANGER),
    Credential("JWT of the system", "jwt operator", SYSTEM),
    Credential("JWT of a program (client credentials)", "jwt program", SYSTEM),
    Credential("expired JWT", "jwt expired"),
    Credential("JWT signed by another", "jwt foreign"),
    Credential("JWT with alg none", "jwt none"),
)


def expected(
    provider: str, credential: Credential, call: Call, access: Access, *, anonymous_open: bool = True
) -> int:
    """The status of an answer."""
    if call.need == "nothing":
        return 200
    if credential.absent:
        if call.need != "download" or not anonymous_open:
            return 401
        return 200 if access == "open" else 403
    if credential.scopes is None or (credential.is_jwt and provider == "embedded"):
        return 401
    if call.need == "a valid token" or (call.need == "download" and access == "open"):
        return 200
    right = "READ" if call.need == "download" else "WRITE"
    enough = {f"score.{right}"}
    if call.need != "upload to all studies":
        enough.add(f"PROGRAMDATA-{STUDY}.{right}")
    return 200 if enough & set(credential.scopes) else 403


def columns() -> dict[tuple[Need, Access | None], list[Call]]:
    """Calls that need the same, by what the answer depends on."""
    found: dict[tuple[Need, Access | None], list[Call]] = {}
    for call in CALLS:
        kinds: tuple[Access | None, ...] = ("open", "controlled") if call.need == "download" else (None,)
        for access in kinds:
            found.setdefault((call.need, access), []).append(call)
    return found


def table() -> list[str]:
    """The table as lines of Markdown."""
    heads = [f"{need}, {access} file" if access else need for need, access in columns()]
    lines = ["| calls that need | calls |", "|---|---|"]
    shown: dict[str, list[str]] = {}
    for call in CALLS:
        shown.setdefault(call.need, []).append(f"`{call.shown}`")
    lines += [f"| {need} | {', '.join(calls)} |" for need, calls in shown.items()]
    lines += ["", f"| token | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    lines += [_row(credential.name, credential) for credential in CREDENTIALS[:1]]
    lines.append(_row("no token, `auth.anonymous.open=false`", CREDENTIALS[0], anonymous_open=False))
    return lines + [_row(credential.name, credential) for credential in CREDENTIALS[1:]]


def _row(name: str, credential: Credential, *, anonymous_open: bool = True) -> str:
    cells = []
    for (_, access), calls in columns().items():
        by_provider = {
            provider: expected(provider, credential, calls[0], access or "controlled", anonymous_open=anonymous_open)
            for provider in PROVIDERS
        }
        most = by_provider["ego"]
        others = [f"{provider} {status}" for provider, status in by_provider.items() if status != most]
        cells.append(f"{most} ({', '.join(others)})" if others else str(most))
    return f"| {name} | {' | '.join(cells)} |"
