"""TLS: what the server shows to its callers (``server.ssl.*``), and whom it believes itself (``outgoing.ssl.*``)."""

from __future__ import annotations

import logging
import ssl
from datetime import UTC, datetime, timedelta

from score.config.keystores import Identity, Location, read_authorities, read_pem, read_store, trust
from score.errors import Misconfigured
from score.server.settings import Settings

log = logging.getLogger(__name__)

_SOON = timedelta(days=14)
_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_CLIENTS = {"none": ssl.CERT_NONE, "want": ssl.CERT_OPTIONAL, "need": ssl.CERT_REQUIRED}


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """What the server speaks with, None without TLS. Misconfigured, naming setting and file, where it cannot be."""
    if not settings.tls:
        return None
    identity = _identity(settings)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    versions = [_VERSIONS[name] for name in settings.ssl_protocols]
    context.minimum_version, context.maximum_version = min(versions), max(versions)
    if settings.ssl_ciphers:
        try:
            context.set_ciphers(settings.ssl_ciphers.replace(",", ":"))
        except ssl.SSLError as error:
            raise Misconfigured(
                "server.ssl.ciphers names no cipher that is known.", hint="They are listed by: openssl ciphers"
            ) from error
    identity.load_into(context)
    context.verify_mode = _CLIENTS[settings.ssl_client_auth]
    if settings.ssl_client_auth != "none":
        store = Location(
            "server.ssl.trust-store",
            settings.ssl_trust_store,
            settings.ssl_trust_store_password.get_secret_value(),
        )
        pem = Location("server.ssl.trust-certificate", settings.ssl_trust_certificate)
        for location in (store, pem):
            if location.text:
                trust(context, read_authorities(location))
    left = identity.expires - datetime.now(UTC)
    if left < _SOON:
        state = "has expired" if left < timedelta() else f"expires in {left.days} days"
        log.warning("The certificate in %s %s.", identity.source.text, state)
    return context


def outgoing_context(settings: Settings) -> ssl.SSLContext:
    """Whom calls to Song, authorization server and store believe: the file that the settings name and the authorities
    of the system, which ``SSL_CERT_FILE`` replaces. Misconfigured, naming setting and file."""
    context = ssl.create_default_context()
    password = settings.trust_store_password.get_secret_value()
    trust(context, read_authorities(Location("outgoing.ssl.trust-store", settings.trust_store, password)))
    return context


def _identity(settings: Settings) -> Identity:
    if settings.ssl_key_store:
        password = settings.ssl_key_store_password.get_secret_value()
        store = Location("server.ssl.key-store", settings.ssl_key_store, password)
        return read_store(store, settings.ssl_key_alias, "server.ssl.key-alias")
    certificate = Location("server.ssl.certificate", settings.ssl_certificate)
    password = settings.ssl_key_password.get_secret_value()
    key = Location("server.ssl.certificate-private-key", settings.ssl_key or settings.ssl_certificate, password)
    return read_pem(certificate, key)
