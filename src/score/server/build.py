"""From settings to a service: which store, which registry, which authorization."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

from score.auth.base import Authorizer
from score.auth.cache import Remembered
from score.broker.access import Access
from score.broker.blocks import BlockUploads
from score.broker.buckets import Pair, PooledStore, names_of
from score.broker.catalogue import Catalogue
from score.broker.census import Census
from score.broker.checks import Checks, Remedies
from score.broker.cleanup import Cleanup
from score.broker.downloads import DownloadRules, Downloads
from score.broker.health import Health
from score.broker.htsget.tickets import Tickets
from score.broker.listing import Listing
from score.broker.progress import UploadsInProgress
from score.broker.removal import Place, Removal
from score.broker.state import Layout
from score.broker.uploads import UploadRules, Uploads
from score.errors import Misconfigured
from score.metadata.base import Registry
from score.server.authorization import open_authorizer, scopes_of
from score.server.edge import BASE
from score.server.routes import Broker
from score.server.settings import Settings
from score.server.watching import (
    Backend,
    Watch,
    WatchedBlockStore,
    both,
    watched_registry,
    watched_store,
)
from score.storage.base import BlockStore, ObjectStore

if TYPE_CHECKING:
    from score.server.metrics import Metrics
    from score.server.tracing import Tracing
    from score.storage.azure.settings import AzureSettings
    from score.storage.s3.settings import S3Settings


@dataclass(frozen=True, slots=True)
class Service:
    """What the server is made of. ``routes`` are those that a local store and an embedded registry add; ``older`` are
    the buckets from before a pool; ``census`` counts uploads for the ``metrics``."""

    broker: Broker
    objects: ObjectStore
    state: ObjectStore
    registry: Registry
    authorizer: Authorizer | None
    routes: Sequence[BaseRoute] = field(default=())
    older: Pair | None = None
    retries: Mapping[Backend, Callable[[], int]] = field(default_factory=dict)
    metrics: Metrics | None = None
    census: Census | None = None
    tracing: Tracing | None = None

    async def close(self) -> None:
        """Give back connections and handles."""
        if self.census is not None:
            await self.census.close()
        if self.authorizer is not None:
            await self.authorizer.close()
        await self.registry.close()
        await self.objects.close()
        if self.state is not self.objects:
            await self.state.close()
        if self.tracing is not None:
            await self.tracing.close()


def layout_of(settings: Settings) -> Layout:
    """Where everything lies in the buckets. A container of Azure has no folder of objects."""
    data = "" if settings.store == "azure" else settings.s3_data_directory.strip("/")
    return Layout(data, settings.s3_upload_directory.strip("/"))


def cleanup_of(service: Service, settings: Settings) -> Cleanup:
    """The cleanup of what this service keeps."""
    life, layout = timedelta(days=settings.s3_upload_days), layout_of(settings)
    older = None
    if service.older is not None:
        uploads = Uploads(*service.older, service.broker.access, layout, UploadRules())
        older = Cleanup(*service.older, layout, uploads, life)
    return Cleanup(service.objects, service.state, layout, service.broker.uploads, life, older=older)


def checks_of(service: Service, settings: Settings) -> Checks:
    """The checks of this service. The local store's URLs lead to the server itself, which may not run."""
    account = settings.azure_account if settings.store == "azure" else ""
    endpoint = s3_settings(settings).address if settings.store == "s3" else ""
    remedies = Remedies(endpoint=endpoint, azure_account=account)
    if account:
        remedies = replace(
            remedies,
            azure_endpoint=settings.azure_endpoint,
            client_urls="check azure.endpoint, and that clients reach that address.",
        )
    if settings.metadata_url and settings.store != "local":
        remedies = replace(remedies, registry=f"curl {settings.metadata_url}/isAlive, and check metadata.url.")
    broker, layout = service.broker, layout_of(settings)
    return Checks(
        broker.health,
        service.objects,
        service.state,
        layout,
        settings.sentinel,
        remedies,
        signed=settings.store != "local",
        origins=settings.allowed_origins,
        tls=outgoing(settings),
    )


def assemble(
    settings: Settings,
    objects: ObjectStore,
    state: ObjectStore,
    registry: Registry,
    authorizer: Authorizer | None,
    older: Pair | None = None,
    blocks: BlockStore | None = None,
) -> Broker:
    """The broker of these parts.

    ``older`` are the buckets from before a pool; ``blocks`` is ``objects`` where that is of the profile ``az``.
    """
    layout = layout_of(settings)
    access = Access(
        registry,
        authorizer,
        scopes_of(settings),
        check_states=not settings.legacy_mode,
        anonymous_open=settings.anonymous_open,
        kept=settings.auth_cache,
    )
    upload_rules = UploadRules(settings.upload_part_size, timedelta(days=settings.s3_upload_days or 1))
    download_life = timedelta(days=settings.s3_download_days)
    download_rules = DownloadRules(
        part_size=settings.download_part_size if blocks else settings.upload_part_size,
        url_life=download_life,
        md5_property=settings.s3_md5_property,
        sentinel=settings.sentinel,
    )
    uploads = (
        BlockUploads(blocks, access, layout, download_life)
        if blocks
        else Uploads(objects, state, access, layout, upload_rules, older)
    )
    places = [Place(objects, state, uploads)]
    if older is not None:
        places.append(Place(*older, Uploads(*older, access, layout, upload_rules)))
    downloads = Downloads(objects, state, layout, download_rules, older)
    return Broker(
        access=access,
        uploads=uploads,
        downloads=downloads,
        listing=Listing(objects, layout),
        removal=Removal(layout, *places),
        health=Health(objects, state, registry, authorizer, layout, settings.sentinel),
        tickets=Tickets(access, registry, downloads, bound=settings.htsget_bound),
        catalogue=Catalogue(access, registry, uploads),
        progress=UploadsInProgress(access, state, layout),
        profile=objects.limits.profile,
    )


async def open_service(settings: Settings) -> Service:
    """Build what the settings ask for. Must run in the event loop that will serve it. Raises Misconfigured."""
    tls = outgoing(settings)
    metrics = _open_metrics() if settings.metrics_enabled else None
    tracing = _open_tracing() if settings.tracing_enabled else None
    watch = both(metrics.watch if metrics else None, tracing.watch if tracing else None)
    authorizer = None
    try:
        authorizer = open_authorizer(settings, tls, watch) if settings.secure else None
        if settings.store == "local":
            service = await _open_local(settings, authorizer, watch)
        else:
            open_store = _open_azure if settings.store == "azure" else _open_s3
            service = open_store(settings, authorizer, tls, watch)
        service = replace(service, tracing=tracing)
        return _counted(service, settings, metrics) if metrics else service
    except BaseException:
        if authorizer is not None:
            await authorizer.close()
        if tracing is not None:
            await tracing.close()
        raise


def _open_metrics() -> Metrics:
    from score.server.metrics import Metrics

    return Metrics()


def _open_tracing() -> Tracing:
    try:
        from score.server.tracing import Tracing
    except ImportError as error:
        raise Misconfigured(
            f"management.tracing.enabled needs packages that are not installed ({error.name}).",
            hint="Install them: pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http; "
            "or set management.tracing.enabled=false.",
        ) from error
    try:
        return Tracing()
    except ValueError as error:
        raise Misconfigured(
            f"OpenTelemetry cannot take its settings: {error}.", hint="Check the variables OTEL_*."
        ) from error


def _counted(service: Service, settings: Settings, metrics: Metrics) -> Service:
    """The service with what its parts count by themselves."""
    metrics.caches["registry"] = lambda: service.broker.access.lookups
    if isinstance(remembered := service.authorizer, Remembered):
        metrics.caches["authorization"] = lambda: remembered.lookups
    census = Census(service.state, layout_of(settings))
    metrics.open_uploads = census.latest
    metrics.retries.update(service.retries)
    return replace(service, metrics=metrics, census=census)


def outgoing(settings: Settings) -> ssl.SSLContext | None:
    """Whom every call of the server to another service believes; None: the authorities of the system."""
    if not settings.trust_store:
        return None
    from score.server.tls import outgoing_context

    return outgoing_context(settings)


def _open_s3(
    settings: Settings, authorizer: Authorizer | None, tls: ssl.SSLContext | None, watch: Watch | None
) -> Service:
    from score.metadata.song import Song
    from score.storage.s3.store import open_stores

    names = {settings.bucket_object, settings.bucket_state}
    pools = {name: names_of(name, settings.bucket_pool) for name in names}
    opened = open_stores(s3_settings(settings), names.union(*pools.values()), tls)
    single = {name: watched_store(store, watch) for name, store in opened.items()}
    base = Pair(single[settings.bucket_object], single[settings.bucket_state])
    stores = {name: single[name] for name in names}
    if settings.bucket_pool:
        for name, pool in pools.items():
            numbered = [single[one] for one in pool]
            stores[name] = PooledStore(single[name], numbered, settings.bucket_key, layout_of(settings))
    objects, state = stores[settings.bucket_object], stores[settings.bucket_state]
    song = Song(settings.metadata_url, tls)
    registry = watched_registry(song, watch)
    older = base if settings.bucket_pool else None
    broker = assemble(settings, objects, state, registry, authorizer, older)
    any_store = opened[settings.bucket_object]  # all share one client
    retries: dict[Backend, Callable[[], int]] = {
        "store": lambda: any_store.repeated,
        "registry": lambda: song.repeated,
    }
    return Service(broker, objects, state, registry, authorizer, older=older, retries=retries)


def _open_azure(
    settings: Settings, authorizer: Authorizer | None, tls: ssl.SSLContext | None, watch: Watch | None
) -> Service:
    from score.metadata.song import Song
    from score.storage.azure.client import AzureClient
    from score.storage.azure.store import AzureStore

    client = AzureClient(azure_settings(settings), tls=tls)
    store: BlockStore = AzureStore(client)
    if watch:
        store = WatchedBlockStore(store, watch)
    song = Song(settings.metadata_url, tls)
    registry = watched_registry(song, watch)
    broker = assemble(settings, store, store, registry, authorizer, blocks=store)
    retries: dict[Backend, Callable[[], int]] = {
        "store": lambda: client.retries.repeated,
        "registry": lambda: song.repeated,
    }
    return Service(broker, store, store, registry, authorizer, retries=retries)


def azure_settings(settings: Settings) -> AzureSettings:
    """The container of the settings. Raises Misconfigured where a value cannot be one."""
    from score.storage.azure.settings import AzureSettings

    return AzureSettings(
        account=settings.azure_account,
        account_key=settings.azure_key.get_secret_value(),
        container=settings.bucket_object,
        endpoint=settings.azure_endpoint,
        protocol=settings.azure_protocol.lower(),
        upload_policy=settings.bucket_upload_policy,
        download_policy=settings.bucket_download_policy,
        retry_limit=settings.upload_retries,
        connect_timeout=settings.upload_timeout / 1000,
    )


async def _open_local(settings: Settings, authorizer: Authorizer | None, watch: Watch | None) -> Service:
    from score.metadata.embedded import EmbeddedRegistry
    from score.server.plane import data_plane
    from score.server.registry import registry_routes
    from score.storage.local import LocalStore

    root = settings.local_directory.absolute()

    def base() -> str:
        return settings.public_url or BASE.get()

    objects, state = LocalStore(root, "object", base=base), LocalStore(root, "state", base=base)
    sentinel = layout_of(settings).sentinel(settings.sentinel)
    if await objects.stat(sentinel) is None:
        await objects.put(sentinel, b"")
    registry = EmbeddedRegistry(root)
    stores = watched_store(objects, watch), watched_store(state, watch)
    broker = assemble(settings, *stores, watched_registry(registry, watch), authorizer)
    routes = [*data_plane(objects, state), *registry_routes(registry, broker.downloads, broker.access)]
    return Service(broker, *stores, registry, authorizer, routes)


def s3_settings(settings: Settings) -> S3Settings:
    """The S3 service of the settings. Raises Misconfigured where an address cannot be one."""
    from score.storage.s3.settings import S3Settings

    return S3Settings(
        endpoint=settings.s3_endpoint,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        region=settings.s3_region,
        secured=settings.s3_secured,
        url_host=settings.s3_url_host,
        version=4 if settings.s3_sig_v4 else 2,
        kms_key=settings.s3_kms_key,
        retry_limit=settings.upload_retries,
        connect_timeout=settings.upload_timeout / 1000,
    )
