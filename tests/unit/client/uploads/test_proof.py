"""What counts as success: nothing is completed without proof."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.outcome import State
from score.errors import Conflict, Integrity, Refused
from score.testing.faults import Answer, LoseResponse, Reset
from score.testing.score import FaultyScore

from .conftest import DATA, MD5, OBJECT, WRONG, calls, in_thread


class TestProof:
    def test_a_wrong_md5_completes_nothing(self, client: Client, site: FaultyScore, path: Path) -> None:
        with pytest.raises(Integrity, match=f"has MD5 {MD5}, but {WRONG} .* nothing was completed"):
            client.upload(path, OBJECT, WRONG)
        assert OBJECT not in site.fake.objects
        assert OBJECT not in site.fake.uploads
        last = site.traffic.seen(path="^/upload/")[-1]
        begun = site.traffic.seen(method="POST", path="/parts$")[0]
        assert (last.method, last.path) == ("DELETE", f"/upload/{OBJECT}")
        assert last.parameters == {"uploadId": begun.parameters["uploadId"]}, "its own, and none that came since"
        assert os.listdir(path.parent) == ["a.bam"]

    def test_a_server_that_refuses_the_completion_for_ever_is_no_success(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        site.traffic.inject(Answer(400, b'{"message":"broken state"}'), method="POST", path=f"{OBJECT}$", times=None)
        with pytest.raises(Conflict, match="broken state"):
            client.upload(path, OBJECT, MD5)
        assert OBJECT not in site.fake.objects
        assert (path.parent / f".{OBJECT}" / "uploadId").exists()

    def test_a_completion_that_made_no_object_is_no_success(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        site.traffic.inject(Answer(200), method="POST", path=f"{OBJECT}$", times=None)
        with pytest.raises(Integrity, match="reported the upload as completed, but the object is not there"):
            client.upload(path, OBJECT, MD5)

    @pytest.mark.parametrize("fault", [LoseResponse(), Answer(503), Answer(504), Reset()], ids=repr)
    def test_a_completion_without_an_answer_is_asked_for_again(
        self, client: Client, site: FaultyScore, path: Path, fault: Reset | Answer
    ) -> None:
        site.traffic.inject(fault, method="POST", path=f"{OBJECT}$", times=2)
        assert client.upload(path, OBJECT, MD5).state is State.UPLOADED

    def test_a_store_that_refuses_a_part_for_ever_is_no_success(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        site.traffic.inject(Answer.denied(), method="PUT", part=2, times=None)
        with pytest.raises(Refused, match=r"403 AccessDenied"):
            client.upload(path, OBJECT, MD5)
        assert not any(call.startswith("POST /upload/ID?") for call in calls(site))

    def test_an_upload_that_is_cancelled_meanwhile_is_told_as_such(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        gate = site.traffic.hold(method="PUT", part=2)
        thread, ends = in_thread(client.upload, path, OBJECT, MD5)
        gate.wait_for_arrival()
        site.fake.uploads.clear()
        site.traffic.heal()
        thread.join()
        (error,) = ends
        assert isinstance(error, Conflict)
        assert "replaced or cancelled meanwhile" in error.message

    def test_urls_of_somebody_elses_upload_are_not_used(self, client: Client, site: FaultyScore, path: Path) -> None:
        """The upload was replaced by another, and the URLs are renewed: the parts must not go into the other one."""
        gate = site.traffic.hold(method="PUT", part=2)
        thread, ends = in_thread(client.upload, path, OBJECT, MD5)
        gate.wait_for_arrival()
        site.fake.begin(OBJECT, len(DATA))
        site.fake.expire()
        site.traffic.heal()
        thread.join()
        assert isinstance(ends[0], Conflict)
        assert site.fake.uploads[OBJECT].stored == {}

    def test_a_file_that_is_removed_meanwhile_is_not_told_as_an_upload_that_was_cancelled(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        gate = site.traffic.hold(method="PUT", part=2)
        thread, ends = in_thread(client.upload, path, OBJECT, MD5)
        gate.wait_for_arrival()
        path.unlink()
        site.traffic.heal()
        thread.join()
        assert isinstance(ends[0], Integrity)
        assert (path.parent / f".{OBJECT}" / "uploadId").exists()

    def test_a_specification_of_another_size_is_refused(self, client: Client, site: FaultyScore, path: Path) -> None:
        body = (
            b'{"objectKey":"k","objectId":"i","uploadId":"u","objectSize":9,"parts":'
            b'[{"partNumber":1,"partSize":9,"offset":0,"url":"http://x/","md5":null}]}'
        )
        site.traffic.inject(Answer(200, body), path="/uploads")
        with pytest.raises(Refused, match="does not fit a file of"):
            client.upload(path, OBJECT, MD5)
        assert site.puts == []
