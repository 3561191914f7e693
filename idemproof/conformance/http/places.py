"""Where requests may go: only to named hosts, and only to this machine unless the owner says otherwise."""

import ipaddress
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}
"""The ports of an address that names none, by its scheme."""
_PROBE_SECONDS = 1.0


class PlaceError(Exception):
    """No request may go there; the message says why."""


class Place(NamedTuple):
    """A server to connect to.

    Parameters
    ----------
    scheme, host, port
        As in its address.
    address
        The IP address that the name had when it was checked. Connections use it, so that another answer of
        the name server cannot redirect them.
    """

    scheme: str
    host: str
    port: int
    address: str

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """The scheme, the host and the port."""
        return f"{self.scheme}://{self.authority}"


def place_of(url: str, *, owned: bool) -> Place:
    """Return the server of an address.

    Parameters
    ----------
    url
        The address; its path does not matter.
    owned
        Whether the user owns the host. Otherwise it must be this machine.

    Raises
    ------
    PlaceError
        The name has no address, or an address of another machine although ``owned`` is false.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as failure:
        raise PlaceError(f"The host {host!r} has no address: {failure}. No request was sent.") from None
    addresses = [str(each[4][0]) for each in found]
    others = sorted({each for each in addresses if not _is_loopback(each)})
    if others and not owned:
        raise PlaceError(
            f"The host {host!r} is not this machine: its address is {others[0]}. No request was sent. "
            "The judge sends many requests, cuts connections and repeats effects. "
            "Add --i-own-this-host only if you own the host."
        )
    distinct = list(dict.fromkeys(addresses))
    return Place(parts.scheme, host, port, _listening(distinct, port) if len(distinct) > 1 else distinct[0])


def _listening(addresses: list[str], port: int) -> str:
    """Return the first address that accepts a connection, or the first one."""
    for each in addresses:
        try:
            socket.create_connection((each, port), timeout=_PROBE_SECONDS).close()
        except OSError:
            continue
        return each
    return addresses[0]


def _is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback
