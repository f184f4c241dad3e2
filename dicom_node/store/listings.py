"""Associations and instances as the command line lists them: plain values, in the shape that programs may rely on."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from dicom_node.store import overview


def list_associations(session: Session, limit: int) -> list[dict[str, Any]]:
    """List the last associations, the newest first, each with the proposals that were refused and why."""
    return [
        {
            "calling_ae_title": row.calling_ae_title,
            "host": row.host,
            "called_ae_title": row.called_ae_title,
            "started_at": row.started_at.isoformat(),
            "ended_at": row.ended_at and row.ended_at.isoformat(),
            "outcome": row.outcome,
            "reason": row.reason,
            "instances_accepted": row.instances_accepted,
            "instances_refused": row.instances_refused,
            "refused_contexts": [context for context in row.contexts if not context["accepted"]],
        }
        for row in overview.list_associations(session, limit)
    ]


def list_set_aside(session: Session, limit: int) -> list[dict[str, Any]]:
    """List the last instances that are kept but not analysed, the newest first: quarantined, or in conflict.

    ``study_instance_uid`` is None when the data set cannot be read that far; ``path`` is relative to ``data_dir``.
    """
    return [
        {
            "sop_instance_uid": row.sop_instance_uid,
            "study_instance_uid": row.study_instance_uid,
            "state": row.state,
            "reason": row.reason,
            "received_at": row.received_at.isoformat(),
            "path": row.path,
        }
        for row in overview.list_set_aside(session, limit)
    ]
