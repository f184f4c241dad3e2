"""A-ASSOCIATE PDUs as the acceptor reads and writes them (PS3.8 9.3.2 to 9.3.4, PS3.7 Annex D.3).

Lenient in reading: what a caller proposes is only compared with our table, so a malformed UID in one proposed context
must not cost it the others. It is written down, also of who is turned away: so it is bounded and made printable.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dicom_node.dimse.connection import MAXIMUM_PDU_BYTES, Pdu, ProtocolViolation
from dicom_node.dimse.contexts import ContextDecision, ProposedContext
from dicom_node.domain.identifiers import printable

CONTEXTS_AT_MOST = 128  # PS3.8 9.3.2.2: odd ids from 1 to 255
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_CLASS_UID = "2.25.182690425207834283817036953137520281349"
IMPLEMENTATION_VERSION_NAME = "DICOM_NODE_1"

_APPLICATION_CONTEXT_ITEM = 0x10
_CONTEXT_RQ_ITEM, _CONTEXT_AC_ITEM = 0x20, 0x21
_ABSTRACT_SYNTAX_ITEM, _TRANSFER_SYNTAX_ITEM = 0x30, 0x40
_USER_INFORMATION_ITEM = 0x50
_MAXIMUM_LENGTH_ITEM, _IMPLEMENTATION_CLASS_ITEM, _ROLE_ITEM, _IMPLEMENTATION_VERSION_ITEM = 0x51, 0x52, 0x54, 0x55

_FIXED = struct.Struct(">BxL4x16s16s32x")
_ITEM = struct.Struct(">BxH")


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """What a caller asks for.

    :ivar roles: SOP class -> (requestor may be SCU, requestor may be SCP), where the caller proposed roles.
    :ivar maximum_pdu_bytes: the longest P-DATA-TF it takes; 0 is no limit.
    """

    called_ae_title: str
    calling_ae_title: str
    contexts: tuple[ProposedContext, ...]
    roles: Mapping[str, tuple[bool, bool]]
    maximum_pdu_bytes: int
    implementation: str


def parse_request(pdu: bytes) -> AssociationRequest:
    """Read an A-ASSOCIATE-RQ.

    :raises ProtocolViolation: when it is malformed.
    """
    try:
        _, _, called, calling = _FIXED.unpack_from(pdu)
        contexts: list[ProposedContext] = []
        roles: dict[str, tuple[bool, bool]] = {}
        maximum, implementation = 0, ""
        for kind, value in _items(pdu[_FIXED.size :]):
            if kind == _CONTEXT_RQ_ITEM:
                contexts.append(_context(value))
            elif kind == _USER_INFORMATION_ITEM:
                for sub_kind, sub_value in _items(value):
                    if sub_kind == _MAXIMUM_LENGTH_ITEM:
                        maximum = int.from_bytes(sub_value[:4], "big")
                    elif sub_kind == _IMPLEMENTATION_VERSION_ITEM:
                        implementation = _text(sub_value)
                    elif sub_kind == _ROLE_ITEM:
                        size = int.from_bytes(sub_value[:2], "big")
                        roles[_text(sub_value[2 : 2 + size])] = bool(sub_value[2 + size]), bool(sub_value[3 + size])
    except (struct.error, IndexError) as error:
        raise ProtocolViolation(f"the association request is malformed: {error}") from error
    if len(contexts) > CONTEXTS_AT_MOST:
        raise ProtocolViolation(f"the association request proposes {len(contexts)} presentation contexts")
    return AssociationRequest(_text(called), _text(calling), tuple(contexts), roles, maximum, implementation)


def acceptance(
    request_pdu: bytes, decisions: Sequence[ContextDecision], roles: Mapping[str, tuple[bool, bool]]
) -> bytes:
    """Write the A-ASSOCIATE-AC. ``roles``: what the requestor may be, for each SOP class it proposed roles for."""
    items = [_item(_APPLICATION_CONTEXT_ITEM, APPLICATION_CONTEXT.encode())]
    for decision in decisions:
        # A refused context repeats a transfer syntax that is not to be tested (PS3.8 Table 9-18).
        syntax = decision.transfer_syntax or next(iter(decision.transfer_syntaxes), "")
        head = bytes((decision.id, 0, decision.result, 0))
        items.append(_item(_CONTEXT_AC_ITEM, head + _item(_TRANSFER_SYNTAX_ITEM, syntax.encode("latin-1"))))
    user = [
        _item(_MAXIMUM_LENGTH_ITEM, MAXIMUM_PDU_BYTES.to_bytes(4, "big")),
        _item(_IMPLEMENTATION_CLASS_ITEM, IMPLEMENTATION_CLASS_UID.encode()),
        _item(_IMPLEMENTATION_VERSION_ITEM, IMPLEMENTATION_VERSION_NAME.encode()),
    ]
    for sop_class_uid, (as_scu, as_scp) in roles.items():
        uid = sop_class_uid.encode("latin-1")
        user.append(_item(_ROLE_ITEM, len(uid).to_bytes(2, "big") + uid + bytes((as_scu, as_scp))))
    items.append(_item(_USER_INFORMATION_ITEM, b"".join(user)))
    body = b"".join(items)
    # Titles and reserved bytes go back as they came (PS3.8 Table 9-17).
    fixed = struct.pack(">H", 1) + request_pdu[8 : _FIXED.size]
    return _ITEM_HEADER_LONG.pack(Pdu.A_ASSOCIATE_AC, len(fixed) + len(body)) + fixed + body


def rejection(result: int, source: int, diagnostic: int) -> bytes:
    """Write the A-ASSOCIATE-RJ."""
    return _ITEM_HEADER_LONG.pack(Pdu.A_ASSOCIATE_RJ, 4) + bytes((0, result, source, diagnostic))


_ITEM_HEADER_LONG = struct.Struct(">BxL")


def _context(value: bytes) -> ProposedContext:
    abstract, transfers = "", []
    for kind, name in _items(value[4:]):
        if kind == _ABSTRACT_SYNTAX_ITEM:
            abstract = _text(name)
        elif kind == _TRANSFER_SYNTAX_ITEM:
            transfers.append(_text(name))
    return ProposedContext(value[0], abstract, tuple(transfers))


def _items(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(encoded):
        kind, length = _ITEM.unpack_from(encoded, at)
        at += _ITEM.size
        if at + length > len(encoded):
            raise ProtocolViolation(f"an item of the association request is longer ({length}) than the request")
        yield kind, encoded[at : at + length]
        at += length


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _text(value: bytes) -> str:
    return printable(value.decode("latin-1").strip("\0 "))
