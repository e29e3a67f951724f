"""``score-server delete``, and the same by HTTP."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import urllib3

from score.errors import Invalid, Misconfigured
from score.server.build import open_service
from score.server.reading import read_settings
from score.testing.azurite import Azurite
from score.testing.ego import FakeEgo
from score.testing.minio import Minio
from score.testing.server import RunningServer
from score.testing.song import FakeSong

from .conftest import AZURE, BUCKETS, DATA, Place, client, on_azure, on_s3, settings_on, waiting_blocks


@pytest.mark.needs("azurite")
def test_delete_takes_the_blocks_that_wait(
    azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an object that is there, of an upload in progress, and of one whose state is lost."""
    monkeypatch.chdir(tmp_path)
    with FakeSong() as song:
        place = Place(tmp_path, on_azure(azurite, azurite.origin, song), capsys)
        whole, begun, lost = (str(uuid.uuid4()) for _ in range(3))
        place.put(whole, DATA)
        place.begin(begun)
        container = place.settings[-2].partition("=")[2]
        for name in (whole, begun, lost, "other"):
            azurite.call(
                "PUT", f"{container}/{name}", [("comp", "block"), ("blockid", "AAAA")], body=b"waits", status=201
            )
        status, out = place.run("delete", whole, begun, lost)
        assert status == 0
        assert f"would remove {whole}: 10000 bytes\n" in out
        for name in (begun, lost):
            assert f"would remove {name}: 1 unfinished upload(s)\n" in out
        assert waiting_blocks(azurite, container, begun) == 1
        assert place.run("delete", whole, begun, lost, "--yes")[0] == 0
        assert place.stored() == {"heliograph"}
        waiting = {name: waiting_blocks(azurite, container, name) for name in (whole, begun, lost, "other")}
        assert waiting == {whole: 0, begun: 0, lost: 0, "other": 1}


@pytest.mark.needs("minio")
def test_delete_reaches_uploads_in_the_buckets_from_before_a_pool(
    minio: Minio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With state and without, as a crash leaves them; those of other objects stay."""
    monkeypatch.chdir(tmp_path)
    with FakeSong() as song:
        place = Place(tmp_path, on_s3(minio, song), capsys)
        gone, other = (str(uuid.uuid4()) for _ in range(2))
        place.begin(gone)
        kept = place.begin(other)
        bucket, state = (found.partition("=")[2] for found in place.settings if "bucket.name" in found)
        client(minio).create_multipart_upload(Bucket=bucket, Key=f"data/{gone}")
        client(minio).put_object(Bucket=state, Key=f"upload/{gone}_lost/part-1", Body=b"")
        for name in (bucket, state):
            for number in range(2):
                client(minio).create_bucket(Bucket=f"{name}.{number}")
        place.settings += ["--bucket.size.pool=2"]
        place.begin(gone)
        status, out = place.run("delete", gone)
        assert (status, f"{gone}: 4 unfinished upload(s)" in out) == (0, True), out
        assert place.run("delete", gone, "--yes") == (0, f"removed {gone}: 4 unfinished upload(s)\n")
        for name in (bucket, *(f"{bucket}.{number}" for number in range(2))):
            assert "Uploads" not in client(minio).list_multipart_uploads(Bucket=name, Prefix=f"data/{gone}")
        (left,) = client(minio).list_multipart_uploads(Bucket=bucket, Prefix=f"data/{other}")["Uploads"]
        assert left["UploadId"] == kept
        assert place.stored() == {f"upload/{other}_{kept}/.meta"}
        assert place.run("delete", gone, "--yes")[0] == 1


@pytest.mark.parametrize("place", [*BUCKETS, AZURE, "local"], indirect=True)
def test_delete_is_a_rehearsal_without_yes(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    what = f"10000 bytes, {'' if place.on_azure else 'its specification, '}1 unfinished upload(s)"
    gone, kept, unknown = (str(uuid.uuid4()) for _ in range(3))
    place.put(gone, DATA)
    place.put(kept, DATA)
    place.begin(gone)
    before = place.stored()
    status, out = place.run("delete", gone, unknown)
    assert status == 1, "of one there is nothing"
    assert f"would remove {gone}: {what}\n" in out
    assert f"would remove {unknown}: nothing is stored" in out
    assert place.stored() == before
    status, out = place.run("delete", gone, "--yes")
    assert (status, out) == (0, f"removed {gone}: {what}\n")
    assert place.stored() == {key for key in before if gone not in key}
    begun, done = [json.loads(one.message) for one in caplog.records if one.name == "score.audit"]
    assert (begun["outcome"], done["outcome"], done["deed"], done["object"]) == ("begun", "done", "deletion", gone)
    assert "on the command line" in done["by"]
    assert begun["bytes"] == done["bytes"] == 10000
    assert place.run("delete", gone, "--yes")[0] == 1
    with pytest.raises(Invalid):
        place.run("delete", kept, "../x", "--yes")
    with pytest.raises(Misconfigured):
        place.run("delete", "--yes")
    assert any(kept in key for key in place.stored())


class TestAdministration:
    """``DELETE /admin/objects/{id}``."""

    def test_it_is_shut_without_tokens(self, tmp_path: Path, http: urllib3.PoolManager) -> None:
        settings = read_settings(["--server.port=0"], {}, tmp_path).settings
        settings = settings.model_copy(update={"local_directory": tmp_path})
        with RunningServer(lambda: open_service(settings)) as server:
            answer = http.request("DELETE", f"{server.url}/admin/objects/{uuid.uuid4()}")
            assert answer.status == 403
            assert "secure" in answer.json()["message"]

    @pytest.mark.parametrize("store", [*BUCKETS, AZURE])
    def test_it_needs_the_system_scope(
        self, store: str, tmp_path: Path, http: urllib3.PoolManager, caplog: pytest.LogCaptureFixture,
        capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest,
    ) -> None:  # fmt: skip
        with FakeSong() as song, FakeEgo() as ego:
            given = settings_on(request.getfixturevalue(store), song)
            place = Place(tmp_path, given, capsys)
            object_id = str(uuid.uuid4())
            place.put(object_id, DATA)
            secure = [
                *given, f"--spring.profiles.active={'azure' if place.on_azure else 's3'},secure",
                f"--auth.server.url={ego.check_url}",
                f"--auth.server.clientId={ego.client_id}", f"--auth.server.clientSecret={ego.client_secret}",
            ]  # fmt: skip
            settings = read_settings(secure, {}, tmp_path).settings
            with RunningServer(lambda: open_service(settings)) as server:

                def call(*scopes: str, path: str = object_id) -> Any:
                    headers = {"Authorization": f"Bearer {ego.issue_key(*scopes)}"} if scopes else {}
                    return http.request("DELETE", f"{server.url}/admin/objects/{path}", headers=headers)

                assert call().status == 401
                assert call("score.READ").status == 403
                assert call("PROGRAMDATA-TEST-CA.WRITE").status == 403
                assert call("score.WRITE", path="..%2fx").status in (400, 404)
                assert any(object_id in key for key in place.stored())
                lines = [json.loads(one.message) for one in caplog.records if one.name == "score.audit"]
                assert [line["outcome"] for line in lines] == ["refused"] * 3
                answer = call("score.WRITE")
                assert answer.status == 200
                assert answer.json()["objectId"] == object_id
                assert call("score.WRITE").status == 404
            assert not [key for key in place.stored() if object_id in key]
            lines = [json.loads(one.message) for one in caplog.records if one.name == "score.audit"][3:]
            assert [line["outcome"] for line in lines] == ["begun", "done"]
            assert lines[0]["subject"] in lines[0]["by"]
