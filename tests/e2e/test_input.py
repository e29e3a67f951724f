"""What users get wrong, and files and disks that are not as they should be."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from score.protocol.parts import MIB
from score.testing.faults import Answer
from score.testing.processes import on_read_only_folder, on_small_disk
from score.testing.site import Registered, Site, local_site, md5_of

PART = 5 * MIB
USAGE, FAILED, NOT_FOUND, LATER, INTEGRITY, NO_SPACE = 2, 3, 4, 5, 8, 10

Maker = Callable[[str, int], Path]

locally = pytest.mark.parametrize("site", ["local"], indirect=True)


def publish(site: Site, source: Path) -> Registered:
    """Register, upload and publish a file; the record begins afterwards."""
    files = site.register([source])
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)
    site.store.forget()
    return files


@locally
@pytest.mark.parametrize("by", [-1, 1, -PART])
def test_a_file_of_another_size_than_registered(site: Site, make_file: Maker, by: int) -> None:
    source = make_file("reads.bam", 2 * PART)
    files = site.register([source], fileSize=2 * PART + by)
    result = site.run("upload", "--manifest", files.manifest, status=INTEGRITY)
    assert "reads.bam" in result.stderr
    assert not site.has_object(files.id)


@locally
def test_a_file_of_another_md5_than_registered(site: Site, make_file: Maker) -> None:
    source = make_file("reads.bam", 2 * PART)
    files = site.register([source], fileMd5sum="0" * 32)
    arguments = ["upload", "--object-id", files.id, "--file", source, "--md5", md5_of(source)]
    assert "reads.bam" in site.run(*arguments, status=INTEGRITY).stderr
    assert not site.has_object(files.id)


@locally
def test_a_wrong_md5_is_found(site: Site, make_file: Maker) -> None:
    source = make_file("reads.bam", 2 * PART)
    files = site.register([source])
    arguments = ["upload", "--object-id", files.id, "--file", source, "--md5", "0" * 32]
    assert "reads.bam" in site.run(*arguments, status=INTEGRITY).stderr
    assert not site.has_object(files.id)
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)


@locally
@pytest.mark.parametrize("change", ["shorter", "longer", "other bytes"])
def test_a_file_that_changes_while_it_is_sent(site: Site, make_file: Maker, change: str) -> None:
    source = make_file("reads.bam", 4 * PART)
    files = site.register([source])
    gate = site.store.hold(method="PUT", path=site.path_of(files.id), part=2, after=1000)
    with site.start("upload", "--manifest", files.manifest) as client:
        gate.wait_for_arrival()
        with open(source, "r+b") as file:
            if change == "shorter":
                file.truncate(3 * PART)
            elif change == "longer":
                file.seek(0, os.SEEK_END)
                file.write(b"more")
            else:
                file.write(b"other")
        gate.open()
        result = client.conclude(INTEGRITY)
    assert "reads.bam" in result.stderr
    assert not site.has_object(files.id)


def test_an_empty_file_is_a_file(site: Site, make_file: Maker, tmp_path: Path) -> None:
    files = site.register([make_file("empty.txt", 0)])
    site.run("upload", "--manifest", files.manifest)
    assert site.has_object(files.id)
    if site.song is None:
        site.publish(files)
    else:  # Song itself publishes no object of 0 bytes
        site.song.set_state(files.analysis, "PUBLISHED")
    site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out")
    assert (tmp_path / "out" / "empty.txt").read_bytes() == b""


@locally
@pytest.mark.parametrize("way", ["crlf", "bom", "blank lines", "no end of line"])
def test_manifests_as_other_programs_write_them(site: Site, make_file: Maker, way: str) -> None:
    files = site.register([make_file("a.txt", 1000), make_file("b.txt", 2000)])
    text = files.manifest.read_bytes()
    text = {
        "crlf": text.replace(b"\n", b"\r\n"),
        "bom": b"\xef\xbb\xbf" + text,
        "blank lines": text.replace(b"\n", b"\n\n") + b"\n  \n",
        "no end of line": text.rstrip(b"\n"),
    }[way]
    files.manifest.write_bytes(text)
    site.run("upload", "--manifest", files.manifest)
    assert all(site.has_object(identity) for identity in files.ids)


@locally
@pytest.mark.parametrize("way", ["a column missing", "an id twice", "xml", "a folder", "empty", "no id", "binary"])
def test_manifests_that_are_none(site: Site, make_file: Maker, tmp_path: Path, way: str) -> None:
    files = site.register([make_file("a.txt", 1000), make_file("b.txt", 2000)])
    text = files.manifest.read_text()
    bad = tmp_path / "bad.txt"
    broken = {
        "a column missing": text.rpartition("\t")[0] + "\n",
        "an id twice": text + text.splitlines()[1] + "\n",
        "xml": '<?xml version="1.0"?>\n<ResultSet><Result id="1"/></ResultSet>\n',
        "empty": "",
        "no id": text.replace(files.ids[1], "none"),
    }
    if way == "a folder":
        bad.mkdir()
    elif way == "binary":
        bad.write_bytes(bytes(range(256)) * 100)
    else:
        bad.write_text(broken[way])
    result = site.run("upload", "--manifest", bad, status=USAGE)
    assert "bad.txt" in result.stderr
    assert not any(site.has_object(identity) for identity in files.ids)
    assert site.store.seen(method="PUT") == []
    result = site.run("download", "--manifest", bad, "--output-dir", tmp_path / "out", status=USAGE)
    assert "bad.txt" in result.stderr


@locally
def test_a_manifest_that_is_not_there(site: Site, tmp_path: Path) -> None:
    result = site.run("upload", "--manifest", tmp_path / "nowhere.txt", status=NOT_FOUND)
    assert "nowhere.txt" in result.stderr


@locally
def test_one_bad_file_does_not_stop_the_rest(site: Site, make_file: Maker, tmp_path: Path) -> None:
    files = site.register([make_file(f"{name}.txt", 1000) for name in "abc"])
    files.paths[1].unlink()
    result = site.run("upload", "--manifest", files.manifest, status=FAILED)
    assert "b.txt" in result.stderr
    assert [site.has_object(identity) for identity in files.ids] == [True, False, True]
    files.paths[1].write_bytes(os.urandom(1000))
    result = site.run("upload", "--manifest", files.manifest, status=FAILED)
    assert [site.has_object(identity) for identity in files.ids] == [True, False, True]


def test_an_unknown_object(site: Site, make_file: Maker, tmp_path: Path) -> None:
    source, unknown = make_file("a.txt", 10), str(uuid.uuid4())
    result = site.run("upload", "--object-id", unknown, "--file", source, status=NOT_FOUND)
    assert unknown in result.stderr
    result = site.run("download", "--object-id", unknown, "--output-dir", tmp_path / "out", status=NOT_FOUND)
    assert unknown in result.stderr


@locally
def test_a_registered_object_that_was_never_uploaded(site: Site, make_file: Maker, tmp_path: Path) -> None:
    files = site.register([make_file("a.txt", 10)])
    result = site.run(
        "download", "--object-id", files.id, "--output-dir", tmp_path / "out", status={NOT_FOUND, FAILED, USAGE}
    )
    assert files.id in result.stderr or "a.txt" in result.stderr


def test_an_object_that_exists(site: Site, make_file: Maker) -> None:
    source = make_file("a.txt", PART + 1)
    files = site.register([source])
    upload = ["upload", "--object-id", files.id, "--file", source]
    site.run(*upload)
    first = source.read_bytes()
    site.store.forget()

    site.run(*upload)
    assert site.sent(files.id) == []

    make_file("a.txt", PART + 1)
    result = site.run(*upload, status=FAILED)
    assert "a.txt" in result.stderr
    assert "--force" in result.stderr
    assert site.sent(files.id) == []

    assert site.run(*upload, "--force", status=INTEGRITY)
    source.write_bytes(first)
    site.run(*upload, "--force")
    assert len(site.sent(files.id)) == 2


@locally
@pytest.mark.parametrize("asked", [True, False])
def test_an_object_that_comes_while_its_upload_is_interrupted(site: Site, make_file: Maker, asked: bool) -> None:
    """By another tool, past the server; the upload was begun without --force."""
    files = site.register([make_file("a.bam", 2 * PART + 1)])
    gate = site.store.hold(method="PUT", path=site.path_of(files.id), after=1000)
    with site.start("upload", "--manifest", files.manifest) as client:
        gate.wait_for_arrival()
        client.kill()
    site.heal()
    place = site.server.folder / "score-data" / "object" / "data" / files.id
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"of another tool")
    if not asked:
        result = site.run("upload", "--manifest", files.manifest, status=FAILED)
        assert "a.bam" in result.stderr
        assert "--force" in result.stderr
        assert place.read_bytes() == b"of another tool"
    site.run("upload", "--manifest", files.manifest, "--force")
    assert md5_of(place) == md5_of(files.paths[0])


@locally
def test_a_published_object_is_not_replaced(site: Site, make_file: Maker, tmp_path: Path) -> None:
    source = make_file("a.txt", 1000)
    files = site.register([source])
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)
    before = md5_of(source)
    make_file("a.txt", 1000)
    result = site.run("upload", "--object-id", files.id, "--file", source, "--force", status=INTEGRITY)
    assert "a.txt" in result.stderr
    site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out")
    assert md5_of(tmp_path / "out" / "a.txt") == before

    source.write_bytes((tmp_path / "out" / "a.txt").read_bytes())
    site.run("upload", "--object-id", files.id, "--file", source, "--force", status={USAGE, FAILED})


@locally
def test_a_file_that_exists_at_the_target(site: Site, make_file: Maker, tmp_path: Path) -> None:
    source = make_file("a.txt", 1000)
    files = site.register([source])
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)
    target = tmp_path / "out" / "a.txt"
    target.parent.mkdir()
    target.write_bytes(b"mine")
    download = ["download", "--object-id", files.id, "--output-dir", target.parent]
    result = site.run(*download, status=FAILED)
    assert "a.txt" in result.stderr
    assert target.read_bytes() == b"mine"
    site.run(*download, "--force")
    assert md5_of(target) == md5_of(source)
    site.store.forget()
    site.run(*download)
    assert site.fetched(files.id) == []


@locally
def test_an_output_folder_that_is_none(site: Site, make_file: Maker, tmp_path: Path) -> None:
    files = publish(site, make_file("a.txt", 1000))
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "new"):
        result = site.run(
            "download", "--object-id", files.id, "--output-dir", folder, status={FAILED, USAGE, NOT_FOUND}
        )
        assert str(folder) in result.stderr
    assert site.fetched(files.id) == []


@locally
@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "..", "evil\n.txt"])
def test_a_file_name_that_leads_out_of_the_output_folder(
    site: Site, make_file: Maker, tmp_path: Path, name: str
) -> None:
    source = make_file("a.txt", 1000)
    files = site.register([source, make_file("good.txt", 500)])
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)
    out = tmp_path / "down" / "out"
    # The registry may refuse such a name: another one's answer takes the place of its own.
    entity = {"id": files.ids[0], "gnosId": files.analysis, "fileName": name, "projectCode": files.study}
    answer = Answer(200, json.dumps(entity).encode(), {"Content-Type": "application/json"})
    site.score.inject(answer, path=f"^/entities/{files.ids[0]}$", times=None)
    result = site.run("download", "--object-id", *files.ids, "--output-dir", out, status={FAILED, USAGE})
    assert files.ids[0] in result.stderr or "evil" in result.stderr
    inside = [path for path in tmp_path.rglob("*") if path.is_file() and tmp_path / "in" not in path.parents]
    assert inside == [out / "good.txt"]


@locally
@pytest.mark.needs("mounts")
class TestFoldersThatAreReadOnly:
    def test_for_output(self, site: Site, make_file: Maker, tmp_path: Path) -> None:
        files = publish(site, make_file("a.txt", 1000))
        out = tmp_path / "out"
        out.mkdir()
        for folder in (out, out / "new"):
            arguments = ["download", "--object-id", files.id, "--output-dir", folder]
            with site.start(*arguments, prefix=on_read_only_folder(out)) as client:
                assert str(folder) in client.conclude(FAILED).stderr
        assert site.fetched(files.id) == []

    def test_for_input_the_state_is_kept_elsewhere(self, site: Site, make_file: Maker) -> None:
        source = make_file("reads.bam", 4 * PART)
        files = site.register([source])
        upload = ["upload", "--manifest", files.manifest]
        prefix = on_read_only_folder(source.parent)
        gate = site.store.hold(method="PUT", path=site.path_of(files.id), skip=2, after=1000)
        with site.start(*upload, prefix=prefix) as client:
            gate.wait_for_arrival()
            site.score.wait_for(2, method="POST", path="/parts$", status=200)
            client.kill()
        before = site.finished(files.id)
        site.heal()
        with site.start(*upload, prefix=prefix) as client:
            client.conclude()
        assert {call.part for call in site.sent(files.id)} == {1, 2, 3, 4} - before
        assert site.has_object(files.id)


@pytest.mark.needs("mounts")
class TestDisksThatAreFull:
    @locally
    def test_too_small_from_the_start(self, site: Site, make_file: Maker, tmp_path: Path) -> None:
        files = publish(site, make_file("reads.bam", 4 * PART))
        disk = tmp_path / "disk"
        disk.mkdir()
        arguments = ["download", "--object-id", files.id, "--output-dir", disk / "out"]
        with site.start(*arguments, prefix=on_small_disk(disk, 2 * PART)) as client:
            result = client.conclude(NO_SPACE)
        assert str(disk / "out") in result.stderr
        assert site.fetched(files.id) == []

    @locally
    def test_the_clients_disk_fills_up_in_the_middle(self, site: Site, make_file: Maker, tmp_path: Path) -> None:
        files = publish(site, make_file("reads.bam", 4 * PART))
        disk = tmp_path / "disk"
        disk.mkdir()
        gate = site.store.hold(method="GET", path=site.path_of(files.id), skip=1, after=1000)
        arguments = ["download", "--object-id", files.id, "--output-dir", disk / "out"]
        with site.start(*arguments, prefix=on_small_disk(disk, 5 * PART)) as client:
            gate.wait_for_arrival()
            with open(f"/proc/{client.pid}/root{disk}/filler", "wb", buffering=0) as filler, suppress(OSError):
                while True:
                    filler.write(bytes(MIB))
            gate.open()
            result = client.conclude(NO_SPACE)
        assert "reads.bam" in result.stderr or files.id in result.stderr

    def test_the_servers_disk_fills_up_in_the_middle(self, make_file: Maker, tmp_path: Path) -> None:
        folder = tmp_path / "site"
        (folder / "server").mkdir(parents=True)
        with local_site(folder, prefix=on_small_disk(folder / "server", 3 * PART)) as site:
            files = site.register([make_file("reads.bam", 4 * PART)])
            result = site.run("upload", "--manifest", files.manifest, status={LATER, NO_SPACE, FAILED})
            assert "reads.bam" in result.stderr
            assert not site.has_object(files.id)
