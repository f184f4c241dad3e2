"""What is written is what PS3.15 A.5 asks for: the schema by a real validator, the rest by the tables of A.5.3."""

import re
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from pydicom.sr._concepts_dict import concepts

from dicom_node.audit import acts
from dicom_node.audit.acts import Audit, Subject, browser, entity, operator, this_process
from dicom_node.audit.message import Code, Message, Object, Participant, Source, as_xml

SCHEMA = Path(__file__).parents[2] / "audit-message.rnc"
JING = "/usr/bin/jing"
NOW = datetime(2026, 11, 21, 8, 30, 0, 125000, tzinfo=UTC)
SOURCE = Source("DICOM_NODE@node1", "St Mary's & Co")
SCANNER = entity("VOLUSON1", "10.0.0.7")
STUDY = Subject("1.2.3", "PAT<1>", {"1.2.840.10008.5.1.4.1.1.6.1": 12, "1.2.840.10008.5.1.4.1.1.3.1": 2})


def every_act() -> dict[str, Message]:
    """Do everything that is ever audited, once."""
    told: list[Message] = []
    audit = Audit(this_process("DICOM_NODE", "receiver-0"), told.append)
    audit.started()
    audit.stopped()
    audit.receiving(SCANNER, STUDY)
    audit.received(SCANNER, STUDY)
    audit.received(SCANNER, Subject("", ""), "the connection broke")
    audit.sending(entity("PACS", "pacs.example.org"), STUDY)
    audit.sent(entity("PACS", "pacs.example.org"), STUDY, [])
    audit.sent(entity("PACS", "pacs.example.org"), Subject("1.2.3", "P"), ["refused", "refused"])
    audit.viewed(browser("10.0.0.8"), STUDY)
    audit.ordered(operator(), STUDY, "study cancel", "wrong patient")
    audit.deleted(STUDY, "images, by retention")
    audit.copied(operator(), "/media/backup")
    audit.reconfigured(operator(), "/etc/dicom-node/config.yaml", "ae add: scanner X")
    audit.reconfigured(None, "/etc/dicom-node/config.yaml", "taken over: scanners")
    audit.trail_read(operator(), "/var/lib/dicom-node/audit")
    audit.rejected(entity("EVIL", "192.0.2.66"), "unknown")
    audit.rejected(entity("", "192.0.2.66"), "no TLS connection")
    audit.refused(SCANNER, "own results")
    audit.incomplete("3 messages could not be written")
    audit.lost(7)
    return {f"{number:02} {message.event.meaning}": message for number, message in enumerate(told)}


def test_every_message_is_valid_by_the_schema_and_a_broken_one_is_not(tmp_path: Path) -> None:
    files = []
    hostile = Message(
        Code("110113", "Security Alert"),
        "E",
        (Participant("\x00\ud800<&>\u0007\nEVIL", host="\x1b[31mhost"),),
        (Object("\x0b" + "9" * 5000, Code("12", "URI", "RFC-3881"), 2, 13, details={"said": "]]>\x00"}),),
        explanation="\x00" * 4000,
    )
    for name, message in {**every_act(), "hostile": hostile}.items():
        files.append(tmp_path / f"{name}.xml")
        files[-1].write_text(as_xml(message, SOURCE, NOW), encoding="utf-8")
    outcome = subprocess.run([JING, "-c", SCHEMA, *files], capture_output=True, text=True, check=False)
    # Debian's wrapper warns of libraries that jing can do without.
    assert [line for line in (outcome.stdout + outcome.stderr).splitlines() if not line.startswith("[warning]")] == []
    assert outcome.returncode == 0

    good = files[0].read_text(encoding="utf-8")
    files[0].write_text(good.replace('EventOutcomeIndicator="0"', 'EventOutcomeIndicator="1"'), encoding="utf-8")
    outcome = subprocess.run([JING, "-c", SCHEMA, files[0]], capture_output=True, text=True, check=False)
    assert outcome.returncode == 1


def test_no_message_is_longer_than_the_transport_must_take() -> None:
    many = {f"1.2.840.{number}": number for number in range(150)}
    long = Subject("1." * 31 + "1", "P" * 5000, many)
    told: list[Message] = []
    Audit(this_process("X" * 16, "receiver-0"), told.append).received(SCANNER, long, "w" * 5000)
    assert len(as_xml(told[0], SOURCE, NOW).encode()) < 32 * 1024  # PS3.15 A.6


def test_time_is_utc_and_a_message_is_one_line() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=2)))
    text = as_xml(next(iter(every_act().values())), SOURCE, local)
    assert 'EventDateTime="2026-11-21T08:30:00.125+00:00"' in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("number", "code", "action", "roles"),
    [
        (0, "110100", "E", {"110150"}),  # A.5.3.1
        (2, "110102", "E", {"110152", "110153"}),  # A.5.3.3
        (3, "110104", "C", {"110152", "110153"}),  # A.5.3.7
        (6, "110104", "R", {"110152", "110153"}),
        (8, "110103", "R", set()),  # A.5.3.6
        (9, "110103", "U", set()),
        (10, "110105", "D", set()),  # A.5.3.8
        (11, "110106", "R", {"110153", "110154"}),  # A.5.3.4
        (14, "110101", "R", set()),  # A.5.3.2
        (15, "110113", "E", set()),  # A.5.3.11
    ],
)
def test_events_say_what_their_tables_ask(number: int, code: str, action: str, roles: set[str]) -> None:
    message = list(every_act().values())[number]
    root = fromstring(as_xml(message, SOURCE, NOW))
    event = root.find("EventIdentification")
    assert event.get("EventActionCode") == action
    assert event.find("EventID").get("csd-code") == code
    assert {role.get("csd-code") for role in root.iter("RoleIDCode")} == roles
    if code in {"110102", "110103", "110104", "110105"}:
        study, patient = root.findall("ParticipantObjectIdentification")
        assert (study.get("ParticipantObjectTypeCode"), study.get("ParticipantObjectTypeCodeRole")) == ("2", "3")
        assert study.find("ParticipantObjectIDTypeCode").get("csd-code") == "110180"
        assert (patient.get("ParticipantObjectTypeCode"), patient.get("ParticipantObjectTypeCodeRole")) == ("1", "1")
        assert patient.find("ParticipantObjectIDTypeCode").get("csd-code") == "2"
        assert patient.get("ParticipantObjectID") == "PAT<1>"


def test_codes_have_the_meanings_of_the_standard() -> None:
    of_dcm = {code: meaning for entries in concepts["DCM"].values() for code, (meaning, *_) in entries.items()}
    ours = [value for value in vars(acts).values() if isinstance(value, Code) and value.system == "DCM"]
    assert len(ours) > 10
    assert {code.value: code.meaning for code in ours} == {code.value: of_dcm[code.value] for code in ours}


def test_a_failed_delivery_says_how_much_failed() -> None:
    messages = list(every_act().values())
    assert [messages[number].outcome for number in (3, 4, 6, 7)] == [0, 4, 0, 8]
    assert messages[7].explanation == "refused"


def test_who_called_sudo_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "jane")
    assert operator().user_id == "jane"
    assert re.fullmatch(r"\S+", operator().name)
