"""TLS of the server: certificates from PEM and PKCS#12, what is said at a start that cannot be, own authorities."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3

from score.client.client import Client
from score.client.settings import Settings as ClientSettings
from score.client.tls import Tls
from score.errors import Misconfigured, Refused, Unavailable
from score.server.authorization import open_authorizer
from score.server.build import open_service, outgoing
from score.server.commands import run
from score.server.reading import read_settings
from score.server.settings import JWT
from score.server.tls import server_context
from score.testing.certificates import Authority, Issued
from score.testing.ego import FakeEgo
from score.testing.fake_keycloak import FakeKeycloak
from score.testing.processes import Program, clean_environment, program
from score.testing.server import RunningServer
from score.testing.song import FakeSong
from score.transfer.http import Timeouts
from score.transfer.retry import Patience

PASSWORD = "correct horse battery"
Place = Callable[[str, bytes], str]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue(["127.0.0.1", "localhost"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Writes a file and gives its path."""

    def write(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        return str(tmp_path / name)

    return write


def serving(tmp_path: Path, *arguments: str) -> RunningServer:
    """A server with the local store and these settings."""
    settings = read_settings([f"--local.directory={tmp_path / 'data'}", *arguments], {}, tmp_path).settings
    return RunningServer(lambda: open_service(settings), settings, tls=server_context(settings))


def profile(url: str, context: ssl.SSLContext) -> bytes:
    with urllib3.PoolManager(ssl_context=context, retries=False, timeout=20) as http:
        return http.request("GET", f"{url}/profile").data


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.pem().decode())


def test_pem(tmp_path: Path, place: Place, authority: Authority, issued: Issued) -> None:
    settings = [
        f"--server.ssl.certificate={place('c.pem', issued.pem())}",
        f"--server.ssl.certificate-private-key={place('k.pem', issued.key_pem(PASSWORD))}",
        f"--server.ssl.key-password={PASSWORD}",
    ]
    with serving(tmp_path, *settings) as server:
        assert server.url.startswith("https:")
        assert profile(server.url, trusting(authority)) == b"s3"
        with pytest.raises(urllib3.exceptions.SSLError):
            profile(server.url, ssl.create_default_context())
    one_file = f"--server.ssl.certificate=file:{place('both.pem', issued.pem() + issued.key_pem())}"
    with serving(tmp_path, one_file, "--spring.profiles.active=local,ssl") as server:
        assert profile(server.url, trusting(authority)) == b"s3"


def test_pkcs12(tmp_path: Path, place: Place, authority: Authority, issued: Issued) -> None:
    settings = [
        f"--server.ssl.key-store={place('s.p12', issued.pkcs12(PASSWORD))}",
        f"--server.ssl.key-store-password={PASSWORD}",
        "--server.ssl.key-store-type=PKCS12",
        "--server.ssl.key-alias=SCORE",
    ]
    with serving(tmp_path, *settings) as server:
        assert profile(server.url, trusting(authority)) == b"s3"
        plain = server.url.replace("https:", "http:")
        with urllib3.PoolManager(retries=False) as http, pytest.raises(urllib3.exceptions.HTTPError):
            http.request("GET", f"{plain}/profile")


def test_without_a_folder_of_temporary_files(
    tmp_path: Path, place: Place, issued: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL takes certificates from files only."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    settings = [
        f"--server.ssl.key-store={place('s.p12', issued.pkcs12(PASSWORD))}",
        f"--server.ssl.key-store-password={PASSWORD}",
    ]
    with pytest.raises(Misconfigured, match=r"key-store: .*s\.p12: no temporary file can be made .* in TMPDIR"):
        serving(tmp_path, *settings)


@pytest.mark.skipif(shutil.which("keytool") is None, reason="needs keytool of a JDK")
def test_files_that_keytool_makes(tmp_path: Path, place: Place) -> None:
    def keytool(*arguments: str) -> None:
        subprocess.run(["keytool", *arguments, "-storepass", "changeit1"], check=True, capture_output=True)

    store, certificate, trust = (str(tmp_path / name) for name in ("k.p12", "c.der", "t.p12"))
    name = ["-dname", "CN=localhost", "-ext", "san=ip:127.0.0.1", "-keyalg", "EC", "-alias", "Score"]
    keytool("-genkeypair", *name, "-keystore", store, "-storetype", "PKCS12")
    keytool("-exportcert", "-alias", "Score", "-keystore", store, "-file", certificate)
    keytool(
        "-importcert", "-noprompt", "-alias", "ca", "-keystore", trust, "-storetype", "PKCS12", "-file", certificate
    )
    settings = [f"--server.ssl.key-store={store}", "--server.ssl.key-store-password=changeit1"]
    with serving(tmp_path, *settings) as server:
        tls = Tls(trust_store=trust, trust_store_password="changeit1").context()
        assert tls is not None
        assert profile(server.url, tls) == b"s3"


def test_a_transfer_under_tls(tmp_path: Path, place: Place, authority: Authority, issued: Issued) -> None:
    """The client with an authority of the site's own; the URLs of the data plane are https too."""
    settings = f"--server.ssl.certificate={place('both.pem', issued.pem() + issued.key_pem())}"
    data = place("f.txt", b"x" * 100_000)
    with serving(tmp_path, settings) as server:
        chosen = ClientSettings(
            server.url,
            server.url,
            tls=Tls(trust_store=place("t.p12", authority.pkcs12(PASSWORD)), trust_store_password=PASSWORD),
            patience=Patience(attempts=1, first_wait=0),
            timeouts=Timeouts(connect=20, read=20),
        )
        with Client(chosen) as client:
            client.song.create_study("S")
            md5 = hashlib.md5(b"x" * 100_000).hexdigest()
            file = {"fileName": "f.txt", "fileSize": 100_000, "fileMd5sum": md5, "fileAccess": "open"}
            payload = {"studyId": "S", "analysisType": {"name": "x"}, "files": [{**file, "fileType": "TXT"}]}
            analysis = client.song.submit("S", payload)
            (entity,) = client.song.entities(analysis)
            client.upload(Path(data), entity.id, md5)
            client.song.publish("S", analysis)
            (outcome,) = client.download([entity.id], tmp_path / "out")
            assert outcome.error is None
            assert client.url(entity.id).startswith(server.url)
        stranger = ClientSettings(server.url, server.url, patience=Patience(attempts=1))
        with Client(stranger) as client, pytest.raises(Refused, match="not trusted"):
            client.connect()


def test_names_of_certificates(tmp_path: Path, place: Place, authority: Authority) -> None:
    """``client.ssl.trustName``: a certificate of that name is good for every host, others are not."""
    other = authority.issue(["score.example"], common_name="Our Score")
    settings = f"--server.ssl.certificate={place('both.pem', other.pem() + other.key_pem())}"
    with serving(tmp_path, settings) as server:

        def connect(**tls: str) -> str:
            chosen = ClientSettings(
                server.url,
                server.url,
                tls=Tls(trust_store=place("ca.pem", authority.pem()), **tls),
                patience=Patience(attempts=1),
            )
            with Client(chosen) as client:
                return client.connect()

        assert connect(trusted_name="Our Score") == "s3"
        for name in ("", "Another"):
            with pytest.raises(Refused, match="of another host"):
                connect(trusted_name=name)


def test_certificates_of_callers(tmp_path: Path, place: Place, authority: Authority, issued: Issued) -> None:
    settings = [
        f"--server.ssl.certificate={place('both.pem', issued.pem() + issued.key_pem())}",
        "--server.ssl.client-auth=need",
    ]
    with pytest.raises(Misconfigured, match=r"server\.ssl\.trust-certificate"):
        serving(tmp_path, *settings)
    with serving(tmp_path, *settings, f"--server.ssl.trust-certificate={place('ca.pem', authority.pem())}") as server:
        with pytest.raises(urllib3.exceptions.HTTPError):
            profile(server.url, trusting(authority))
        stranger = Authority("Stranger")
        for issuer, good in ((authority, True), (stranger, False)):
            caller = issuer.issue(common_name="caller").pkcs12(PASSWORD)
            tls = Tls(str(tmp_path / "ca.pem"), key_store=place("caller.p12", caller), key_store_password=PASSWORD)
            context = tls.context()
            assert context is not None
            if good:
                assert profile(server.url, context) == b"s3"
            else:
                with pytest.raises(urllib3.exceptions.HTTPError):
                    profile(server.url, context)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"certificate": "nowhere.pem", "certificate-private-key": "k.pem"},
            "certificate: nowhere.pem: it cannot be read",
        ),
        ({"certificate": "c.pem", "certificate-private-key": "nowhere"}, "private-key: nowhere: it cannot be read"),
        (
            {"certificate": "c.pem", "certificate-private-key": "other.pem"},
            "c.pem: the key is of another certificate",
        ),
        ({"certificate": "c.pem", "certificate-private-key": "locked.pem"}, "locked.pem: the key is locked"),
        (
            {"certificate": "c.pem", "certificate-private-key": "locked.pem", "key-password": "hunter2hunter2"},
            "locked.pem: the password is wrong",
        ),
        ({"certificate": "c.pem", "certificate-private-key": "c.pem"}, "c.pem: it holds no private key"),
        ({"certificate": "k.pem", "certificate-private-key": "k.pem"}, "k.pem: it holds no certificate in PEM"),
        ({"key-store": "s.p12", "key-store-password": "hunter2hunter2"}, "key-store: s.p12: its password is wrong"),
        ({"key-store": "s.p12"}, "s.p12: it is locked with a password, and none is set"),
        ({"key-store": "garbage", "key-store-password": "x"}, "garbage: it is no PKCS#12 file"),
        ({"key-store": "c.pem"}, "it is PEM, and PKCS#12 is expected"),
        ({"key-store": "s.p12", "key-store-password": PASSWORD, "key-alias": "b"}, "has the alias 'score', not 'b'"),
        ({"key-store": "t.p12", "key-store-password": PASSWORD}, "t.p12: it holds no key"),
        ({"key-store": "s.jks", "key-store-password": "x"}, "keytool -importkeystore -srckeystore s.jks"),
        ({"key-store": "classpath:s.jks"}, "within a Java program"),
        ({"key-store": "a", "certificate": "b"}, "exclude one another"),
        ({"enabled": "true"}, "TLS needs a certificate"),
        ({"certificate": "both.pem", "ciphers": "NONE-SUCH"}, "server.ssl.ciphers"),
        ({"certificate": "both.pem", "enabled-protocols": "TLSv1.1"}, "server.ssl.enabled-protocols"),
        ({"certificate": "both.pem", "client-auth": "perhaps"}, "server.ssl.client-auth"),
    ],
)
def test_a_start_that_cannot_be_names_setting_and_file(
    tmp_path: Path,
    place: Place,
    authority: Authority,
    issued: Issued,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    place("c.pem", issued.pem())
    place("k.pem", issued.key_pem())
    place("both.pem", issued.pem() + issued.key_pem())
    place("other.pem", authority.issue().key_pem())
    place("locked.pem", issued.key_pem(PASSWORD))
    place("s.p12", issued.pkcs12(PASSWORD))
    place("t.p12", authority.pkcs12(PASSWORD))
    place("garbage", b"garbage")
    place("s.jks", b"\xfe\xed\xfe\xed\x00\x00\x00\x02")
    arguments = [f"--server.ssl.{name}={text}" for name, text in settings.items()]
    with pytest.raises(Misconfigured) as error:
        server_context(read_settings(arguments, {}, tmp_path).settings)
    assert said in str(error.value)
    assert "hunter2" not in str(error.value)


def test_check_finds_what_would_stop_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Misconfigured, match=r"server\.ssl\.key-store: nowhere\.p12: it cannot be read"):
        run("check", ["--server.ssl.key-store=nowhere.p12"])


def test_a_start_that_fails_is_one_sentence(tmp_path: Path) -> None:
    environment = clean_environment(tmp_path, {"server.ssl.key-store": "s.jks", "server.ssl.key-store-password": "x"})
    (tmp_path / "s.jks").write_bytes(b"\xfe\xed\xfe\xed\x00\x00\x00\x02")
    with Program([program("score-server"), "--server.port=0"], tmp_path, environment) as server:
        assert server.wait() == 1
        assert "keytool -importkeystore" in server.stderr
        assert "Traceback" not in server.stderr
        assert server.stdout == ""


def test_the_command_speaks_tls(tmp_path: Path, place: Place, authority: Authority, issued: Issued) -> None:
    place("s.p12", issued.pkcs12(PASSWORD))
    settings = {"server.ssl.key-store": "s.p12", "server.ssl.key-store-password": PASSWORD}
    command = [program("score-server"), "--server.port=0"]
    with Program(command, tmp_path, clean_environment(tmp_path, settings)) as server:
        server.wait_until(lambda: "Access:" in server.stdout)
        url = server.stdout.partition("URL:")[2].split()[0]
        assert url.startswith("https://127.0.0.1:")
        assert profile(url, trusting(authority)) == b"s3"
        assert server.terminate() == 0
        assert PASSWORD not in server.stdout + server.stderr


def test_the_profile_and_the_switch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Misconfigured, match="TLS needs a certificate"):
        read_settings(["--spring.profiles.active=local,ssl"], {}, tmp_path)
    off = read_settings(["--spring.profiles.active=local,ssl", "--server.ssl.enabled=false"], {}, tmp_path)
    assert server_context(off.settings) is None
    assert any("profile ssl has no effect" in warning for warning in off.warnings)


@pytest.mark.parametrize(("days", "said"), [(-1, "has expired"), (3, "expires in")])
def test_a_certificate_near_its_end_is_told_of(
    tmp_path: Path, place: Place, authority: Authority, caplog: pytest.LogCaptureFixture, days: int, said: str
) -> None:
    old = authority.issue(lasts=timedelta(days=days))
    file = place("old.pem", old.pem() + old.key_pem())
    with caplog.at_level(logging.WARNING):
        server_context(read_settings([f"--server.ssl.certificate={file}"], {}, tmp_path).settings)
    assert any(said in record.message and file in record.message for record in caplog.records)


AZURE = ["--spring.profiles.active=azure,secure", "--azure.accountName=a", "--azure.accountKey=YQ=="]
S3 = [
    "--spring.profiles.active=s3,secure", "--s3.accessKey=a", "--s3.secretKey=b", "--bucket.name.state=state",
]  # fmt: skip


@pytest.mark.parametrize(("store", "endpoint"), [(AZURE, "azure.endpoint"), (S3, "s3.endpoint")], ids=["azure", "s3"])
def test_own_authorities_for_song_authorization_server_and_store(
    tmp_path: Path, place: Place, authority: Authority, issued: Issued, store: list[str], endpoint: str
) -> None:
    """One setting for every call of the server to other services; without it they are not believed."""
    song, ego = FakeSong(), FakeEgo()
    song.tls = ego.tls = issued.context(tmp_path)
    with song, ego:
        known = [
            *store, f"--{endpoint}={song.url}", "--bucket.name.object=objects", f"--metadata.url={song.url}",
            "--upload.retry.limit=0", "--auth.connection.maxRetries=0", f"--auth.server.url={ego.check_url}",
            f"--auth.server.clientId={ego.client_id}", f"--auth.server.clientSecret={ego.client_secret}",
        ]  # fmt: skip
        trust = f"--outgoing.ssl.trust-store={place('ca.pem', authority.pem())}"
        registry, authorizer, problem = asyncio.run(_probe(read_settings([*known, trust], {}, tmp_path).settings))
        assert (registry, authorizer) == ("", "")
        assert "secure connection" not in problem, "something else is wrong with it: it is no store"
        registry, authorizer, problem = asyncio.run(_probe(read_settings(known, {}, tmp_path).settings))
        assert "Song at https://127.0.0.1" in registry
        assert "does not answer: ClientConnectorCertificateError" in authorizer
        assert "secure connection" in problem.lower(), problem


@pytest.mark.parametrize("fake", [FakeEgo, FakeKeycloak])
def test_own_authorities_for_keys_of_jwts_and_permissions(
    tmp_path: Path, place: Place, authority: Authority, issued: Issued, fake: type[FakeEgo | FakeKeycloak]
) -> None:
    """A token is proved, and its permissions are asked for, under the authority that was named, no other."""
    server = fake()
    server.tls = issued.context(tmp_path)
    with server:
        given = ["--spring.profiles.active=local,secure", f"--local.directory={tmp_path}"]
        if isinstance(server, FakeKeycloak):
            given += ["--auth.server.provider=keycloak", f"--auth.server.keycloak.host={server.url}"]
            given += [f"--auth.server.keycloak.realm={server.realm}", f"--auth.server.clientId={server.client_id}"]
        else:
            given += [f"--{JWT}.public-key-location={server.public_key_url}"]
        trust = f"--outgoing.ssl.trust-store={place('ca.pem', authority.pem())}"
        token = server.issue_jwt("a.READ")
        assert asyncio.run(_scopes([*given, trust], tmp_path, token)) == {"a.READ"}
        with pytest.raises(Unavailable, match="ClientConnectorCertificateError"):
            asyncio.run(_scopes(given, tmp_path, token))


async def _scopes(given: list[str], folder: Path, token: str) -> frozenset[str]:
    settings = read_settings(given, {}, folder).settings
    authorizer = open_authorizer(settings, outgoing(settings))
    try:
        while True:
            try:
                return (await authorizer.identify(token)).scopes
            except Unavailable as error:
                if "has not been fetched yet" not in str(error):
                    raise
            await asyncio.sleep(0)
    finally:
        await authorizer.close()


async def _probe(settings: Any) -> tuple[str, str, str]:
    service = await open_service(settings)
    try:
        assert service.authorizer is not None
        found = await service.objects.probe()
        return await service.registry.probe(), await service.authorizer.probe(), found.problem
    finally:
        await service.close()


def test_outgoing_settings_are_checked(tmp_path: Path, place: Place) -> None:
    wrong = {
        "nowhere": "cannot be read",
        "~no one/x": "no such user",
        place("x", b"x"): "no PKCS#12",
        "classpath:x": "Java",
    }
    for text, said in wrong.items():
        settings = read_settings([f"--outgoing.ssl.trust-store={text}"], {}, tmp_path).settings
        with pytest.raises(Misconfigured, match=said) as error:
            outgoing(settings)
        assert "outgoing.ssl.trust-store" in str(error.value)
    assert outgoing(read_settings([], {}, tmp_path).settings) is None
