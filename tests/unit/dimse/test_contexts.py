import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from dicom_node.dimse.contexts import (
    MODALITY_PERFORMED_PROCEDURE_STEP,
    STORAGE_CLASSES,
    STORAGE_COMMITMENT_PUSH,
    STORAGE_SYNTAXES,
    VERIFICATION,
    ContextResult,
    ProposedContext,
    Purpose,
    negotiate,
)

US_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
XA_IMAGE = "1.2.840.10008.5.1.4.1.1.12.1"
IMPLICIT, DEFLATED, HEVC = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.107"


def decide(abstract_syntax, *transfer_syntaxes, purpose=Purpose.SCANNER):
    return negotiate([ProposedContext(1, abstract_syntax, transfer_syntaxes)], purpose)[0]


@pytest.mark.parametrize("sop_class", sorted(STORAGE_CLASSES))
def test_every_storage_class_is_taken_in_every_syntax(sop_class):
    for syntax in STORAGE_SYNTAXES:
        decision = decide(sop_class, syntax)
        assert (decision.accepted, decision.transfer_syntax, decision.reason) == (True, syntax, None)


def test_the_first_acceptable_syntax_in_the_callers_order_is_chosen():
    assert decide(US_IMAGE, "1.2.3", JPEGBaseline8Bit, ExplicitVRLittleEndian).transfer_syntax == JPEGBaseline8Bit


def test_what_is_no_ultrasound_is_refused_with_what_to_do():
    decision = decide(XA_IMAGE, ExplicitVRLittleEndian)
    assert decision.result == ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    assert decision.reason == (
        "X-Ray Angiographic Image Storage is not an ultrasound class: "
        "exclude it from what the scanner sends to this node"
    )


def test_no_common_transfer_syntax_names_what_was_offered():
    decision = decide(US_IMAGE, "1.2.840.10008.1.2.4.94")
    assert decision.result == ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    assert decision.reason is not None
    assert decision.reason.startswith(
        "no common transfer syntax for Ultrasound Image Storage: it was offered with JPIP"
    )


def test_private_classes_and_other_services_have_a_reason_of_their_own():
    assert "private class" in str(decide("1.3.46.670589.2.3.1.1", IMPLICIT).reason)
    assert "does not offer" in str(decide("1.2.840.10008.5.1.4.31", IMPLICIT).reason)


def test_a_destination_may_verify_and_report_but_not_send():
    assert decide(VERIFICATION, IMPLICIT, purpose=Purpose.DESTINATION).accepted
    assert decide(STORAGE_COMMITMENT_PUSH, IMPLICIT, purpose=Purpose.DESTINATION).accepted
    refused = decide(US_IMAGE, IMPLICIT, purpose=Purpose.DESTINATION)
    assert not refused.accepted
    assert "list its AE title under scanners" in str(refused.reason)


def test_services_are_not_taken_compressed():
    assert not decide(MODALITY_PERFORMED_PROCEDURE_STEP, DEFLATED).accepted
    assert decide(US_IMAGE, HEVC).accepted


def test_a_decision_is_a_row_of_plain_values():
    assert decide(XA_IMAGE, IMPLICIT).as_row() == {
        "id": 1,
        "abstract_syntax": XA_IMAGE,
        "transfer_syntaxes": [IMPLICIT],
        "accepted": False,
        "transfer_syntax": None,
        "reason": decide(XA_IMAGE, IMPLICIT).reason,
    }


@given(st.lists(st.tuples(st.text(max_size=70), st.lists(st.text(max_size=70), max_size=3)), max_size=5))
def test_whatever_is_proposed_gets_an_answer_and_a_refusal_gets_a_reason(proposed):
    contexts = [ProposedContext(2 * n + 1, name, tuple(syntaxes)) for n, (name, syntaxes) in enumerate(proposed)]
    decisions = negotiate(contexts, Purpose.SCANNER)
    assert [decision.id for decision in decisions] == [context.id for context in contexts]
    assert all(decision.accepted or decision.reason for decision in decisions)
