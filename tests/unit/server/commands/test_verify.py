"""``score-server verify``."""

from __future__ import annotations

import uuid

from score.server.build import Service

from .conftest import DATA, Place


def test_verify_names_bytes_that_changed(place: Place) -> None:
    whole, rotten, short, lost, other, unknown = (str(uuid.uuid4()) for _ in range(6))
    for object_id in (whole, rotten, short, lost):
        place.put(object_id, DATA)
    place.put(other, DATA, md5="0" * 32)

    async def damage(service: Service) -> None:
        await service.objects.put(f"data/{rotten}", DATA[:6000] + b"x" + DATA[6001:])
        await service.objects.put(f"data/{short}", DATA[:-1])
        await service.objects.put(f"data/{unknown}", DATA)
        await service.objects.delete(f"data/{lost}")

    assert place.run("verify")[0] == 1
    place.within(damage)
    status, out = place.run("verify")
    assert status == 1
    said = {line.split()[1].rstrip(":"): line for line in out.splitlines()[:-1]}
    assert said.keys() == {rotten, short, lost, other, unknown}
    assert "1 of 2 parts" in said[rotten]
    assert "number 2 (bytes 5000 to 9999)" in said[rotten]
    assert "9999 bytes, not 10000" in said[short]
    assert "lost" in said[lost]
    assert "MD5" in said[other]
    assert said[unknown].startswith("unknown")
    assert out.splitlines()[-1].endswith("1 as uploaded, 4 damaged or lost, 1 unknown.")


def test_verify_of_a_good_store(place: Place) -> None:
    place.put(str(uuid.uuid4()), DATA)
    assert place.run("verify") == (0, "1 objects, 10000 bytes: 1 as uploaded, 0 damaged or lost, 0 unknown.\n")
