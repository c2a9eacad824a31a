"""Which addresses an importer may reach: SSRF is refused here, once for all sources.

A name is resolved once, each of its addresses is judged, and the connection is made to a judged address and not to the name
again, so that a name whose address changes in between (DNS rebinding) gains nothing. What is reached inside a hospital is what
the administrator of this installation has granted to the organisation (AIMASS_IMPORT_NETWORKS), and nothing else that is not on
the public internet; so are the folders of this host (AIMASS_IMPORT_FOLDERS).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from django.conf import settings

from datasets.importing.errors import SourceError
from datasets.importing.grants import granted
from datasets.importing.said import gettext as _

Address = IPv4Address | IPv6Address
CONNECT_SECONDS = 10.0
NAT64 = IPv6Network("64:ff9b::/96")
COMPATIBLE = IPv6Network("::/96")  # IPv4-compatible: long deprecated, and still understood by some
# Where nobody keeps a hospital's server, but a cloud its machines' credentials (169.254.169.254): no list allows these.
NEVER = tuple(
    ip_network(network)
    for network in (
        *("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
        "168.63.129.16/32",  # Azure's own, which looks like one of the public internet
        *("::/128", "fe80::/10", "ff00::/8", "fd00:ec2::254/128"),
    )
)


def meant_by(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 addresses that an IPv6 one carries: a gateway or the kernel would go to those."""
    yield address
    if not isinstance(address, IPv6Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if address in NAT64 or (address in COMPATIBLE and int(address) > 1):
        yield IPv4Address(int(address) & 0xFFFFFFFF)


def is_public(address: Address) -> bool:
    """On the internet for everybody: neither private, loopback, shared, reserved, for documentation, nor multicast."""
    if isinstance(address, IPv6Address) and (address in COMPATIBLE or address.is_site_local):
        return False  # both long deprecated
    return address.is_global and not address.is_multicast and not address.is_reserved


def valid_host(text: str) -> bool:
    """A name or an address, and nothing that a library could take for something else."""
    return re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}", text) is not None


@dataclass(frozen=True)
class Network:
    """What one organisation may reach. `private`: networks (CIDR), `folders`: of this host, that are granted to it."""

    private: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    organisation: str = ""  # its id, which the administrator of this installation needs to grant it something

    @classmethod
    def of(cls, organisation: Any) -> Network:
        """As the settings say."""
        networks, folders = (granted(entries, organisation.pk) for entries in (settings.IMPORT_NETWORKS, settings.IMPORT_FOLDERS))
        return cls(networks, folders, str(organisation.pk))

    @cached_property
    def allowed(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(network) for network in self.private)

    def permits(self, text: str) -> bool:
        """Whether an address may be connected to."""
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            return False
        meant = list(meant_by(address))
        if any(_in(each, NEVER) for each in meant):
            return False
        # These two are only ways to write an IPv4 address, and judged by it.
        written = isinstance(address, IPv6Address) and (address.ipv4_mapped is not None or address in NAT64)
        return all(is_public(each) or _in(each, self.allowed) for each in meant[written:])

    def addresses(self, host: str, port: int) -> list[str]:
        """The IP addresses of the host that may be reached, resolved once: connect to these and not to the name.

        Raises SourceError (code "address_refused" or "host_unknown").
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            again = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
            text = _("The name %(host)s is not known to the name server. Check how it is spelled.") % {"host": host}
            raise SourceError("host_unknown", text, passing=again) from None
        kept = list(dict.fromkeys(str(item[4][0]) for item in found if self.permits(str(item[4][0]))))
        if not kept:
            raise SourceError(
                "address_refused",
                _(
                    "%(host)s lies in a private or special network, which your importers may not reach. If it is a server of "
                    "yours, the administrator of this installation can allow its network (AIMASS_IMPORT_NETWORKS) for your "
                    "organisation: %(organisation)s."
                )
                % {"host": host, "organisation": self.organisation},
            )
        return kept

    def connect(self, host: str, port: int, seconds: float = CONNECT_SECONDS) -> socket.socket:
        """A TCP connection to one of the host's permitted addresses. Raises SourceError."""
        refused = False
        for address in self.addresses(host, port):
            try:
                made = socket.create_connection((address, port), timeout=seconds)
            except OSError as error:
                refused = refused or isinstance(error, ConnectionRefusedError)
            else:
                with suppress(OSError):
                    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return made
        text = (
            _("%(host)s refuses connections on port %(port)d. Check the port, and whether the server runs.")
            if refused
            else _("%(host)s does not answer on port %(port)d. Check the address, and whether a firewall lets us through.")
        )
        raise SourceError("unreachable", text % {"host": host, "port": port}, passing=True)


def _in(address: Address, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
