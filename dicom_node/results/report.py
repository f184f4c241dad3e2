"""What our structured reports share: the document around a content tree, who observed, and which fetus it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom import Dataset

from dicom_node.domain.result import StudyAnalysis
from dicom_node.domain.scanner_report import ScannerReport
from dicom_node.results import codes
from dicom_node.results.content_tree import items
from dicom_node.results.document import Series, new_object
from dicom_node.results.evidence import evidence_items, is_picture, restore_sop_classes
from dicom_node.results.groups import coded
from dicom_node.results.identity import MANUFACTURER, MODEL_NAME, NodeIdentity

SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.88.33"  #: Comprehensive SR: what obstetric scanners and their PACS speak
DISCLAIMER = "Investigational AI result, made without a reader, not verified. Not for diagnosis."
FETUS_ID = "1"  #: of the only fetus, where nobody names it
UNKNOWN_FETUS_ID = "unknown"  #: of several; a number could be taken for one of theirs


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A report that an earlier version of the answer left in the PACS."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    kind: str = "findings_sr"


def new_report(
    series: Series,
    content: Dataset,
    analysis: StudyAnalysis,
    headers: Sequence[Dataset],
    node: NodeIdentity,
    *,
    about: str = "fetus",
    previous: Sequence[Predecessor] = (),
    also_in_evidence: Sequence[Dataset] = (),
) -> Dataset:
    """Put a document around a content tree: always complete, PRELIMINARY and UNVERIFIED.

    ``content`` is the root of the tree, ``about`` whom it is about. Evidence are all pictures, the scanner's report
    where it was read, and what the tree refers to beside them.
    """
    pictures = [header for header in headers if is_picture(header)]
    read = analysis.scanner_report.sop_instance_uid if analysis.scanner_report else None
    evidence = [*pictures, *(header for header in headers if header.SOPInstanceUID == read), *also_in_evidence]
    ds = new_object(series, about, headers[0], analysis, node)
    ds.InstanceNumber = 1
    ds.CompletionFlag = "COMPLETE"
    ds.PreliminaryFlag = "PRELIMINARY"
    ds.VerificationFlag = "UNVERIFIED"
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = [codes.code_item(codes.OBSTETRIC_ULTRASOUND)]
    if any(item.get("CodingSchemeDesignator") == codes.PRIVATE_SCHEME for item in items(content)):
        ds.CodingSchemeIdentificationSequence = [codes.private_scheme_item()]
    if evidence:
        ds.CurrentRequestedProcedureEvidenceSequence = evidence_items(analysis.study_instance_uid, evidence)
    if previous:
        ds.PredecessorDocumentsSequence = _predecessors(analysis.study_instance_uid, previous)
    for element in content:
        ds[element.tag] = element
    restore_sop_classes(ds, pictures)
    return ds


def observer(node: NodeIdentity) -> ObserverContext:
    """Name this node as the observer (TID 1004)."""
    device = DeviceObserverIdentifyingAttributes(
        uid=node.device_uid,
        name=node.ae_title,
        manufacturer_name=MANUFACTURER,
        model_name=MODEL_NAME,
        serial_number=node.ae_title,
    )
    return ObserverContext(coded(codes.DEVICE), device)


def fetus_id(report: ScannerReport | None) -> str:
    """Name the fetus as the scanner's report does, where it knows exactly one."""
    if report is None:
        return FETUS_ID
    if report.number_of_fetuses > 1:
        return UNKNOWN_FETUS_ID
    return report.fetuses[0] if report.fetuses else FETUS_ID


def why_this_fetus(report: ScannerReport | None) -> str:
    """Say in words where the name of the fetus is from."""
    if report is not None and report.number_of_fetuses > 1:
        named = f" ({', '.join(report.fetuses)})" if report.fetuses else ""
        return (
            f"The scanner's report speaks of {report.number_of_fetuses} fetuses{named}; "
            f"the images do not say which of them they show."
        )
    if report is not None and report.fetuses:
        return f'The fetus is called "{report.fetuses[0]}", as in the scanner\'s report.'
    return f'The images do not name the fetus: one fetus is assumed and called "{FETUS_ID}".'


def _predecessors(study_instance_uid: str, previous: Sequence[Predecessor]) -> list[Dataset]:
    """Name the reports that this one replaces (PS3.3 C.17.2, Predecessor Documents Sequence)."""
    references = []
    for report in previous:
        reference = Dataset()
        reference.SOPClassUID = report.sop_class_uid
        reference.SOPInstanceUID = report.sop_instance_uid
        reference.SeriesInstanceUID = report.series_instance_uid
        references.append(reference)
    return evidence_items(study_instance_uid, references)
