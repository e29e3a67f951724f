"""Who may do what: scopes of the token, access of the file, publication state of its analysis. Protocol, section 7.

Without an authorizer (no profile ``secure``) everybody may do everything; publication states count all the same.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from score.auth.base import Authorizer, Identity
from score.auth.scopes import Right, Scopes
from score.broker import audit
from score.broker.together import Together
from score.errors import Forbidden, Invalid, NotReady, Refused, Unauthenticated
from score.metadata.base import AnalysisState, Registry
from score.protocol.ids import check_object_id
from score.protocol.wire import Entity

NO_DOWNLOAD = "Token missing required scope to download controlled-access file"
NO_UPLOAD = "Token missing required scope to update project"
"""Texts of the reference, which clients look for."""
_SHOWN = 20
"""Scopes that a refusal names."""
_ENTITIES = 10_000


@dataclass(frozen=True, slots=True)
class Rights:
    """What somebody may do; ``granted`` are their scopes, None where nobody needs any."""

    granted: Collection[str] | None
    scopes: Scopes

    def download(self, study: str) -> bool:
        """Whether they may download controlled files of a study."""
        return self.granted is None or self.scopes.download.within(study, self.granted)

    def upload(self, study: str) -> bool:
        """Whether they may upload to a study."""
        return self.granted is None or self.scopes.upload.within(study, self.granted)

    @property
    def everywhere(self) -> bool:
        """Whether they may upload to every study, and so look everywhere."""
        return self.granted is None or self.scopes.upload.everywhere(self.granted)


class Access:
    """Decides; every method either returns or raises.

    Unauthenticated: no token, or a bad one; Forbidden: it lacks the scope; NotFound: the object is not registered;
    NotReady: the analysis is in another state; Refused: the registry answers about another object; Unavailable:
    nobody can tell now.

    ``check_states`` is false with ``metadata.useLegacyMode``. Files of open access need no token, unless
    ``anonymous_open`` is false. What the registry says of an object (analysis, study, access) is used again for
    ``kept`` seconds; that an object is unknown, never. The state of an analysis is asked for each time, once for all
    who ask at the same time.
    """

    def __init__(
        self,
        registry: Registry,
        authorizer: Authorizer | None = None,
        scopes: Scopes | None = None,
        *,
        check_states: bool = True,
        anonymous_open: bool = True,
        kept: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._authorizer = authorizer
        self._scopes = scopes or Scopes()
        self._check_states = check_states
        self._anonymous_open = anonymous_open
        self._kept = kept
        self._clock = clock
        self.lookups = (0, 0)
        """How often an entity was remembered, and how often the registry was asked."""
        self._entities: OrderedDict[str, tuple[float, Entity]] = OrderedDict()
        self._states: Together[tuple[str, str], AnalysisState] = Together()

    @property
    def restricted(self) -> bool:
        """Whether callers need tokens."""
        return self._authorizer is not None

    async def upload(self, token: str | None, object_id: str) -> None:
        """May the owner of the token upload this object, or see how its upload goes?"""
        check_object_id(object_id)
        if self._authorizer is None:
            return
        identity = await self._identify(token)
        if not self._scopes.upload.everywhere(identity.scopes):
            study = (await self.entity(object_id)).project_code
            if not self._scopes.upload.within(study, identity.scopes):
                raise _forbidden(NO_UPLOAD, self._scopes.upload, study, identity)

    async def may_upload(self, token: str | None, study: str) -> None:
        """May the owner of the token upload to this study?"""
        audit.concerns(study)
        if self._authorizer is not None:
            identity = await self._identify(token)
            if not self._scopes.upload.within(study, identity.scopes):
                raise _forbidden(NO_UPLOAD, self._scopes.upload, study, identity)

    async def upload_everywhere(self, token: str | None) -> None:
        """May the owner of the token upload to every study?"""
        if self._authorizer is not None:
            await self._identify_system(token)

    async def rights(self, token: str | None) -> Rights:
        """What the owner of the token may do. Unauthenticated where one is needed, and there is none."""
        if self._authorizer is None:
            return Rights(None, self._scopes)
        identity = await self._identify(token)
        return Rights(identity.scopes, self._scopes)

    async def administer(self, token: str | None) -> Identity:
        """The owner of the token, who may upload to every study. Forbidden where there are no tokens at all: then
        nobody knows who asks."""
        if self._authorizer is None:
            raise Forbidden(
                "This is only possible under the profile secure.", hint="Use the command score-server on its machine."
            )
        return await self._identify_system(token)

    async def look(self, token: str | None) -> None:
        """Is it a valid token, whatever its scopes?"""
        if self._authorizer is not None:
            await self._identify(token)

    async def download(self, token: str | None, object_id: str, *, urls: bool = True) -> None:
        """May the owner of the token, or nobody in particular, download this object?

        Without ``urls`` the publication state does not count: Song reads size and MD5 before it publishes. Raises
        Invalid where the registry gives the file an access that nobody knows.
        """
        check_object_id(object_id)
        everywhere = self._authorizer is None
        identity: Identity | None = None
        if self._authorizer is not None and (token is not None or not self._anonymous_open):
            identity = await self._identify(token)  # a bad token is refused on open files too
            everywhere = self._scopes.download.everywhere(identity.scopes)
        if everywhere and not urls:
            return
        entity = await self.entity(object_id)
        if not everywhere:
            access = (entity.access or "").casefold()
            if access in ("", "null", "controlled"):
                if identity is None or not self._scopes.download.within(entity.project_code, identity.scopes):
                    raise _forbidden(NO_DOWNLOAD, self._scopes.download, entity.project_code, identity)
            elif access != "open":
                raise Invalid(f"The registry gives {object_id} the access {access[:40]!r}, which is unknown.")
        if urls:
            await self._check_state(entity, AnalysisState.PUBLISHED, "downloaded")

    async def entity(self, object_id: str) -> Entity:
        """What the registry says of an object, whoever asks. Raises NotFound."""
        now = self._clock()
        known = self._entities.get(object_id)
        if known is not None and now < known[0]:
            audit.concerns(known[1].project_code)
            self.lookups = (self.lookups[0] + 1, self.lookups[1])
            return known[1]
        self.lookups = (self.lookups[0], self.lookups[1] + 1)
        entity = await self._registry.entity(object_id)
        if entity.id.casefold() != object_id.casefold():
            raise Refused(f"The registry was asked about {object_id} and answers about {entity.id[:60]!r}.")
        audit.concerns(entity.project_code)
        if self._kept:
            self._entities[object_id] = (now + self._kept, entity)
            self._entities.move_to_end(object_id)
            if len(self._entities) > _ENTITIES:
                self._entities.popitem(last=False)
        return entity

    async def check_unpublished(self, object_id: str) -> None:
        """Is this object registered, and its analysis UNPUBLISHED, so that it may be uploaded?"""
        await self._check_state(await self.entity(object_id), AnalysisState.UNPUBLISHED, "uploaded")

    async def _check_state(self, entity: Entity, wanted: AnalysisState, done: str) -> None:
        if self._check_states:
            study, analysis = entity.project_code, entity.gnos_id
            state = await self._states.ask((study, analysis), lambda: self._registry.analysis_state(study, analysis))
            if state != wanted:
                raise NotReady(
                    f"{entity.id} cannot be {done}: its analysis {entity.gnos_id} is {state}, not {wanted}."
                )

    async def _identify(self, token: str | None) -> Identity:
        if token is None or self._authorizer is None:
            raise Unauthenticated(
                "This needs a token.",
                hint="Send it as: Authorization: Bearer <token>. If it was sent, a proxy on the way takes it away.",
            )
        identity = await self._authorizer.identify(token)
        audit.identified(identity)
        return identity

    async def _identify_system(self, token: str | None) -> Identity:
        """The owner of the token, who may upload to every study."""
        identity = await self._identify(token)
        if not self._scopes.upload.everywhere(identity.scopes):
            raise _forbidden(NO_UPLOAD, self._scopes.upload, "", identity)
        return identity


def _forbidden(text: str, right: Right, study: str, identity: Identity | None) -> Forbidden:
    """The refusal in the reference's words, then which scope would do, and, to the owner of a token, what it has."""
    needed = f"{right.system} or {right.scope(study)}" if study else right.system
    if identity is None:
        return Forbidden(f"{text}: this needs {needed}, and no token was sent.")
    held = sorted(identity.scopes)
    more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
    has = f"{', '.join(scope[:100] for scope in held[:_SHOWN])}{more}" if held else "no scopes"
    return Forbidden(f"{text}: this needs {needed}, and the token has {has}.")
