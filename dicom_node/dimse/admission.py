"""Who may associate: one pure decision per association request (PS3.8 9.3.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from dicom_node.config import Config
from dicom_node.dimse.contexts import Purpose
from dicom_node.dimse.handlers import Caller

Resolve = Callable[[str], frozenset[str]]

PERMANENT, TRANSIENT = 1, 2  # results
SERVICE_USER, ACSE, PRESENTATION = 1, 2, 3  # sources


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ: the three codes for the caller, the reason in plain words for our log."""

    result: int
    source: int
    diagnostic: int
    reason: str


def admit(caller: Caller, config: Config, resolve: Resolve) -> Purpose | Rejection:
    """Decide what a caller may do here, or why it may not associate at all.

    :param resolve: gives the addresses of a host name; only asked when the configuration names a host.
    """
    ours = config.node.ae_title
    if caller.called_ae_title != ours:
        reason = f"it called {caller.called_ae_title!r}, but this node is {ours!r}: correct the AE title on the scanner"
        return Rejection(PERMANENT, SERVICE_USER, 7, reason)
    title = caller.calling_ae_title
    listed = any(scanner.ae_title == title for scanner in config.scanners)
    if not listed and any(destination.ae_title == title for destination in config.destinations):
        return Purpose.DESTINATION
    scanner = config.scanner(title)
    if scanner is None:
        reason = f"the calling AE title {title!r} is unknown: add it under scanners in config.yaml to let it send"
        return Rejection(PERMANENT, SERVICE_USER, 3, reason)
    if scanner.host is not None and not _same_host(caller.host, scanner.host, resolve):
        reason = f"{title!r} is only accepted from {scanner.host}, but this came from {caller.host}"
        return Rejection(PERMANENT, SERVICE_USER, 3, reason)
    return Purpose.SCANNER


def too_many(limit: int) -> Rejection:
    """Say that the limit of simultaneous associations is reached (local limit exceeded)."""
    return Rejection(TRANSIENT, PRESENTATION, 2, f"{limit} associations are open, which is the limit of this receiver")


def most_for_one_caller(limit: int) -> int:
    """Say how many associations one caller may have open: a fifth of them is always left to others."""
    return max(1, limit * 4 // 5)


def too_many_of_one(most: int) -> Rejection:
    """Say that a caller has all the associations that one caller may have."""
    return Rejection(TRANSIENT, PRESENTATION, 2, f"{most} associations of this caller are open: the rest is for others")


def out_of_order(reason: str) -> Rejection:
    """Say that the node cannot take associations just now (temporary congestion)."""
    return Rejection(TRANSIENT, PRESENTATION, 1, reason)


def plain_address(host: str) -> str:
    """Give an address in its shortest form, IPv4 also where the socket speaks IPv6."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return str(getattr(address, "ipv4_mapped", None) or address)


def _same_host(actual: str, expected: str, resolve: Resolve) -> bool:
    actual = plain_address(actual)
    return actual == plain_address(expected) or actual in {plain_address(address) for address in resolve(expected)}
