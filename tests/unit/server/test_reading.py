"""Settings of the server: defaults, profiles, and what is refused or warned of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from score.errors import Misconfigured
from score.server.build import azure_settings, s3_settings
from score.server.reading import Reading, read_settings
from score.server.settings import FIELDS, JWT, Settings

S3 = {
    "S3_ENDPOINT": "http://store:9000",
    "S3_ACCESSKEY": "abc",
    "S3_SECRET_KEY": "hunter2",
    "BUCKET_NAME_OBJECT": "object",
    "BUCKET_NAME_STATE": "state",
    "METADATA_URL": "http://song:8080/",
    "UPLOAD_CLEAN_ENABLED": "false",
}
SECURE = {
    "SPRING_PROFILES_ACTIVE": "default,secure",
    "AUTH_SERVER_URL": "http://ego/o/check_api_key",
    "AUTH_SERVER_CLIENTID": "score",
    "AUTH_SERVER_CLIENT_SECRET": "hunter2",
}


PUBLISHED = Path(__file__).parents[2] / "published"
"""The examples of Score's public documentation, unchanged."""


def read(folder: Path, environ: Mapping[str, str] | None = None, arguments: Sequence[str] = ()) -> Reading:
    return read_settings(arguments, environ or {}, folder)


def test_defaults_are_those_of_the_reference(tmp_path: Path) -> None:
    chosen = read(tmp_path, S3).settings
    assert (chosen.s3_data_directory, chosen.s3_upload_directory, chosen.sentinel) == ("data", "upload", "heliograph")
    assert (chosen.s3_upload_days, chosen.s3_download_days, chosen.upload_part_size) == (6, 1, 20_000_000)
    assert (chosen.upload_retries, chosen.upload_timeout, chosen.s3_md5_property) == (5, 15_000, "md5chksum")
    assert (chosen.auth_retries, chosen.auth_backoff, chosen.auth_multiplier) == (5, 15_000, 2.0)
    assert (chosen.download_system, chosen.download_prefix, chosen.download_suffix) == (
        "score.READ", "PROGRAMDATA-", ".READ",
    )  # fmt: skip
    assert (chosen.upload_system, chosen.upload_prefix, chosen.upload_suffix) == (
        "score.WRITE", "PROGRAMDATA-", ".WRITE",
    )  # fmt: skip
    assert (chosen.port, chosen.host, chosen.store, chosen.secure) == (8087, "0.0.0.0", "s3", False)
    assert chosen.metadata_url == "http://song:8080"


def test_without_settings_the_store_is_local_and_on_loopback(tmp_path: Path) -> None:
    reading = read(tmp_path, {"PATH": "/bin", "HOME": "/root"})
    assert (reading.settings.store, reading.settings.host, reading.warnings) == ("local", "127.0.0.1", ())


@pytest.mark.parametrize(
    ("environ", "store"),
    [
        ({"SPRING_PROFILES_ACTIVE": "local"}, "local"),
        ({"SPRING_PROFILES_ACTIVE": "dev"}, "local"),
        ({**S3}, "s3"),
        ({**S3, "SPRING_PROFILES_ACTIVE": "prod"}, "s3"),
        *[
            ({**S3, "SPRING_PROFILES_ACTIVE": name}, "s3")
            for name in ("default", "s3", "aws", "amazon", "COLLABORATORY")
        ],
        ({**S3, "SPRING_PROFILES_ACTIVE": "local"}, "local"),
    ],
)
def test_profiles(tmp_path: Path, environ: dict[str, str], store: str) -> None:
    assert read(tmp_path, environ).settings.store == store


@pytest.mark.parametrize("name", ["S3_ENDPOINT", "BUCKET_SIZE_POOL", "bucket.name.object", "s3.secured"])
def test_nobody_writes_to_a_disk_unawares(tmp_path: Path, name: str) -> None:
    with pytest.raises(Misconfigured, match="missing for the profile s3: "):
        read(tmp_path, {name: "0"})


def test_a_region_stands_for_the_endpoint_of_amazon(tmp_path: Path) -> None:
    amazon = {**S3, "S3_ENDPOINT": "", "S3_REGION": "eu-central-1"}
    chosen = read(tmp_path, amazon).settings
    assert s3_settings(chosen).address == "https://s3.eu-central-1.amazonaws.com"
    with pytest.raises(Misconfigured, match=r"s3\.endpoint \(for Amazon's own s3\.region is enough\)"):
        read(tmp_path, {**S3, "S3_ENDPOINT": ""})
    with pytest.raises(Misconfigured, match=r"missing for the profile s3: s3\.endpoint .*\n.*S3_ENDPONT"):
        read(tmp_path, {**amazon, "S3_ENDPONT": "http://store:9000"})  # nobody's keys and data go to Amazon unawares


def test_everything_missing_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        read(tmp_path, {"SPRING_PROFILES_ACTIVE": "s3,secure", "AUTH_SERVER_URL": "http://ego", "S3_ACCESSKEY": "a"})
    for name in (
        "s3.endpoint", "bucket.name.object", "bucket.name.state", "metadata.url", "s3.secretKey",
        "auth.server.clientId", "auth.server.clientSecret",
    ):  # fmt: skip
        assert name in str(caught.value)


def test_secure_needs_something_to_check_tokens_with(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"auth\.server\.url .* or .*public-key-location"):
        read(tmp_path, {"SPRING_PROFILES_ACTIVE": "local,secure", "AUTH_SERVER_PROVIDER": "ego"})
    reading = read(tmp_path, {"SPRING_PROFILES_ACTIVE": "local,secure"})
    assert reading.settings.provider == "embedded"
    assert any("score-server key create" in warning for warning in reading.warnings)
    both = {"SPRING_PROFILES_ACTIVE": "local,secure", "AUTH_JWT_PUBLIC_KEY_URL": "http://ego/key"}
    reading = read(tmp_path, both)
    assert reading.settings.jwt_key == "http://ego/key"
    assert any(f"{JWT}.public-key-location" in warning for warning in reading.warnings)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({**S3, "SERVER_SSL_BUNDLE": "x"}, "server.ssl.bundle"),
        ({"SPRING_CONFIG_IMPORT": "file:/etc/score/store.properties"}, "spring.config.import"),
        ({"SPRING_CONFIG_NAME": "score"}, "spring.config.name"),
    ],
)
def test_what_is_not_built_is_never_passed_over(tmp_path: Path, environ: dict[str, str], named: str) -> None:
    with pytest.raises(Misconfigured, match=f"does not support .*{named}"):
        read(tmp_path, environ)


KEYCLOAK = {
    **S3, **SECURE, "AUTH_SERVER_PROVIDER": "keycloak", "AUTH_SERVER_KEYCLOAK_HOST": "http://keycloak",
    "AUTH_SERVER_KEYCLOAK_REALM": "r",
}  # fmt: skip
CLAIM = "SPRING_SECURITY_OAUTH2_RESOURCESERVER_JWT_"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({**S3, **SECURE, f"{CLAIM}ISSUER_URI": "http://issuer"}, "issuer-uri"),
        ({**S3, **SECURE, f"{CLAIM}ISSUERURI": "http://issuer", f"{CLAIM}JWK_SET_URI": "http://k"}, "issuer-uri"),
        ({"SPRING_PROFILES_ACTIVE": "local,secure", f"{CLAIM}ISSUER_URI": "http://issuer"}, "issuer-uri"),
        ({**KEYCLOAK, f"{CLAIM}AUDIENCES": "score"}, "audiences"),
    ],
)
def test_what_is_wanted_of_a_token_is_never_passed_over(tmp_path: Path, environ: dict[str, str], named: str) -> None:
    with pytest.raises(Misconfigured, match=rf"jwt\.{named}: issuer and audience .*jwk-set-uri"):
        read(tmp_path, environ)


@pytest.mark.parametrize("environ", [KEYCLOAK, {**S3}])
def test_an_issuer_that_keycloak_or_nobody_looks_at(tmp_path: Path, environ: dict[str, str]) -> None:
    assert read(tmp_path, {**environ, f"{CLAIM}ISSUER_URI": "http://keycloak/realms/r"}).warnings == ()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MANAGEMENT_SERVER_PORT", "management.server.port: no effect; health and numbers are at server.port"),
        ("MANAGEMENT_ENDPOINTS_WEB_BASE_PATH", "web.base-path: no effect; health is at /actuator/health"),
        ("LOGGING_FILE_NAME", "logging.file.name: no effect; the log is standard error"),
        ("logging.path", "logging.path: no effect; the log is standard error"),
    ],
)
def test_where_else_to_look_is_told(tmp_path: Path, name: str, said: str) -> None:
    warnings = read(tmp_path, {**S3, name: "8081"}).warnings
    assert [said in warning for warning in warnings] == [True]


def test_the_path_of_the_servlet_is_a_path_of_the_server(tmp_path: Path) -> None:
    reading = read(tmp_path, {**S3, "SPRING_MVC_SERVLET_PATH": "/api"})
    assert reading.settings.context_path == "/api"
    assert "is taken as server.servlet.context-path" in reading.warnings[0]


def test_what_the_reference_ships_misleads_nobody(tmp_path: Path) -> None:
    """Its application.yml is copied into many a site."""
    shipped = {"SERVER_COMPRESSION_ENABLED": "true", "SERVER_COMPRESSION_MIME_TYPES": "application/json"}
    assert read(tmp_path, {**S3, **shipped, "SERVER_SHUTDOWN": "graceful"}).warnings == ()


@pytest.mark.parametrize(
    "environ",
    [
        {**S3, "S3_SIGV4ENABLED": "false"},
        {**S3, "S3_MASTER_ENCRYPTION_KEY_ID": "k"},
        {**S3, "BUCKET_SIZE_POOL": "4"},
        {**S3, "SERVER_SSL_ENABLED": "false", "SERVER_SSL_KEY_STORE": "x"},
        {**S3, "AUTH_SERVER_PROVIDER": "keycloak"},
    ],
)
def test_settings_that_ask_for_nothing_of_that(tmp_path: Path, environ: dict[str, str]) -> None:
    assert read(tmp_path, environ).settings.store == "s3"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SERVER_PORT", "8o87", "a whole number"),
        ("SERVER_PORT", "65536", "at most 65535"),
        ("UPLOAD_PARTSIZE", "0", "at least 1"),
        ("UPLOAD_PARTSIZE", "20MB", "a whole number"),
        ("S3_SECURED", "maybe", "true or false"),
        ("METADATA_URL", "song:8080", "a URL"),
        ("AUTH_CONNECTION_MULTIPLIER", "x", "a number"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(tmp_path: Path, name: str, value: str, expected: str) -> None:
    with pytest.raises(Misconfigured, match=rf"\(environment {name}\) is '{value}': {expected}"):
        read(tmp_path, {**S3, name: value})


def test_wrong_values_are_named_together(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "application.properties").write_text("server.port=x\n\nupload.retry.limit=y\n")
    with pytest.raises(Misconfigured) as caught:
        read(tmp_path)
    assert "server.port (conf/application.properties:1)" in str(caught.value)
    assert "upload.retry.limit (conf/application.properties:3)" in str(caught.value)


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    chosen = read(tmp_path, {**S3, **SECURE}).settings
    assert "hunter2" not in repr(chosen) + str(chosen) + chosen.model_dump_json()
    assert chosen.s3_secret_key.get_secret_value() == "hunter2"


def test_empty_values_are_unset_but_where_they_mean_something(tmp_path: Path) -> None:
    empty = {
        "S3_DATA_DIRECTORY": "",
        "AUTH_SERVER_SCOPE_UPLOAD_STUDY_PREFIX": "",
        "UPLOAD_PARTSIZE": "",
        "OBJECT_SENTINEL": "",
    }
    chosen = read(tmp_path, {**S3, **empty}).settings
    assert (chosen.s3_data_directory, chosen.upload_prefix) == ("", "")
    assert (chosen.upload_part_size, chosen.sentinel) == (20_000_000, "heliograph")


def publish(folder: Path, name: str, example: str) -> None:
    """Write a published example to a file, byte for byte."""
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes((PUBLISHED / example).read_bytes())


def test_the_published_example_starts_with_what_it_leaves_out(tmp_path: Path) -> None:
    publish(tmp_path, "conf/application.properties", "s3.properties")
    reading = read(tmp_path, arguments=["--metadata.url=http://song"])
    assert reading.settings.bucket_state == "test_state_bucket"
    assert (reading.settings.upload_retries, reading.settings.upload_timeout) == (10, 60_000)
    said = " ".join(reading.warnings)
    for word in ("upload.partsize", "bucket.name.state"):
        assert word in said


def test_the_published_example_of_azure_is_understood(tmp_path: Path) -> None:
    publish(tmp_path, "conf/application.properties", "azure.properties")
    reading = read(tmp_path, arguments=["--metadata.url=http://song"])
    chosen = reading.settings
    assert chosen.store == "azure"
    assert (chosen.azure_account, chosen.azure_protocol) == ("<storage_account_name>", "https")
    assert (chosen.bucket_upload_policy, chosen.bucket_download_policy) == ("<write_policy>", "<read_policy>")
    assert any("downolad" in warning for warning in reading.warnings)
    assert any("upload.partsize is not used with Azure" in warning for warning in reading.warnings)
    to_fill_in = [warning for warning in reading.warnings if "a place to fill in" in warning]
    assert len(to_fill_in) == 5
    assert "bucket.name.object (conf/application.properties:5) is '<object_bucket>'" in to_fill_in[0]
    with pytest.raises(Misconfigured, match=r"azure\.accountKey is no account key"):
        azure_settings(chosen)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"azure.endpointProtocol": "ftp"}, "azure.endpointProtocol is 'ftp'"),
        ({"azure.endpoint": "127.0.0.1:10000"}, "azure.endpoint is '127.0.0.1:10000'"),
        ({"bucket.name.object": "With_Capitals"}, "cannot be the name of a container"),
        ({"azure.accountKey": "not base64!"}, "no account key"),
    ],
)
def test_what_cannot_be_right_of_azure_is_named(tmp_path: Path, wrong: dict[str, str], said: str) -> None:
    given = {
        "azure.accountName": "account",
        "azure.accountKey": "c2VjcmV0",
        "bucket.name.object": "objects",
        "metadata.url": "http://song",
        **wrong,
    }
    reading = read(tmp_path, arguments=[f"--{name}={text}" for name, text in given.items()])
    with pytest.raises(Misconfigured) as caught:
        azure_settings(reading.settings)
    assert said in str(caught.value)
    assert given["azure.accountKey"] not in str(caught.value)


@pytest.mark.parametrize("value", ["ENC(c2VjcmV0LXRleHQ=)", "{cipher}c2VjcmV0LXRleHQ"])
def test_a_value_that_a_library_of_java_would_decrypt_is_told(tmp_path: Path, value: str) -> None:
    (said,) = read(tmp_path, {**S3, "S3_SECRET_KEY": value}).warnings
    assert said.startswith("s3.secretKey (environment S3_SECRET_KEY) is encrypted")
    assert "c2VjcmV0" not in said


@pytest.mark.parametrize(
    "address", ["https://account.blob.core.windows.net/?sv=2024&sig=GivenAway", "https://account:GivenAway@host"]
)
@pytest.mark.parametrize("name", ["azure.endpoint", "metadata.url", "auth.server.url", "s3.endpoint"])
def test_a_signature_or_password_in_an_address_is_refused_and_not_shown(
    tmp_path: Path, name: str, address: str
) -> None:
    with pytest.raises(
        Misconfigured, match=rf"{name} \(option --{name}\) has a value that cannot be right"
    ) as caught:
        read_settings([f"--{name}={address}"], {}, tmp_path, complete=False)
    assert "GivenAway" not in str(caught.value)


def test_the_profile_secure_counts_however_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "application.yml").write_text("spring.profiles.group.site: s3,secure\n")
    with pytest.raises(Misconfigured, match=r"missing for the profile site,s3,secure"):
        read(tmp_path, {"SPRING_PROFILES_ACTIVE": "site"})


def test_published_mistakes_are_warned_of(tmp_path: Path) -> None:
    environ = {
        **S3,
        **SECURE,
        "AUTH_SERVER_SCOPE_STUDY_PREFIX": "score.",
        "AUTH_SERVER_SCOPE_DOWNLOAD_SUFFIX": ".READ",
        "AUTH_SERVER_SCOPE_UPLOAD_SYSTEM": "score.READ",
        "AUTH_SERVER_TOKENNAME": "apiToken",
        "S3_UPLOAD_EXPIRATION": "30",
    }
    said = read(tmp_path, environ).warnings
    for word in (
        "AUTH_SERVER_SCOPE_STUDY_PREFIX (environment AUTH_SERVER_SCOPE_STUDY_PREFIX) HAS NO EFFECT",
        "PROGRAMDATA-<study>.READ",
        "AUTH_SERVER_SCOPE_DOWNLOAD_SUFFIX",
        "A READ SCOPE THAT NOW GRANTS ALL UPLOADS",
        "apiToken",
        "at most 7 days",
    ):
        assert any(word in warning for warning in said), word


def test_the_published_dotenv_of_azure_means_azure(tmp_path: Path) -> None:
    """It names no account, only policies, which no other store has."""
    publish(tmp_path, ".env.score", "azure.env")
    with pytest.raises(Misconfigured, match=r"profile azure: azure\.accountName, azure\.accountKey, metadata\.url"):
        read(tmp_path)


def test_the_time_out_as_the_public_pages_misspell_it_counts(tmp_path: Path) -> None:
    reading = read(tmp_path, S3, ["--upload.connectionltimeout=7000"])
    assert reading.settings.upload_timeout == 7000
    (said,) = [warning for warning in reading.warnings if "connectionltimeout" in warning]
    assert "upload.connection.timeout" in said


@pytest.mark.parametrize("name", ["clean.enabled", "CLEAN_ENABLED", "clean.cron"])
def test_the_short_names_in_the_text_of_the_public_pages_are_warned_of(tmp_path: Path, name: str) -> None:
    """They are ignored, as by the reference: the cleanup would go on without a word."""
    reading = read_settings([], {name: "false"}, tmp_path)
    meant = "upload.clean." + ("cron" if "cron" in name else "enabled")
    assert [one for one in reading.warnings if f"Did you mean {meant}?" in one]


def test_a_misspelled_name_is_told_with_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        read(tmp_path, {**S3, "S3_ENDPOINT": "", "S3_ENDPONT": "http://store:9000"})
    assert "missing for the profile s3: s3.endpoint" in str(caught.value)
    assert "S3_ENDPONT" in str(caught.value)
    assert "Did you mean s3.endpoint?" in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "warned"),
    [("http://store:9000/s3/", True), ("store/s3", True), ("http://store:9000/", False), ("store", False)],
)
def test_an_endpoint_with_a_path_is_warned_of(tmp_path: Path, endpoint: str, warned: bool) -> None:
    said = read(tmp_path, {**S3, "S3_ENDPOINT": endpoint}).warnings
    assert any("has the path '/s3'" in warning for warning in said) == warned


def test_what_is_missing_is_told_where_it_need_not_be_complete(tmp_path: Path) -> None:
    reading = read_settings([], {"S3_ENDPOINT": "http://store"}, tmp_path, complete=False)
    assert "bucket.name.object" in reading.missing
    assert reading.settings.s3_endpoint == "http://store"
    assert read_settings([], S3, tmp_path, complete=False).missing == ""


def test_a_misspelled_setting_of_htsget_is_warned_of(tmp_path: Path) -> None:
    (said,) = read(tmp_path, {"HTSGET_BOUND_URL": "false"}).warnings
    assert "HTSGET_BOUND_URL" in said
    assert "htsget.boundUrls" in said


@pytest.mark.parametrize(
    ("name", "value", "warned"),
    [
        ("server.forward-headers-strategy", "native", True),
        ("server.forward-headers-strategy", "FRAMEWORK", True),
        ("server.forward-headers-strategy", "none", False),
        ("server.use-forward-headers", "false", False),
        ("server.tomcat.remoteip.internal-proxies", r"10\.\d+\.\d+\.\d+", True),
    ],
)
def test_springs_words_for_proxies_are_told_ours(tmp_path: Path, name: str, value: str, warned: bool) -> None:
    said = read(tmp_path, arguments=[f"--{name}={value}"]).warnings
    assert len(said) == warned
    assert all(name in warning and "server.trustedProxies" in warning for warning in said)


def test_unknown_names_and_profiles_are_warned_of(tmp_path: Path) -> None:
    said = read(tmp_path, {**S3, "S3_ENDPONT": "x", "SPRING_PROFILES_ACTIVE": "s3,kubernetes"}).warnings
    assert any("S3_ENDPONT" in warning and "s3.endpoint?" in warning for warning in said)
    assert any("'kubernetes' is unknown" in warning for warning in said)


def test_words_that_are_no_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="'start' is no setting"):
        read(tmp_path, arguments=["start"])


def test_an_open_local_store_stays_on_loopback(tmp_path: Path) -> None:
    for address in ("0.0.0.0", "10.0.0.1", "::"):
        with pytest.raises(Misconfigured, match="--insecure"):
            read(tmp_path, arguments=[f"--server.address={address}"])
        assert read(tmp_path, arguments=[f"--server.address={address}", "--insecure"]).settings.host == address
    for address in ("127.0.0.1", "localhost", "::1"):
        assert read(tmp_path, arguments=["--server.address", address]).settings.host == address
    assert read(tmp_path, arguments=["--server.address=[::1]"]).settings.host == "::1"


@pytest.mark.parametrize(
    ("given", "path"),
    [("/storage-api", "/storage-api"), ("/a/b.c/", "/a/b.c"), ("/", ""), ("", "")],
)
def test_a_path_below_which_the_server_is(tmp_path: Path, given: str, path: str) -> None:
    reading = read(tmp_path, {**S3, "SERVER_SERVLET_CONTEXT_PATH": given})
    assert (reading.settings.context_path, reading.warnings) == (path, ())


@pytest.mark.parametrize("given", ["storage-api", "/a//b", "/../b", "/a b", "http://host/a", "/a?b"])
def test_what_is_no_such_path(tmp_path: Path, given: str) -> None:
    with pytest.raises(Misconfigured, match=r"context.path.*a path such as /storage-api"):
        read(tmp_path, {**S3, "server.servlet.context-path": given})


def test_local_and_a_bucket_exclude_one_another(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="exclude"):
        read(tmp_path, {**S3, "SPRING_PROFILES_ACTIVE": "local,s3"})


def test_every_setting_is_described() -> None:
    for alias, name in FIELDS.items():
        assert Settings.model_fields[name].description, alias


def test_an_option_without_a_value_is_a_switch_or_told(tmp_path: Path) -> None:
    """A variable of a script that is not set leaves such a one behind."""
    assert read(tmp_path, arguments=["--server.page.enabled", "--server.use-forward-headers"]).settings.page_enabled
    for name in ("server.port", "s3.secretKey", "S3_SECRET_KEY", "spring.profiles.active"):
        with pytest.raises(Misconfigured, match=f"^--{name} was given without a value. Write --{name}=..."):
            read(tmp_path, S3, [f"--{name}", "--server.page.enabled"])
