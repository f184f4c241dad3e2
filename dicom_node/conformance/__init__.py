"""The DICOM conformance statement (PS3.2): prose from `statement.md`, every table from the code that it speaks of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import get_args

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from dicom_node import __version__
from dicom_node.config import Config, Tls
from dicom_node.dimse import commitment, connection, contexts, peer, storage_scu
from dicom_node.dimse.association_pdus import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.dimse.status import Status
from dicom_node.domain.concept import Concept
from dicom_node.inference.manifest import Manifest
from dicom_node.profile import (
    DEFAULT_OBJECTS,
    SERIES_NUMBERS,
    SR_CLASSES,
    CaptureModality,
    Encoding,
    ObjectKind,
    SrClass,
)
from dicom_node.results import captures, codes, key_object, presentation, scanner_sr, segmentation, tid_5000

_TEMPLATE = Path(__file__).with_name("statement.md")
_UNCOMPRESSED = sorted(contexts.UNCOMPRESSED)

#: The SOP classes of each kind of result, the default first.
RESULT_CLASSES: dict[ObjectKind, tuple[str, ...]] = {
    "findings_sr": tuple(SR_CLASSES.values()),
    "biometry_sr": tuple(SR_CLASSES.values()),
    "secondary_capture": (captures.SOP_CLASS_UID,),
    "segmentation": (segmentation.SOP_CLASS_UID,),
    "cine_capture": (captures.CINE_SOP_CLASS_UID,),
    "presentation_state": (presentation.COLOUR_SOP_CLASS_UID, presentation.GREY_SOP_CLASS_UID),
    "key_object": (key_object.SOP_CLASS_UID,),
}


def statement(models: Path) -> str:
    """Write the statement of this version, with the findings of the models in a folder, as Markdown."""
    defaults = Config()
    requestor, acceptor = peer.Timeouts(), connection.Timeouts()
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        version=__version__,
        services=_services(),
        storage_classes=_table(["SOP class", "UID"], map(_named, sorted(contexts.STORAGE_CLASSES, key=_by_number))),
        transfer_syntaxes=_table(
            ["transfer syntax", "UID", "pictures are analysed"],
            ((*_named(uid), _is_decoded(uid)) for uid in sorted(contexts.STORAGE_SYNTAXES, key=_by_number)),
        ),
        service_syntaxes=_names(_UNCOMPRESSED),
        store_statuses=_table(
            ["status", "name"],
            ((f"{status:04X}", status.name.lower().replace("_", " ")) for status in sorted(Status)),
        ),
        result_classes=_result_classes(),
        commitment_syntaxes=_names(commitment.SYNTAXES),
        warnings=_table(["status", "meaning"], ((f"{code:04X}", what) for code, what in storage_scu.WARNINGS.items())),
        failures=_table(
            ["status", "meaning", "tried again"],
            ((_status(*it[:2]), it[2], "yes" if it[3] else "no") for it in storage_scu.FAILURES),
        ),
        association=_table(
            ["parameter", "as acceptor", "as requestor"],
            [
                ("maximum PDU length offered", f"{connection.MAXIMUM_PDU_BYTES} bytes", "unlimited (0)"),
                ("implementation class UID", IMPLEMENTATION_CLASS_UID, PYNETDICOM_IMPLEMENTATION_UID),
                ("implementation version name", IMPLEMENTATION_VERSION_NAME, PYNETDICOM_IMPLEMENTATION_VERSION),
                ("associations at once, each receiver", f"{defaults.dicom.max_associations} *", "no limit"),
                ("presentation contexts", "all that are proposed are judged", f"at most {peer.CONTEXTS_AT_MOST}"),
                ("waits for the connection", "-", f"{requestor.connect_s:g} s"),
                ("waits for the association", f"{acceptor.acse_s:g} s", f"{requestor.acse_s:g} s"),
                ("waits inside a message", f"{acceptor.dimse_s:g} s", f"{requestor.dimse_s:g} s"),
                ("waits between messages", f"{acceptor.network_s:g} s", f"{requestor.network_s:g} s"),
                ("asynchronous operations window", "not negotiated (1)", "not negotiated (1)"),
                ("user identity", "not negotiated", "not negotiated"),
            ],
        ),
        configuration=_table(
            ["parameter", "setting", "default"],
            [
                ("AE title", "`node.ae_title`", defaults.node.ae_title),
                ("address", "`dicom.host`", defaults.dicom.host),
                ("port", "`dicom.port`", defaults.dicom.port),
                ("port for TLS", "`dicom.tls.port`", Tls.model_fields["port"].default),
                ("receivers", "`dicom.receivers`", defaults.dicom.receivers),
                ("associations at once", "`dicom.max_associations`", defaults.dicom.max_associations),
                ("unknown calling AE titles", "`accept_unknown_scanners`", _yes(defaults.accept_unknown_scanners)),
                ("UID root", "`node.uid_root`", "2.25 (UUIDs)"),
                ("frames analysed of a cine", "`analysis.max_frames_per_cine`", defaults.analysis.max_frames_per_cine),
                ("images are kept", "`retention.images_days`", f"{defaults.retention.images_days:g} days"),
                ("results are kept", "`retention.results_days`", f"{defaults.retention.results_days:g} days"),
            ],
        ),
        profile=_table(
            ["what", "setting of a destination", "values, the default first"],
            [
                ("kinds of objects", "`send`", ", ".join(DEFAULT_OBJECTS) + "; all kinds of the table above"),
                ("class of the reports", "`sr_class`", ", ".join(get_args(SrClass))),
                ("modality of captures", "`capture_modality`", ", ".join(get_args(CaptureModality))),
                ("encoding of captures", "`encoding`", ", ".join(get_args(Encoding))),
                ("private codes in reports", "`private_codes`", "true, false"),
                ("series numbers", "`series_numbers`", "those of the table above; any"),
            ],
        ),
        private_scheme=codes.PRIVATE_SCHEME,
        private_scheme_uid=codes.PRIVATE_SCHEME_UID,
        findings=_findings(models),
        report_codes=_code_table(it for it in vars(codes).values() if isinstance(it, Concept)),
        biometry_in=_code_table(scanner_sr.QUANTITIES),
        surveyed=_code_table(tid_5000.SURVEYED),
        sections=" → ".join(section.meaning for section in tid_5000.SECTIONS),
    )


def _services() -> str:
    scanner, destination = (contexts.ACCEPTED[purpose] for purpose in contexts.Purpose)
    services = [uid for uid in scanner if uid not in contexts.STORAGE_CLASSES]
    requested = {contexts.VERIFICATION, contexts.STORAGE_COMMITMENT_PUSH}
    return _table(
        ["service", "UID", "scanners may ask", "destinations may ask", "the node asks"],
        (
            *((*_named(uid), "yes", _yes(uid in destination), _yes(uid in requested)) for uid in services),
            ("Storage", f"{len(contexts.STORAGE_CLASSES)} classes, below", "yes", "no", "yes, classes below"),
        ),
    )


def _result_classes() -> str:
    return _table(
        ["kind", "SOP class", "UID", "series number", "by default"],
        (
            (f"`{kind}`", *_named(uid), number, _yes(kind in DEFAULT_OBJECTS and uid == RESULT_CLASSES[kind][0]))
            for kind, number in SERIES_NUMBERS.items()
            for uid in RESULT_CLASSES[kind]
        ),
    )


def _findings(models: Path) -> str:
    rows: list[tuple[str, ...]] = []
    for folder in sorted(path.parent for path in models.glob("*/manifest.yaml")):
        for output in Manifest.read(folder).outputs:
            rows.append((folder.name, output.kind, output.name, *_cells(output.concept)))
            rows += [(folder.name, "value", value.name, *_cells(value.concept)) for value in output.values]
    return _table(["task", "what", "name", "value", "scheme", "meaning"], rows)


def _code_table(concepts: Iterable[Concept]) -> str:
    ordered = sorted(set(concepts), key=lambda it: (it.scheme, it.value))
    return _table(["value", "scheme", "meaning"], map(_cells, ordered))


def _cells(concept: Concept) -> tuple[str, str, str]:
    return concept.value, concept.scheme, concept.meaning


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _named(uid: str) -> tuple[str, str]:
    return UID(uid).name + (" (retired)" if UID(uid).is_retired else ""), uid


def _names(uids: Iterable[str]) -> str:
    return ", ".join(UID(uid).name for uid in uids)


def _by_number(uid: str) -> list[int]:
    return [int(part) for part in uid.split(".")]


def _is_decoded(uid: str) -> str:
    """Tell whether a decoder is there; what is not encapsulated needs none."""
    try:
        return _yes(not UID(uid).is_encapsulated or get_decoder(UID(uid)).is_available)
    except NotImplementedError:
        return "no: stored only"


def _status(mask: int, value: int) -> str:
    """Write a status as the standard does: an x for each digit that does not count."""
    pairs = zip(f"{mask:04X}", f"{value:04X}", strict=True)
    return "".join("x" if significant == "0" else digit for significant, digit in pairs)


def _yes(is_so: bool) -> str:  # noqa: FBT001 - the one question
    return "yes" if is_so else "no"
