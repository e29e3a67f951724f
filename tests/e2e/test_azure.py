"""Azure from end to end: real processes on Azurite, with faults, kills, and a client of the reference's calls."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3

from score.protocol.parts import MIB
from score.testing.azurite import Azurite, azurite_site
from score.testing.faults import Answer, Exchange, LoseResponse
from score.testing.site import Registered, Site, md5_of

pytestmark = pytest.mark.needs("azurite")

BLOCK = MIB
SIZE = 7 * BLOCK + 12_345
Maker = Callable[[str, int], Path]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Site]:
    with azurite_site(tmp_path_factory.mktemp("azure"), azurite, download_partsize="2000000") as site:
        yield site


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    shared.heal()
    yield shared
    shared.heal()


@pytest.fixture
def files(site: Site, make_file: Maker) -> Registered:
    return site.register([make_file("reads.fastq", SIZE)])


def container(site: Site) -> str:
    return site.objects.strip("/").partition("/")[2]


def blocks(site: Site, status: int | None = 201) -> list[Exchange]:
    """The blocks that were put since the record began."""
    return site.store.seen(method="PUT", query="comp=block&", status=status)


def upload(site: Site, files: Registered, *more: str, status: int = 0, **settings: str) -> str:
    """Run an upload; what it said."""
    given = {"azure_blockSize": str(BLOCK), **settings}
    return site.run("upload", "--manifest", files.manifest, *more, status=status, **given).stderr


def state(site: Site, azurite: Azurite, files: Registered) -> list[str]:
    """The state documents of an object in the container."""
    return [name for name in azurite.blobs(container(site)) if name.startswith(f"upload/{files.id}_")]


def call(site: Site, method: str, target: str, status: int = 200, body: bytes | None = None) -> Any:
    """A call to the server; the JSON of the answer, or its text."""
    answer = urllib3.request(method, site.server.url + target, body=body, retries=False)
    assert answer.status == status, answer.data
    try:
        return json.loads(answer.data)
    except ValueError:
        return answer.data.decode()


def properties(site: Site, azurite: Azurite, identity: str) -> dict[str, str]:
    headers, _ = azurite.call("HEAD", f"{container(site)}/{identity}")
    return {name.lower(): value for name, value in headers.items()}


def test_a_file_goes_up_is_published_and_comes_down(
    site: Site, files: Registered, azurite: Azurite, tmp_path: Path
) -> None:
    (source,) = files.paths
    upload(site, files)
    assert len(blocks(site)) == 8
    assert all("content-md5" in call.headers for call in blocks(site))
    assert state(site, azurite, files) == []
    stored = properties(site, azurite, files.id)
    assert base64.b64decode(stored["content-md5"]).hex() == md5_of(source)
    site.publish(files)
    out = tmp_path / "out"
    site.run("download", "--object-id", files.id, "--output-dir", out)
    assert md5_of(out / source.name) == md5_of(source)
    ranges = [call.range for call in site.fetched(files.id) if call.range]
    assert len(ranges) == 4
    assert all(one.startswith("bytes=") and not one.startswith("bytes=-") for one in ranges)
    listed = call(site, "GET", "/listing")
    assert (files.id, SIZE) in [(one["id"], one["size"]) for one in listed]
    part = tmp_path / "part"
    site.run("download", "--object-id", files.id, "--output-dir", part, "--offset", "1000000", "--length", "3000000")
    (path,) = part.iterdir()
    assert path.read_bytes() == source.read_bytes()[1_000_000:4_000_000]
    url = site.run("url", "--object-id", files.id).stdout.strip()
    assert urllib3.request("GET", url, retries=False).data == source.read_bytes()
    health = call(site, "GET", "/health")
    assert health["status"] == "UP"


@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK + 1])
def test_files_of_odd_sizes(site: Site, make_file: Maker, tmp_path: Path, size: int) -> None:
    source = make_file("odd.bin", size)
    files = site.register([source])
    upload(site, files)
    if size:  # Song takes no empty files
        site.publish(files)
    else:
        assert site.song is not None
        site.song.set_state(files.analysis, "PUBLISHED")
    site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out")
    assert (tmp_path / "out" / source.name).read_bytes() == source.read_bytes()


@pytest.mark.parametrize("other_size", [BLOCK, 3 * BLOCK])
def test_a_killed_client_goes_on(site: Site, files: Registered, azurite: Azurite, other_size: int) -> None:
    """With the blocks that the store holds, also where the size of blocks is another one then."""
    gate = site.store.hold(method="PUT", query="comp=block&", skip=3, after=1000)
    given = {"azure_blockSize": str(BLOCK), "transport_parallel": "2"}
    with site.start("upload", "--manifest", files.manifest, **given) as client:
        gate.wait_for_arrival()
        site.store.wait_for(3, method="PUT", query="comp=block&", status=201)
        client.kill()
    assert not site.has_object(files.id)
    progress = call(site, "GET", f"/upload/{files.id}/status?fileSize={SIZE}")
    held = [part for part in progress["parts"] if part.get("sourceMd5")]
    assert len(held) >= 3
    assert {part["partSize"] for part in held} == {BLOCK}
    assert all(part["md5"] == part["sourceMd5"] for part in held)
    assert sum(part["partSize"] for part in progress["parts"]) == SIZE
    call(site, "GET", f"/upload/{files.id}/status?fileSize={SIZE + 1}", 400)

    site.heal()
    upload(site, files, azure_blockSize=str(other_size))
    sent = sum(exchange.sent for exchange in blocks(site))
    assert sent <= SIZE - BLOCK * len(held)
    assert (SIZE - sent) % BLOCK == 0
    site.publish(files)
    assert state(site, azurite, files) == []


def test_a_client_killed_before_it_said_that_it_is_through(site: Site, files: Registered, azurite: Azurite) -> None:
    gate = site.score.hold(method="POST", path=f"/upload/{files.id}$")
    with site.start("upload", "--manifest", files.manifest, azure_blockSize=str(BLOCK)) as client:
        gate.wait_for_arrival()
        client.kill()
    assert len(state(site, azurite, files)) == 1
    site.heal()
    assert "already there" in upload(site, files).lower()
    assert blocks(site) == []
    assert state(site, azurite, files) == []
    site.publish(files)


def test_a_killed_server_comes_back(site: Site, files: Registered) -> None:
    gate = site.store.hold(method="PUT", query="comp=block&", skip=3, after=1000)
    given = {"azure_blockSize": str(BLOCK), "transport_parallel": "2", "storage_retryNumber": "12"}
    with site.start("upload", "--manifest", files.manifest, **given) as client:
        gate.wait_for_arrival()
        site.server.kill()
        gate.open()
        site.score.wait_for(1, method="POST", path=f"/upload/{files.id}$")
        site.server.start()
        client.conclude()
    site.publish(files)


def test_another_file_than_was_registered(site: Site, files: Registered, azurite: Azurite) -> None:
    (source,) = files.paths
    upload(site, files)
    before = properties(site, azurite, files.id)
    data = bytearray(source.read_bytes())
    data[-1] ^= 1
    source.write_bytes(data)
    assert "MD5" in upload(site, files, "--force", status=8)
    assert site.store.seen(method="PUT", query="comp=blocklist") == site.store.seen(
        method="PUT", query="comp=blocklist", path=files.id
    )
    after = properties(site, azurite, files.id)
    assert after["content-md5"] == before["content-md5"]
    assert after["content-length"] == before["content-length"]
    assert site.has_object(files.id)
    assert state(site, azurite, files) == []


def test_a_block_that_is_damaged_on_its_way_is_sent_again(site: Site, files: Registered) -> None:
    """Azure and its emulator have different words for it."""
    for code in ("Md5Mismatch", "InvalidOperation"):
        answer = Answer(400, b"", {"x-ms-error-code": code})
        site.store.inject(answer, method="PUT", query="comp=block&", skip=2)
    upload(site, files)
    assert len(blocks(site, 400)) == 2
    assert len(blocks(site)) == 8
    site.publish(files)


def test_the_store_takes_no_damaged_block(site: Site, files: Registered) -> None:
    made = begin(site, files, 5, hashlib.md5(b"12345").hexdigest())
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    assert put(f"{made['parts'][0]['url']}&comp=block&blockid=MDAx", b"12345", content_md5=wrong) == 400


@pytest.mark.parametrize(
    "answer",
    [
        Answer.s3(503, "ServerBusy", "The server is busy."),
        Answer.s3(500, "OperationTimedOut", "Operation could not be completed within the permitted time."),
        Answer.s3(403, "AuthenticationFailed", "Server failed to authenticate the request. Signature not valid."),
    ],
    ids=["busy", "timed out", "expired"],
)
def test_what_passes_is_waited_for(site: Site, files: Registered, answer: Answer) -> None:
    site.store.inject(answer, method="PUT", query="comp=block&", skip=1, times=2)
    site.store.inject(answer, method="PUT", query="comp=blocklist")
    upload(site, files, transport_parallel="1")
    site.publish(files)


def test_a_lost_answer_to_the_commitment(site: Site, files: Registered) -> None:
    site.store.inject(LoseResponse(), method="PUT", query="comp=blocklist")
    site.score.inject(LoseResponse(), method="POST", path=f"/upload/{files.id}$")
    upload(site, files)
    site.publish(files)


def test_an_expired_policy_is_named(site: Site, files: Registered, azurite: Azurite) -> None:
    azurite.set_policies(container(site), datetime.now(UTC) - timedelta(minutes=5))
    try:
        said = upload(site, files, "--verify-connection", "false", status=range(2, 20))  # type: ignore[arg-type]
        assert "new URLs did not help" in said
        health = call(site, "GET", "/health", 503)
        assert "UploadPolicy" in json.dumps(health)
        assert "expired" in json.dumps(health)
    finally:
        azurite.set_policies(container(site))
    upload(site, files)


def test_a_cancelled_upload_leaves_nothing(site: Site, files: Registered, azurite: Azurite) -> None:
    gate = site.store.hold(method="PUT", query="comp=block&", skip=3, after=1000)
    with site.start("upload", "--manifest", files.manifest, azure_blockSize=str(BLOCK)) as client:
        gate.wait_for_arrival()
        client.kill()
    site.heal()
    call(site, "DELETE", f"/upload/{files.id}?uploadId=0123456789abcdef", 404)
    call(site, "DELETE", f"/upload/{files.id}")
    assert files.id not in azurite.blobs(container(site))
    assert state(site, azurite, files) == []
    call(site, "GET", f"/upload/{files.id}/status?fileSize={SIZE}", 404)
    call(site, "DELETE", f"/upload/{files.id}", 404)
    upload(site, files)
    assert len(blocks(site)) == 8


def test_an_upload_that_was_replaced_meanwhile_does_not_succeed(
    site: Site, files: Registered, azurite: Azurite
) -> None:
    gate = site.store.hold(method="PUT", query="comp=blocklist", path=files.id, times=1)
    with site.start("upload", "--manifest", files.manifest, azure_blockSize=str(BLOCK)) as client:
        gate.wait_for_arrival()
        made = begin(site, files, SIZE, md5_of(files.paths[0]))
        gate.open()
        result = client.conclude(3)
    assert "Run the same command again" in result.stderr
    assert not site.has_object(files.id)
    assert [name.split("_")[1] for name in state(site, azurite, files)] == [f"{made['uploadId']}/.meta"]
    call(site, "POST", "/upload/cancel")
    assert state(site, azurite, files) == []
    upload(site, files)
    site.publish(files)


def upload_that_another_one_overtakes(site: Site, files: Registered, azurite: Azurite) -> str:
    """An object comes before the first block of an upload, and stays; what the client says of it."""
    gate = site.store.hold(method="PUT", query="comp=block&", path=files.id)
    with site.start("upload", "--manifest", files.manifest, azure_blockSize=str(BLOCK)) as client:
        gate.wait_for_arrival()
        place, headers = f"{container(site)}/{files.id}", {"x-ms-blob-type": "BlockBlob"}
        azurite.call("PUT", place, headers=headers, body=b"first", status=201)
        gate.open()
        result = client.conclude(3)
    assert "it was not replaced" in result.stderr
    assert azurite.call("GET", place)[1] == b"first"
    return result.stderr


def test_an_object_that_comes_before_the_first_block_is_not_replaced_unasked(
    site: Site, files: Registered, azurite: Azurite
) -> None:
    """Later ones take the blocks of this upload along."""
    assert "--force" in upload_that_another_one_overtakes(site, files, azurite)
    upload(site, files, "--force")
    site.publish(files)


def test_an_object_in_the_way_is_told_as_such_also_where_the_url_had_to_be_renewed(
    site: Site, files: Registered, azurite: Azurite
) -> None:
    """A list of blocks that was refused has made no object."""
    refused = Answer.s3(403, "AuthenticationFailed", "Signature not valid in the specified time frame.")
    site.store.inject(refused, method="PUT", query="comp=blocklist")
    upload_that_another_one_overtakes(site, files, azurite)


def test_a_server_of_the_reference(site: Site, files: Registered, azurite: Azurite) -> None:
    """It keeps no state: its status is empty, its completion does nothing, and it writes no MD5."""
    made = begin(site, files, SIZE, md5_of(files.paths[0]))
    made["uploadId"] = files.id
    start = Answer(200, json.dumps(made).encode(), {"Content-Type": "application/json"})
    site.score.inject(Answer(200, b""), path=f"/upload/{files.id}/status", times=None)
    site.score.inject(start, path=f"/upload/{files.id}/uploads", times=None)
    site.score.inject(Answer(200, b""), method="POST", path=f"/upload/{files.id}$", times=None)
    gate = site.store.hold(method="PUT", query="comp=block&", skip=3, after=1000)
    given = {"azure_blockSize": str(BLOCK), "transport_parallel": "2"}
    with site.start("upload", "--manifest", files.manifest, **given) as client:
        gate.wait_for_arrival()
        client.kill()
    site.store.heal()
    site.store.forget()
    refused = Answer.s3(403, "AuthenticationFailed", "Signature not valid in the specified time frame.")
    site.store.inject(refused, method="PUT", query="comp=block&", skip=5)
    with site.start("upload", "--manifest", files.manifest, **given, storage_retryNumber="2") as client:
        client.conclude()
    assert len({exchange.query for exchange in blocks(site)}) == 8  # all of them again
    assert len(site.score.seen(path=f"/upload/{files.id}/uploads")) == 3  # two starts, and one for a new URL
    stored = properties(site, azurite, files.id)
    assert base64.b64decode(stored["content-md5"]).hex() == md5_of(files.paths[0])
    assert stored["content-length"] == str(SIZE)


# What clients of the reference do: they start, commit, and say no more.


def begin(site: Site, files: Registered, size: int, md5: str, overwrite: bool = False) -> dict[str, Any]:
    query = f"fileSize={size}&md5={md5}&overwrite={str(overwrite).lower()}"
    answer: dict[str, Any] = call(site, "POST", f"/upload/{files.id}/uploads?{query}")
    return answer


def put(url: str, data: bytes, **headers: str) -> int:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return urllib3.request("PUT", url, body=data, headers=given, retries=False).status


def commit(url: str, *names: str) -> int:
    body = "".join(f"<Latest>{name}</Latest>" for name in names)
    return put(f"{url}&comp=blocklist", f"<BlockList>{body}</BlockList>".encode())


def test_a_client_of_the_reference(site: Site, make_file: Maker, azurite: Azurite, tmp_path: Path) -> None:
    source = make_file("v1.bam", 5000)
    data, md5 = source.read_bytes(), md5_of(source)
    files = site.register([source])
    assert call(site, "GET", "/profile") == "az"
    assert urllib3.request("GET", call(site, "GET", "/download/ping"), retries=False).status == 200
    assert call(site, "GET", f"/upload/{files.id}") is False
    made = begin(site, files, 5000, md5)
    assert (made["objectKey"], made["objectSize"], made["objectMd5"]) == (files.id, 5000, md5)
    (part,) = made["parts"]
    assert (part["partNumber"], part["offset"], part["partSize"]) == (1, 0, 5000)
    assert put(f"{part['url']}&comp=block&blockid=MDAx", data[:3000]) == 201
    assert put(f"{part['url']}&comp=block&blockid=MDAy", data[3000:]) == 201
    assert call(site, "GET", f"/upload/{files.id}") is False
    call(site, "POST", f"/upload/{files.id}/parts?partNumber=1&uploadId={made['uploadId']}&md5={md5}&etag={md5}")
    assert commit(part["url"], "MDAx", "MDAy") == 201
    site.publish(files)  # Song asks whether it is there, and for its MD5
    assert base64.b64decode(properties(site, azurite, files.id)["content-md5"]).hex() == md5
    assert state(site, azurite, files) == []
    spec = call(site, "GET", f"/download/{files.id}?offset=0&length=-1&external=false")
    assert (spec["objectKey"], spec["uploadId"], spec["objectMd5"]) == (files.id, files.id, md5)
    site.run("download", "--object-id", files.id, "--output-dir", tmp_path)
    assert md5_of(tmp_path / source.name) == md5


def test_a_client_of_the_reference_that_puts_a_small_file_whole(site: Site, make_file: Maker) -> None:
    source = make_file("v1.bai", 500)
    files = site.register([source])
    made = begin(site, files, 500, md5_of(source))
    assert put(made["parts"][0]["url"], source.read_bytes(), x_ms_blob_type="BlockBlob") == 201
    call(site, "POST", f"/upload/{files.id}?uploadId={made['uploadId']}")
    site.publish(files)


def foreign(site: Site, azurite: Azurite, files: Registered) -> None:
    """A block of another program waits, whose id is not as long as ours: Azure takes no others beside it."""
    query = [("comp", "block"), ("blockid", "MDAx")]
    azurite.call("PUT", f"{container(site)}/{files.id}", query, body=b"theirs", status=201)


def test_blocks_of_another_program_are_named_and_dropped_on_demand(
    site: Site, files: Registered, azurite: Azurite
) -> None:
    """They may be all that another upload has, so nobody drops them unasked."""
    gate = site.store.hold(method="PUT", query="comp=block&", after=1000)
    with site.start("upload", "--manifest", files.manifest, azure_blockSize=str(BLOCK)) as client:
        gate.wait_for_arrival()
        client.kill()
    site.heal()
    foreign(site, azurite, files)
    answer = call(site, "GET", f"/upload/{files.id}/status?fileSize={SIZE}", 400)
    assert "Blocks of another program" in answer["message"]
    said = upload(site, files, status=3)
    assert "Blocks of another program" in said
    assert "--force" in said
    assert blocks(site) == []
    upload(site, files, "--force")
    site.publish(files)
    assert state(site, azurite, files) == []


def test_blocks_of_another_program_that_come_meanwhile_are_named(
    site: Site, files: Registered, azurite: Azurite
) -> None:
    gate = site.store.hold(method="PUT", query="comp=block&")
    with site.start("upload", "--manifest", files.manifest, azure_blockSize=str(BLOCK)) as client:
        gate.wait_for_arrival()
        foreign(site, azurite, files)
        gate.open()
        said = client.conclude(3).stderr
    assert "blocks of another program" in said
    assert files.paths[0].name in said
    assert "--force" in said
    upload(site, files, "--force")
    site.publish(files)


def test_an_upload_that_was_committed_and_is_dropped_then_is_ended(
    site: Site, make_file: Maker, azurite: Azurite
) -> None:
    """What was committed is there for all to see; so it gets its MD5, and only the state goes."""
    source = make_file("v1.bam", 5000)
    files = site.register([source])
    url = begin(site, files, 5000, md5_of(source))["parts"][0]["url"]
    assert put(f"{url}&comp=block&blockid=MDAx", source.read_bytes()) == 201
    assert commit(url, "MDAx") == 201
    call(site, "POST", "/upload/cancel")
    assert state(site, azurite, files) == []
    assert base64.b64decode(properties(site, azurite, files.id)["content-md5"]).hex() == md5_of(source)


def test_a_broken_state_can_be_cancelled(site: Site, files: Registered, azurite: Azurite) -> None:
    made = begin(site, files, SIZE, md5_of(files.paths[0]))
    place = f"{container(site)}/upload/{files.id}_{made['uploadId']}/.meta"
    azurite.call("PUT", place, headers={"x-ms-blob-type": "BlockBlob"}, body=b'{"objectId":', status=201)
    answer = call(site, "GET", f"/upload/{files.id}/status?fileSize={SIZE}", 400)
    assert "broken" in answer["message"]
    call(site, "DELETE", f"/upload/{files.id}")
    assert state(site, azurite, files) == []


def test_what_was_not_committed_or_is_something_else_is_not_completed(
    site: Site, make_file: Maker, azurite: Azurite
) -> None:
    source = make_file("v1.bam", 5000)
    files = site.register([source])
    data, md5 = source.read_bytes(), md5_of(source)
    made = begin(site, files, 5000, md5)
    url, done = made["parts"][0]["url"], f"/upload/{files.id}?uploadId={made['uploadId']}"
    assert "not committed" in call(site, "POST", done, 400)["message"]
    put(f"{url}&comp=block&blockid=MDAx", data[:3000])
    assert commit(url, "MDAx") == 201
    assert "3000 bytes" in call(site, "POST", done, 400)["message"]
    assert call(site, "GET", f"/upload/{files.id}") is False
    call(site, "POST", f"/upload/{files.id}?uploadId=0123456789", 404)
    # our ids say where a block belongs, and what its MD5 is
    names = [
        base64.b64encode(f"{offset:016x}-{hashlib.md5(piece).hexdigest()}".encode()).decode()
        for offset, piece in ((0, data[:2500]), (2500, data[2500:]))
    ]
    for name, piece in zip(names, (data[:2500], data[2500:]), strict=True):
        assert put(f"{url}&comp=block&blockid={name.replace('=', '%3D')}", piece) == 201
    assert commit(url, *reversed(names)) == 201
    assert "order" in call(site, "POST", done, 400)["message"]
    assert commit(url, *names) == 201
    call(site, "POST", done)
    site.publish(files)


def test_an_upload_in_place_of_an_object(site: Site, files: Registered, azurite: Azurite) -> None:
    """The object stays until the new one is committed, and an older one is no proof of a new one."""
    upload(site, files)
    call(site, "POST", f"/upload/{files.id}/uploads?fileSize={SIZE}", 500)
    made = begin(site, files, SIZE, md5_of(files.paths[0]), overwrite=True)
    assert call(site, "GET", f"/upload/{files.id}") is True
    answer = call(site, "POST", f"/upload/{files.id}?uploadId={made['uploadId']}", 400)
    assert "not committed" in answer["message"]
    call(site, "DELETE", f"/upload/{files.id}")
    assert properties(site, azurite, files.id)["content-length"] == str(SIZE)
    assert site.has_object(files.id)


def test_no_url_to_write_for_what_is_published(site: Site, files: Registered) -> None:
    """An upload that was begun before the analysis was published gets no further URL: it would replace the object."""
    upload(site, files)
    begin(site, files, SIZE, md5_of(files.paths[0]), overwrite=True)
    site.publish(files)
    answer = call(site, "GET", f"/upload/{files.id}/status?fileSize={SIZE}", 400)
    assert "PUBLISHED" in answer["message"]


def test_registration_and_publication_state_count(site: Site, files: Registered) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    call(site, "POST", f"/upload/{unknown}/uploads?fileSize=5", 404)
    call(site, "GET", f"/download/{files.id}?offset=0&length=-1", 400)
    upload(site, files)
    call(site, "GET", f"/download/{files.id}?offset=0&length=-1", 400)
    site.publish(files)
    call(site, "POST", f"/upload/{files.id}/uploads?fileSize=5&overwrite=true", 400)
    call(site, "POST", f"/upload/{files.id}/uploads?fileSize=-1&overwrite=true", 400)
