"""Who is answered: whoever knows the token in the address and asks for this machine by name."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
"""The address that only this machine reaches."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Guard:
    """The checks that every request passes before anything of it is used.

    A path begins with a token that nobody can guess, so that other users of the machine and scripts
    of other sites are refused; a request has to name this machine, so that a site whose name points
    here is refused too; a browser that says where a page came from has to say this one.

    Args:
        host: the address that is listened on; on the loopback only its usual names are accepted, on
            others any number, that name and the machine's own.
        token: part of the path; a new one by default.

    Example:
        >>> guard = Guard(LOOPBACK, "secret")
        >>> guard.name("/secret/report", "127.0.0.1:80")
        'report'
        >>> guard.name("/secret/report", "evil.example") is None
        True
    """

    def __init__(self, host: str, token: str | None = None) -> None:
        self.host, self.token = host, token or secrets.token_urlsafe(16)

    def name(self, path: str, host: str, origin: str | None = None) -> str | None:
        """What is asked for below the token ("" is the first page), or None for whoever is refused.

        Args:
            path: as requested, with its query.
            host, origin: the headers; None for an origin that is not sent.
        """
        if not self._names_this(host):
            return None
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return None
        parts = path.partition("?")[0].split("/", 2)
        given = parts[1] if len(parts) > 1 else ""
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            return None
        return parts[2] if len(parts) > 2 else ""

    def _names_this(self, named: str) -> bool:
        """Whether the Host of a request is this machine."""
        host = named.rsplit(":", 1)[0] if not named.endswith("]") else named
        host = host.strip("[]").lower()
        if host in (LOOPBACK, "localhost", "::1"):
            return True
        if is_loopback(self.host):
            return host == self.host.lower()
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return host in (self.host.lower(), socket.gethostname().lower())
        return True
