"""Certificates and keys out of files, for both programs: PEM and PKCS#12. Messages name the setting and the file.

A Java key store (JKS) is refused with the command that converts it.
"""

from __future__ import annotations

import os
import re
import secrets
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12KeyAndCertificates, load_pkcs12
from cryptography.x509 import Certificate, load_pem_x509_certificates

from score.errors import Misconfigured

_JAVA = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
"""How a JKS and a JCEKS begin."""


@dataclass(frozen=True, slots=True)
class Location:
    """A file and the setting that names it, ``file:`` before the path or not; ``password`` opens it."""

    setting: str
    text: str
    password: str = field(default="", repr=False)

    @property
    def path(self) -> Path:
        """The file. Misconfigured for what is in a Java archive."""
        if self.text.startswith("classpath:"):
            raise Misconfigured(
                f"{self.setting} names {self.text[:200]!r}, which is within a Java program.",
                hint="Give the path of a file.",
            )
        try:
            return Path(re.sub(r"\Afile:(//(?=/))?", "", self.text)).expanduser()
        except RuntimeError:
            raise self.wrong("there is no such user") from None

    def read(self) -> bytes:
        """The bytes of the file. Misconfigured where they cannot be had, or are a Java key store."""
        try:
            data = self.path.read_bytes()
        except (OSError, ValueError) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no name of a file"
            raise self.wrong(f"it cannot be read: {reason}") from error
        if data.startswith(_JAVA):
            raise Misconfigured(
                f"{self.setting}: {self.text} is a Java key store (JKS), which is not read.",
                hint=f"Convert it: keytool -importkeystore -srckeystore {self.path} -destkeystore "
                f"{self.path.with_suffix('.p12')} -deststoretype PKCS12, and name that file.",
            )
        return data

    def wrong(self, what: str, hint: str = "") -> Misconfigured:
        """The error for this file."""
        return Misconfigured(f"{self.setting}: {self.text}: {what}.", hint=hint or "Check the file, and the setting.")


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate, those that prove it, and its key. ``chain`` begins with the certificate."""

    source: Location
    chain: tuple[Certificate, ...]
    key: PrivateKeyTypes = field(repr=False)

    @property
    def expires(self) -> datetime:
        """When the certificate ends, in UTC."""
        return self.chain[0].not_valid_after_utc

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let connections of ``context`` show this certificate. Misconfigured where OpenSSL refuses it."""
        # The ssl module takes files only. This one is locked with a password that nobody else knows, and removed.
        password = secrets.token_hex(16)
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
        pem += b"".join(one.public_bytes(Encoding.PEM) for one in self.chain)
        try:
            descriptor, name = tempfile.mkstemp(suffix=".pem")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(pem)
                context.load_cert_chain(name, password=password)
            finally:
                os.unlink(name)
        except ssl.SSLError as error:
            raise self.source.wrong(f"the certificate is not fit for use: {error.reason or error}") from error
        except OSError as error:
            raise self.source.wrong(
                f"no temporary file can be made for it: {error.strerror}",
                "Make room in the folder of temporary files, or name another one in TMPDIR.",
            ) from error


def read_store(location: Location, alias: str, alias_setting: str) -> Identity:
    """The certificate and key of a PKCS#12 file. ``alias`` must be that of its key, case aside."""
    store = _unlock(location)
    if store.key is None or store.cert is None:
        raise location.wrong("it holds no key with its certificate")
    name = (store.cert.friendly_name or b"").decode("utf-8", "replace")
    if alias and name.casefold() != alias.casefold():
        hint = f"Check {alias_setting}; of several keys in one file only the first is read."
        raise location.wrong(f"its key has the alias {name!r}, not {alias!r}", hint)
    others = [one.certificate for one in store.additional_certs]
    return _matching(location, _chain(store.cert.certificate, others), store.key)


def read_pem(certificates: Location, key: Location) -> Identity:
    """A certificate with its chain, and its key, both in PEM; the key may be in the same file."""
    chain = _certificates(certificates)
    data = key.read()
    try:
        secret = load_pem_private_key(data, key.password.encode() or None)
    except TypeError:
        raise key.wrong(
            "the key is not locked, but a password is set" if key.password else "the key is locked with a password"
        ) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        locked = b"ENCRYPTED" in data
        raise key.wrong("the password is wrong" if locked else "it holds no private key in PEM") from error
    return _matching(certificates, chain, secret)


def read_authorities(location: Location) -> list[Certificate]:
    """The certificates of a PEM or PKCS#12 file: authorities to trust."""
    data = location.read()
    if b"-----BEGIN" in data:
        return _certificates(location)
    store = _unlock(location)
    found = [one.certificate for one in (store.cert, *store.additional_certs) if one is not None]
    if not found:
        raise location.wrong("it holds no certificate")
    return found


def trust(context: ssl.SSLContext, authorities: Sequence[Certificate]) -> None:
    """Let ``context`` believe these authorities too."""
    context.load_verify_locations(cadata="".join(one.public_bytes(Encoding.PEM).decode() for one in authorities))


def _unlock(location: Location) -> PKCS12KeyAndCertificates:
    data = location.read()
    if b"-----BEGIN" in data:
        raise location.wrong("it is PEM, and PKCS#12 is expected here")
    try:
        return load_pkcs12(data, location.password.encode() or None)
    except (ValueError, UnsupportedAlgorithm) as error:
        if "password" not in str(error).lower():
            raise location.wrong("it is no PKCS#12 file") from error
        said = "its password is wrong" if location.password else "it is locked with a password, and none is set"
        raise location.wrong(said) from error


def _certificates(location: Location) -> list[Certificate]:
    try:
        return load_pem_x509_certificates(location.read())
    except ValueError as error:
        raise location.wrong("it holds no certificate in PEM") from error


def _chain(first: Certificate, others: Sequence[Certificate]) -> list[Certificate]:
    """``first`` and whoever signed it, as far as they are among ``others``."""
    chain = [first]
    while issuer := next((one for one in others if one.subject == chain[-1].issuer and one not in chain), None):
        chain.append(issuer)
    return chain


def _matching(source: Location, chain: Sequence[Certificate], key: PrivateKeyTypes) -> Identity:
    """The identity; Misconfigured where the key is of another certificate."""
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if public != chain[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise source.wrong(
            "the key is of another certificate", "Name the key of this certificate; it comes first in its file."
        )
    return Identity(source, tuple(chain), key)
