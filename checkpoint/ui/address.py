"""Address: where the page is served, and the secret in it; a host that others could reach is refused.

Must not know: what is served.

Next: ui/guard.py
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from typing import Self, final

__all__ = ["Address"]


@final
class Address:
    """A socket on the loopback interface, and a random token without which nobody is answered.

    Attributes:
        socket: bound, and listening.
        token: what the address that a person is given ends in.
        form_token: what each form that changes something sends back.
    """

    def __init__(self, bound: socket.socket, host: str) -> None:
        self.socket = bound
        self.port: int = bound.getsockname()[1]
        self.token = secrets.token_urlsafe(24)
        self.form_token = secrets.token_urlsafe(24)
        self._host = f"[{host}]" if ":" in host else host

    @classmethod
    def at(cls, host: str, port: int) -> Self:
        """Return the address at a host and a port; 0 is any free one.

        Raises:
            ValueError: the host is not this computer alone.
            OSError: the port is taken, or may not be used.
        """
        if not _is_loopback(host):
            raise ValueError(
                f"cannot serve on {host!r}: whoever reaches the page can read the store, so it is for this computer "
                "alone; use 127.0.0.1, ::1 or localhost, and from elsewhere a tunnel such as ssh -L 8000:127.0.0.1:8000"
            )
        host = "127.0.0.1" if host == "localhost" else host
        bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, port))
            bound.listen(128)
        except BaseException:
            bound.close()
            raise
        return cls(bound, host)

    @property
    def origins(self) -> frozenset[str]:
        """What a browser calls pages from here, as an Origin."""
        return frozenset(f"http://{host}" for host in self.hosts)

    @property
    def hosts(self) -> frozenset[str]:
        """What a browser asks for, as a Host. A name that somebody made to lead here is not among them."""
        return frozenset(f"{host}:{self.port}" for host in (self._host, "localhost"))

    @property
    def cookie(self) -> str:
        """Name of the cookie that has the token; ports share cookies, so it has the port."""
        return f"checkpoint-{self.port}"

    @property
    def url(self) -> str:
        """What a person opens."""
        return f"http://{self._host}:{self.port}/?token={self.token}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
