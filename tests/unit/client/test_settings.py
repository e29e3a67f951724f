"""The client's settings: by any spelling of their names, checked, and never showing the token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from score.client.client import Client
from score.client.settings import NAMES, Display, Settings, display, read, settings
from score.errors import Misconfigured
from score.transfer.http import Timeouts
from score.transfer.retry import Patience

TOKEN = "720dffc1-628f-49f2-992f-f09b8ba2ae2a"
URL = "http://localhost:8087"


def load(*arguments: str, folder: Path = Path("/nonexistent"), **environ: str) -> Settings:
    return settings(read(arguments, environ, folder))


def test_an_address_is_enough() -> None:
    assert load(STORAGE_URL=URL) == Settings(storage_url=URL, metadata_url=URL)


def test_the_defaults_are_those_of_the_documentation() -> None:
    found = load(STORAGE_URL=URL)
    assert found.patience == Patience(attempts=10, first_wait=1.0)
    assert found.timeouts == Timeouts(connect=60.0, read=60.0)
    assert (found.parallel, found.default_profile, found.upload_state) == (6, "s3", None)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--storage.url=http://s:1", "--metadata.url=http://m:2", f"--accessToken={TOKEN}"],
        ["--storage.url", "http://s:1", "--metadata.url", "http://m:2", "--accessToken", TOKEN],
        ["--STORAGE_URL=http://s:1", "--metadata-url=http://m:2", f"--access-token={TOKEN}"],
    ],
)
def test_names_are_relaxed_on_the_command_line(arguments: list[str]) -> None:
    found = load(*arguments)
    assert (found.storage_url, found.metadata_url, found.token) == ("http://s:1", "http://m:2", TOKEN)


@pytest.mark.parametrize("name", ["ACCESSTOKEN", "ACCESS_TOKEN", "accessToken"])
def test_names_are_relaxed_in_the_environment(name: str) -> None:
    assert load(**{"STORAGE_URL": URL, name: TOKEN}).token == TOKEN


def test_a_file_is_read_and_the_environment_and_the_command_line_win(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "application.properties").write_text(
        f"accessToken={TOKEN}\nstorage.url=http://file:1\nmetadata.url=http://file:2 # Song\n"
        "transport.parallel=2\nclient.uploadStateDir=/state\nstorage.retryNumber=3\nstorage.retryTimeout=0.5\n"
        "client.connectTimeoutSeconds=5\nclient.readTimeoutSeconds=6\nportal.url=http://portal/\n"
    )
    found = load("--storage.url=http://option:1", folder=tmp_path, METADATA_URL="http://environment:2")
    assert found == Settings(
        storage_url="http://option:1",
        metadata_url="http://environment:2",
        token=TOKEN,
        portal_url="http://portal",
        patience=Patience(attempts=3, first_wait=0.5),
        timeouts=Timeouts(connect=5.0, read=6.0),
        upload_state=Path("/state"),
        parallel=2,
    )


@pytest.mark.parametrize("number", ["-1", "-10"])
def test_a_negative_number_of_tries_is_no_end_of_them(number: str) -> None:
    """As with the reference's client."""
    patience = load(f"--storage.retryNumber={number}", STORAGE_URL=URL).patience
    assert patience.attempts > 10**9
    assert patience.wait(patience.attempts, 0.5) < 60


def test_slashes_at_the_end_of_addresses_are_taken_off() -> None:
    assert load(STORAGE_URL="http://s:1//", METADATA_URL="http://m/song/").metadata_url == "http://m/song"
    assert load(STORAGE_URL="http://s:1//").storage_url == "http://s:1"


@pytest.mark.parametrize("environ", [{}, {"STORAGE_URL": ""}])
def test_a_missing_address_names_setting_variable_and_option(environ: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match="No address of a Score server is set") as caught:
        load(**environ)
    assert "storage.url in conf/application.properties" in caught.value.hint
    assert "STORAGE_URL" in caught.value.hint
    assert "--storage.url=" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("storage.url", "localhost:8087", "an address such as http://localhost:8087"),
        ("storage.url", "ftp://localhost", "an address"),
        ("storage.url", "http://", "an address"),
        ("storage.url", "http://host:99999999", "an address"),
        ("storage.url", "http://[::1", "an address"),
        ("metadata.url", "song", "an address"),
        ("portal.url", "portal", "an address"),
        ("transport.parallel", "0", "a whole number from 1 to 256"),
        ("transport.parallel", "many", "a whole number"),
        ("transport.parallel", "1000", "to 256"),
        ("storage.retryNumber", "0", "a whole number from 1"),
        ("storage.retryTimeout", "-1", "a number from 0"),
        ("storage.retryTimeout", "soon", "a number from 0"),
        ("client.connectTimeoutSeconds", "0", "a number from 0.1"),
        ("client.readTimeoutSeconds", "nan", "a number from 0.1"),
    ],
)
def test_a_wrong_value_is_named_with_where_it_stands(name: str, value: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "application.properties").write_text(f"storage.url={URL}\n{name}={value}\n")
    with pytest.raises(Misconfigured) as caught:
        load(folder=tmp_path)
    assert caught.value.message.startswith(f"{name} (application.properties:2) is {value!r}: ")
    assert expected in caught.value.message
    with pytest.raises(Misconfigured, match=f"option --{name}"):
        load(f"--storage.url={URL}", f"--{name}={value}")


class TestToken:
    def test_a_file_holds_it(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(f"{TOKEN}\n")
        assert load(STORAGE_URL=URL, accessTokenFile=str(tmp_path / "token")).token == TOKEN

    def test_the_token_itself_wins(self, tmp_path: Path) -> None:
        assert load(STORAGE_URL=URL, ACCESSTOKEN=TOKEN, accessTokenFile=str(tmp_path / "missing")).token == TOKEN

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "bytes").write_bytes(b"\xff\xfe")
        for name, reason in (("missing", "No such file"), ("", "Is a directory"), ("bytes", "not a text file")):
            with pytest.raises(Misconfigured, match=f"accessTokenFile: {tmp_path}.*{name} cannot be read: {reason}"):
                load(STORAGE_URL=URL, accessTokenFile=str(tmp_path / name))

    def test_a_file_without_one_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(" \n")
        with pytest.raises(Misconfigured, match=f"accessTokenFile: {tmp_path}/token is empty"):
            load(STORAGE_URL=URL, accessTokenFile=str(tmp_path / "token"))

    @pytest.mark.parametrize("token", ["two words", "line\nend", "tökén", "a\x00b"])
    def test_what_cannot_be_one_is_refused_without_showing_it(self, token: str, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(token)
        for given in ({"ACCESSTOKEN": token}, {"accessTokenFile": str(tmp_path / "token")}):
            with pytest.raises(Misconfigured, match="that is no access token") as caught:
                load(STORAGE_URL=URL, **given)
            assert token not in str(caught.value)

    @pytest.mark.parametrize("token", ["two words", "first\nsecond", "tök€n"])
    def test_a_program_that_gives_one_that_is_none_is_told_so(self, token: str) -> None:
        """Else the call that it would travel in is refused, in words about an address."""
        with pytest.raises(Misconfigured, match="token: that is no access token") as caught:
            Settings(storage_url=URL, token=token)
        assert token not in str(caught.value)

    def test_the_end_of_its_line_is_taken_off(self) -> None:
        assert Settings(storage_url=URL, token=f"{TOKEN}\n").token == TOKEN

    def test_it_is_in_no_trace(self) -> None:
        found = load(STORAGE_URL=URL, ACCESSTOKEN=TOKEN)
        assert TOKEN not in repr(found)
        assert "token set" in repr(found)
        assert TOKEN not in repr(read([], {"ACCESSTOKEN": TOKEN}, Path("/nonexistent")))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Display(quiet=False, silent=False, ansi=None)),
        ({"CLIENT_QUIET": "true"}, Display(quiet=True)),
        ({"CLIENT_SILENT": "true", "CLIENT_ANSI": "false"}, Display(silent=True, ansi=False)),
        ({"CLIENT_ANSI": "true"}, Display(ansi=True)),
        ({"CLIENT_ANSI": ""}, Display(ansi=None)),
    ],
)
def test_how_much_is_shown(environ: dict[str, str], expected: Display) -> None:
    assert display(read([], environ, Path("/nonexistent"))) == expected


def test_a_misspelled_setting_is_told(tmp_path: Path) -> None:
    values = read(["--storage.retrynumbers=3"], {"TRANSPORT_PARALEL": "2"}, tmp_path)
    told = sorted(str(name) for name in values.unknown)
    assert len(told) == 2
    assert "TRANSPORT_PARALEL (environment TRANSPORT_PARALEL)" in told[0]
    assert "Did you mean transport.parallel?" in told[0]
    assert "Did you mean storage.retryNumber?" in told[1]


def test_settings_of_the_reference_that_mean_nothing_here_are_silent(tmp_path: Path) -> None:
    environ = {"CLIENT_SSL_TRUSTSTORE": "x", "TRANSPORT_MEMORY": "4", "TRANSPORT_FILEFROM": "REMOTE"}
    values = read(["--metadata.ssl.enabled=true"], environ, tmp_path)
    assert not values.warnings
    assert [name.name for name in values.unknown] in ([], ["CLIENT_SSL_TRUSTSTORE"])


OTHER = {
    "accessToken": TOKEN,
    "storage.url": "http://other:1",
    "storage.retryNumber": "3",
    "storage.retryTimeout": "0.5",
    "metadata.url": "http://other:1",
    "metadata.ssl.enabled": "false",
    "portal.url": "http://other:1",
    "client.ansi": "true",
    "client.silent": "true",
    "client.quiet": "true",
    "client.connectTimeoutSeconds": "5",
    "client.readTimeoutSeconds": "5",
    "client.uploadStateDir": "/elsewhere",
    "transport.parallel": "2",
    "transport.memory": "0.5",
    "reading.cache.disk": "1",
    "reading.cache.folder": "/elsewhere",
    "azure.blockSize": "1000",
    "defaultProfile": "az",
    "client.ssl.custom": "false",
    "client.ssl.trustStore": "other.pem",
    "client.ssl.trustStorePassword": "other",
    "client.ssl.trustName": "other",
    "client.ssl.keyStore": "other.p12",
    "client.ssl.keyStorePassword": "other",
    "client.ssl.keyAlias": "other",
}
"""Of each setting another value than its default."""
TLS = ("--client.ssl.trustStore=ca.pem", "--client.ssl.keyStore=me.p12")


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_described_and_counts(name: str, tmp_path: Path) -> None:
    assert NAMES[name]
    if name in ("transport.fileFrom", "client.ssl.trustStoreType", "client.ssl.keyStoreType", "mount.logging"):
        return  # without effect, as their descriptions say; that of the mount is read by the mount
    (tmp_path / "token").write_text(TOKEN)
    plain = [f"--storage.url={URL}", *(TLS if name.startswith("client.ssl.") else ())]
    value = OTHER.get(name) or str(tmp_path / "token")
    variable = {name.upper().replace(".", "_"): value}
    given = [one for one in plain if not one.startswith(f"--{name}=")]  # an option wins over a variable
    before, after = read(plain, {}, tmp_path), read(given, variable, tmp_path)
    assert (settings(before), display(before)) != (settings(after), display(after))


@pytest.mark.parametrize(
    ("name", "meant"), [("token", "accessToken"), ("storge_url", "storage_url"), ("x", "storage_url")]
)
def test_a_name_that_a_program_gives_is_a_setting(name: str, meant: str) -> None:
    with pytest.raises(Misconfigured, match=f"'{name}' is no setting") as caught:
        Settings.load(**{"storage_url": URL, name: TOKEN})
    assert caught.value.hint.endswith(f"as {meant}.")
    assert TOKEN not in str(caught.value)


def test_a_client_finds_its_settings_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STORAGE_URL", raising=False)
    with pytest.raises(Misconfigured, match="No address"):
        Client()
    (tmp_path / "application.properties").write_text(f"storage.url={URL}\n")
    with Client() as client:
        assert client.settings.storage_url == URL


@pytest.mark.parametrize("given", [{"parallel": 0}, {"memory": -1.0}, {"memory": float("nan")}, {"block_size": 0}])
def test_numbers_that_a_program_gives_are_more_than_nothing(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(Misconfigured, match=f"{name} is .*, and has to be more than 0"):
        Settings(storage_url=URL, **given)
