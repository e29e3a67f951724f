"""Certificates for tests, made on the spot: an authority of one's own, and the files that programs read."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lasts: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=40))
        .not_valid_after(now + lasts)
    )


@dataclass(frozen=True)
class Issued:
    """A certificate, its key, and whoever signed it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    issuer: x509.Certificate

    def pem(self) -> bytes:
        """The certificate and its issuer's."""
        return self.certificate.public_bytes(Encoding.PEM) + self.issuer.public_bytes(Encoding.PEM)

    def key_pem(self, password: str = "") -> bytes:
        """The key, locked where there is a password."""
        lock = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)

    def pkcs12(self, password: str, alias: str = "score") -> bytes:
        """All of it in one locked file."""
        lock = BestAvailableEncryption(password.encode())
        return pkcs12.serialize_key_and_certificates(alias.encode(), self.key, self.certificate, [self.issuer], lock)

    def context(self, folder: Path) -> ssl.SSLContext:
        """What a server speaks with."""
        file = folder / f"{self.certificate.serial_number:x}.pem"
        file.write_bytes(self.key_pem() + self.pem())
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context


class Authority:
    """An authority that no system trusts."""

    def __init__(self, name: str = "Authority of a test") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)

    @cached_property
    def certificate(self) -> x509.Certificate:
        """Its own certificate."""
        key_id = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = _builder(self._name, self._name, self._key, timedelta(days=30))
        builder = builder.add_extension(key_id, critical=False)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())

    def pem(self) -> bytes:
        """Its certificate in PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    def pkcs12(self, password: str) -> bytes:
        """Its certificate alone in a locked file, as keytool makes trust stores."""
        one = pkcs12.PKCS12Certificate(self.certificate, b"authority")
        lock = BestAvailableEncryption(password.encode())
        return pkcs12.serialize_key_and_certificates(None, None, None, [one], lock)

    def issue(
        self, names: Sequence[str] = ("127.0.0.1",), common_name: str = "score", lasts: timedelta = timedelta(days=20)
    ) -> Issued:
        """A certificate for hosts and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names]
        authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = _builder(_name(common_name), self._name, key, lasts)
        builder = builder.add_extension(authority_id, critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(subject), critical=False)
        return Issued(builder.sign(self._key, hashes.SHA256()), key, self.certificate)


def self_signed(folder: Path, *, names: tuple[str, ...] = ("localhost",)) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 and ``names`` that nobody else signed, and its key, as PEM files in ``folder``."""
    key = ec.generate_private_key(ec.SECP256R1())
    hosts: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    certificate = (
        _builder(_name(names[0]), _name(names[0]), key, timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([*hosts, x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate_file, key_file
