"""Reading the server's settings: profiles, checks, and what the operator should be told. Protocol, section 8."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from score.config.sources import Value, Values, canonical, load, wrong
from score.errors import Misconfigured
from score.protocol.parts import SMALLEST_PART
from score.server import authorization
from score.server.examples import left_to_do
from score.server.settings import FIELDS, JWT, PROVIDERS, Settings

_LONGEST = 2000
S3_PROFILES = {"s3", "default", "aws", "amazon", "collaboratory"}
KNOWN_PROFILES = S3_PROFILES | {"azure", "secure", "prod", "dev", "ssl", "local"}
PREFIXES = (
    "server", "s3", "bucket", "upload", "download", "object", "azure", "metadata", "auth", "local", "insecure",
    "outgoing", "htsget", "clean",
)  # fmt: skip
MISSPELLED = {
    "upload.connectionltimeout": "upload.connection.timeout",
    "bucket.policy.downolad": "bucket.policy.download",
    "auth.jwt.public.key.url": f"{JWT}.public-key-location",
    "auth.jwt.publickey.location": f"{JWT}.public-key-location",
    "spring.mvc.servlet.path": "server.servlet.context-path",
}
_REFUSED = (
    "server.ssl.bundle", "server.ssl.trust-certificate-private-key", "spring.config.import", "spring.config.name",
)  # fmt: skip
"""Settings of Spring Boot that would change who is trusted or where settings are, and that are not supported."""
_CLAIMS = (f"{JWT}.issuer-uri", f"{JWT}.audiences")
"""Settings of Spring Boot that want more of a JWT than a signature. With Keycloak the first asks for nothing: it
takes no token of another issuer when it is asked what the token may do."""
_MEANINGLESS = (
    "server.compression.enabled", "server.compression.mime-types", "server.shutdown", "server.http2.enabled",
    "server.ssl.protocol", "server.ssl.key-store-type", "server.ssl.key-store-provider",
    "server.ssl.trust-store-provider", "server.ssl.trust-store-type", "outgoing.ssl.trust-store-type",
)  # fmt: skip
"""Settings of Spring Boot that have nothing to decide here: files tell what they are."""
_FORWARDING = (
    "server.forward-headers-strategy", "server.use-forward-headers", "server.tomcat.remoteip.internal-proxies",
    "server.tomcat.remoteip.trusted-proxies", "server.tomcat.remoteip.remote-ip-header",
    "server.tomcat.remoteip.protocol-header", "server.tomcat.remoteip.host-header",
    "server.tomcat.remoteip.port-header",
)  # fmt: skip
"""Settings of Spring Boot about the headers of proxies; those of ours are other ones."""
_ELSEWHERE = {
    "management.server.port": "health and numbers are at server.port, as all calls are",
    "management.server.base-path": "health is at /actuator/health",
    "management.endpoints.web.base-path": "health is at /actuator/health",
    "logging.file": "the log is standard error",
    "logging.file.name": "the log is standard error",
    "logging.file.path": "the log is standard error",
    "logging.path": "the log is standard error",
}
"""Settings of Spring Boot about where to look, and where that is here."""
_MAY_BE_EMPTY = {
    "s3.data.directory", "auth.server.scope.download.study.prefix", "auth.server.scope.download.study.suffix",
    "auth.server.scope.upload.study.prefix", "auth.server.scope.upload.study.suffix",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """Settings as read, and what the operator should be told about them; ``missing``: why they do not suffice."""

    settings: Settings
    warnings: tuple[str, ...]
    values: Values = field(default_factory=lambda: Values({}))
    missing: str = ""

    def origin(self, alias: str) -> str:
        """Where the value in force of a setting came from."""
        value = self.values.get(alias)
        return value.origin if value is not None and (value.text or alias in _MAY_BE_EMPTY) else "default"


def read_settings(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    folder: Path,
    *,
    complete: bool = True,
    commands: Collection[str] = (),
) -> Reading:
    """Read and check the settings. Raises Misconfigured, naming the setting and the place where it stands, also for
    what is missing; where they need not be ``complete``, that is only told in ``Reading.missing``. ``commands`` are
    those that a word may be meant for that is no setting."""
    values = load(
        arguments=arguments,
        environ=environ,
        folder=folder,
        known=[*FIELDS, *_REFUSED, *_CLAIMS, *_MEANINGLESS, *_FORWARDING, *_ELSEWHERE],
        valued=[alias for alias, name in FIELDS.items() if Settings.model_fields[name].annotation is not bool],
        misspelled=MISSPELLED,
        prefixes=PREFIXES,
    )
    if values.rest:
        raise _no_setting(values.rest[0], commands)
    profiles, notes = _profiles(values)
    settings = _validate(values, profiles)
    _refuse_unbuilt(settings, values)
    problem = ""
    try:
        _require(settings, values)
        _require_tls(settings, asked=bool(values.text("server.ssl.enabled")))
    except Misconfigured as error:
        if complete:
            unknown = "".join(f"\n{one}" for one in values.unknown if one.meant)
            raise Misconfigured(f"{error}{unknown}") from None
        problem = str(error)
    warnings = [*values.warnings, *notes]
    warnings += [str(unknown) for unknown in values.unknown if not _is_ignored_scope(unknown.name)]
    warnings += _advice(settings, values) + left_to_do(settings, values)
    return Reading(settings, tuple(warnings), values, problem)


def _no_setting(word: str, commands: Collection[str]) -> Misconfigured:
    """The error for a word that is no setting: perhaps a command that is misspelled, or not the first word."""
    if not commands:
        return Misconfigured(f"{word!r} is no setting.", hint="Settings are given as --name=value.")
    if word in commands:
        return Misconfigured(
            f"{word!r} is no setting; as a command it comes first.", hint=f"score-server {word} --name=value ..."
        )
    near = get_close_matches(word, commands, 1)
    known = "score-server --help shows the commands."
    return Misconfigured(
        f"{word!r} is no setting, and no command.",
        hint=f"Settings are given as --name=value; {f'did you mean score-server {near[0]}?' if near else known}",
    )


def _profiles(values: Values) -> tuple[tuple[str, ...], list[str]]:
    """The active profiles with the kind of store among them, and a note on each unknown one."""
    named = [name.lower() for name in values.profiles]
    notes = [f"The profile {name!r} is unknown and changes nothing." for name in named if name not in KNOWN_PROFILES]
    kinds = {"local": "local" in named, "azure": "azure" in named, "s3": bool(S3_PROFILES & set(named))}
    stored = [alias for alias in FIELDS if values.get(alias) and alias.split(".")[0] in ("s3", "azure", "bucket")]
    if kinds["local"] and (kinds["azure"] or kinds["s3"]):
        other = "azure" if kinds["azure"] else "s3"
        raise Misconfigured(f"The profiles local and {other} exclude one another.", hint="Name one of them.")
    if not any(kinds.values()):
        # No store is named: a disk only where nothing hints at a bucket, so that nobody writes to one unawares.
        others = [alias for alias in stored if alias.startswith("s3.")]
        azure = any(alias.startswith(("azure.", "bucket.policy.")) for alias in stored) and not others
        named.append("azure" if azure else "s3" if stored else "local")
    elif kinds["local"] and stored:
        notes.append(f"The profile is local: {stored[0]} and its like are not used, but for folders and times.")
    elif kinds["azure"]:
        named = [name for name in named if name not in S3_PROFILES]
    return tuple(named), notes


def _validate(values: Values, profiles: tuple[str, ...]) -> Settings:
    given = {
        alias: value.text
        for alias in FIELDS
        if (value := values.get(alias)) is not None and (value.text or alias in _MAY_BE_EMPTY)
    }
    for alias, text in given.items():
        if not text.isprintable() or len(text) > _LONGEST:
            value = Value("...", values.found[canonical(alias)].origin)
            raise wrong(alias, value, f"printable text of at most {_LONGEST} characters")
    try:
        return Settings.model_validate({**given, "profiles": profiles})
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_url=False, include_input=False):
            alias = str(problem["loc"][0])
            value = values.get(alias)
            assert value is not None
            secret = Settings.model_fields[FIELDS[alias]].annotation is SecretStr
            problems.append(str(wrong(alias, value, _expected(problem), secret=secret)))
        raise Misconfigured("\n".join(problems)) from None


def _expected(problem: Any) -> str:
    """What a value should be, in the words of a sentence's beginning."""
    context: dict[str, Any] = problem.get("ctx") or {}
    match problem["type"]:
        case "value_error":
            return str(context["error"])
        case "greater_than_equal":
            return f"at least {context['ge']}"
        case "less_than_equal":
            return f"at most {context['le']}"
        case "float_parsing":
            return "a number"
        case _:
            return str(problem["msg"])


def _refuse_unbuilt(settings: Settings, values: Values) -> None:
    """Misconfigured for whatever this version cannot do: to ignore it would be worse than to stop."""
    if asked := [name for name in _REFUSED if values.text(name)]:
        raise Misconfigured(
            f"This version of score-server does not support {' and '.join(asked)} yet.",
            hint="It does not start, rather than pass over that setting.",
        )
    claims = _CLAIMS[1:] if settings.provider == "keycloak" else _CLAIMS
    asked = [name for name in claims if settings.secure and values.text(name)]
    if asked and settings.provider in PROVIDERS:
        raise Misconfigured(
            f"{asked[0]}: issuer and audience of JWTs are not looked at, only signature and time.",
            hint=f"If that is enough, name the keys by {JWT}.jwk-set-uri, and leave the other setting out.",
        )


def _require(settings: Settings, values: Values) -> None:
    """Misconfigured, naming all that is missing."""
    missing = []
    if settings.store == "s3":
        # Who misspells the endpoint means another store than Amazon's.
        elsewhere = any(unknown.meant == "s3.endpoint" for unknown in values.unknown)
        needed = {
            "s3.endpoint (for Amazon's own s3.region is enough)": (
                settings.s3_endpoint or (not elsewhere and settings.s3_region)
            ),
            "bucket.name.object": settings.bucket_object,
            "bucket.name.state": settings.bucket_state,
            "metadata.url": settings.metadata_url,
        }
        missing += [name for name, text in needed.items() if not text]
        if bool(settings.s3_access_key) != bool(settings.s3_secret_key.get_secret_value()):
            missing.append("s3.secretKey" if settings.s3_access_key else "s3.accessKey")
    if settings.store == "azure":
        needed = {
            "azure.accountName": settings.azure_account,
            "azure.accountKey": settings.azure_key.get_secret_value(),
            "bucket.name.object": settings.bucket_object,
            "metadata.url": settings.metadata_url,
        }
        missing += [name for name, text in needed.items() if not text]
    if settings.secure:
        missing += authorization.missing(settings)
    if missing:
        raise Misconfigured(
            f"These settings are missing for the profile {','.join(settings.profiles)}: {', '.join(missing)}.",
            hint="Set them in conf/application.properties, .env.score, the environment, or as --name=value.",
        )
    loopback = settings.host in ("127.0.0.1", "localhost", "::1")
    if settings.store == "local" and not settings.secure and not loopback and not settings.insecure:
        raise Misconfigured(
            f"Without the profile secure everybody who reaches {settings.host[:60]} could read and write all data.",
            hint="Add the profile secure, or start with --insecure if that is what you want.",
        )


def _require_tls(settings: Settings, *, asked: bool) -> None:
    """Misconfigured where TLS is wanted and something for it is missing. ``asked``: by ``server.ssl.enabled``."""
    if settings.ssl_certificate and settings.ssl_key_store:
        raise Misconfigured(
            "server.ssl.certificate and server.ssl.key-store exclude one another.", hint="Set one of them."
        )
    if (settings.tls or (asked and settings.ssl_enabled)) and not (
        settings.ssl_certificate or settings.ssl_key_store
    ):
        raise Misconfigured(
            "TLS needs a certificate: server.ssl.certificate with server.ssl.certificate-private-key (PEM),"
            " or server.ssl.key-store (PKCS#12).",
            hint="Set them, or server.ssl.enabled=false.",
        )
    trust = settings.ssl_trust_certificate or settings.ssl_trust_store
    if settings.tls and settings.ssl_client_auth != "none" and not trust:
        raise Misconfigured(
            f"server.ssl.client-auth={settings.ssl_client_auth} needs authorities that prove the callers'"
            " certificates.",
            hint="Set server.ssl.trust-certificate (PEM) or server.ssl.trust-store (PKCS#12).",
        )


def _is_ignored_scope(name: str) -> bool:
    """Names in public documents that never had an effect, which are warned of in words of their own."""
    return canonical(name) in {
        "authserverscopestudyprefix", "authserverscopedownloadsuffix", "authserverscopeuploadsuffix"
    }  # fmt: skip


def _advice(settings: Settings, values: Values) -> list[str]:
    """Warnings about settings that are valid, but hardly what is meant."""
    said = [
        f"{unknown.name} ({unknown.origin}) HAS NO EFFECT. In force are"
        f" {settings.download_prefix}<study>{settings.download_suffix} for downloads and"
        f" {settings.upload_prefix}<study>{settings.upload_suffix} for uploads; they are set by"
        " auth.server.scope.{download,upload}.study.{prefix,suffix}."
        for unknown in values.unknown
        if _is_ignored_scope(unknown.name)
    ]
    said += authorization.advice(settings)
    forwarding = [name for name in _FORWARDING if values.text(name).lower() not in ("", "none", "false")]
    if forwarding:
        said.append(
            f"{' and '.join(forwarding)}: no effect. Proxies in server.trustedProxies are believed about addresses of"
            " callers (X-Forwarded-For), and nobody about host, port, scheme and prefix: server.publicUrl is the"
            " base of URLs of the local store."
        )
    said += [f"{name}: no effect; {where}." for name, where in _ELSEWHERE.items() if values.text(name)]
    if settings.store == "azure" and values.get("upload.partsize"):
        said.append("upload.partsize is not used with Azure: clients cut files into blocks by their azure.blockSize.")
    elif settings.upload_part_size < SMALLEST_PART:
        said.append(f"upload.partsize is below the smallest part that S3 takes; {SMALLEST_PART} is used.")
    if max(settings.s3_upload_days, settings.s3_download_days) > 7 and settings.store == "s3" and settings.s3_sig_v4:
        said.append("Signed URLs live at most 7 days: longer expirations are cut to that.")
    if settings.s3_kms_key and not settings.s3_sig_v4:
        said.append(
            "s3.masterEncryptionKeyId with s3.sigV4Enabled=false: Amazon S3 gives objects under KMS keys only to"
            " signatures of version 4."
        )
    if "ssl" in settings.profiles and not settings.ssl_enabled:
        said.append("server.ssl.enabled is false: the profile ssl has no effect, and calls are not encrypted.")
    if "*" in settings.allowed_origins and len(settings.allowed_origins) > 1:
        said.append("server.cors.allowedOrigins has * among others: every origin may call.")
    if settings.store == "local" and settings.metadata_url:
        said.append("metadata.url is not used: the profile local has a registry of its own.")
    if settings.clean_enabled and settings.s3_upload_days == 0 and values.get("s3.upload.expiration"):
        said.append(
            "s3.upload.expiration is 0: each cleanup removes every upload in progress"
            f" (upload.clean.cron {settings.clean_cron!r})."
        )
    return said
