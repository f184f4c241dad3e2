"""Names of findings that stay: the same model on the same picture names them the same again, in all kinds of object."""

from __future__ import annotations

from dicom_node.domain.finding import Finding, frames_of
from dicom_node.domain.result import Algorithm
from dicom_node.results.identity import NodeIdentity


def tracking_uid(node: NodeIdentity, algorithm: Algorithm | None, name: str, where: str, what: str, task: str) -> str:  # noqa: PLR0917 - what makes a name
    """Derive a Tracking Unique Identifier (PS3.16 TID 1410, PS3.3 C.8.20.4)."""
    model = f"{algorithm.name} {algorithm.version}" if algorithm else ""
    return node.uid("tracking", where, what, task, name, model)


def tracking_uid_of(finding: Finding, node: NodeIdentity, algorithm: Algorithm | None) -> str:
    """Derive that of a finding."""
    return tracking_uid(node, algorithm, finding.name, where_of(finding), type(finding).__name__, finding.task)


def where_of(finding: Finding) -> str:
    """Name the frames that a finding speaks about."""
    return " ".join(f"{f.sop_instance_uid}/{f.frame_number}" for f in frames_of(finding))
