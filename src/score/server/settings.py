"""The settings of the server: every name, its default, and what it means. Protocol, section 8."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from score.server.values import (
    BlobEndpoint,
    Bucket,
    ClientAuth,
    ContextPath,
    Cron,
    Endpoint,
    Folder,
    Format,
    KeyLocation,
    Level,
    Name,
    Networks,
    Origins,
    Protocols,
    Switch,
    Url,
    Whole,
)

JWT = "spring.security.oauth2.resourceserver.jwt"
PROVIDERS = ("ego", "keycloak", "embedded")


class Settings(BaseModel):
    """All settings, by the names in which they are written (``alias``). Immutable; secrets are not shown."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, validate_default=False)

    port: Whole = Field(8087, alias="server.port", ge=0, le=65535, description="Port to listen on; 0: any free one.")
    address: str = Field("", alias="server.address", description="Address to listen on; local alone: 127.0.0.1.")
    context_path: ContextPath = Field(
        "", alias="server.servlet.context-path", description="Path below which the whole server is, as /storage-api."
    )
    public_url: Url = Field(
        "",
        alias="server.publicUrl",
        description="Base of URLs of the local store, with its path; else the Host of each request.",
    )
    allowed_origins: Origins = Field(
        (), alias="server.cors.allowedOrigins", description="Web origins that may call from browsers; * for all."
    )
    trusted_proxies: Networks = Field(
        (),
        alias="server.trustedProxies",
        description="Addresses and networks (10.0.0.0/8) of proxies whose X-Forwarded-For is believed.",
    )
    token_requests: Whole = Field(
        0, alias="server.requestsPerToken", ge=0, description="Calls at once with one token; 0: any number."
    )
    shutdown_delay: Whole = Field(
        0,
        alias="server.shutdown.delay",
        ge=0,
        le=3600,
        description="Seconds to go on after SIGTERM, no longer ready, while load balancers notice.",
    )
    page_enabled: Switch = Field(
        True, alias="server.page.enabled", description="The page for people at /; false: there is none."
    )
    audit_file: str = Field(
        "", alias="server.audit.file", description="File that the audit lines are appended to; else the log."
    )

    log_format: Format = Field(
        "human", alias="logging.format", description="human, or json: an object for each line of the log."
    )
    log_level: Level = Field(
        "info",
        alias="logging.level.root",
        description="What is logged: trace, debug, info, warn, error, fatal or off.",
    )
    log_level_score: Level = Field(
        "", alias="logging.level.score", description="The same for the server itself; else that of all."
    )
    metrics_enabled: Switch = Field(
        True, alias="management.metrics.enabled", description="Whether /metrics is there, for Prometheus."
    )
    tracing_enabled: Switch = Field(
        False,
        alias="management.tracing.enabled",
        description="Traces for OpenTelemetry; variables OTEL_* say where to.",
    )

    ssl_enabled: Switch = Field(
        True, alias="server.ssl.enabled", description="TLS, where a certificate is named or the profile is ssl."
    )
    ssl_certificate: str = Field(
        "", alias="server.ssl.certificate", description="PEM file of the certificate, then those that prove it."
    )
    ssl_key: str = Field(
        "", alias="server.ssl.certificate-private-key", description="PEM file of its key; may be the same file."
    )
    ssl_key_password: SecretStr = Field(
        SecretStr(""), alias="server.ssl.key-password", description="Password of the key in PEM."
    )
    ssl_key_store: str = Field(
        "", alias="server.ssl.key-store", description="PKCS#12 file with certificate and key, in place of PEM."
    )
    ssl_key_store_password: SecretStr = Field(
        SecretStr(""), alias="server.ssl.key-store-password", description="Its password."
    )
    ssl_key_alias: str = Field("", alias="server.ssl.key-alias", description="Alias that the key must have.")
    ssl_client_auth: ClientAuth = Field(
        "none", alias="server.ssl.client-auth", description="Certificates of callers: none, want or need."
    )
    ssl_trust_certificate: str = Field(
        "", alias="server.ssl.trust-certificate", description="PEM file of authorities that prove those."
    )
    ssl_trust_store: str = Field("", alias="server.ssl.trust-store", description="PKCS#12 file of such authorities.")
    ssl_trust_store_password: SecretStr = Field(
        SecretStr(""), alias="server.ssl.trust-store-password", description="Its password."
    )
    ssl_protocols: Protocols = Field(
        ("TLSv1.2", "TLSv1.3"), alias="server.ssl.enabled-protocols", description="TLSv1.2, TLSv1.3 or both."
    )
    ssl_ciphers: str = Field("", alias="server.ssl.ciphers", description="Ciphers by their names in OpenSSL.")
    trust_store: str = Field(
        "",
        alias="outgoing.ssl.trust-store",
        description="PEM or PKCS#12 file of authorities that prove Song, authorization server and store,"
        " beside those of the system.",
    )
    trust_store_password: SecretStr = Field(
        SecretStr(""), alias="outgoing.ssl.trust-store-password", description="Password of a PKCS#12 file."
    )
    insecure: Switch = Field(
        False, alias="insecure", description="Let the local profile listen on other addresses without authorization."
    )
    local_directory: Path = Field(
        Path("score-data"), alias="local.directory", description="Folder of the local store and its registry."
    )

    s3_secured: Switch = Field(True, alias="s3.secured", description="https, where s3.endpoint names no scheme.")
    s3_endpoint: Endpoint = Field(
        "", alias="s3.endpoint", description="Address of the S3 service; empty: Amazon's in s3.region."
    )
    s3_region: str = Field("", alias="s3.region", description="Region to sign for; else from the endpoint.")
    s3_access_key: str = Field("", alias="s3.accessKey", description="Access key; absent: the AWS credential chain.")
    s3_secret_key: SecretStr = Field(SecretStr(""), alias="s3.secretKey", description="Secret key.")
    s3_sig_v4: Switch = Field(True, alias="s3.sigV4Enabled", description="Signature version 4; else version 2.")
    s3_kms_key: str = Field("", alias="s3.masterEncryptionKeyId", description="Key of server-side encryption (KMS).")
    s3_md5_property: str = Field(
        "md5chksum", alias="s3.customMd5Property", description="User metadata with the MD5 of objects without .meta."
    )
    s3_upload_directory: Folder = Field("upload", alias="s3.upload.directory", description="Folder of upload state.")
    s3_upload_days: Whole = Field(
        6, alias="s3.upload.expiration", ge=0, description="Days that part URLs are valid; 0: stale at once."
    )
    s3_data_directory: Folder = Field(
        "data", alias="s3.data.directory", description="Folder of objects; may be empty."
    )
    s3_download_days: Whole = Field(
        1, alias="s3.download.expiration", ge=1, description="Days that download URLs are valid."
    )
    s3_url_host: Endpoint = Field(
        "", alias="s3.preSignedUrl.override.host", description="[scheme://]host[:port] of URLs handed to clients."
    )

    bucket_object: Bucket = Field(
        "", alias="bucket.name.object", description="Bucket of the objects; on Azure the container."
    )
    bucket_state: Bucket = Field("", alias="bucket.name.state", description="Bucket of upload state.")
    bucket_pool: Whole = Field(0, alias="bucket.size.pool", ge=0, description="Number of buckets in a pool; 0: none.")
    bucket_key: Whole = Field(
        2, alias="bucket.size.key", ge=1, le=7, description="Hex digits that choose the bucket."
    )
    bucket_upload_policy: str = Field(
        "UploadPolicy", alias="bucket.policy.upload", description="Azure: stored access policy for uploads."
    )
    bucket_download_policy: str = Field(
        "DownloadPolicy", alias="bucket.policy.download", description="Azure: stored access policy for downloads."
    )

    upload_part_size: Whole = Field(
        20_000_000,
        alias="upload.partsize",
        ge=1,
        le=5 * 1024**3,
        description="Bytes of a part, raised to 5 MiB where it is less.",
    )
    upload_retries: Whole = Field(
        5, alias="upload.retry.limit", ge=0, description="Repetitions of a call to the store."
    )
    upload_timeout: Whole = Field(
        15_000,
        alias="upload.connection.timeout",
        ge=1,
        description="Milliseconds to wait for a connection to the store.",
    )
    clean_cron: Cron = Field(
        "0 0 0 * * ?",
        alias="upload.clean.cron",
        description="When stale uploads are removed: second minute hour day month weekday.",
    )
    clean_enabled: Switch = Field(True, alias="upload.clean.enabled", description="Whether they are.")
    download_part_size: Whole = Field(
        250_000_000, alias="download.partsize", ge=1, description="Azure: bytes of a download part."
    )
    sentinel: Name = Field("heliograph", alias="object.sentinel", min_length=1, description="Name of the sentinel.")

    azure_protocol: str = Field("https", alias="azure.endpointProtocol", description="Azure: http or https.")
    azure_account: str = Field("", alias="azure.accountName", description="Azure: name of the storage account.")
    azure_key: SecretStr = Field(
        SecretStr(""), alias="azure.accountKey", description="Azure: a key of the storage account."
    )
    azure_endpoint: BlobEndpoint = Field(
        "", alias="azure.endpoint", description="Azure: full blob endpoint, for emulators and other clouds."
    )

    metadata_url: Url = Field("", alias="metadata.url", description="Song.")
    legacy_mode: Switch = Field(
        False, alias="metadata.useLegacyMode", description="Do not look at publication states."
    )

    htsget_bound: Switch = Field(
        True,
        alias="htsget.boundUrls",
        description="URLs of htsget work with their own range only, where the store can do that; false: with any.",
    )
    htsget_id: str = Field("", alias="htsget.id", description="Id in htsget's service-info; else from the Host.")
    htsget_name: str = Field("", alias="htsget.name", description="Name of the service there; else from the Host.")
    htsget_organization: str = Field(
        "", alias="htsget.organization.name", description="Whose service it is; else the Host."
    )
    htsget_organization_url: Url = Field(
        "", alias="htsget.organization.url", description="Address of that organization; else the server's own."
    )

    auth_provider: str = Field(
        "",
        alias="auth.server.provider",
        description="ego, keycloak, embedded, or the name of your own; else ego where its settings are, or embedded.",
    )
    auth_url: Url = Field("", alias="auth.server.url", description="Where API keys are checked.")
    auth_field: str = Field("", alias="auth.server.tokenName", description="Form field of the key; else by the URL.")
    auth_client_id: str = Field("", alias="auth.server.clientId", description="Client id at the auth server.")
    auth_client_secret: SecretStr = Field(SecretStr(""), alias="auth.server.clientSecret", description="Its secret.")
    download_system: str = Field(
        "score.READ", alias="auth.server.scope.download.system", min_length=1, description="Download everything."
    )
    download_prefix: str = Field(
        "PROGRAMDATA-", alias="auth.server.scope.download.study.prefix", description="Before the study's name."
    )
    download_suffix: str = Field(
        ".READ", alias="auth.server.scope.download.study.suffix", description="After the study's name."
    )
    upload_system: str = Field(
        "score.WRITE", alias="auth.server.scope.upload.system", min_length=1, description="Upload to every study."
    )
    upload_prefix: str = Field(
        "PROGRAMDATA-", alias="auth.server.scope.upload.study.prefix", description="Before the study's name."
    )
    upload_suffix: str = Field(
        ".WRITE", alias="auth.server.scope.upload.study.suffix", description="After the study's name."
    )
    keycloak_host: Url = Field(
        "", alias="auth.server.keycloak.host", description="Keycloak, with scheme and port, as its users call it."
    )
    keycloak_realm: str = Field("", alias="auth.server.keycloak.realm", description="Its realm.")
    anonymous_open: Switch = Field(
        True, alias="auth.anonymous.open", description="Files of open access need no token; false: they do."
    )
    auth_cache: Whole = Field(
        30,
        alias="auth.cache.seconds",
        ge=0,
        le=3600,
        description="How long what is known of a token, and study and access of an object, is used again; 0: never.",
    )
    auth_file: str = Field(
        "", alias="auth.embedded.file", description="File of the embedded keys; else keys.sqlite3 in local.directory."
    )
    auth_retries: Whole = Field(5, alias="auth.connection.maxRetries", ge=0, description="Repetitions of a call.")
    auth_backoff: Whole = Field(
        15_000, alias="auth.connection.initialBackoff", ge=0, description="Milliseconds before the first repetition."
    )
    auth_multiplier: float = Field(
        2.0, alias="auth.connection.multiplier", ge=1, le=100, description="Factor of each wait to the one before."
    )
    jwt_key: KeyLocation = Field(
        "", alias=f"{JWT}.public-key-location", description="URL or file of the key of JWTs."
    )
    jwt_keys: KeyLocation = Field("", alias=f"{JWT}.jwk-set-uri", description="URL of the key set of JWTs.")

    profiles: tuple[str, ...] = Field((), description="The active profiles, s3 and local made explicit.")

    @property
    def store(self) -> Literal["local", "s3", "azure"]:
        """Which kind of store this server is for."""
        if "azure" in self.profiles:
            return "azure"
        return "local" if "local" in self.profiles else "s3"

    @property
    def secure(self) -> bool:
        """Whether callers need tokens."""
        return "secure" in self.profiles

    @property
    def tls(self) -> bool:
        """Whether the server itself speaks TLS."""
        named = self.ssl_certificate or self.ssl_key_store or "ssl" in self.profiles
        return self.ssl_enabled and bool(named)

    @property
    def provider(self) -> str:
        """Who tells whose token it is: ``ego``, ``keycloak``, ``embedded``, or the name of an own authorizer."""
        named = self.auth_provider.lower() if self.auth_provider.lower() in PROVIDERS else self.auth_provider
        return named or ("ego" if self.auth_url or self.jwt_key or self.jwt_keys else "embedded")

    @property
    def key_file(self) -> Path:
        """The file of the embedded keys."""
        return Path(self.auth_file) if self.auth_file else self.local_directory / "keys.sqlite3"

    @property
    def host(self) -> str:
        """The address to listen on."""
        return self.address.strip("[]") or ("127.0.0.1" if self.store == "local" and not self.secure else "0.0.0.0")  # noqa: S104


FIELDS = {str(field.alias): name for name, field in Settings.model_fields.items() if field.alias}
"""Names of the settings, and of their attributes."""


def written(value: object) -> str:
    """The value of a setting as it is written, that of a secret too."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
