"""Whether the Ray that a driver works with is still there. Ray tells of workers and of other nodes
that died; of its own scheduler on the driver's node it does not (a driver would wait for ever), and
without its control service it ends the driver's process after a minute."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

SECONDS = 1.0
"""That an answer may take. A busy machine that does not answer in time is not taken for dead: only
a refusal is, for it says that nobody listens any more."""


class Pulse:
    """Asks the two processes that a driver cannot work without.

    Args:
        addresses: of ``ray.init``; empty where the driver is only a client of a cluster, which
            notices a lost connection itself.
    """

    def __init__(self, addresses: Mapping[str, Any]) -> None:
        self._raylet = str(addresses.get("raylet_socket_name") or "")
        self._control = str(addresses.get("gcs_address") or "")

    def lost(self) -> str:
        """What has died, in words; empty while all is well."""
        if self._raylet and hasattr(socket, "AF_UNIX") and _refused(self._raylet):
            return "its scheduler on this machine (raylet) has died"
        host, _, port = self._control.rpartition(":")
        if port.isdigit() and _refused((host.strip("[]"), int(port))):
            return f"its control service at {self._control} has died"
        return ""


def _refused(place: str | tuple[str, int]) -> bool:
    """Whether nobody listens at a socket's path, or at a host and port."""
    try:
        if isinstance(place, str):
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(SECONDS)
                line.connect(place)
        else:
            socket.create_connection(place, SECONDS).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except OSError:
        return False
    return False
