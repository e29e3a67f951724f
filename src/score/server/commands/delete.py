"""``score-server delete``: removes objects for good; without ``--yes`` it only tells what would go."""

from __future__ import annotations

import getpass
import logging

from score.errors import Misconfigured, NotFound
from score.protocol.ids import check_object_id
from score.server.commands import Call, opened, say
from score.server.logs import HUMAN

FLAGS = {"--yes"}
TAKES_WORDS = True


async def run(call: Call) -> int:
    """Remove the objects named. Exit status 1 where nothing was stored of one of them."""
    if not call.words:
        raise Misconfigured("delete needs object ids.", hint="score-server delete OBJECT-ID ... [--yes]")
    for object_id in call.words:
        check_object_id(object_id)
    logging.basicConfig(level=logging.INFO, format=HUMAN)
    absent = 0
    async with opened(call.settings) as service:
        removal = service.broker.removal
        for object_id in call.words:
            if "--yes" not in call.flags:
                kept = await removal.look(object_id)
                absent += not kept
                say(f"would remove {kept}")
                continue
            try:
                say(f"removed {await removal.remove(object_id, f'{_user()} on the command line')}")
            except NotFound as error:
                absent += 1
                say(str(error))
    if "--yes" not in call.flags:
        say("Nothing was removed. To remove it for good, add --yes.")
    return int(absent > 0)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for the number of this user
        return "somebody"
