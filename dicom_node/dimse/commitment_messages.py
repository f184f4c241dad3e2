"""The data sets of storage commitment, read and built (PS3.4 Annex J, Tables J.3-1 and J.3-2)."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import Dataset

from dicom_node.dimse.handlers import CommitmentReport
from dicom_node.domain.result import SopReference

REQUEST_COMMITMENT = 1  #: action type
ALL_COMMITTED, SOME_FAILED = 1, 2  #: event types


def action_information(transaction_uid: str, references: Sequence[SopReference]) -> Dataset:
    """Build the N-ACTION data set."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_item(reference) for reference in references]
    return information


def event_information(report: CommitmentReport) -> tuple[int, Dataset]:
    """Build the N-EVENT-REPORT data set, with its event type."""
    information = Dataset()
    information.TransactionUID = report.transaction_uid
    if report.committed:
        information.ReferencedSOPSequence = [_item(reference) for reference in report.committed]
    if not report.failed:
        return ALL_COMMITTED, information
    information.FailedSOPSequence = [_item(reference) for reference, _ in report.failed]
    for item, (_, reason) in zip(information.FailedSOPSequence, report.failed, strict=True):
        item.FailureReason = reason
    return SOME_FAILED, information


def requested(information: Dataset) -> tuple[str, list[SopReference]]:
    """Read an N-ACTION data set: transaction UID and what is to be committed."""
    return str(information.get("TransactionUID", "")), _references(information, "ReferencedSOPSequence")


def reported(information: Dataset) -> tuple[str, list[str], list[tuple[str, int]]]:
    """Read an N-EVENT-REPORT data set: transaction UID, committed UIDs, failed UIDs each with its reason."""
    committed = [reference.sop_instance_uid for reference in _references(information, "ReferencedSOPSequence")]
    failed = [
        (str(item.get("ReferencedSOPInstanceUID", "")), int(item.get("FailureReason", None) or 0))
        for item in information.get("FailedSOPSequence", None) or ()
    ]
    return str(information.get("TransactionUID", "")), committed, failed


def _references(information: Dataset, keyword: str) -> list[SopReference]:
    return [
        SopReference(str(item.get("ReferencedSOPClassUID", "")), str(item.get("ReferencedSOPInstanceUID", "")))
        for item in information.get(keyword, None) or ()
    ]


def _item(reference: SopReference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    return item
