"""Sending instances: every file of a set on one association, the stored bytes as they are (PS3.4 Annex B)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config
from pynetdicom.association import Association

from dicom_node.dimse.peer import CONTEXTS_AT_MOST, Peer, Proposal, Timeouts, associate, no_answer
from dicom_node.errors import DeliveryError, PermanentDeliveryError, TransientDeliveryError

# A file goes out in pieces, straight from the disk, and its bytes are not decoded on the way.
_config.STORE_SEND_CHUNKED_DATASET = True

SUCCESS = 0x0000
#: Accepted, with something to say (PS3.4 Table B.2-1).
WARNINGS = {
    # Our UIDs are derived and our bytes fixed, so what the peer holds is this object: it was sent before a crash kept
    # us from noting so. Whether it is whole, storage commitment decides.
    0x0111: "it has this SOP instance already",
    0xB000: "some elements were coerced",
    0xB006: "some elements were discarded",
    0xB007: "the data set does not match its SOP class",
}
#: What a status means, by (mask, value), the first that fits. The last word is whether a later try may succeed.
FAILURES: tuple[tuple[int, int, str, bool], ...] = (
    (0xFF00, 0xA700, "it is out of resources", True),
    (0xFF00, 0xA900, "the data set does not match its SOP class", False),
    (0xF000, 0xC000, "it cannot understand the data set", False),
    (0xFFFF, 0x0110, "it failed while processing", True),
    (0xFFFF, 0x0112, "it knows no such object", False),
    (0xFFFF, 0x0117, "it finds the SOP instance UID invalid", False),
    (0xFFFF, 0x0119, "class and instance do not agree", False),
    (0xFFFF, 0x0122, "it does not support the SOP class", False),
    (0xFFFF, 0x0124, "it does not allow us to store", False),
    (0xFFFF, 0x0210, "it finds the message a duplicate", True),
    (0xFFFF, 0x0211, "it does not recognise the operation", False),
    (0xFFFF, 0x0212, "it finds an argument mistyped", False),
    (0xFFFF, 0x0213, "it is limited in resources", True),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    :ivar status: the DIMSE status, None when there was no answer.
    :ivar comment: what the peer said about an object it accepted with a warning.
    :ivar error: why it was not accepted; None when it was.
    """

    path: Path
    status: int | None = None
    comment: str | None = None
    error: DeliveryError | None = None


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    sop_class_uid: str
    transfer_syntax_uid: UID


def send_instances(
    peer: Peer, calling_ae_title: str, paths: Sequence[Path], timeouts: Timeouts | None = None
) -> list[Outcome]:
    """Send files on one association and say for each what became of it, in the order given.

    Never raises for what a peer does: a refused or broken association is the error of each file it left unsent.
    """
    timeouts = timeouts or Timeouts()
    outcomes: dict[int, Outcome] = {}
    files: dict[int, _File] = {}
    for place, path in enumerate(paths):
        try:
            files[place] = _look(path)
        except PermanentDeliveryError as error:
            outcomes[place] = Outcome(path, error=error)
    if files:
        try:
            proposals = _proposals(list(files.values()))
            with associate(peer, calling_ae_title, proposals, timeouts) as association:
                for place, file in files.items():
                    outcomes[place] = _send(association, peer, file, timeouts)
                    if outcomes[place].status is None and isinstance(outcomes[place].error, TransientDeliveryError):
                        break  # there is no association any more
        except DeliveryError as error:
            lost: DeliveryError = error
        else:
            lost = TransientDeliveryError(f"the association with {peer} ended before this object's turn")
        for place, file in files.items():
            outcomes.setdefault(place, Outcome(file.path, error=lost))
    return [outcomes[place] for place in range(len(paths))]


def check_contexts(
    peer: Peer, calling_ae_title: str, kinds: Sequence[tuple[str, str]], timeouts: Timeouts | None = None
) -> dict[tuple[str, str], bool]:
    """Ask which (SOP class, transfer syntax) pairs a peer would take, without sending anything.

    :raises DeliveryError: when there is no association to ask on.
    """
    proposals = [Proposal(sop_class, (syntax,)) for sop_class, syntax in kinds]
    with associate(peer, calling_ae_title, proposals, timeouts or Timeouts()) as association:
        accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
    return {kind: kind in accepted for kind in kinds}


def _look(path: Path) -> _File:
    try:
        meta = read_file_meta_info(path)
        file = _File(path, str(meta.MediaStorageSOPClassUID), UID(meta.TransferSyntaxUID))
    except InvalidDicomError as error:
        raise PermanentDeliveryError(
            f"{path.name} is not a DICOM file: it does not begin as one (PS3.10 7.1)"
        ) from error
    except OSError as error:
        raise PermanentDeliveryError(f"{path.name} cannot be read: {error.strerror}") from error
    except Exception as error:  # pydicom has no one error for what it cannot read
        why = "its file meta information does not say what it is"
        raise PermanentDeliveryError(f"{path.name} cannot be sent: {why}") from error
    if not (UID(file.sop_class_uid).is_valid and file.transfer_syntax_uid.is_valid):
        # Proposing it would fail, and with it the association of all the others.
        raise PermanentDeliveryError(f"{path.name} cannot be sent: its file meta information is damaged")
    return file


def _proposals(files: Sequence[_File]) -> list[Proposal]:
    """One context for each class and syntax; what is not compressed may also go as Implicit VR Little Endian."""
    wanted: dict[tuple[str, str], None] = {}
    for file in files:
        wanted[file.sop_class_uid, str(file.transfer_syntax_uid)] = None
    for file in files:
        if _convertible(file.transfer_syntax_uid):
            wanted[file.sop_class_uid, str(ImplicitVRLittleEndian)] = None
    return [Proposal(sop_class, (syntax,)) for sop_class, syntax in list(wanted)[:CONTEXTS_AT_MOST]]


def _convertible(syntax: UID) -> bool:
    return syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)


def _send(association: Association, peer: Peer, file: _File, timeouts: Timeouts) -> Outcome:
    accepted = {
        str(context.transfer_syntax[0])
        for context in association.accepted_contexts
        if context.abstract_syntax == file.sop_class_uid
    }
    begun = time.monotonic()
    try:
        if str(file.transfer_syntax_uid) in accepted:
            status = association.send_c_store(file.path)
        elif accepted and _convertible(file.transfer_syntax_uid):
            status = association.send_c_store(dcmread(file.path))  # pynetdicom encodes it for the context
        else:
            name = UID(file.sop_class_uid).name
            return Outcome(
                file.path,
                error=PermanentDeliveryError(
                    f"{peer} accepts no presentation context for {name} in {file.transfer_syntax_uid.name}"
                ),
            )
    except RuntimeError:  # pynetdicom: the association is gone
        return Outcome(file.path, error=no_answer(peer, association, timeouts, time.monotonic() - begun))
    except (OSError, ValueError, AttributeError, InvalidDicomError) as error:
        return Outcome(file.path, error=PermanentDeliveryError(f"{file.path.name} cannot be sent: {error}"))
    if "Status" not in status:
        return Outcome(file.path, error=no_answer(peer, association, timeouts, time.monotonic() - begun))
    return _judge(peer, file.path, int(status.Status), str(status.get("ErrorComment", "") or ""))


def _judge(peer: Peer, path: Path, status: int, comment: str) -> Outcome:
    said = f" ({comment})" if comment else ""
    if status == SUCCESS:
        return Outcome(path, status)
    if status in WARNINGS or 0xB000 <= status <= 0xBFFF:  # noqa: PLR2004 - the whole range warns (PS3.7 C.3)
        return Outcome(path, status, comment=f"accepted with {status:04X}: {WARNINGS.get(status, 'a warning')}{said}")
    why, retryable = next(
        ((why, retryable) for mask, value, why, retryable in FAILURES if status & mask == value),
        ("for a reason of its own", True),
    )
    kind = TransientDeliveryError if retryable else PermanentDeliveryError
    return Outcome(path, status, error=kind(f"{peer} answered {status:04X}: {why}{said}", status=status))
