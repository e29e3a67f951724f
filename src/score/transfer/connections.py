"""Connections of the client, made by urllib3, with two checks more: where they lead, and whose certificate it is.

urllib3 writes whole URLs into its log: for debugging, which programs that use the SDK may turn on, and in a warning
of answers with broken headers, which Python shows to whoever sets up no log. Queries with a signature are left out.

Addresses come from servers, manifests and redirections too. None of them may lead to a link-local address: that is
where clouds keep the keys of the machine that a program runs on.
"""

from __future__ import annotations

import logging
import re
import socket
from ipaddress import ip_address, ip_network
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import SSLError
from urllib3.util.ssl_match_hostname import CertificateError, match_hostname

from score.errors import Refused

_FORBIDDEN = tuple(map(ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32")))
_SIGNED = re.compile(r"\?\S*\b(?i:signature|sig)=\S*")
NO_NAME = "CERTIFICATE_VERIFY_FAILED: the certificate is of another host"


def is_forbidden(host: str) -> bool:
    """Whether ``host`` is an address that no URL may lead to; a name is looked at when it is connected to."""
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped.version == network.version and mapped in network for network in _FORBIDDEN)


def refuse(host: str) -> Refused:
    """The error for an address that no URL may lead to."""
    return Refused(
        f"{host} is a link-local address, where no server or store of Score can be; it is not called.",
        hint="Check storage.url, metadata.url and the manifest; tell the operator if the server gave it.",
    )


def _hide_signatures(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(_SIGNED.sub("?...", one) if isinstance(one, str) else one for one in record.args)
    return True


for _name in ("urllib3.connection", "urllib3.connectionpool", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_hide_signatures)


class _Checked(HTTPConnection):
    """Looks at the address that a name turned out to be, before anything is sent there."""

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        peer = connected.getpeername()
        if isinstance(peer, tuple) and is_forbidden(peer[0]):
            connected.close()
            raise refuse(peer[0])
        return connected


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Checked


def pool_classes(trusted_name: str) -> dict[str, Any]:
    """What urllib3 makes pools of, by scheme. A certificate whose common name is ``trusted_name`` is good for every
    host, if it is proven; urllib3 must then be told to leave names alone (``assert_hostname=False``)."""

    class Secure(_Checked, HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            if trusted_name:
                _check_name(self.sock, str(getattr(self, "_tunnel_host", None) or self.host), trusted_name)

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": _Pool, "https": SecurePool}


def _check_name(connected: Any, host: str, trusted_name: str) -> None:
    certificate = connected.getpeercert()
    names = {value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"}
    if trusted_name not in names:
        try:
            match_hostname(certificate, host)
        except CertificateError:
            raise SSLError(NO_NAME) from None
