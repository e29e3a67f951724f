"""Whom the client believes (``client.ssl.*``, ``metadata.ssl.enabled``). Protocol, section 8."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import InsecureRequestWarning

from score.config.sources import Values
from score.errors import Misconfigured

NAMES: Mapping[str, str] = {
    "client.ssl.custom": "true: authorities and certificate of client.ssl.*, beside those of the system",
    "client.ssl.trustStore": "PEM or PKCS#12 file of authorities to believe; JKS files have to be converted",
    "client.ssl.trustStoreType": "accepted for compatibility; the file tells what it is",
    "client.ssl.trustStorePassword": "password of a PKCS#12 file of authorities",
    "client.ssl.trustName": "common name of a certificate that is good for every host, if it is proven",
    "client.ssl.keyStore": "PKCS#12 file of a certificate to show to servers that ask for one",
    "client.ssl.keyStoreType": "accepted for compatibility; the file tells what it is",
    "client.ssl.keyStorePassword": "its password",
    "client.ssl.keyAlias": "alias that its key must have",
}


@dataclass(frozen=True)
class Tls:
    """Files and passwords, as set; nothing is read yet."""

    trust_store: str = ""
    trust_store_password: str = ""
    trusted_name: str = ""
    key_store: str = ""
    key_store_password: str = ""
    key_alias: str = ""

    def __repr__(self) -> str:  # passwords stay out of every trace
        return f"Tls({self.trust_store!r}, {self.key_store!r})"

    def context(self) -> ssl.SSLContext | None:
        """What connections are made with, None for the authorities of the system alone. Misconfigured."""
        if not (self.trust_store or self.key_store):
            return None
        from score.config.keystores import Location, read_authorities, read_store, trust

        context = ssl.create_default_context()
        if self.trust_store:
            store = Location("client.ssl.trustStore", self.trust_store, self.trust_store_password)
            trust(context, read_authorities(store))
        if self.key_store:
            store = Location("client.ssl.keyStore", self.key_store, self.key_store_password)
            read_store(store, self.key_alias, "client.ssl.keyAlias").load_into(context)
        return context


def unverified() -> ssl.SSLContext:
    """Encrypted with whoever answers: no certificate is looked at."""
    urllib3.disable_warnings(InsecureRequestWarning)  # the user is told of it once, by the setting's name
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def read_tls(values: Values) -> Tls:
    """The settings ``client.ssl.*``. Raises Misconfigured where they are wanted and nothing is named."""
    names = ("trustStore", "trustStorePassword", "trustName", "keyStore", "keyStorePassword", "keyAlias")
    given = [values.text(f"client.ssl.{name}") for name in names]
    if not values.boolean("client.ssl.custom", bool(given[0] or given[3])):
        return Tls()
    if not (given[0] or given[3]):
        raise Misconfigured("client.ssl.custom is true, and no client.ssl.trustStore is set.", hint="Name a file.")
    return Tls(*given)
