"""Which hosts a client may send the gateway to, and connections that go nowhere else."""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
import sys
from typing import TYPE_CHECKING, ClassVar, TypeAlias, cast
from urllib.parse import unquote_to_bytes

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
)
from urllib3.util import parse_url
from urllib3.util.connection import allowed_gai_family

from .errors import InvalidRoute

if TYPE_CHECKING:
    from urllib3.util.connection import _TYPE_SOCKET_OPTIONS
    from urllib3.util.timeout import _TYPE_TIMEOUT

logger = logging.getLogger("flask_portkey_files")

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
#: What getaddrinfo says of an address: family, type, protocol, a name, and where to connect to.
_Answer: TypeAlias = tuple[
    socket.AddressFamily,
    socket.SocketKind,
    int,
    str,
    tuple[str, int] | tuple[str, int, int, int],
]

_SETTING = "PORTKEY_FILES_ALLOWED_HOSTS"
_MESSAGE = "Invalid custom host"  # Portkey's own words.
_PARAM = "x-portkey-custom-host"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_PORT = 65535
_LAST_32_BITS = 0xFFFFFFFF

# Narrower than RFC 3986: what urllib3, requests and urllib.parse could each take differently,
# such as an @, a backslash, an empty port or an empty segment, has no place in it.
_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?:\[(?P<ipv6>[0-9a-f.]*:[0-9a-f:.]+)\]|(?P<host>[^\x00-\x20\x7f%/:?#@\[\]\\]+))"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<path>(?:/(?:[a-z0-9._~!$&'()*+,;=:@-]|%[0-9a-f]{2})+)*)/*",
    # ASCII, or a long s and a Kelvin sign would be taken for an s and a k.
    re.ASCII | re.IGNORECASE,
)
_DELIMITERS = re.compile(r"[\x00-\x20\x7f%/:?#@\[\]\\]")
#: What a path must not have once it is decoded: a percent sign is there for who decodes twice.
_TRICKS = re.compile(rb"[\x00-\x1f\x7f%\\]|(?:^|/)\.\.?(?:[/;]|$)")

_BRACKETED = re.compile(r"\[(?P<host>[^\[\]]*:[^\[\]]*)\](?::(?P<port>.*))?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_NETWORK = re.compile(r"[0-9a-fA-F:.]+(?:/[0-9]{1,3})?")

# With the underscore, which names in a network of containers often have.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
#: A last label that makes a host an IPv4 address in one of its spellings, or nothing at all.
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MAX_NAME = 253

# Own tables, since those of the ipaddress module differ between Python's releases. From IANA's
# registries of special addresses, all that is not on the public Internet.
_SPECIAL_IPV4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # This network, and the unspecified address.
        "10.0.0.0/8",  # Private.
        "100.64.0.0/10",  # Behind a carrier's NAT; Alibaba's metadata is at 100.100.100.200.
        "127.0.0.0/8",  # Loopback.
        "168.63.129.16/32",  # Azure's wire server: public to look at, local to each machine.
        "169.254.0.0/16",  # Link-local; 169.254.169.254 is most clouds' metadata.
        "172.16.0.0/12",  # Private.
        "192.0.0.0/24",  # Protocol assignments; Oracle's metadata was at 192.0.0.192.
        "192.0.2.0/24",  # Documentation.
        "192.88.99.0/24",  # 6to4 relays, no longer in use.
        "192.168.0.0/16",  # Private.
        "198.18.0.0/15",  # Benchmarks.
        "198.51.100.0/24",  # Documentation.
        "203.0.113.0/24",  # Documentation.
        "224.0.0.0/4",  # Multicast.
        "240.0.0.0/4",  # Reserved, and broadcast.
    )
)
#: All of IPv6 that is handed out so far; what lies outside is local, special or unused.
_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_IPV6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # Protocol assignments, such as Teredo (2001::/32) and benchmarks.
        "2001:db8::/32",  # Documentation.
        "2002::/16",  # 6to4.
        "3ffe::/16",  # The 6bone, given back.
        "3fff::/20",  # Documentation.
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: IPv6 networks whose addresses end in the IPv4 address that they stand for.
_ENDS_IN_IPV4 = (
    _NAT64,
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # NAT64 within one's own network.
    ipaddress.IPv6Network("::/96"),  # "Compatible", no longer in use.
)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
#: In ::/96, but addresses in their own right.
_OWN_IPV6 = (ipaddress.IPv6Address("::"), ipaddress.IPv6Address("::1"))


class EgressRefused(InvalidRoute):
    """The host that a client named has no address that may be connected to (400).

    It says no more than any other refusal of a custom host, or clients could find out what
    names there are inside.
    """

    def __init__(self) -> None:
        super().__init__(_MESSAGE, param=_PARAM)


class EgressPolicy:
    """Which custom hosts clients may name.

    :param text: the setting ``PORTKEY_FILES_ALLOWED_HOSTS``, entries with commas or spaces
        between them. Nothing is allowed if there are none.
    :raises ValueError: an entry has none of the forms below. The message names it.

    An entry is one of

    - a host name, ``vllm.example``;
    - ``*.example``, all names below ``example`` at any depth, but not ``example`` itself;
    - ``*``, any name;
    - an IPv4 or IPv6 address, ``192.0.2.7`` or ``2001:db8::7``;
    - a network, ``10.0.0.0/8`` or ``fd00::/8``;

    and may end in ``:port``, with IPv6 in brackets: ``*.example:8443``, ``10.0.0.0/8:8080``,
    ``[::1]:8080``, ``[fd00::/8]:443``. Without a port it is for any.

    A host is reached if its name is listed *and* the address that it resolves to is public or
    listed. So a host inside one's network needs both: ``vllm.internal, 10.0.0.0/8``. An
    address in place of a name has to be listed even if it is public; ``*`` is no entry for it.
    A network that is listed opens all that is in it: ``0.0.0.0/0`` opens this machine and the
    cloud's metadata service too.

    An IPv6 address that stands for an IPv4 address is reached only if that one would be, too.
    An IPv4-mapped one is the same as its IPv4 address.
    """

    def __init__(self, text: str) -> None:
        self._names: list[tuple[str, int | None]] = []
        self._networks: list[tuple[_Network, int | None]] = []
        for entry in re.split(r"[,\s]+", text):
            if entry:
                self._add(entry)

    def check_url(self, url: str) -> str:
        """Return the base URL *url* in its normal form, without a slash at the end.

        It is put together anew from the pieces that were checked, in ASCII, so that nobody
        can read another host from it.

        :raises InvalidRoute: it is not the URL of a host that is listed, or has what a base
            URL does not: credentials, a query, a fragment, dot segments.
        """
        match = _URL.fullmatch(url)
        if match is None or _TRICKS.search(unquote_to_bytes(match["path"])):
            raise InvalidRoute(_MESSAGE, param=_PARAM)
        scheme = match["scheme"].lower()
        port = int(match["port"] or _DEFAULT_PORTS[scheme])
        try:
            host = _address(match["ipv6"]) if match["ipv6"] else _host(match["host"])
        except ValueError:
            raise InvalidRoute(_MESSAGE, param=_PARAM) from None
        if port > _MAX_PORT or not self._lists_host(host, port):
            raise InvalidRoute(_MESSAGE, param=_PARAM)
        authority = f"[{host}]" if isinstance(host, ipaddress.IPv6Address) else str(host)
        if port != _DEFAULT_PORTS[scheme]:
            authority += f":{port}"
        return f"{scheme}://{authority}{match['path']}"

    def check_address(self, address: str | _Address, port: int) -> None:
        """Check that *address* may be connected to at *port*.

        :raises EgressRefused: it is neither public nor listed, or no address at all.
        """
        try:
            permitted = self._permits(_address(address), port)
        except ValueError:
            permitted = False
        if not permitted:
            raise EgressRefused

    def connect(
        self,
        host: str,
        port: int,
        *,
        timeout: _TYPE_TIMEOUT = urllib3.Timeout.DEFAULT_TIMEOUT,
        source_address: tuple[str, int] | None = None,
        socket_options: _TYPE_SOCKET_OPTIONS | None = None,
    ) -> socket.socket:
        """Connect to *host*, as ``urllib3.util.connection.create_connection`` does.

        The name is resolved once, and what is connected to is what was checked: a name server
        that would answer otherwise the next time is not asked again. Addresses that may not be
        connected to are passed over and logged.

        :raises EgressRefused: the host has only such addresses.
        :raises OSError: its name can't be resolved, or none of its other addresses reached.
        """
        host = host.strip("[]") if host.startswith("[") else host
        try:
            host.encode("idna")
        except UnicodeError:
            raise LocationParseError(f"'{host}', label empty or too long") from None
        answers = cast(
            "list[_Answer]",
            socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM),
        )
        permitted = [answer for answer in answers if self._permits_answer(host, answer)]
        if answers and not permitted:
            raise EgressRefused
        failure = OSError("getaddrinfo returns an empty list")
        try:
            for family, kind, protocol, _, sockaddr in permitted:
                sock = None
                try:
                    sock = socket.socket(family, kind, protocol)
                    for option in socket_options or ():
                        sock.setsockopt(*option)
                    if timeout is not urllib3.Timeout.DEFAULT_TIMEOUT:
                        sock.settimeout(cast("float | None", timeout))
                    if source_address:
                        sock.bind(source_address)
                    sock.connect(sockaddr)
                except OSError as error:
                    failure = error
                    if sock is not None:
                        sock.close()
                else:
                    return sock
            raise failure
        finally:
            # Its traceback refers to this frame, and this frame to it.
            del failure

    def _add(self, entry: str) -> None:
        """Take in one entry of the setting, or say that it is none."""
        try:
            host, port = _split_port(entry)
            wildcard = "*." if host.startswith("*.") else ""
            if ":" in host or "/" in host:
                self._networks.append((_network(host), port))
            elif host == "*":
                self._names.append((host, port))
            elif isinstance(name := _host(host.removeprefix(wildcard)), str):
                self._names.append((wildcard + name, port))
            else:
                # Not by its value as in a URL: to one who wrote 010.0.0.1 it may be another.
                self._networks.append((_network(host), port))
        except ValueError:
            raise ValueError(
                f"{_SETTING}: {entry!r} is not a host name, *.name, *, address or network, "
                "each with or without a :port"
            ) from None

    def _lists_host(self, host: str | _Address, port: int) -> bool:
        """Whether a URL with *host* is listed, whatever a name resolves to."""
        if not isinstance(host, str):
            return self._lists_address(host, port) and self._permits(host, port)
        return any(
            only in {None, port}
            and (name in {"*", host} or (name.startswith("*.") and host.endswith(name[1:])))
            for name, only in self._names
        )

    def _lists_address(self, address: _Address, port: int) -> bool:
        return any(
            only in {None, port} and address in network for network, only in self._networks
        )

    def _permits(self, address: _Address, port: int) -> bool:
        """Whether *address* may be connected to, and each IPv4 address that it stands for."""
        return all(self._permits(inner, port) for inner in _embedded(address)) and (
            self._lists_address(address, port) or _is_public(address)
        )

    def _permits_answer(self, host: str, answer: _Answer) -> bool:
        address, port = answer[4][:2]
        try:
            self.check_address(address, port)
        except EgressRefused:
            logger.warning(
                "Not connecting to %s for the custom host %r: the address is neither public "
                "nor in %s",
                address,
                host,
                _SETTING,
            )
            return False
        return True


class GuardedConnection(urllib3.connection.HTTPConnection):
    """A connection of urllib3's that connects only where its policy lets it.

    To be put before urllib3's own class, of either scheme, with the policy filled in::

        class Guarded(GuardedConnection, urllib3.connection.HTTPSConnection):
            egress = policy

    All that follows the connecting stays urllib3's, such as the check of a certificate against
    the host's name. Where a proxy is used, it is the proxy that is connected to and checked;
    what it connects to in turn can't be.
    """

    egress: ClassVar[EgressPolicy]

    def _new_conn(self) -> socket.socket:
        """Connect, and raise what urllib3 raises; but ``EgressRefused`` is let through."""
        try:
            sock = self.egress.connect(
                self._dns_host,
                self.port,
                timeout=self.timeout,
                source_address=self.source_address,
                socket_options=self.socket_options,
            )
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(
                self,
                f"Connection to {self.host} timed out. (connect timeout={self.timeout})",
            ) from error
        except OSError as error:
            raise NewConnectionError(
                self, f"Failed to establish a new connection: {error}"
            ) from error
        sys.audit("http.client.connect", self, self.host, self.port)
        return sock


def _split_port(entry: str) -> tuple[str, int | None]:
    """Return the host of an entry, without brackets, and its port if it has one."""
    port: str | None
    if match := _BRACKETED.fullmatch(entry):
        host, port = match["host"], match["port"]
    elif entry.count(":") > 1:
        host, port = entry, None
    else:
        host, colon, port = entry.partition(":")
        port = port if colon else None
    if port is None:
        return host, None
    if not _PORT.fullmatch(port) or int(port) > _MAX_PORT:
        raise ValueError(port)
    return host, int(port)


def _network(text: str) -> _Network:
    """Return the network, or the one address, that an entry names."""
    if not _NETWORK.fullmatch(text):  # ipaddress would take a netmask or a zone as well.
        raise ValueError(text)
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        start = int(network.network_address) & _LAST_32_BITS
        return ipaddress.IPv4Network((start, network.prefixlen - 96))
    return network


def _host(text: str) -> str | _Address:
    """Return *text* as an IPv4 address, if it is one in any spelling, or as a name.

    :raises ValueError: it is neither.
    """
    if len(text) > _MAX_NAME + 1:  # Before the encoding, which takes its time over long ones.
        raise ValueError(text)
    if not text.isascii():
        if _DELIMITERS.search(text):
            raise ValueError(text)
        # By urllib3, which is strict: it maps no other digits and dots to those of ASCII.
        text = parse_url(f"http://{text}").host or ""
    text = text.lower().removesuffix(".")
    labels = text.split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        try:
            # As the resolver reads it: with one to four parts, each maybe octal or hexadecimal.
            return ipaddress.IPv4Address(socket.inet_aton(text))
        except OSError:
            raise ValueError(text) from None
    if len(text) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(text)
    return text


def _address(value: str | _Address) -> _Address:
    """Return *value* as an address, an IPv4-mapped one as the IPv4 address that it is.

    :raises ValueError: it is none.
    """
    address = ipaddress.ip_address(value)
    return _last_32_bits(address) if address in _MAPPED else address


def _embedded(address: _Address) -> tuple[_Address, ...]:
    """Return the IPv4 addresses that an IPv6 address would lead to."""
    if isinstance(address, ipaddress.IPv4Address) or address in _OWN_IPV6:
        return ()
    if address.teredo:
        return address.teredo  # The server's and the client's.
    if address.sixtofour:
        return (address.sixtofour,)
    if any(address in network for network in _ENDS_IN_IPV4):
        return (_last_32_bits(address),)
    return ()


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _SPECIAL_IPV4)
    return address in _NAT64 or (
        address in _GLOBAL_IPV6 and not any(address in network for network in _SPECIAL_IPV6)
    )


def _last_32_bits(address: _Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & _LAST_32_BITS)
