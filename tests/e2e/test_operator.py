"""What an operator does who follows the public pages: the published examples, unchanged, in a folder with the real
command, against a real MinIO; what is wrong is said in words that lead on."""

from __future__ import annotations

import json
import subprocess
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from score.storage.s3.settings import S3Settings
from score.testing.minio import Minio, running_minio
from score.testing.processes import Program, clean_environment, program
from score.testing.s3_contract import boto
from score.testing.song import FakeSong

PUBLISHED = Path(__file__).parents[1] / "published"
"""The examples of Score's public documentation, unchanged."""
PROPERTIES = "conf/application.properties"


@dataclass
class Desk:
    """A folder in which ``score-server`` is called, with settings in the environment."""

    folder: Path

    def write(self, name: str, text: str | bytes) -> None:
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())

    def publish(self, name: str, example: str) -> None:
        self.write(name, (PUBLISHED / example).read_bytes())

    def environment(self, given: dict[str, str]) -> dict[str, str]:
        bare = clean_environment(self.folder)
        return {name: text for name, text in bare.items() if not name.startswith("SSL_CERT_")} | given

    def run(self, *words: str, status: int, **given: str) -> str:
        """Both streams of a command, which ends with this status."""
        done = subprocess.run(
            [program("score-server"), *words], cwd=self.folder, env=self.environment(given), timeout=60,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout
        return done.stdout


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def settings_of(minio: Minio, song: FakeSong) -> dict[str, str]:
    """What the published example leaves to the site, in the environment, which is above files."""
    return {
        "S3_ENDPOINT": minio.endpoint, "S3_ACCESSKEY": minio.access_key, "S3_SECRETKEY": minio.secret_key,
        "METADATA_URL": song.url, "UPLOAD_RETRY_LIMIT": "0",
    }  # fmt: skip


def test_the_published_example_alone(desk: Desk) -> None:
    """It has no Song, which is all that is missing; what is in force is shown nevertheless."""
    desk.publish(PROPERTIES, "s3.properties")
    said = desk.run(status=1)
    assert "missing for the profile s3: metadata.url." in said
    assert "METADATA" not in said
    said = desk.run("config", status=1)
    assert "s3.endpoint=http://localhost:9000" in said
    assert f"# {PROPERTIES}:1" in said
    assert "bucket.name.state=test_state_bucket" in said
    assert "abc123" not in said
    assert "missing: These settings are missing for the profile s3: metadata.url." in said
    document = json.loads(desk.run("config", "--json", status=1))
    assert "metadata.url" in document["missing"]
    assert any("':' after the closing quote is ignored" in warning for warning in document["warnings"])


@pytest.mark.needs("minio")
def test_the_published_example_on_minio(desk: Desk, minio: Minio, song: FakeSong) -> None:
    """From the page, word for word, to a server that is well: each step says what the next one is."""
    desk.publish(PROPERTIES, "s3.properties")
    given = settings_of(minio, song)
    said = desk.run("check", status=1, **given)
    assert "upload.partsize is below the smallest part that S3 takes; 5242880 is used" in said
    assert "choose another name than test_object_bucket: 3 to 63 lower-case letters" in said
    buckets = {kind: f"operator-{uuid.uuid4().hex[:8]}-{kind}" for kind in ("object", "state")}
    given |= {"BUCKET_NAME_OBJECT": buckets["object"], "BUCKET_NAME_STATE": buckets["state"]}
    said = desk.run("check", status=1, **given)
    assert f"Mend it: aws --endpoint-url {minio.endpoint} s3 mb s3://{buckets['object']}" in said
    assert "sentinel: It cannot be looked for." in said
    with closing(boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))) as s3:
        for name in buckets.values():
            s3.create_bucket(Bucket=name)
    said = desk.run("check", status=1, **given)
    assert said.count("WRONG") == 1
    assert "Mend it: score-server check --fix" in said
    said = desk.run("check", "--fix", status=0, **given)
    assert "WRONG" not in said
    command = [program("score-server"), "--server.port=0"]
    with Program(command, desk.folder, desk.environment(given)) as server:
        server.wait_until(lambda: "Checked " in server.stderr)
        assert "0 problems" in server.stderr
        assert f"{PROPERTIES}:7" in server.stderr
        assert "not restricted" in server.stdout
        assert server.terminate() == 0
    assert minio.secret_key not in server.stderr + server.stdout


@pytest.mark.needs("minio")
def test_a_store_with_a_certificate_of_its_own(desk: Desk, song: FakeSong) -> None:
    """It is not believed, and said how to name it; with ``SSL_CERT_FILE`` all is well."""
    with running_minio(tls=True) as minio:
        given = {
            **settings_of(minio, song), "BUCKET_NAME_OBJECT": "objects", "BUCKET_NAME_STATE": "state",
            "SERVER_PORT": "0",
        }  # fmt: skip
        said = desk.run("check", status=1, **given)
        assert "No secure connection to the store" in said
        assert "its certificate is not trusted" in said
        assert "SSL_CERT_FILE=FILE score-server" in said
        assert "check --fix" not in said
        given["SSL_CERT_FILE"] = minio.certificate
        assert "NoSuchBucket" in desk.run("check", status=1, **given)
        for host in (minio.endpoint, minio.endpoint.removeprefix("https://"), f"{minio.endpoint}/"):
            given["S3_ENDPOINT"] = host
            said = desk.run("check", status=1, **given)
            assert "NoSuchBucket" in said, "the store itself answers, whichever way its address is written"
        given["S3_ENDPOINT"] = minio.endpoint.replace("https", "http")
        said = desk.run("check", status=1, **given)
        assert "400" in said


@pytest.mark.needs("minio")
def test_a_store_without_tls_behind_an_address_that_asks_for_it(desk: Desk, minio: Minio, song: FakeSong) -> None:
    """No scheme means https: what to write is said."""
    given = settings_of(minio, song) | {"BUCKET_NAME_OBJECT": "objects", "BUCKET_NAME_STATE": "state"}
    given["S3_ENDPOINT"] = minio.endpoint.removeprefix("http://")
    said = desk.run("check", status=1, **given)
    assert "write http:// before the address if the store speaks no TLS" in said
    assert "NoSuchBucket" in desk.run("check", status=1, **given, S3_SECURED="false")


def test_a_store_that_is_not_there(desk: Desk, song: FakeSong) -> None:
    given = {
        "S3_ENDPOINT": "http://127.0.0.1:9", "S3_ACCESSKEY": "a", "S3_SECRETKEY": "hunter2", "METADATA_URL": song.url,
        "BUCKET_NAME_OBJECT": "objects", "BUCKET_NAME_STATE": "state", "UPLOAD_RETRY_LIMIT": "0",
    }  # fmt: skip
    said = desk.run("check", status=1, **given)
    assert "Connection refused" in said
    assert "check that the store runs and is reached from here at http://127.0.0.1:9" in said
    assert "hunter2" not in said


def test_the_published_examples_of_azure(desk: Desk, song: FakeSong) -> None:
    desk.publish(PROPERTIES, "azure.properties")
    assert "missing for the profile azure: metadata.url." in desk.run(status=1)
    said = desk.run(status=1, METADATA_URL=song.url)
    assert "bucket.policy.downolad" in said
    assert "taken as bucket.policy.download" in said
    assert "'<object_bucket>', which is a place to fill in" in said
    assert "azure.accountKey is no account key" in said
    (desk.folder / PROPERTIES).unlink()
    desk.publish(".env.score", "azure.env")
    assert "missing for the profile azure: azure.accountName, azure.accountKey, metadata.url." in desk.run(status=1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("upload.retry.limit=many", f"upload.retry.limit ({PROPERTIES}:2) is 'many': a whole number is expected."),
        ("s3.endpoint = htp://x", f"s3.endpoint ({PROPERTIES}:2) is 'htp://x': an address such as https://host:9000"),
        ("s3.sigV4Enabled=perhaps # or not", f"({PROPERTIES}:2) is 'perhaps': true or false is expected."),
        ("upload.clean.cron=0 0 * * *", "upload.clean.cron"),
        ("s3.secretKey=${SECRET}", f"The setting at {PROPERTIES}:2 refers to ${{SECRET}}, which is set nowhere."),
        ("s3.upload.directory=../x", "a folder such as data, without . and .."),
    ],
)
def test_a_bad_value_is_named_with_its_place_and_what_is_allowed(desk: Desk, line: str, said: str) -> None:
    desk.write(PROPERTIES, f"# a comment\n{line}\n")
    assert said in desk.run(status=1)


def test_placeholders_quotes_comments_and_misspelled_names(desk: Desk) -> None:
    desk.write(
        PROPERTIES,
        "s3.endpoint='${STORE:http://127.0.0.1:9}' # the store\n"
        's3.accessKey="${KEY}"\n'
        "s3.secretKey=\"hun#ter2\" # 'quoted'\n"
        "bucket.name.object=${PREFIX:site}-objects\n"
        "bucket.name.state = ${PREFIX:site}-state # trailing\n"
        "metadata.url: http://127.0.0.1:9\n"
        "upload.partsze=1\n",
    )
    document = json.loads(desk.run("config", "--json", status=0, KEY="the-key", PREFIX="our"))
    values = {one["name"]: (one["value"], one["from"]) for one in document["settings"]}
    assert values["s3.endpoint"] == ("http://127.0.0.1:9", f"{PROPERTIES}:1")
    assert values["bucket.name.object"] == ("our-objects", f"{PROPERTIES}:4")
    assert values["bucket.name.state"] == ("our-state", f"{PROPERTIES}:5")
    assert values["s3.secretKey"][0] == values["s3.accessKey"][0] == "******"
    (warning,) = document["warnings"]
    assert warning.startswith(f"upload.partsze ({PROPERTIES}:7)")
    assert warning.endswith("Did you mean upload.partsize?")
    text = desk.run("config", status=0, KEY="the-key")
    assert "the-key" not in text
    assert "hun#ter2" not in text
