"""What the node audits: one method for each act, which says in the words of PS3.15 A.5.3 what happened."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from dicom_node.audit.message import (
    MINOR_FAILURE,
    PATIENT_ROLE,
    PERSON,
    REPORT_ROLE,
    SECURITY_RESOURCE_ROLE,
    SERIOUS_FAILURE,
    SUCCESS,
    SYSTEM_OBJECT,
    Code,
    Message,
    Object,
    Participant,
)

UNKNOWN: Final = "unknown"  #: a patient or study that cannot be named: the message asks for one

APPLICATION_ACTIVITY = Code("110100", "Application Activity")
AUDIT_LOG_USED = Code("110101", "Audit Log Used")
BEGIN_TRANSFERRING = Code("110102", "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED = Code("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
STUDY_DELETED = Code("110105", "DICOM Study Deleted")
EXPORT = Code("110106", "Export")
SECURITY_ALERT = Code("110113", "Security Alert")

APPLICATION_START = Code("110120", "Application Start")
APPLICATION_STOP = Code("110121", "Application Stop")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")
NETWORK_CONFIGURATION = Code("110128", "Network Configuration")
SOFTWARE_CONFIGURATION = Code("110131", "Software Configuration")
USE_OF_RESTRICTED_FUNCTION = Code("110132", "Use of Restricted Function")
AUDIT_RECORDING_STOPPED = Code("110133", "Audit Recording Stopped")

_APPLICATION = Code("110150", "Application")
_DESTINATION = Code("110152", "Destination Role ID")
_SOURCE = Code("110153", "Source Role ID")
_DESTINATION_MEDIA = Code("110154", "Destination Media")
_MEDIA_URI = Code("110037", "URI")
_STUDY_INSTANCE_UID = Code("110180", "Study Instance UID")
_PATIENT_NUMBER = Code("2", "Patient Number", "RFC-3881")
_URI = Code("12", "URI", "RFC-3881")


@dataclass(frozen=True, slots=True)
class Subject:
    """The study that an act was about, and its patient: by id, never by name.

    :ivar sop_classes: SOP Class UID -> number of instances, where the act was about these.
    """

    study_instance_uid: str
    patient_id: str = ""
    sop_classes: Mapping[str, int] = field(default_factory=dict)

    @property
    def objects(self) -> tuple[Object, Object]:
        """Name both as A.5.3 asks."""
        study = self.study_instance_uid or UNKNOWN
        patient = self.patient_id or UNKNOWN
        return (
            Object(study, _STUDY_INSTANCE_UID, SYSTEM_OBJECT, REPORT_ROLE, sop_classes=self.sop_classes),
            Object(patient, _PATIENT_NUMBER, PERSON, PATIENT_ROLE),
        )


def entity(ae_title: str, host: str) -> Participant:
    """Name an application entity at the other end of the network; of its process only the title is known."""
    return Participant(ae_title or UNKNOWN, f"AETITLES={ae_title}" if ae_title else "", host=host)


def this_process(ae_title: str, name: str) -> Participant:
    """Name ourselves, by process id as A.5.2.1 asks."""
    return Participant(str(os.getpid()), f"AETITLES={ae_title}", name, socket.gethostname())


def operator() -> Participant:
    """Name the person who gave a command: the account that sudo was called by, else the account itself."""
    account = pwd.getpwuid(os.geteuid()).pw_name if _has_account() else str(os.geteuid())
    return Participant(os.environ.get("SUDO_USER") or account, name=account, host=socket.gethostname())


def _has_account() -> bool:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return True


def browser(host: str) -> Participant:
    """Name somebody who looks at the admin pages: these have no login, so only the address is known."""
    return Participant(user_id=UNKNOWN, host=host)


class Audit:
    """Says what happened, once it has happened.

    :param node: this process.
    :param record: takes each message; it never fails and never waits for a network.
    """

    def __init__(self, node: Participant, record: Callable[[Message], None]) -> None:
        self._node = node
        self._record = record

    def started(self) -> None:
        """Tell that this process started."""
        self._activity(APPLICATION_START)

    def stopped(self) -> None:
        """Tell that this process stopped; one that was killed cannot."""
        self._activity(APPLICATION_STOP)

    def _activity(self, kind: Code) -> None:
        node = replace(self._node, role=_APPLICATION)
        self._record(Message(APPLICATION_ACTIVITY, "E", (node,), types=(kind,)))

    # Transfers

    def receiving(self, scanner: Participant, subject: Subject) -> None:
        """Tell that a scanner began to send instances of a study."""
        self._record(Message(BEGIN_TRANSFERRING, "E", self._from(scanner), subject.objects))

    def received(self, scanner: Participant, subject: Subject, problem: str | None = None) -> None:
        """Tell what a scanner sent of one study on one association.

        :param problem: how the association went wrong, if it did; what was acknowledged is kept all the same.
        """
        outcome = MINOR_FAILURE if problem else SUCCESS
        parties = self._from(scanner)
        self._record(Message(INSTANCES_TRANSFERRED, "C", parties, subject.objects, (), outcome, problem or ""))

    def sending(self, destination: Participant, subject: Subject) -> None:
        """Tell that we begin to send results to a destination."""
        self._record(Message(BEGIN_TRANSFERRING, "E", self._to(destination), subject.objects))

    def sent(self, destination: Participant, subject: Subject, problems: Sequence[str]) -> None:
        """Tell which results a destination took; ``problems`` are of those that it did not."""
        outcome = SUCCESS if not problems else MINOR_FAILURE if subject.sop_classes else SERIOUS_FAILURE
        why = "; ".join(dict.fromkeys(problems))
        # R: whether the destination held them already is not known here (A.5.3.7).
        self._record(Message(INSTANCES_TRANSFERRED, "R", self._to(destination), subject.objects, (), outcome, why))

    def _from(self, scanner: Participant) -> tuple[Participant, Participant]:
        return replace(scanner, role=_SOURCE, is_requestor=True), replace(self._node, role=_DESTINATION)

    def _to(self, destination: Participant) -> tuple[Participant, Participant]:
        return replace(self._node, role=_SOURCE, is_requestor=True), replace(destination, role=_DESTINATION)

    # Who looked, who changed

    def viewed(self, who: Participant, subject: Subject) -> None:
        """Tell that somebody looked at what is known of a study."""
        self._accessed(who, subject, "R", "view")

    def ordered(self, who: Participant, subject: Subject, command: str, reason: str = "") -> None:
        """Tell that an operator gave an order about a study."""
        self._accessed(who, subject, "U", command, reason)

    def _accessed(self, who: Participant, subject: Subject, action: str, what: str, reason: str = "") -> None:
        parties = (replace(who, is_requestor=True), self._node)
        study, patient = subject.objects
        study = replace(study, details={"reason": reason} if reason else {})
        self._record(Message(INSTANCES_ACCESSED, action, parties, (study, patient), (_own(what),)))

    def deleted(self, subject: Subject, why: str) -> None:
        """Tell that the node removed a study, or its images."""
        self._record(Message(STUDY_DELETED, "D", (self._node,), subject.objects, (_own(why),)))

    def copied(self, who: Participant, folder: str) -> None:
        """Tell that everything the node holds was copied to a folder."""
        parties = (
            replace(who, is_requestor=True),
            replace(self._node, role=_SOURCE),
            Participant(folder, role=_DESTINATION_MEDIA, media=_MEDIA_URI),
        )
        everything = Subject("all", "all").objects
        self._record(Message(EXPORT, "R", parties, everything, (_own("backup"),)))

    def reconfigured(self, who: Participant | None, file: str, change: str) -> None:
        """Tell that the configuration changed: by a command of ``who``, or in the file and taken over (None)."""
        kind = NETWORK_CONFIGURATION if who is not None else SOFTWARE_CONFIGURATION
        self._alert(kind, SUCCESS, change, (_requesting(who), self._node) if who else (self._node,), file)

    def trail_read(self, who: Participant, folder: str) -> None:
        """Tell that somebody read this trail."""
        trail = Object(folder, _URI, SYSTEM_OBJECT, SECURITY_RESOURCE_ROLE, "Security Audit Log")
        self._record(Message(AUDIT_LOG_USED, "R", (_requesting(who), self._node), (trail,)))

    # Alerts

    def rejected(self, caller: Participant, reason: str) -> None:
        """Tell that a caller was not let in."""
        self._alert(NODE_AUTHENTICATION, MINOR_FAILURE, reason, (_requesting(caller), self._node))

    def refused(self, caller: Participant, reason: str) -> None:
        """Tell that a caller who was let in tried what it may not."""
        self._alert(USE_OF_RESTRICTED_FUNCTION, MINOR_FAILURE, reason, (_requesting(caller), self._node))

    def lost(self, count: int) -> None:
        """Tell how many messages the syslog server will never get."""
        self.incomplete(f"{count} messages were removed by age before the syslog server took them")

    def incomplete(self, reason: str) -> None:
        """Tell that messages are missing in this trail, or from what the syslog server got of it."""
        self._alert(AUDIT_RECORDING_STOPPED, SERIOUS_FAILURE, reason, (self._node,))

    def _alert(
        self, kind: Code, outcome: int, what: str, parties: tuple[Participant, ...], resource: str | None = None
    ) -> None:
        objects: tuple[Object, ...] = ()
        if resource is not None:
            objects = (Object(resource, _URI, SYSTEM_OBJECT, SECURITY_RESOURCE_ROLE, details={"change": what}),)
            what = ""
        self._record(Message(SECURITY_ALERT, "E", parties, objects, (kind,), outcome, what))


def _requesting(who: Participant) -> Participant:
    return replace(who, is_requestor=True)


def _own(what: str) -> Code:
    return Code(what.replace(" ", "-"), what, "DICOM-NODE")
