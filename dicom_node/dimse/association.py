"""One association from its request to its end, on one thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from io import BytesIO

from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID
from pynetdicom.dsutils import encode as encode_data_set

from dicom_node.dimse import commitment_messages
from dicom_node.dimse.admission import Rejection, out_of_order
from dicom_node.dimse.association_pdus import AssociationRequest, acceptance, parse_request, rejection
from dicom_node.dimse.command_set import NO_DATA_SET, RESPONSE, Command, CommandSet, Element, decode, encode
from dicom_node.dimse.connection import AssociationEnded, Connection, ProtocolViolation
from dicom_node.dimse.contexts import (
    MODALITY_PERFORMED_PROCEDURE_STEP,
    STORAGE_CLASSES,
    STORAGE_COMMITMENT_PUSH,
    STORAGE_COMMITMENT_PUSH_INSTANCE,
    VERIFICATION,
    ContextDecision,
    Purpose,
    negotiate,
)
from dicom_node.dimse.handlers import Caller, Ending, Handlers, StoreRequest
from dicom_node.dimse.status import SUCCESS, Answer, Status
from dicom_node.domain.identifiers import printable, uid_fault
from dicom_node.elements import check_size, drop_unreadable
from dicom_node.errors import UnreadableDataset

logger = logging.getLogger(__name__)

MAXIMUM_SERVICE_DATA_SET_BYTES = 16 * 1024 * 1024  # a commitment request for 50,000 instances has about 7 MB
REPORT_AFTER_S = 1.0  # of silence: a scanner that wants its commitment report on another association releases at once

Admit = Callable[[Caller], Purpose | Rejection]


class Association:
    """Serves one caller: admission, negotiation, messages, end; and tells the handlers about each."""

    def __init__(self, connection: Connection, host: str, handlers: Handlers, admit: Admit) -> None:
        self._connection = connection
        self._host = host
        self._handlers = handlers
        self._admit = admit
        self._contexts: dict[int, ContextDecision] = {}
        self._peer_maximum = 0
        self._id = 0
        self._caller = Caller("", "", host)
        self._accepted = self._refused = 0
        self._unreported: list[tuple[int, str]] = []  # (context ID, transaction UID) still to be reported here
        self._reports: dict[int, str] = {}  # message ID -> transaction UID of reports without an answer yet

    def serve(self) -> None:
        """Serve the association until it ends, whichever way."""
        try:
            pdu = self._connection.read_association_request()
            if pdu is None:
                return
            request = parse_request(pdu)
        except (AssociationEnded, ProtocolViolation) as error:
            logger.warning("a connection from %s asked for no association: %s", self._host, error)
            self._connection.send_abort(by_provider=True)
            return
        self._caller = Caller(
            printable(request.calling_ae_title, 16), printable(request.called_ae_title, 16), self._host
        )
        verdict = self._admit(self._caller)
        if isinstance(verdict, Purpose):
            self._contexts = {decision.id: decision for decision in negotiate(request.contexts, verdict)}
            verdict = self._opened(verdict)
        if isinstance(verdict, Rejection):
            self._reject(request, verdict)
            return
        self._peer_maximum = request.maximum_pdu_bytes
        try:
            self._connection.send(acceptance(pdu, list(self._contexts.values()), _roles(request)))
            self._exchange()
        except AssociationEnded as end:
            self._end(end.outcome, end.reason)
        except (ProtocolViolation, UnreadableDataset) as error:
            self._connection.send_abort(by_provider=True)
            self._end("aborted", f"the node aborted it: {error}")
        except Exception:
            logger.exception("association %d failed", self._id)
            self._connection.send_abort()
            self._end("aborted", "the node aborted it: an internal error, see the log")

    def _opened(self, purpose: Purpose) -> Purpose | Rejection:
        """Write the association down before it may deliver; what cannot be written down is not accepted."""
        reason = None
        if not any(decision.accepted for decision in self._contexts.values()):
            reasons = "; ".join(str(decision.reason) for decision in self._contexts.values())
            reason = f"no acceptable presentation context: {reasons or 'none was proposed'}"
        try:
            self._id = self._handlers.association_opened(self._caller, list(self._contexts.values()), reason)
        except Exception:
            logger.exception("an association from %s cannot be written down", self._caller.calling_ae_title)
            return out_of_order("the database of the node cannot be written")
        return purpose

    def _reject(self, request: AssociationRequest, verdict: Rejection) -> None:
        # What would have become of the contexts helps whoever adds the caller to the configuration next.
        decisions = negotiate(request.contexts, Purpose.SCANNER)
        logger.warning("association from %s rejected: %s", self._host, verdict.reason)
        try:
            self._handlers.association_rejected(self._caller, decisions, verdict.reason)
        except Exception:
            logger.exception("a rejection cannot be written down")
        try:
            self._connection.send(rejection(verdict.result, verdict.source, verdict.diagnostic))
        except AssociationEnded:
            return
        self._connection.wait_for_close()

    def _end(self, outcome: str, reason: str | None) -> None:
        self._handlers.association_ended(self._id, Ending(outcome, reason, self._accepted, self._refused))

    # Messages

    def _exchange(self) -> None:
        while True:
            if self._unreported and self._connection.is_silent_for(REPORT_AFTER_S):
                self._report_commitment(*self._unreported.pop(0))
            incoming = self._connection.next_command()
            if incoming is None:
                # Written first: who sees the release done finds the log complete.
                self._end("released", None)
                try:
                    self._connection.send_release_response()
                except AssociationEnded:
                    return
                self._connection.wait_for_close()
                return
            context_id, encoded = incoming
            context = self._contexts.get(context_id)
            if context is None or not context.accepted:
                raise ProtocolViolation(f"a message came on presentation context {context_id}, which was not accepted")
            self._serve(context, decode(encoded))

    def _serve(self, context: ContextDecision, command: CommandSet) -> None:
        field = command.number(Element.COMMAND_FIELD)
        if field == Command.C_STORE_RQ:
            answer = self._store(context, command)
        elif field == Command.N_EVENT_REPORT_RSP:
            self._report_taken(command)
            return
        elif field == Command.C_CANCEL_RQ:
            return  # nothing here can be cancelled, and a cancel has no response
        elif field & RESPONSE:
            raise ProtocolViolation(f"a response (0x{field:04X}) to nothing that was asked")
        else:
            data_set = self._data_set(context) if command.has_data_set else Dataset()
            answer = self._serve_request(field, context, command, data_set)
        self._respond(context, command, answer)

    def _serve_request(self, field: int, context: ContextDecision, command: CommandSet, data_set: Dataset) -> Answer:
        services: dict[tuple[str, int], Callable[[ContextDecision, CommandSet, Dataset], Answer]] = {
            (VERIFICATION, Command.C_ECHO_RQ): lambda *_: SUCCESS,
            (MODALITY_PERFORMED_PROCEDURE_STEP, Command.N_CREATE_RQ): self._procedure_step,
            (MODALITY_PERFORMED_PROCEDURE_STEP, Command.N_SET_RQ): self._procedure_step,
            (STORAGE_COMMITMENT_PUSH, Command.N_ACTION_RQ): self._request_commitment,
            (STORAGE_COMMITMENT_PUSH, Command.N_EVENT_REPORT_RQ): self._take_commitment_report,
        }
        service = services.get((context.abstract_syntax, field))
        if service is None:
            return Answer(Status.UNRECOGNISED_OPERATION, "this service does not know that command")
        try:
            return service(context, command, data_set)
        except Exception:
            logger.exception("request 0x%04X of %s failed", field, self._caller.calling_ae_title)
            return Answer(Status.PROCESSING_FAILURE, "internal error, see the log of the node")

    def _respond(self, context: ContextDecision, command: CommandSet, answer: Answer) -> None:
        values: dict[Element, int | str] = {
            Element.COMMAND_FIELD: command.number(Element.COMMAND_FIELD) | RESPONSE,
            Element.MESSAGE_ID_BEING_RESPONDED_TO: command.number(Element.MESSAGE_ID),
            Element.COMMAND_DATA_SET_TYPE: NO_DATA_SET,
            Element.STATUS: answer.status,
        }
        for element, sources in _ECHOED.items():
            echoed = next((command[source] for source in sources if source in command), None)
            # A malformed UID is not sent back: it would cost a strict caller its association.
            if isinstance(echoed, int) or (echoed and uid_fault(echoed) is None):
                values[element] = echoed
        if answer.comment:
            values[Element.ERROR_COMMENT] = answer.comment
        if answer.error_id is not None:
            values[Element.ERROR_ID] = answer.error_id
        self._connection.send_message(context.id, encode(values), None, self._peer_maximum)

    def _data_set(self, context: ContextDecision) -> Dataset:
        encoded = bytearray()
        for piece in self._connection.data_set(context.id):
            encoded += piece
            if len(encoded) > MAXIMUM_SERVICE_DATA_SET_BYTES:
                raise ProtocolViolation("the data set of a service request is absurdly large")
        syntax = UID(context.transfer_syntax or "")
        check_size(encoded, context.transfer_syntax or "")
        try:
            return drop_unreadable(read_dataset(BytesIO(encoded), syntax.is_implicit_VR, syntax.is_little_endian))
        except Exception as error:  # whatever a hostile data set makes the reader raise
            raise UnreadableDataset(f"the data set of a service request cannot be read: {error}") from error

    # Services

    def _store(self, context: ContextDecision, command: CommandSet) -> Answer:
        pieces = self._connection.data_set(context.id) if command.has_data_set else iter(())
        answer = self._keep(context, command, pieces)
        for _ in pieces:  # what was not wanted is read all the same: the association goes on
            pass
        if answer.status is Status.SUCCESS:
            self._accepted += 1
        else:
            self._refused += 1
            if answer.status is not Status.OUT_OF_RESOURCES:  # what could not be kept was told where it failed
                logger.warning("refused an instance of %s: %s", self._caller.calling_ae_title, answer.comment)
        return answer

    def _keep(self, context: ContextDecision, command: CommandSet, pieces: Iterator[memoryview]) -> Answer:
        if context.abstract_syntax not in STORAGE_CLASSES:
            return Answer(Status.SOP_CLASS_NOT_SUPPORTED, "that presentation context is not for storage")
        request = StoreRequest(
            association_id=self._id,
            calling_ae_title=self._caller.calling_ae_title,
            sop_class_uid=command.text(Element.AFFECTED_SOP_CLASS_UID),
            sop_instance_uid=command.text(Element.AFFECTED_SOP_INSTANCE_UID),
            transfer_syntax_uid=context.transfer_syntax or "",
        )
        try:
            return self._handlers.store(request, pieces)
        except (AssociationEnded, ProtocolViolation):
            raise
        except Exception:
            logger.exception("an instance of %s cannot be kept", self._caller.calling_ae_title)
            return Answer(Status.OUT_OF_RESOURCES, "the node cannot keep it safely now, send it again later")

    def _procedure_step(self, _context: ContextDecision, command: CommandSet, data_set: Dataset) -> Answer:
        uid = command.text(Element.AFFECTED_SOP_INSTANCE_UID, Element.REQUESTED_SOP_INSTANCE_UID)
        if fault := uid_fault(uid):
            return Answer(Status.INVALID_SOP_INSTANCE, f"the SOP Instance UID {fault}")
        if command.number(Element.COMMAND_FIELD) == Command.N_CREATE_RQ:
            return self._handlers.procedure_step_created(self._caller, uid, data_set)
        return self._handlers.procedure_step_set(self._caller, uid, data_set)

    def _request_commitment(self, context: ContextDecision, command: CommandSet, data_set: Dataset) -> Answer:
        if command.get(Element.ACTION_TYPE_ID) != commitment_messages.REQUEST_COMMITMENT:
            return Answer(Status.NO_SUCH_ACTION_TYPE, "the only action is 1, request commitment")
        transaction_uid, references = commitment_messages.requested(data_set)
        if fault := uid_fault(transaction_uid):
            return Answer(Status.INVALID_ARGUMENT_VALUE, f"the Transaction UID {fault}")
        if not references:
            return Answer(Status.MISSING_ATTRIBUTE, "no instance is referenced")
        answer = self._handlers.commitment_requested(self._caller, transaction_uid, references)
        if answer.status is Status.SUCCESS:
            self._unreported.append((context.id, transaction_uid))
        return answer

    def _report_commitment(self, context_id: int, transaction_uid: str) -> None:
        """Report on the association that asked, while the scanner keeps it open (PS3.4 J.3.3)."""
        report = self._handlers.commitment_report(self._caller.calling_ae_title, transaction_uid)
        if report is None:
            return
        event_type, information = commitment_messages.event_information(report)
        syntax = UID(self._contexts[context_id].transfer_syntax or "")
        encoded = encode_data_set(information, syntax.is_implicit_VR, syntax.is_little_endian)
        if encoded is None:
            raise UnreadableDataset("the commitment report cannot be encoded")
        message_id = len(self._reports) + 1
        self._reports[message_id] = transaction_uid
        command = encode(
            {
                Element.AFFECTED_SOP_CLASS_UID: STORAGE_COMMITMENT_PUSH,
                Element.COMMAND_FIELD: Command.N_EVENT_REPORT_RQ,
                Element.MESSAGE_ID: message_id,
                Element.COMMAND_DATA_SET_TYPE: NO_DATA_SET - 1,
                Element.AFFECTED_SOP_INSTANCE_UID: STORAGE_COMMITMENT_PUSH_INSTANCE,
                Element.EVENT_TYPE_ID: event_type,
            }
        )
        self._connection.send_message(context_id, command, encoded, self._peer_maximum)

    def _report_taken(self, command: CommandSet) -> None:
        transaction_uid = self._reports.get(command.number(Element.MESSAGE_ID_BEING_RESPONDED_TO))
        if transaction_uid is not None and command.get(Element.STATUS) == Status.SUCCESS:
            self._handlers.commitment_reported(self._caller.calling_ae_title, transaction_uid)

    def _take_commitment_report(self, _context: ContextDecision, command: CommandSet, data_set: Dataset) -> Answer:
        events = (commitment_messages.ALL_COMMITTED, commitment_messages.SOME_FAILED)
        if command.get(Element.EVENT_TYPE_ID) not in events:
            return Answer(Status.NO_SUCH_EVENT_TYPE, "the events are 1, all committed, and 2, some failed")
        transaction_uid, committed, failed = commitment_messages.reported(data_set)
        if fault := uid_fault(transaction_uid):
            return Answer(Status.INVALID_ARGUMENT_VALUE, f"the Transaction UID {fault}")
        self._handlers.on_commitment_report(transaction_uid, committed, failed)
        return SUCCESS


_ECHOED = {
    Element.AFFECTED_SOP_CLASS_UID: (Element.AFFECTED_SOP_CLASS_UID, Element.REQUESTED_SOP_CLASS_UID),
    Element.AFFECTED_SOP_INSTANCE_UID: (Element.AFFECTED_SOP_INSTANCE_UID, Element.REQUESTED_SOP_INSTANCE_UID),
    Element.EVENT_TYPE_ID: (Element.EVENT_TYPE_ID,),
    Element.ACTION_TYPE_ID: (Element.ACTION_TYPE_ID,),
}


def _roles(request: AssociationRequest) -> dict[str, tuple[bool, bool]]:
    """Answer the proposed roles: who reports a commitment to us is the SCP of it; for all else the caller is the SCU.

    A requestor that proposes nothing stays SCU, and a role without a context means nothing (PS3.7 D.3.3.4).
    """
    proposed = {context.abstract_syntax for context in request.contexts}
    return {
        sop_class: (as_scu, as_scp and sop_class == STORAGE_COMMITMENT_PUSH)
        for sop_class, (as_scu, as_scp) in request.roles.items()
        if sop_class in proposed
    }
