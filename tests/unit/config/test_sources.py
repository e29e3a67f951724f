"""Settings as people write them: the published examples, unchanged, and the order in which sources win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from score.config.sources import Values, canonical, load
from score.errors import Misconfigured
from score.testing.privileges import unprivileged

KNOWN = [
    "s3.endpoint", "s3.accessKey", "s3.secretKey", "s3.sigV4Enabled", "s3.data.directory",
    "bucket.name.object", "bucket.name.state", "bucket.size.pool", "bucket.size.key", "bucket.policy.upload",
    "bucket.policy.download", "azure.endpointProtocol", "azure.accountName", "azure.accountKey",
    "upload.partsize", "upload.retry.limit", "upload.connection.timeout", "upload.clean.cron",
    "upload.clean.enabled", "download.partsize", "object.sentinel", "server.port", "client.ansi",
    "server.cors.allowedOrigins", "metadata.url",
]  # fmt: skip
MISSPELLED = {
    "upload.connectionltimeout": "upload.connection.timeout",
    "bucket.policy.downolad": "bucket.policy.download",
}

PUBLISHED = Path(__file__).parents[2] / "published"
"""The examples of Score's public documentation, unchanged."""


def read(
    folder: Path,
    *,
    arguments: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    profiles: Sequence[str] = (),
) -> Values:
    return load(
        arguments=arguments,
        environ=environ or {},
        folder=folder,
        known=KNOWN,
        misspelled=MISSPELLED,
        prefixes=("s3", "bucket", "azure", "upload", "download", "object", "server", "client"),
        profiles=profiles,
    )


def write(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(text, encoding="utf-8")


def publish(folder: Path, name: str, *examples: str) -> None:
    """Write published examples to a file, byte for byte."""
    file = folder / name
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_bytes(b"".join((PUBLISHED / example).read_bytes() for example in examples))


def test_the_published_s3_example_loads_unchanged(tmp_path: Path) -> None:
    publish(tmp_path, "conf/application.properties", "s3.properties")
    values = read(tmp_path)
    assert {name: values.text(name) for name in KNOWN if values.get(name)} == {
        "s3.endpoint": "http://localhost:9000",
        "s3.accessKey": "abc123",
        "s3.secretKey": "abc123",
        "s3.sigV4Enabled": "true",
        "bucket.name.object": "test_object_bucket",
        "bucket.name.state": "test_state_bucket",
        "bucket.size.pool": "0",
        "bucket.size.key": "2",
        "upload.partsize": "1048576",
        "upload.retry.limit": "10",
        "upload.connection.timeout": "60000",
        "upload.clean.cron": "0 0 0 * * ?",
        "upload.clean.enabled": "true",
    }
    assert values.warnings == (
        "bucket.name.state (conf/application.properties:7): ':' after the closing quote is ignored.",
    )
    state = values.get("bucket.name.state")
    assert state is not None
    assert state.origin == "conf/application.properties:7"


def test_the_published_azure_example_loads_unchanged(tmp_path: Path) -> None:
    publish(tmp_path, "conf/application.properties", "azure.properties")
    values = read(tmp_path)
    assert values.text("azure.accountKey") == "<storage_account_secret_key>"
    assert values.text("bucket.name.object") == "<object_bucket>"
    assert values.text("bucket.policy.download") == "<read_policy>"
    assert values.text("download.partsize") == "250000000"
    assert values.text("object.sentinel") == "heliograph"
    (warning,) = values.warnings
    assert "bucket.policy.downolad" in warning
    assert "bucket.policy.download," in warning


@pytest.mark.parametrize("name", [".env", ".env.score", "conf/.env.score"])
def test_the_published_dotenv_example_loads_unchanged(tmp_path: Path, name: str) -> None:
    publish(tmp_path, name, "azure.env", "prod.env")
    values = read(tmp_path)
    assert values.text("bucket.name.object") == "{{object_bucket}}"
    assert values.text("bucket.policy.download") == "{{read_policy}}"
    assert values.text("download.partsize") == "250000000"
    assert values.text("object.sentinel") == "heliograph"
    assert values.text("upload.clean.cron") == "0 0 0 * * ?"
    assert values.warnings == ()


@pytest.mark.parametrize("name", ["S3_ACCESSKEY", "S3_ACCESS_KEY", "s3.accessKey", "s3.access-key", "S3_accesskey"])
def test_case_and_punctuation_of_names_do_not_matter(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, environ={name: "abc"}).text("s3.accessKey") == "abc"
    assert canonical(name) == "s3accesskey"


def test_higher_sources_win(tmp_path: Path) -> None:
    origins = []
    layers: list[tuple[str, str]] = [
        ("application.yml", "server:\n  port: 1\n"),
        ("application.properties", "server.port=2"),
        ("conf/application.yml", "server.port: 3"),
        ("conf/application.properties", "\n\nserver.port = 4"),
        (".env", "SERVER_PORT=5"),
        (".env.score", "SERVER_PORT=6"),
    ]
    for at, (file, text) in enumerate(layers, 1):
        write(tmp_path, file, text)
        value = read(tmp_path).get("server.port")
        assert value is not None
        assert value.text == str(at)
        origins.append(value.origin)
    assert origins == [
        "application.yml:2", "application.properties:1", "conf/application.yml:1", "conf/application.properties:3",
        ".env:1", ".env.score:1",
    ]  # fmt: skip
    value = read(tmp_path, environ={"SERVER_PORT": "7"}).get("server.port")
    assert (value and value.text, value and value.origin) == ("7", "environment SERVER_PORT")
    value = read(tmp_path, environ={"SERVER_PORT": "7"}, arguments=["--server.port", "8"]).get("server.port")
    assert (value and value.text, value and value.origin) == ("8", "option --server.port")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("s3.secretKey=a b", "a b"),
        ("s3.secretKey : a=b:c", "a=b:c"),
        ("s3.secretKey a", "a"),
        ("  s3.secretKey\t=\ta  ", "a"),
        ("s3.secretKey=a\\tb\\u00e9", "a\tbé"),
        ("s3\\.secretKey=a", "a"),
        ("s3.secretKey=one,\\\n     two", "one,two"),
        ("s3.secretKey=a\\\\", "a\\"),
        ("s3.secretKey=a\\\\\nserver.port=1", "a\\"),
        ("# comment \\\ns3.secretKey=a", "a"),
        ("! comment\r\ns3.secretKey=a\r\n", "a"),
        ("s3.secretKey=ab#c", "ab#c"),
        ("s3.secretKey=a # b", "a"),
        ('s3.secretKey="a # b"', "a # b"),
        ("s3.secretKey='a' # it's", "a"),
        ('s3.secretKey="a\\"b"', 'a"b'),
        ('s3.secretKey="a', '"a'),
        ("s3.secretKey=", ""),
        ("s3.secretKey", ""),
        ("\ufeffs3.secretKey=a", "a"),
        ("s3.secretKey=a\\", "a"),
    ],
)
def test_java_properties(tmp_path: Path, written: str, meant: str) -> None:
    (tmp_path / "application.properties").write_bytes(written.encode())
    value = read(tmp_path).get("s3.secretKey")
    assert value is not None
    assert value.text == meant


def test_properties_in_latin_1(tmp_path: Path) -> None:
    (tmp_path / "application.properties").write_bytes("object.sentinel=caf\xe9".encode("latin-1"))
    assert read(tmp_path).text("object.sentinel") == "café"


def test_yaml_keeps_the_spelling_of_scalars_and_joins_lists(tmp_path: Path) -> None:
    write(
        tmp_path,
        "application.yml",
        "s3:\n  secretKey: 0123\n  accessKey: 'a # b'\n  endpoint:\nclient: {ansi: on}\n"
        "server.cors.allowedOrigins:\n  - http://a\n  - http://b\n",
    )
    values = read(tmp_path)
    assert values.text("s3.secretKey") == "0123"
    assert values.text("s3.accessKey") == "a # b"
    assert values.text("s3.endpoint", "default") == "default"
    assert values.boolean("client.ansi", False) is True
    assert values.text("server.cors.allowedOrigins") == "http://a,http://b"


def test_tabs_at_the_ends_of_yaml_lines_are_nothing(tmp_path: Path) -> None:
    """As in the file within the reference's client, which its YAML reader takes."""
    write(tmp_path, "application.yml", "s3:\n  secretKey: 1\t\n\t\n  accessKey: 'a'\t \r\nserver.port: 2 # b\t")
    values = read(tmp_path)
    assert [values.text(name) for name in ("s3.secretKey", "s3.accessKey", "server.port")] == ["1", "a", "2"]


def test_indexed_names_are_joined_in_order(tmp_path: Path) -> None:
    arguments = ["--server.cors.allowed-origins[1]=b", "--server.cors.allowed-origins[0]=a"]
    assert read(tmp_path, arguments=arguments).text("server.cors.allowedOrigins") == "a,b"


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", "a: b: c", "\x01", "a:\n  <<: b"])
def test_a_file_that_is_no_yaml_mapping_is_named(tmp_path: Path, text: str) -> None:
    write(tmp_path, "application.yml", text)
    with pytest.raises(Misconfigured, match=r"application\.yml"):
        read(tmp_path)


def test_documents_and_files_of_profiles_count_only_under_them(tmp_path: Path) -> None:
    write(
        tmp_path,
        "application.yml",
        "s3.endpoint: all\n---\nspring.profiles: secure, prod\ns3.endpoint: yaml\n"
        "---\nspring.config.activate.on-profile: '!secure'\ns3.accessKey: open\n",
    )
    write(
        tmp_path, "application.properties", "bucket.name.object=a\n#---\nspring.profiles=prod\nbucket.name.object=b"
    )
    write(tmp_path, "application-prod.properties", "bucket.name.state=prod")
    plain = read(tmp_path)
    assert (plain.text("s3.endpoint"), plain.text("s3.accessKey")) == ("all", "open")
    assert (plain.text("bucket.name.object"), plain.get("bucket.name.state")) == ("a", None)
    prod = read(tmp_path, environ={"SPRING_PROFILES_ACTIVE": "prod,secure"})
    assert prod.profiles == ("prod", "secure")
    assert (prod.text("s3.endpoint"), prod.get("s3.accessKey")) == ("yaml", None)
    assert (prod.text("bucket.name.object"), prod.text("bucket.name.state")) == ("b", "prod")
    assert read(tmp_path, profiles=["prod"]).text("bucket.name.state") == "prod"


@pytest.mark.parametrize(
    ("text", "environ", "profiles"),
    [
        ("spring.profiles.active=prod\nspring.profiles.include=secure, x", {}, ("prod", "secure", "x")),
        ("spring.profiles.include[0]=secure", {}, ("secure",)),
        ("spring.profiles.include=secure", {"SPRING_PROFILES_ACTIVE": "s3"}, ("s3", "secure")),
        ("spring.profiles.active=s3", {"SPRING_PROFILES_INCLUDE": "secure"}, ("s3", "secure")),
        ("spring.profiles.group.p=s3,secure", {"SPRING_PROFILES_ACTIVE": "p,dev"}, ("p", "s3", "secure", "dev")),
        ("spring.profiles.group.a=b\nspring.profiles.group.b=a,c", {"SPRING_PROFILES_ACTIVE": "a"}, ("a", "b", "c")),
        ("spring.profiles.default=s3,secure", {}, ("s3", "secure")),
        ("spring.profiles.default=s3,secure", {"SPRING_PROFILES_ACTIVE": "azure"}, ("azure",)),
        ("spring.profiles.active=${KIND:s3},secure", {}, ("s3", "secure")),
    ],
)  # fmt: skip
def test_profiles_are_named_in_all_of_springs_ways(
    tmp_path: Path, text: str, environ: dict[str, str], profiles: tuple[str, ...]
) -> None:
    """Among them may be ``secure``: passed over, it would leave a server open."""
    write(tmp_path, "application.properties", text)
    write(tmp_path, f"application-{profiles[-1]}.properties", "s3.endpoint=last")
    values = read(tmp_path, environ=environ)
    assert values.profiles == profiles
    assert values.text("s3.endpoint") == "last"


def test_profiles_include_others_as_in_files_of_old(tmp_path: Path) -> None:
    """As the reference's own file does, where ``jwt`` brings ``secure`` along."""
    text = """
spring.profiles.include: x
---
spring: {profiles: amazon, profiles.include: prod}
s3.endpoint: amazon
---
spring.profiles: jwt
spring.profiles.include: secure
---
spring.profiles: secure
metadata.url: secure
"""
    write(tmp_path, "application.yml", text)
    write(tmp_path, "application-secure.properties", "spring.profiles.include[0]=last")
    values = read(tmp_path, environ={"SPRING_PROFILES_ACTIVE": "amazon,jwt"})
    assert values.profiles == ("amazon", "jwt", "x", "prod", "secure", "last")
    assert (values.text("s3.endpoint"), values.text("metadata.url")) == ("amazon", "secure")
    assert read(tmp_path).profiles == ("x",)


@pytest.mark.parametrize("line", ["spring.profiles.active=secure", "spring.profiles.group.prod=secure"])
def test_profiles_that_a_profile_activates_are_not_passed_over(tmp_path: Path, line: str) -> None:
    write(tmp_path, "application.properties", "spring.profiles.active=prod")
    write(tmp_path, "application-prod.properties", line)
    with pytest.raises(Misconfigured, match=r"say which profiles are active"):
        read(tmp_path)
    assert read(tmp_path, environ={"SPRING_PROFILES_ACTIVE": "dev"}).profiles == ("dev",)


def test_profile_expressions_are_refused_rather_than_guessed(tmp_path: Path) -> None:
    write(tmp_path, "application.yml", "spring.profiles: a & b\ns3.endpoint: x\n")
    with pytest.raises(Misconfigured, match="a & b"):
        read(tmp_path)


def test_placeholders_are_filled(tmp_path: Path) -> None:
    write(tmp_path, "application.properties", "s3.endpoint=${HOST}:${PORT:9000}\nmetadata.url=${s3.endpoint}/song")
    values = read(tmp_path, environ={"HOST": "http://store"})
    assert values.text("metadata.url") == "http://store:9000/song"
    with pytest.raises(Misconfigured, match=r"application.properties:1 refers to \$\{HOST\}"):
        read(tmp_path)


def test_placeholders_may_name_what_is_no_setting(tmp_path: Path) -> None:
    write(tmp_path, "application.yml", "store:\n  host: minio # here\ns3.endpoint: http://${store.host}:9000\n")
    values = read(tmp_path)
    assert values.text("s3.endpoint") == "http://minio:9000"
    assert (values.get("store.host"), values.unknown) == (None, ())


@pytest.mark.parametrize(
    ("environ", "meant"),
    [({}, "c"), ({"B": "b"}, "b"), ({"A": "a"}, "a"), ({"A": "${C:x}"}, "x"), ({"A": "${A}"}, "${A}")],
)
def test_a_default_may_hold_another_placeholder(tmp_path: Path, environ: dict[str, str], meant: str) -> None:
    write(tmp_path, "application.properties", "s3.secretKey=${A:${B:c}}")
    assert read(tmp_path, environ=environ).text("s3.secretKey") == meant


def test_settings_may_be_json_in_one_variable(tmp_path: Path) -> None:
    """Above the environment and below options, as in Spring Boot."""
    name, text = (
        "SPRING_APPLICATION_JSON",
        '{"spring":{"profiles":{"active":"s3"}},"s3":{"secretKey":"a #b","sigV4Enabled":true}}',
    )
    values = read(tmp_path, environ={"S3_SECRETKEY": "other", name: text})
    assert (values.profiles, values.text("s3.secretKey")) == (("s3",), "a #b")
    assert values.boolean("s3.sigV4Enabled", default=False) is True
    assert read(tmp_path, environ={name: text}, arguments=["--s3.secretKey=c"]).text("s3.secretKey") == "c"
    by_option = read(tmp_path, environ={name: text}, arguments=['--spring.application.json={"s3.endpoint": "x"}'])
    assert (by_option.text("s3.endpoint"), by_option.get("s3.secretKey")) == ("x", None)
    with pytest.raises(Misconfigured, match=r"spring\.application\.json"):
        read(tmp_path, environ={name: '{"s3": '})


def test_mappings_of_yaml_are_merged(tmp_path: Path) -> None:
    text = "common: &common\n  accessKey: a\n  endpoint: all\ns3:\n  endpoint: own\n  <<: *common\n"
    write(tmp_path, "application.yml", text)
    values = read(tmp_path)
    assert (values.text("s3.accessKey"), values.text("s3.endpoint"), values.unknown) == ("a", "own", ())


def test_the_profiles_of_a_file_that_is_named_lie_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "etc/score.properties", "s3.endpoint=all\ns3.accessKey=a")
    write(tmp_path, "etc/score-prod.properties", "s3.endpoint=prod")
    environ = {"SPRING_CONFIG_LOCATION": str(tmp_path / "etc" / "score.properties")}
    assert read(tmp_path, environ=environ).text("s3.endpoint") == "all"
    values = read(tmp_path, environ={**environ, "SPRING_PROFILES_ACTIVE": "prod"})
    assert (values.text("s3.endpoint"), values.text("s3.accessKey")) == ("prod", "a")


def test_springs_own_folder_counts_too(tmp_path: Path) -> None:
    write(tmp_path, "application.properties", "s3.endpoint=here\nbucket.name.object=a")
    write(tmp_path, "config/application.yml", "s3.endpoint: config\nbucket.name.object: b")
    write(tmp_path, "conf/application.yml", "s3.endpoint: conf")
    values = read(tmp_path)
    assert (values.text("s3.endpoint"), values.text("bucket.name.object")) == ("conf", "b")


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_names_of_one_setting_the_right_one_counts(tmp_path: Path, turned: bool) -> None:
    """In whichever order the environment has them."""
    given = [("UPLOAD_CONNECTIONLTIMEOUT", "1"), ("UPLOAD_CONNECTION_TIMEOUT", "2")]
    values = read(tmp_path, environ=dict(given[::-1] if turned else given))
    assert values.text("upload.connection.timeout") == "2"
    assert values.warnings == (
        "UPLOAD_CONNECTIONLTIMEOUT (environment UPLOAD_CONNECTIONLTIMEOUT) has no effect beside"
        " upload.connection.timeout, which is the setting's name.",
    )
    empty = dict(given) | {"UPLOAD_CONNECTION_TIMEOUT": ""}
    assert read(tmp_path, environ=empty).text("upload.connection.timeout") == "1"
    option = read(tmp_path, environ=dict(given), arguments=["--upload.connectionltimeout=3"])
    assert option.text("upload.connection.timeout") == "3"


def test_two_spellings_with_two_values_are_told(tmp_path: Path) -> None:
    values = read(tmp_path, environ={"S3_ACCESSKEY": "first-value", "S3_ACCESS_KEY": "second-value"})
    assert values.text("s3.accessKey") == "second-value"
    (said,) = values.warnings
    assert "S3_ACCESS_KEY (environment S3_ACCESS_KEY) is the same setting as S3_ACCESSKEY" in said
    assert "-value" not in said
    assert not read(tmp_path, environ={"S3_ACCESSKEY": "a", "S3_ACCESS_KEY": "a"}).warnings
    assert not read(tmp_path, environ={"S3_ACCESSKEY": "a"}, arguments=["--s3.accessKey=b"]).warnings


def test_a_location_is_a_file_or_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "elsewhere/application.properties", "server.port=1")
    write(tmp_path, "elsewhere/other.yml", "server.port: 2")
    assert read(tmp_path, arguments=["--spring.config.location=elsewhere/"]).text("server.port") == "1"
    there = f"file:{tmp_path}/elsewhere/other.yml"
    assert read(tmp_path, arguments=["--spring.config.location", there]).text("server.port") == "2"
    assert read(tmp_path, environ={"SPRING_CONFIG_LOCATION": "optional:nowhere/"}).get("server.port") is None
    with pytest.raises(Misconfigured, match="nowhere, which is not there"):
        read(tmp_path, arguments=["--spring.config.location=nowhere"])


def test_so_is_an_additional_one(tmp_path: Path) -> None:
    """The reference's client is started with one: the folder ``conf`` of where it is installed."""
    write(tmp_path, "one/application.properties", "server.port=1\ns3.endpoint=http://one")
    write(tmp_path, "two/application.properties", "server.port=2")
    for name in ("SPRING_CONFIG_ADDITIONAL_LOCATION", "SPRING_CONFIG_ADDITIONALLOCATION"):
        assert read(tmp_path, environ={name: f"file:{tmp_path}/one/"}).text("server.port") == "1"
    both = ["--spring.config.location=one", "--spring.config.additional-location=two"]
    values = read(tmp_path, arguments=both)
    assert (values.text("server.port"), values.text("s3.endpoint")) == ("2", "http://one")
    with pytest.raises(Misconfigured, match=r"^spring.config.additional-location .*nowhere, which is not there"):
        read(tmp_path, arguments=["--spring.config.additional-location=nowhere"])


def test_unknown_names_are_reported_under_our_prefixes_only(tmp_path: Path) -> None:
    environ = {
        "S3_ENDPIONT": "x",
        "LOGGING_LEVEL": "debug",
        "SERVERLESS": "1",
        "S3_SERVICE_HOST": "10.0.0.1",
        "S3_PORT_9000_TCP": "tcp://10.0.0.1:9000",
    }
    values = read(tmp_path, environ=environ, arguments=["--spring.main.banner-mode=off"])
    (unknown,) = values.unknown
    assert (unknown.name, unknown.origin, unknown.meant) == ("S3_ENDPIONT", "environment S3_ENDPIONT", "s3.endpoint")


def test_every_unknown_option_is_reported(tmp_path: Path) -> None:
    """Nobody else reads the command line; and what ends like a setting is taken for it."""
    values = read(tmp_path, arguments=["--port", "99", "--verbose", "--logging.level.root=DEBUG"])
    assert [(unknown.name, unknown.meant) for unknown in values.unknown] == [("port", "server.port"), ("verbose", "")]


def test_no_message_holds_a_value(tmp_path: Path) -> None:
    write(
        tmp_path,
        "application.properties",
        's3.secretKey="hunter2";\nupload.connectionltimeout=hunter2\ns3.pass=hunter2',
    )
    values = read(tmp_path, environ={"AZURE_ACCOUNT_KEY": "hunter2 # hunter2"})
    said = [*values.warnings, *map(str, values.unknown)]
    assert len(said) == 4
    assert "hunter2" not in " ".join(said)
    assert "hunter2" not in repr(values)


def test_options_take_both_forms(tmp_path: Path) -> None:
    values = read(tmp_path, arguments=["--client.ansi", "--s3.endpoint", "http://x", "--server.port=1", "word"])
    assert values.boolean("client.ansi", False) is True
    assert values.text("s3.endpoint") == "http://x"
    assert values.rest == ("word",)
    assert read(tmp_path, arguments=["--s3.secretKey=a # b"]).text("s3.secretKey") == "a # b"


@pytest.mark.parametrize("shut", [".", "conf"])
def test_a_folder_that_may_not_be_searched_is_named(tmp_path: Path, shut: str) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / shut).chmod(0)
    try:
        with pytest.raises(Misconfigured, match=r"\.env cannot be read: Permission denied") as caught:
            unprivileged(lambda: read(tmp_path))
    finally:
        (tmp_path / shut).chmod(0o700)
    assert "start in another folder" in caught.value.hint


def test_a_path_of_a_user_that_there_is_not(tmp_path: Path) -> None:
    values = read(tmp_path, environ={"S3_ENDPOINT": "~nobody of that name/x", "S3_ACCESSKEY": "~/x"})
    with pytest.raises(Misconfigured, match=r"s3.endpoint \(environment S3_ENDPOINT\) is .*: a path"):
        values.path("s3.endpoint")
    assert values.path("s3.accessKey") == Path.home() / "x"
    assert values.path("s3.secretKey") is None


def test_typed_values_say_what_is_expected_and_where(tmp_path: Path) -> None:
    values = read(tmp_path, environ={"SERVER_PORT": "8o87", "CLIENT_ANSI": "maybe", "BUCKET_SIZE_KEY": ""})
    with pytest.raises(Misconfigured, match=r"server.port \(environment SERVER_PORT\) is '8o87': a whole number"):
        values.integer("server.port", 1)
    with pytest.raises(Misconfigured, match="true or false is expected"):
        values.boolean("client.ansi", True)
    assert values.integer("bucket.size.key", 2) == 2
    assert read(tmp_path, environ={"SERVER_PORT": "99999"}).get("server.port") is not None
    with pytest.raises(Misconfigured, match="from 0 to 65535"):
        read(tmp_path, environ={"SERVER_PORT": "99999"}).integer("server.port", 1, most=65535)
