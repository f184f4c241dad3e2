"""What is asked before go-live: does a destination answer, and which of our objects would it take."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from dicom_node.config import Config, Destination
from dicom_node.dimse.peer import echo, peer_of
from dicom_node.dimse.storage_scu import check_contexts
from dicom_node.errors import DeliveryError
from dicom_node.profile import SR_CLASSES, ObjectKind
from dicom_node.results import captures, key_object, presentation, segmentation

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
NOT_OFFERED = "not offered: set `commitment: false` for this destination, or results stay delivered, never committed"
PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)  #: what is not compressed is sent as either
JPEG = (JPEGBaseline8Bit,)

Sent = tuple[str, tuple[UID, ...]]  #: a SOP class, and the transfer syntaxes of which one suffices


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
    destination = config.known_destination(name)
    peer = peer_of(config, destination)
    try:
        echo(peer, config.node.ae_title)
        checks = [Check("answers a C-ECHO", good=True, detail=str(peer))]
    except DeliveryError as error:
        return [Check("answers a C-ECHO", good=False, detail=str(error))]
    wanted = sent_to(destination)
    try:
        accepted = check_contexts(
            peer, config.node.ae_title, [(uid, syntax) for uid, syntaxes in wanted for syntax in syntaxes]
        )
    except DeliveryError as error:
        return [*checks, Check("accepts our presentation contexts", good=False, detail=str(error))]
    for uid, syntaxes in wanted:
        taken = [syntax.name for syntax in syntaxes if accepted[uid, syntax]]
        form = " as JPEG" if syntaxes == JPEG else ""
        otherwise = NOT_OFFERED if uid == STORAGE_COMMITMENT else "no transfer syntax"
        checks.append(Check(f"accepts {UID(uid).name}{form}", bool(taken), ", ".join(taken) or otherwise))
    return checks


def sent_to(destination: Destination) -> list[Sent]:
    """List what a destination is sent, in every form that the objects of its profile may have."""
    profile = destination.profile
    report = (SR_CLASSES[profile.sr_class], PLAIN)
    capture = JPEG if profile.encoding == "jpeg" else PLAIN
    states = (presentation.COLOUR_SOP_CLASS_UID, presentation.GREY_SOP_CLASS_UID)  # by what the images are
    forms: dict[ObjectKind, list[Sent]] = {
        "findings_sr": [report],
        "biometry_sr": [report],
        "secondary_capture": [(captures.SOP_CLASS_UID, capture)],
        # whatever the encoding, a long one is JPEG
        "cine_capture": [(captures.CINE_SOP_CLASS_UID, capture), (captures.CINE_SOP_CLASS_UID, JPEG)],
        "segmentation": [(segmentation.SOP_CLASS_UID, PLAIN)],
        "presentation_state": [(uid, PLAIN) for uid in states],
        "key_object": [(key_object.SOP_CLASS_UID, PLAIN)],
    }
    sent = [form for kind in profile.objects for form in forms[kind]]
    return list(dict.fromkeys([*sent, (STORAGE_COMMITMENT, PLAIN)] if destination.commitment else sent))
