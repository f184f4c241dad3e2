"""The one table of what the node accepts, and the negotiation of presentation contexts in plain words.

Classes and syntaxes: design note "Input facts" in docs; negotiation: PS3.8 9.3.3 and PS3.7 D.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pydicom.config import IGNORE
from pydicom.uid import UID

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT_PUSH = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_PUSH_INSTANCE = "1.2.840.10008.1.20.1.1"  #: the well-known instance (PS3.4 J.3.5)
MODALITY_PERFORMED_PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.3"

STORAGE_CLASSES = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{leaf}"
    for leaf in (
        "6.1",  # Ultrasound Image
        "3.1",  # Ultrasound Multi-frame Image
        "6",  # Ultrasound Image (retired)
        "3",  # Ultrasound Multi-frame Image (retired)
        "7",  # Secondary Capture Image
        "7.1",  # Multi-frame Single Bit Secondary Capture
        "7.2",  # Multi-frame Grayscale Byte Secondary Capture
        "7.3",  # Multi-frame Grayscale Word Secondary Capture
        "7.4",  # Multi-frame True Colour Secondary Capture
        "88.11",  # Basic Text SR
        "88.22",  # Enhanced SR
        "88.33",  # Comprehensive SR
        "88.34",  # Comprehensive 3D SR
    )
)

UNCOMPRESSED = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})

#: Everything scanners are known to propose. What no decoder here reads is stored all the same.
STORAGE_SYNTAXES = UNCOMPRESSED | {
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.5",  # RLE Lossless
    *(f"1.2.840.10008.1.2.4.{leaf}" for leaf in (50, 51, 57, 70, 80, 81, 90, 91)),  # JPEG, JPEG-LS, JPEG 2000
    *(f"1.2.840.10008.1.2.4.{leaf}" for leaf in (100, "100.1", 101, "101.1")),  # MPEG-2
    *(f"1.2.840.10008.1.2.4.{leaf}" for leaf in (102, "102.1", 103, "103.1", 104, "104.1", 105, "105.1", 106, "106.1")),
    *(f"1.2.840.10008.1.2.4.{leaf}" for leaf in (107, 108)),  # HEVC
    *(f"1.2.840.10008.1.2.4.{leaf}" for leaf in (201, 202, 203)),  # High-throughput JPEG 2000
}

_SERVICE_SYNTAXES = UNCOMPRESSED


class Purpose(StrEnum):
    """What a caller may do here."""

    SCANNER = "scanner"  #: store, report procedure steps, ask for commitment
    DESTINATION = "destination"  #: verify, and report the commitment of what we sent


ACCEPTED: dict[Purpose, dict[str, frozenset[str]]] = {
    Purpose.SCANNER: {
        VERIFICATION: _SERVICE_SYNTAXES,
        STORAGE_COMMITMENT_PUSH: _SERVICE_SYNTAXES,
        MODALITY_PERFORMED_PROCEDURE_STEP: _SERVICE_SYNTAXES,
        **dict.fromkeys(STORAGE_CLASSES, STORAGE_SYNTAXES),
    },
    Purpose.DESTINATION: {VERIFICATION: _SERVICE_SYNTAXES, STORAGE_COMMITMENT_PUSH: _SERVICE_SYNTAXES},
}


class ContextResult:
    """Result of one presentation context (PS3.8 Table 9-18)."""

    ACCEPTED = 0
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """One presentation context as the caller proposed it."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextDecision:
    """What became of a proposed context; ``reason`` is for people, with what to do about it."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    result: int
    transfer_syntax: str | None
    reason: str | None

    @property
    def accepted(self) -> bool:
        """Whether the caller may use it."""
        return self.result == ContextResult.ACCEPTED

    def as_row(self) -> dict[str, Any]:
        """Give the shape that the association log keeps."""
        row = asdict(self)
        row["transfer_syntaxes"] = list(self.transfer_syntaxes)
        row["accepted"] = self.accepted
        del row["result"]
        return row


def negotiate(proposed: Iterable[ProposedContext], purpose: Purpose) -> list[ContextDecision]:
    """Decide each proposed context: the first acceptable transfer syntax, in the caller's own order."""
    return [_decide(context, purpose) for context in proposed]


def _decide(context: ProposedContext, purpose: Purpose) -> ContextDecision:
    def decision(result: int, transfer_syntax: str | None, reason: str | None) -> ContextDecision:
        return ContextDecision(
            context.id, context.abstract_syntax, context.transfer_syntaxes, result, transfer_syntax, reason
        )

    syntaxes = ACCEPTED[purpose].get(context.abstract_syntax)
    if syntaxes is None:
        return decision(ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, None, _why_not(context.abstract_syntax, purpose))
    chosen = next((syntax for syntax in context.transfer_syntaxes if syntax in syntaxes), None)
    if chosen is None:
        offered = ", ".join(_name(syntax) for syntax in context.transfer_syntaxes) or "none at all"
        reason = (
            f"no common transfer syntax for {_name(context.abstract_syntax)}: it was offered with {offered}; "
            "set the sender to Explicit VR Little Endian or JPEG Baseline"
        )
        return decision(ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, None, reason)
    return decision(ContextResult.ACCEPTED, chosen, None)


def _why_not(abstract_syntax: str, purpose: Purpose) -> str:
    name = _name(abstract_syntax)
    if abstract_syntax in ACCEPTED[Purpose.SCANNER] and purpose is Purpose.DESTINATION:
        return f"{name}: the caller is a destination, not a scanner; list its AE title under scanners to let it send"
    if abstract_syntax.startswith("1.2.840.10008.5.1.4.1.1."):
        return f"{name} is not an ultrasound class: exclude it from what the scanner sends to this node"
    if not abstract_syntax.startswith("1.2.840.10008."):
        return f"{abstract_syntax} is a private class: set the scanner to send standard ultrasound objects"
    return f"{name}: a service that this node does not offer; nothing is lost by its refusal"


def _name(uid: str) -> str:
    """Name what the standard names; whatever else was proposed is its own name, malformed or not."""
    return UID(uid, IGNORE).name
