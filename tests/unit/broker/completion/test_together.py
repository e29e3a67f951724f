"""All of it together, at random."""

from __future__ import annotations

import random

import pytest

from score.errors import Conflict

from .conftest import DATA, SIZE, Crash, Dying, Run, Site, md5


@pytest.mark.parametrize("seed", range(3))
def test_whatever_was_recorded_the_final_meta_tells_what_the_object_is(run: Run, seed: int) -> None:
    """A part sent, recorded rightly or not, forgotten and asked about at random, by our servers and past them; in the
    end the object is what was sent last, and its MD5 is told."""
    dice = random.Random(seed)

    async def test(site: Site) -> None:
        upload = await site.start(await site.register(SIZE))
        await upload.finish(1, DATA[0])
        etags: dict[bytes, str] = {}
        held = b""

        async def send() -> None:
            nonlocal held
            held = b"%08d" % dice.randrange(3)
            etags[held] = await upload.send(2, held)

        async def finish() -> None:
            claimed = dice.choice(list(etags))
            call = site.server().finish_part(upload.object_id, upload.id, 2, md5(claimed), etags[claimed])
            if claimed == held:
                await call
            else:
                with pytest.raises(Conflict):
                    await call

        async def claim() -> None:
            claimed = dice.choice(list(etags))
            wrong = site.etags_are_md5s and dice.random() < 0.5
            await upload.record(2, "f" * 32 if wrong else md5(claimed), etags[claimed])

        async def forget() -> None:
            await site.server().forget_part(upload.object_id, upload.id, 2)

        async def ask() -> None:
            assert set((await upload.finished()).items()) <= {(1, md5(DATA[0])), (2, md5(held))}

        async def complete() -> None:
            dying = site.server(objects=Dying(site.objects, "complete"))
            with pytest.raises((Crash, Conflict)):
                await dying.complete(upload.object_id, upload.id)

        await send()
        for _ in range(25):
            await dice.choice([send, finish, claim, claim, forget, ask, complete])()
        assert set((await upload.finished()).items()) <= {(1, md5(DATA[0])), (2, md5(held))}
        await site.server().finish_part(upload.object_id, upload.id, 2, md5(held), etags[held])
        assert await upload.finished() == {1: md5(DATA[0]), 2: md5(held)}
        assert len(await upload.records()) == 2, "one for each part, as the reference needs it"
        await upload.complete()
        await upload.check_complete(DATA[0], held)

    run(test)
