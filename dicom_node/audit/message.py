"""A DICOM audit message as records, and its XML (PS3.15 A.5.1, with the conventions of A.5.2)."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from xml.etree.ElementTree import Element, SubElement, tostring

TEXT_AT_MOST = 1024  # characters of anything that others wrote; a message must stay below 32 kB (PS3.15 A.6)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2

SUCCESS, MINOR_FAILURE, SERIOUS_FAILURE, MAJOR_FAILURE = 0, 4, 8, 12
PERSON, SYSTEM_OBJECT = 1, 2
PATIENT_ROLE, REPORT_ROLE, SECURITY_RESOURCE_ROLE = 1, 3, 13
_MACHINE_NAME, _IP_ADDRESS = "1", "2"
_APPLICATION_SERVER = "4"


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value: of DCM (PS3.16 Annex D), RFC-3881, or our own."""

    value: str
    meaning: str
    system: str = "DCM"


@dataclass(frozen=True, slots=True)
class Participant:
    """Somebody who took part (ActiveParticipant).

    :ivar user_id: a person's account, a process id, or what is known of a remote program.
    :ivar alternative_id: ``AETITLES=…`` of who speaks DICOM (A.5.2.2).
    :ivar host: address or name of the machine.
    :ivar media: the kind of media, when it is none of the above but what data was copied to.
    """

    user_id: str
    alternative_id: str = ""
    name: str = ""
    host: str = ""
    is_requestor: bool = False
    role: Code | None = None
    media: Code | None = None


@dataclass(frozen=True, slots=True)
class Object:
    """Something that the event was about (ParticipantObjectIdentification).

    :ivar sop_classes: SOP Class UID -> number of instances, of a study.
    :ivar details: what else is told, by type.
    """

    identifier: str
    identifier_type: Code
    type_code: int
    role: int
    name: str = ""
    sop_classes: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """One event; the trail adds the time and the source.

    :ivar action: C(reate), R(ead), U(pdate), D(elete) or E(xecute).
    :ivar outcome: one of the four of A.5.2; ``explanation`` says in words what went wrong.
    """

    event: Code
    action: str
    participants: tuple[Participant, ...]
    objects: tuple[Object, ...] = ()
    types: tuple[Code, ...] = ()
    outcome: int = SUCCESS
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Who reports: this node (AuditSourceIdentification)."""

    source_id: str
    site: str = ""


def as_xml(message: Message, source: Source, now: datetime) -> str:
    """Write a message as XML on one line.

    :param now: aware; written in UTC.
    """
    root = Element("AuditMessage")
    event = _element(
        root,
        "EventIdentification",
        EventActionCode=message.action,
        EventDateTime=now.astimezone(UTC).isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=str(message.outcome),
    )
    _code(event, "EventID", message.event)
    for kind in message.types:
        _code(event, "EventTypeCode", kind)
    if message.explanation:
        _element(event, "EventOutcomeDescription").text = plain(message.explanation)
    for participant in message.participants:
        _participant(root, participant)
    reporter = _element(root, "AuditSourceIdentification", AuditEnterpriseSiteID=source.site)
    reporter.set("AuditSourceID", plain(source.source_id))
    _element(reporter, "AuditSourceTypeCode").set("csd-code", _APPLICATION_SERVER)
    for thing in message.objects:
        _object(root, thing)
    return tostring(root, encoding="unicode")


def plain(text: str) -> str:
    """Make text from elsewhere fit: one line, no character that XML forbids, not longer than is sensible."""
    return " ".join(_NOT_XML.sub("\ufffd", text[:TEXT_AT_MOST]).split())


def _participant(root: Element, participant: Participant) -> None:
    element = _element(
        root,
        "ActiveParticipant",
        AlternativeUserID=participant.alternative_id,
        UserName=participant.name,
        NetworkAccessPointID=participant.host,
    )
    element.set("UserID", plain(participant.user_id))
    element.set("UserIsRequestor", "true" if participant.is_requestor else "false")
    if participant.host:
        element.set("NetworkAccessPointTypeCode", _IP_ADDRESS if _is_address(participant.host) else _MACHINE_NAME)
    if participant.role is not None:
        _code(element, "RoleIDCode", participant.role)
    if participant.media is not None:
        _code(_element(element, "MediaIdentifier"), "MediaType", participant.media)


def _object(root: Element, thing: Object) -> None:
    element = _element(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectTypeCode=str(thing.type_code),
        ParticipantObjectTypeCodeRole=str(thing.role),
    )
    element.set("ParticipantObjectID", plain(thing.identifier))
    _code(element, "ParticipantObjectIDTypeCode", thing.identifier_type)
    _element(element, "ParticipantObjectName").text = plain(thing.name)
    for kind, value in thing.details.items():
        encoded = b64encode(plain(value).encode()).decode("ascii")
        _element(element, "ParticipantObjectDetail", type=kind, value=encoded)
    if thing.sop_classes:
        description = _element(element, "ParticipantObjectDescription")
        for uid, count in thing.sop_classes.items():
            _element(description, "SOPClass", UID=uid, NumberOfInstances=str(count))


def _code(parent: Element, name: str, code: Code) -> None:
    element = _element(parent, name, codeSystemName=code.system, originalText=code.meaning)
    element.set("csd-code", code.value)


def _element(parent: Element, name: str, **attributes: str) -> Element:
    """Add an element with those attributes that say something."""
    return SubElement(parent, name, {key: plain(value) for key, value in attributes.items() if value})


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
