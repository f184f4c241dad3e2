"""Findings in words, for the terminal, the web page and the log of answers: plain values, no codes, no pixels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dicom_node.domain.finding import (
    Classification,
    Detection,
    Finding,
    HeatMap,
    Measurement,
    NotAssessable,
    Segmentation,
    frames_of,
)
from dicom_node.domain.result import NotAnalysed
from dicom_node.domain.scanner_report import ScannerReport, differences


def summarise(
    findings: Iterable[Finding], not_analysed: Iterable[NotAnalysed], scanner_report: ScannerReport | None = None
) -> list[dict[str, Any]]:
    """Give one entry for each thing said: {task, name, value, unit, instance, frame, note}.

    Outlines and heat maps are left to the report: they say nothing in words. Measurements are compared with those of
    the sonographer, where the scanner reported them.
    """
    said = [_entry(finding, scanner_report) for finding in findings if not isinstance(finding, Segmentation | HeatMap)]
    frames: dict[tuple[str, str, str], list[int]] = {}
    for item in not_analysed:
        of_reason = frames.setdefault((item.task or "node", item.sop_instance_uid, item.reason), [])
        if item.frame_number is not None:
            of_reason.append(item.frame_number)
    return said + [_left_out(*what, numbers) for what, numbers in frames.items()]


def _left_out(task: str, sop_instance_uid: str, reason: str, frames: list[int]) -> dict[str, Any]:
    """Tell one reason once, however many frames of an instance it concerns."""
    several = f"frames {', '.join(str(number) for number in frames)}: " if len(frames) > 1 else ""
    return {
        "task": task,
        "name": "not analysed",
        "value": None,
        "unit": None,
        "instance": sop_instance_uid,
        "frame": frames[0] if len(frames) == 1 else None,
        "note": several + reason,
    }


def _entry(finding: Finding, scanner_report: ScannerReport | None) -> dict[str, Any]:
    frame = frames_of(finding)[0]
    value: str | float | None
    unit = note = None
    match finding:
        case Detection():
            name, value, unit, note = finding.structure.meaning, round(finding.score * 100, 1), "%", "found"
        case Measurement():
            name, value = finding.quantity.meaning, round(finding.value, 1)
            unit, note = ("mm", None) if finding.unit == "mm" else ("px", finding.qualifier)
            compared = [f"{it.difference_mm:+.1f} mm" for it in differences(finding, scanner_report)]
            note = f"AI less sonographer: {', '.join(compared)}" if compared else note
        case Classification():
            name, value = finding.concept.meaning, finding.value.meaning
            name = f"{finding.site.meaning}: {name.lower()}" if finding.site else name
            note = f"{dict(finding.probabilities).get(finding.value, 0.0) * 100:.0f} %"
            note += f"; {finding.qualifier}" if finding.qualifier else ""
        case NotAssessable():
            name, value, note = finding.name.replace("_", " "), "not assessable", finding.reason
        case Segmentation():
            name, value = finding.structure.meaning, "outlined"
        case HeatMap():
            name, value = finding.value.meaning, "heat map"
    return {
        "task": finding.task,
        "name": name,
        "value": value,
        "unit": unit,
        "instance": frame.sop_instance_uid,
        "frame": frame.frame_number,
        "note": note,
    }
