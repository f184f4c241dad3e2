"""What is asked before go-live: does a destination answer, and which of our objects would it take."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.config import Config
from dicom_node.dimse.peer import echo, peer_of
from dicom_node.dimse.storage_scu import check_contexts
from dicom_node.errors import BadInput, DeliveryError

COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
NOT_OFFERED = "not offered: set `commitment: false` for this destination, or results stay delivered, never committed"
CLASSES = {
    "findings_sr": COMPREHENSIVE_SR,
    "biometry_sr": COMPREHENSIVE_SR,
    "secondary_capture": SECONDARY_CAPTURE,
}


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer."""

    what: str
    good: bool
    detail: str


def check_destination(config: Config, name: str) -> list[Check]:
    """Ask a destination everything that a delivery will need. Nothing is stored there.

    :raises BadInput: when there is no destination of this name.
    """
    destination = config.destination(name)
    if destination is None:
        raise unknown_destination(config, name)
    peer = peer_of(config, destination)
    try:
        echo(peer, config.node.ae_title)
        checks = [Check("answers a C-ECHO", good=True, detail=str(peer))]
    except DeliveryError as error:
        return [Check("answers a C-ECHO", good=False, detail=str(error))]
    classes = dict.fromkeys(CLASSES[kind] for kind in destination.send)
    if destination.commitment:
        classes[STORAGE_COMMITMENT] = None
    kinds = [(uid, syntax) for uid in classes for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)]
    try:
        accepted = check_contexts(peer, config.node.ae_title, kinds)
    except DeliveryError as error:
        return [*checks, Check("accepts our presentation contexts", good=False, detail=str(error))]
    for uid in classes:
        syntaxes = [UID(syntax).name for (sop_class, syntax), yes in accepted.items() if sop_class == uid and yes]
        otherwise = NOT_OFFERED if uid == STORAGE_COMMITMENT else "no transfer syntax"
        checks.append(Check(f"accepts {UID(uid).name}", bool(syntaxes), ", ".join(syntaxes) or otherwise))
    return checks


def unknown_destination(config: Config, name: str) -> BadInput:
    """Say that a name is not among the destinations, and what is."""
    known = ", ".join(destination.name for destination in config.destinations) or "none"
    return BadInput(f"no destination is named {name!r}; the configuration has: {known}")
