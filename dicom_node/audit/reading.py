"""Reading a trail: what it says, for people and programs, and whether its chain is whole."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, fromstring

from dicom_node.audit.trail import days, digest_of

_OUTCOMES = {"0": "success", "4": "minor failure", "8": "serious failure", "12": "major failure"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a trail.

    :ivar end: where it ends in its file, in bytes.
    :ivar message: the XML; None of a line that is no message: a power cut or a full disk took its end.
    :ivar previous: the digest of the line before it, as this one says.
    """

    end: int
    raw: bytes
    previous: str | None
    message: str | None


def lines(file: Path, start: int = 0) -> Iterator[Line]:
    """Read a file of the trail, the oldest line first; one that is being written is left for the next time.

    :param start: where to begin, in bytes.
    """
    end = start
    with file.open("rb") as stream:
        stream.seek(start)
        for raw in stream:
            if not raw.endswith(b"\n"):
                return
            end += len(raw)
            yield _line(end, raw.removesuffix(b"\n"))


def _line(end: int, raw: bytes) -> Line:
    try:
        entry = json.loads(raw)
        return Line(end, raw, str(entry["previous"]), str(entry["message"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return Line(end, raw, None, None)


def newest(data_dir: Path, limit: int, study_instance_uid: str | None = None) -> list[dict[str, object]]:
    """List the newest messages, the newest first.

    :param study_instance_uid: only what is about this study.
    """
    found: list[dict[str, object]] = []
    for file in reversed(days(data_dir)):
        for line in reversed(list(lines(file))):
            if len(found) == limit:
                return found
            told = _told(line, file)
            if study_instance_uid in (None, told["study_instance_uid"]):
                found.append(told)
    return found


def _told(line: Line, file: Path) -> dict[str, object]:
    """Say what a message says, in few words."""
    root = _parsed(line.message)
    if root is None:
        return dict.fromkeys(_COLUMNS) | {"event": "not readable", "said": f"{file.name}, up to byte {line.end}"}
    event = root.find("EventIdentification")
    objects = {_meaning(thing, "ParticipantObjectIDTypeCode"): thing for thing in root.iter(_OBJECT)}
    study, patient = objects.get("Study Instance UID"), objects.get("Patient Number")
    details = [b64decode(detail.get("value", "")).decode() for detail in root.iter("ParticipantObjectDetail")]
    counts = [int(sop_class.get("NumberOfInstances", "0")) for sop_class in root.iter("SOPClass")]
    explanation = root.findtext("EventIdentification/EventOutcomeDescription")
    return {
        "time": event.get("EventDateTime") if event is not None else None,
        "event": _meaning(event, "EventID"),
        "type": _meaning(event, "EventTypeCode"),
        "outcome": _OUTCOMES.get(event.get("EventOutcomeIndicator", "")) if event is not None else None,
        "who": [_who(participant) for participant in root.iter("ActiveParticipant")],
        "study_instance_uid": study.get(_OBJECT_ID) if study is not None else None,
        "patient_id": patient.get(_OBJECT_ID) if patient is not None else None,
        "instances": sum(counts) if counts else None,
        "object": next((thing.get(_OBJECT_ID) for name, thing in objects.items() if name == "URI"), None),
        "said": "; ".join(filter(None, [explanation, *details])) or None,
    }


_OBJECT, _OBJECT_ID = "ParticipantObjectIdentification", "ParticipantObjectID"
_COLUMNS = (
    "time", "event", "type", "outcome", "who", "study_instance_uid", "patient_id", "instances", "object", "said",
)  # fmt: skip


def _parsed(message: str | None) -> Element | None:
    try:
        return fromstring(message) if message is not None else None  # noqa: S314 - of what only we write  # nosec B314
    except ParseError:
        return None


def _meaning(parent: Element | None, name: str) -> str | None:
    code = parent.find(name) if parent is not None else None
    return code.get("originalText") if code is not None else None


def _who(participant: Element) -> str:
    """Name a participant: its AE title or account, the process where it is one of ours, and the machine."""
    name = participant.get("AlternativeUserID", "").removeprefix("AETITLES=") or participant.get("UserID", "")
    process, host = participant.get("UserName", ""), participant.get("NetworkAccessPointID", "")
    return " ".join(filter(None, [name, f"({process})" if process else "", f"at {host}" if host else ""]))


def faults(data_dir: Path) -> list[str]:
    """Follow the chain through every file; says each place where it breaks, and each line that is no message.

    The oldest line is taken as it is: what was before it may have been removed by age.
    """
    found: list[str] = []
    before: str | None = None
    for file in days(data_dir):
        for number, line in enumerate(lines(file), 1):
            where = f"{file.name}, line {number}"
            if line.message is None:
                found.append(f"{where}: not a message: its end is missing, or it was changed")
            elif before is not None and line.previous != before:
                found.append(f"{where}: the line before it is not the one that was there when it was written")
            before = digest_of(line.raw)
    return found
