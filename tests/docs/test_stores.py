"""The page of each store, from nothing to a verified upload: its commands, one after another, on the real store."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from score.errors import ScoreError
from score.protocol.ids import object_id
from score.server.commands import run
from score.storage.s3.settings import S3Settings
from score.testing.ceph import running_ceph
from score.testing.minio import Minio, running_minio
from score.testing.pages import follow, with_programs
from score.testing.processes import Program, clean_environment, free_port
from score.testing.s3_contract import boto, take_role
from score.testing.site import STUDY, Server, md5_of
from score.testing.song import FakeSong

PAGES = Path(__file__).resolve().parents[2] / "docs" / "stores"
ANALYSIS = "5c0e0000-0000-4000-8000-00000000a001"


@dataclass
class Ground:
    """Where a page is followed: what its text stands for here, and the environment of its commands."""

    instead: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of one language, in their order."""
    return [part.partition("\n```")[0] for part in page.read_text("utf-8").split(f"\n```{language}\n")[1:]]


@contextmanager
def minio(folder: Path) -> Iterator[Ground]:
    """The page's own MinIO, by the page's own command."""
    address = f"localhost:{free_port()}"
    (command,) = [code for code in blocks(PAGES / "minio.md", "sh") if "minio server" in code]
    given, _, program = command.replace("localhost:9000", address).partition("minio server")
    environment = with_programs(clean_environment(folder, {}))

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://{address}", timeout=2):
                return False
        except urllib.error.HTTPError as error:
            with error:
                return error.code == 403
        except OSError:
            return False

    with Program(["sh", "-c", f"{given} exec minio server {program}"], folder / "minio", environment) as running:
        running.wait_until(ready)
        yield Ground({"localhost:9000": address})


@contextmanager
def ceph(folder: Path) -> Iterator[Ground]:
    with running_ceph() as running:
        yield Ground({"http://localhost:7480": running.endpoint}, running.environment)


@contextmanager
def s3(folder: Path) -> Iterator[Ground]:
    """MinIO in the place of Amazon S3."""
    with running_minio() as running:
        yield Ground(
            {
                "https://s3.eu-central-1.amazonaws.com": running.endpoint,
                "eu-central-1": "us-east-1",
                "abc12345": running.secret_key,
                "abc123": running.access_key,
            }
        )


@pytest.mark.parametrize(
    "store",
    [
        pytest.param(minio, marks=pytest.mark.needs("minio", "aws")),
        pytest.param(ceph, marks=pytest.mark.needs("ceph", "aws")),
        pytest.param(s3, marks=pytest.mark.needs("minio", "aws")),
    ],
    ids=lambda store: store.__name__,
)
def test_a_page_leads_to_a_verified_upload(
    store: Callable[[Path], AbstractContextManager[Ground]], tmp_path: Path
) -> None:
    page = PAGES / f"{getattr(store, '__name__', '')}.md"
    file = tmp_path / "reads.bam"
    file.write_bytes(Random(1).randbytes(25_000_000))
    with FakeSong() as song, store(tmp_path) as ground:
        server = Server(tmp_path, {})
        song.score_url = server.url
        song.register(file.name, analysis=ANALYSIS, study=STUDY, size=file.stat().st_size, md5=md5_of(file))
        manifest = f"{ANALYSIS}\t\t\n{object_id(ANALYSIS, file.name)}\t{file}\t{md5_of(file)}\n"
        (tmp_path / "manifest.txt").write_text(manifest, "utf-8")
        instead = ground.instead | {"http://localhost:8080": song.url, "http://localhost:8087": server.url}

        def here(text: str) -> str:
            for printed, ours in instead.items():
                text = text.replace(printed, ours)
            return text

        environment = clean_environment(tmp_path, {}) | ground.environment | {"STUDY": STUDY, "ANALYSIS": ANALYSIS}

        for printed in instead:
            assert printed in page.read_text("utf-8")
        (properties,) = blocks(page, "properties")
        (tmp_path / "conf").mkdir()
        (tmp_path / "conf" / "application.properties").write_text(here(properties), "utf-8")
        commands = [code for code in blocks(page, "sh") if "minio server" not in code]
        start = commands.index("score-server")
        follow(here("\n".join(commands[:start])), tmp_path, environment)
        try:
            server.start()
            said = follow(here("\n".join(commands[start + 1 :])), tmp_path, environment)
        finally:
            server.stop()
        assert said.startswith('{"status":"UP"')
        assert '"DOWN"' not in said.partition("\n")[0]
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.needs("minio")
def test_the_policy_is_enough_and_no_more(
    minio: Minio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under the policy of the page all that a server does at its store is allowed; without one of its actions
    something is not."""
    monkeypatch.chdir(tmp_path)
    names = {name: f"{name}-{uuid.uuid4().hex[:8]}" for name in ("objects", "state")}
    (printed,) = blocks(PAGES / "s3.md", "json")
    for name, ours in names.items():
        printed = printed.replace(f":::{name}", f":::{ours}")
    with closing(boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))) as s3, FakeSong() as song:
        for name in names.values():
            s3.create_bucket(Bucket=name)
        settings = [
            f"--s3.endpoint={minio.endpoint}", f"--bucket.name.object={names['objects']}",
            f"--bucket.name.state={names['state']}", f"--metadata.url={song.url}", "--s3.upload.expiration=0",
        ]  # fmt: skip

        def works(policy: str) -> bool:
            """Whether check, cleanup and deletion do all that they have to under a policy."""
            take_role(minio, policy, monkeypatch)
            left, gone = str(uuid.uuid4()), str(uuid.uuid4())
            upload = s3.create_multipart_upload(Bucket=names["objects"], Key=f"data/{left}")["UploadId"]
            for key in (f"upload/{left}_{upload}/.meta", f"data/{gone}.meta"):
                s3.put_object(Bucket=names["state"], Key=key, Body=b"{}")
            s3.put_object(Bucket=names["objects"], Key=f"data/{gone}", Body=b"gone")
            commands = [["check", "--fix"], ["clean"], ["delete", gone, "--yes"]]
            try:
                done = [run(command, [*words, *settings]) for command, *words in commands]
            except ScoreError:
                return False
            said = capsys.readouterr().out
            kept = [
                *s3.list_objects_v2(Bucket=names["objects"]).get("Contents", []),
                *s3.list_objects_v2(Bucket=names["state"]).get("Contents", []),
                *s3.list_multipart_uploads(Bucket=names["objects"], Prefix=f"data/{left}").get("Uploads", []),
            ]
            undone = any(left in item["Key"] or gone in item["Key"] for item in kept)
            return done == [0, 0, 0] and ", 0 could not be" in said and not undone

        assert works(printed)
        statements = json.loads(printed)["Statement"]
        for action in [action for statement in statements for action in statement["Action"]]:
            fewer = [
                {**statement, "Action": [one for one in statement["Action"] if one != action]}
                for statement in statements
            ]
            assert not works(json.dumps({"Version": "2012-10-17", "Statement": fewer})), f"{action} is not needed"
        assert works(printed)
