"""The page on operations: its commands run, and what it says that people will read is what they read."""

from __future__ import annotations

import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from score.storage.s3.settings import S3Settings
from score.testing.faults import Answer
from score.testing.pages import blocks_of, follow, unsaid
from score.testing.processes import clean_environment, on_small_disk
from score.testing.s3_contract import boto
from score.testing.site import Server, Site, local_site, s3_site

if TYPE_CHECKING:
    from score.testing.minio import Minio

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
TEXT = PAGE.read_text("utf-8")
BLOCKS = blocks_of(PAGE)
SENTENCES = [*re.findall(r"`([^`\n]+)`", TEXT), *(line for block in BLOCKS for line in block.text.splitlines())]
ANY = range(256)


def code(section: str, *, kind: str = "sh", having: str = "") -> str:
    """The code of one kind in a section, of those blocks that have a word in them."""
    found = [
        block.text for block in BLOCKS if (block.section, block.kind) == (section, kind) and having in block.text
    ]
    assert found, f"{section}: no {kind} with {having!r}"
    return "\n".join(found)


def shell(folder: Path, *commands: str, **environment: str) -> str:
    """Run commands of the page; what they printed, on both streams."""
    return follow("\n".join(["exec 2>&1", *commands]), folder, clean_environment(folder) | environment)


def reads(words: str, said: str) -> None:
    """The page has a sentence with these words, and somebody said that sentence, whole or as part of a line."""
    sentences = [one for one in SENTENCES if words in one]
    assert sentences, f"the page does not say: {words}"
    lines = said.replace("\n  ", "\n")
    assert any(unsaid(f"...{one.strip()}...", lines) == [] for one in sentences), (
        f"{sentences}\nwas not said:\n{said}"
    )


def store(server: Server, folder: Path) -> list[str]:
    """Upload and publish two files; their object ids."""
    for number in (1, 2):
        (folder / "reads").mkdir(exist_ok=True)
        (folder / "reads" / f"{number}.bam").write_bytes(Random(number).randbytes(100_000))
    commands = [
        "score-client register --study-id S --dir reads --manifest m.txt > id",
        "score-client upload --manifest m.txt",
    ]
    shell(folder, *commands, "score-client publish --study-id S --analysis-id $(cat id)", STORAGE_URL=server.url)
    return [line.split("\t")[0] for line in (folder / "m.txt").read_text().splitlines()[1:]]


def test_backup_restore_cleanup_and_keys_on_a_disk(tmp_path: Path) -> None:
    server = Server(tmp_path, {})
    try:
        server.start()
        (one, _) = store(server, tmp_path)
        shell(tmp_path, code("Backup and restore", having="cp -a score-data"))
        server.stop()
        shutil.rmtree(tmp_path / "score-data")
        restore = code("Backup and restore", having="score-server verify")
        said = shell(tmp_path, restore)
        assert unsaid(code("Backup and restore", kind="text"), said) == []
        server.start()
        where = {"STORAGE_URL": server.url}
        shell(tmp_path, "score-client download --study-id S --analysis-id $(cat id) --output-dir back", **where)
        shell(tmp_path, "diff -r reads back")

        said = shell(tmp_path, code("Cleanup"), ACCESSTOKEN="", OBJECT=one, **where)
        assert unsaid(code("Cleanup", kind="text"), said) == []

        url = shell(tmp_path, "score-client url --object-id $(awk 'NR == 3 { print $1 }' m.txt)", **where).strip()
        keys = code("Keys", having="rm ")
        shell(tmp_path, keys)
        server.stop()
        server.start()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(url)
    finally:
        server.stop()


def test_the_key_of_a_program_takes_anothers_place(tmp_path: Path) -> None:
    shell(tmp_path, 'score-server key create "pipeline" --scope score.READ --expires 90d')
    said = shell(tmp_path, code("Keys", having="key create"), "score-server key list")
    assert unsaid(code("Keys", kind="text"), said) == []


@pytest.mark.needs("minio", "aws")
def test_backup_of_buckets(minio: Minio, tmp_path: Path) -> None:
    with closing(boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))) as s3:
        for name in ("saved-state", "saved-objects"):
            s3.create_bucket(Bucket=name)
        for bucket, key in (
            ("saved-state", "data/a.meta"),
            ("saved-state", "upload/a_b/.meta"),
            ("saved-objects", "data/a"),
        ):
            s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    commands = code("Backup and restore", having="aws s3 sync")
    commands = commands.replace("s3://state", "s3://saved-state").replace("s3://objects", "s3://saved-objects")
    keys = {"AWS_ACCESS_KEY_ID": minio.access_key, "AWS_SECRET_ACCESS_KEY": minio.secret_key}
    shell(tmp_path, commands, AWS_ENDPOINT_URL=minio.endpoint, AWS_DEFAULT_REGION="us-east-1", **keys)
    files = {str(path.relative_to(tmp_path / "backup")) for path in tmp_path.rglob("backup/**/*") if path.is_file()}
    assert files == {"state/data/a.meta", "object/data/a"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a.bam").write_bytes(Random(1).randbytes(6_000_000))
    return tmp_path / "a.bam"


@pytest.fixture
def on_minio(minio: Minio, tmp_path: Path) -> Iterator[Site]:
    with s3_site(tmp_path, minio, upload_retry_limit="0") as site:
        yield site


def health(site: Site) -> str:
    try:
        with urllib.request.urlopen(f"{site.server.url}/health") as answer:
            return f"{answer.status} {answer.read().decode()}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode()}"


@pytest.mark.needs("minio")
def test_uploads_that_hang_and_a_store_that_says_403(on_minio: Site, file: Path) -> None:
    files = on_minio.register([file])
    words = ("upload", "--manifest", files.manifest)
    on_minio.store_proxy.shut()
    reads("The object store cannot be reached from here", on_minio.run(*words, status=5).stderr)
    reads("no connection (connection refused)", on_minio.run(*words, "--verify-connection", "false", status=5).stderr)
    on_minio.store_proxy.open()
    on_minio.store.inject(Answer.unavailable(), method="PUT")
    on_minio.store.inject(Answer.denied(), method="PUT", times=None)
    said = on_minio.run(*words, status=3, transport_parallel="1").stderr
    reads("the store answered 503", said)
    reads("new URLs did not help", said)
    reads("may not be allowed to reach the store, or", said)
    shutil.rmtree(file.parent / f".{files.id}")
    reads("was begun elsewhere", on_minio.run(*words, status=3).stderr)
    on_minio.heal()
    on_minio.run(*words, "--force")
    on_minio.publish(files)
    assert on_minio.behind is not None
    on_minio.behind.inject(Answer.denied(), times=None)
    said = on_minio.run("download", "--object-id", files.id, "--output-dir", "out", status=3).stderr
    reads("The store answered 403 AccessDenied (Access Denied.) to GET", said)
    assert health(on_minio).startswith("503 ")
    assert '"DOWN"' in health(on_minio)


@pytest.mark.needs("minio")
def test_song_is_away(on_minio: Site, file: Path) -> None:
    files = on_minio.register([file])
    words = ("upload", "--manifest", files.manifest)
    assert on_minio.song is not None
    with on_minio.start(*words, transport_parallel="1") as client:
        on_minio.store.wait_for(method="PUT", path=files.id)
        on_minio.song.shut()
        said = client.conclude(5).stderr
    reads("cannot tell about", said)
    assert health(on_minio).startswith("200 ")
    assert '"registry":{"status":"DOWN"' in health(on_minio)
    on_minio.song.open()
    reads("going on", on_minio.run(*words).stderr)


def test_objects_that_cannot_be_downloaded(file: Path, tmp_path: Path) -> None:
    with local_site(tmp_path / "site") as site:
        files = site.register([file])
        publish = ("publish", "--study-id", files.study, "--analysis-id", files.analysis)
        download = ("download", "--object-id", files.id, "--output-dir", tmp_path / "out")
        reads("The following storage objectIds must be uploaded", site.run(*publish, status=3).stderr)
        site.run("upload", "--manifest", files.manifest)
        reads("is UNPUBLISHED", site.run(*download, status=3).stderr)
        site.publish(files)
        (site.server.folder / "score-data" / "object" / "data" / files.id).unlink()
        reads("is not in the store.", site.run(*download, status=4).stderr)
        other = files.id.replace(files.id[0], "0" if files.id[0] != "0" else "1", 1)
        reads("does not exist", site.run("download", "--object-id", other, "--output-dir", tmp_path, status=4).stderr)
        suppress = f"{site.server.url}/studies/{files.study}/analysis/suppress/{files.analysis}"
        with urllib.request.urlopen(urllib.request.Request(suppress, method="PUT")):
            pass
        reads("is SUPPRESSED", site.run(*download, status=3).stderr)


@pytest.mark.needs("mounts")
def test_disks_that_are_full(file: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with local_site(tmp_path / "site") as site:
        files = site.register([file])
        site.run("upload", "--manifest", files.manifest)
        site.publish(files)
        words = ("download", "--object-id", files.id, "--output-dir", disk / "out")
        with site.start(*words, prefix=on_small_disk(disk, 4_000_000)) as client:
            reads("bytes are needed and", client.conclude(10).stderr)
    folder = tmp_path / "small"
    (folder / "server").mkdir(parents=True)
    with local_site(folder, prefix=on_small_disk(folder / "server", 4_000_000)) as site:
        files = site.register([file])
        said = site.run("upload", "--manifest", files.manifest, status=ANY).stderr
        reads("507 InsufficientStorage", said)


def test_every_line_of_the_configuration_of_nginx_is_explained() -> None:
    """tests/e2e/test_rolling_restart.py runs it."""
    lines = (PAGE.parents[1] / "deploy" / "nginx" / "score.conf").read_text("utf-8").splitlines()
    section = TEXT.partition("\n## Behind a proxy\n")[2].partition("\n## ")[0]
    spans = re.findall(r"`([^`\n]+)`", section)
    for line in lines:
        code = line.partition("#")[0].strip(" ;")
        if code.startswith(("server ", "keepalive", "large_client_", "client_", "proxy_")) and not code.endswith("{"):
            code = re.sub(r"server \S+", "server ...", code)
            known = [one for one in spans if code.startswith(one)] or code.startswith("proxy_pass")
            assert known, f"{code} is not explained"


def test_sections_that_others_lead_to_are_there() -> None:
    for title in ("Sizing", "Cleanup", "Backup and restore", "Keys", "Upgrades", "Incident: uploads hang"):
        assert f"\n## {title}\n" in TEXT
