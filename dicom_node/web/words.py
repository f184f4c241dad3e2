"""The words of the pages: what each state means, how long ago something was, what a DIMSE status says."""

from __future__ import annotations

from datetime import datetime

from pydicom.uid import UID

#: What a badge means, shown beside it on hovering. One word, one meaning; the colour only repeats the word.
MEANINGS = {
    # studies
    "receiving": "instances may still come",
    "closed": "complete, waits for analysis",
    "analysed": "result objects are stored; some are still to be sent",
    "delivered": "every destination accepted every object; less than committed",
    "committed": "the destination took responsibility for the objects (storage commitment)",
    "failed": "given up, or a report or capture was held back by the conformance gate; an operator may retry",
    # deliveries and commitments
    "pending": "to be sent, now or later",
    "cancelled": "given up by a person, or replaced by a newer answer; it is never sent",
    "sent": "the destination answered success; less than committed",
    "requested": "the destination was asked to commit; no answer yet",
    "confirmed": "the destination committed every object",
    "unconfirmed": "no answer in time; it is asked again",
    # instances and results
    "stored": "kept, and used for the analysis",
    "conflict": "other bytes under a known SOP Instance UID: kept beside, not analysed",
    "quarantined": "kept but not used",
    "removed": "its bytes were removed by retention",
    "ready": "passed the conformance gate",
    # associations
    "open": "under way",
    "released": "ended as it should",
    "aborted": "ended on purpose by one side; every acknowledged instance is kept",
    "lost": "the connection broke; every acknowledged instance is kept",
    "rejected": "not let in",
}

#: The walk of a study, in order.
STEPS = ("receiving", "closed", "analysed", "delivered", "committed")

KINDS = {
    "findings_sr": "findings report (TID 1500)",
    "biometry_sr": "biometry report (TID 5000)",
    "secondary_capture": "secondary capture",
    "cine_capture": "cine overlay",
    "segmentation": "segmentation",
    "presentation_state": "presentation state",
    "key_object": "key object",
}

# C-STORE answers: PS3.4 Table B.2-1 and PS3.7 Annex C.
_STATUSES = {
    0x0000: "success",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such SOP instance",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class-instance conflict",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xB000: "accepted, but it coerced data elements",
    0xB006: "accepted, but it discarded elements",
    0xB007: "accepted, but the data set does not match the SOP class",
    0xFE00: "cancelled",
}
_STATUS_FAMILIES = {0xA700: "out of resources", 0xA800: "SOP class not supported", 0xA900: "data set does not match"}
_CANNOT_UNDERSTAND = 0xC000

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def status_hex(status: int | None) -> str:
    """Write a DIMSE status as people look it up: ``0xA700``; an empty text when there was no answer."""
    return "" if status is None else f"0x{status:04X}"


def status_words(status: int | None) -> str:
    """Say what a C-STORE status means (PS3.4 Table B.2-1, PS3.7 Annex C)."""
    if status is None:
        return "no answer"
    if status in _STATUSES:
        return _STATUSES[status]
    if status & 0xF000 == _CANNOT_UNDERSTAND:
        return "cannot understand the data set"
    return _STATUS_FAMILIES.get(status & 0xFF00, "a status of the destination's own")


def duration(seconds: float) -> str:
    """Say how long something took or lies back, to one unit."""
    seconds = max(0.0, seconds)
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < _HOUR_S:
        return f"{seconds // _MINUTE_S:.0f} min"
    if seconds < 2 * _DAY_S:
        return f"{seconds // _HOUR_S:.0f} h"
    return f"{seconds // _DAY_S:.0f} days"


def distance(then: datetime, now: datetime) -> str:
    """Say how far a time is from ``now``, in either direction."""
    seconds = (now - then).total_seconds()
    return f"in {duration(-seconds)}" if seconds < 0 else f"{duration(seconds)} ago"


def uid_name(uid: str) -> str:
    """Name a SOP class or transfer syntax; the UID itself when the standard does not list it."""
    return UID(uid).name


def short_uid(uid: str) -> str:
    """Shorten a long UID to its two ends: the ends are what differs."""
    head, tail, most = 10, 12, 26
    return uid if len(uid) <= most else f"{uid[:head]}…{uid[-tail:]}"
