"""Ports for processes that a test starts later."""

import random
import socket

__all__ = ["free_ports"]

BELOW_EPHEMERAL = range(20_000, 32_000)
"""The system gives none of these to a connection or to another test that asks for any port."""


def free_ports(count: int) -> list[int]:
    """Different ports of this machine that nobody listens on now."""
    ports = random.SystemRandom().sample(BELOW_EPHEMERAL, len(BELOW_EPHEMERAL))
    return [port for port in ports[: 10 * count] if _is_free(port)][:count]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
