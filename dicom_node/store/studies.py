"""Studies as the command line shows them: plain values, in the shape that programs may rely on."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.store import overview
from dicom_node.store.results import results_of
from dicom_node.store.tables import AnalysisRow, DeliveryRow, ResultRow


def list_studies(session: Session, limit: int = 1000) -> list[dict[str, Any]]:
    """List studies, the newest first, each with the objects of its newest answer.

    ``results`` has one entry for each object and destination; an object that goes nowhere has one without a
    destination. ``instances`` counts what was acknowledged, also after retention removed its bytes.
    """
    return [_study(session, line) for line in overview.list_studies(session, limit)]


def show_study(session: Session, study_instance_uid: str) -> dict[str, Any] | None:
    """Show one study as :func:`list_studies` does, with its error and what was found; None when it is unknown."""
    record = overview.show_study(session, study_instance_uid)
    if record is None:
        return None
    analysis: AnalysisRow | None = record.analysis
    return {
        **_study(session, record.line),
        "scanner_ae_title": record.line.scanner_ae_title,
        "version": record.line.version,
        "error": record.line.error,
        "models": analysis.models if analysis else {},
        "findings": analysis.summary if analysis else [],
    }


def _study(session: Session, line: overview.StudyLine) -> dict[str, Any]:
    return {
        "study_instance_uid": line.study_instance_uid,
        "state": line.state,
        "generation": line.generation,
        "instances": line.instances.total(),
        "results": _results(session, line.study_instance_uid, line.version),
    }


def _results(session: Session, study_instance_uid: str, version: int) -> list[dict[str, Any]]:
    query = select(DeliveryRow).filter_by(study_instance_uid=study_instance_uid, version=version)
    deliveries: dict[int, list[DeliveryRow]] = {}
    for row in session.scalars(query.order_by(DeliveryRow.destination)):
        deliveries.setdefault(row.result_id, []).append(row)
    entries = []
    for result in results_of(session, study_instance_uid, version):
        sent_to = deliveries.get(result.id, [])
        entries += [_entry(result, row.destination, row.state, row.error) for row in sent_to]
        if not sent_to:
            entries.append(_entry(result, None, result.state, result.reason))
    return entries


def _entry(result: ResultRow, destination: str | None, state: str, error: str | None) -> dict[str, Any]:
    return {
        "kind": result.kind,
        "sop_class_uid": result.sop_class_uid,
        "sop_instance_uid": result.sop_instance_uid,
        "profile": result.profile,
        "destination": destination,
        "state": state,
        "error": error,
    }
