"""Run a command on a machine that has no network but its own loopback, and count what it tried to send elsewhere.

    unshare --net python no_network.py COUNTS COMMAND...

The kernel counts every packet and connection for which there was no route; the numbers go to the file COUNTS.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import sys
from pathlib import Path

SET_FLAGS, UP = 0x8914, 0x1  # SIOCSIFFLAGS, IFF_UP (linux/if.h)


def raise_loopback() -> None:
    """Switch the loopback interface on: a new network namespace has it switched off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sh14x", b"lo", UP))


def unroutable() -> dict[str, int]:
    """Read how often something was to leave this machine, by IP version."""
    names, numbers = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line[:3] == "Ip:"]
    newer = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return {
        "IPv4": int(dict(zip(names, numbers, strict=True))["OutNoRoutes"]),
        "IPv6": int(newer.get("Ip6OutNoRoutes", 0)),
    }


if __name__ == "__main__":
    raise_loopback()
    outcome = subprocess.run(sys.argv[2:], check=False)
    Path(sys.argv[1]).write_text(json.dumps(unroutable()), encoding="utf-8")
    sys.exit(outcome.returncode)
