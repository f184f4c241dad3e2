"""What the association log says to whoever reads it."""

import shlex
from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.config import Config, Destination, Scanner
from dicom_node.store.tables import AssociationRow
from dicom_node.web.doctor import command_to_add, refused_classes, strangers, turned_away

NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
CONFIG = Config(
    scanners=(Scanner(ae_title="VOLUSON1"),),
    destinations=(Destination(name="main-pacs", ae_title="ORTHANC", host="127.0.0.1", port=4242),),
)


def association(
    calling: str, outcome: str, minutes_ago: float = 0, contexts: list[dict[str, object]] | None = None
) -> AssociationRow:
    return AssociationRow(
        calling_ae_title=calling,
        called_ae_title="DICOM_NODE",
        host="10.0.0.1",
        started_at=NOW - timedelta(minutes=minutes_ago),
        outcome=outcome,
        contexts=contexts or [],
    )


def context(abstract_syntax: str, syntax: str, *, accepted: bool) -> dict[str, object]:
    return {
        "abstract_syntax": abstract_syntax,
        "transfer_syntaxes": [syntax],
        "accepted": accepted,
        "reason": None if accepted else "why",
    }


def test_a_stranger_is_counted_and_seen_when_it_last_called() -> None:
    log = [association("NEW", "rejected", 1), association("VOLUSON1", "released", 2), association("NEW", "rejected", 9)]
    (found,) = strangers(log, CONFIG)
    assert (found.calling_ae_title, found.times, found.last_seen_at) == ("NEW", 2, NOW - timedelta(minutes=1))
    assert found.command == "dicom-node ae add NEW"


def test_nobody_is_a_stranger_where_everybody_is_accepted() -> None:
    assert strangers([association("NEW", "rejected")], Config(accept_unknown_scanners=True)) == []


def test_a_known_caller_is_turned_away_only_while_its_last_association_was_rejected() -> None:
    rejected = association("VOLUSON1", "rejected", 1)
    assert turned_away([rejected, association("VOLUSON1", "released", 2)], CONFIG) == [rejected]
    assert turned_away([association("VOLUSON1", "released"), rejected], CONFIG) == []
    assert turned_away([association("ORTHANC", "rejected")], CONFIG) != []
    assert turned_away([association("NEW", "rejected")], CONFIG) == []


def test_a_class_counts_as_refused_only_when_no_context_of_it_was_accepted() -> None:
    spare = [context("1.1", "1.9", accepted=False), context("1.1", "1.2", accepted=True)]
    lost = [context("2.2", "1.9", accepted=False)]
    log = [association("VOLUSON1", "released", 1, spare + lost), association("VOLUSON1", "released", 2, lost)]
    (found,) = refused_classes(log)
    assert (found.abstract_syntax, found.transfer_syntaxes, found.times) == ("2.2", ("1.9",), 2)
    assert found.last_seen_at == NOW - timedelta(minutes=1)


@pytest.mark.parametrize("title", ["NEW", "<b>X", "A B", "$(reboot)", "`id`", "x;ls", "it's", "-n"])
def test_the_command_gives_a_shell_the_title_and_nothing_else(title: str) -> None:
    command = command_to_add(title)
    assert command is not None
    words = [word for word in shlex.split(command) if word != "--"]
    assert words == ["dicom-node", "ae", "add", title]
    assert ("--" in shlex.split(command)) is title.startswith("-")


@pytest.mark.parametrize("title", ["", "A\\B", "A\nB", "LONGER_THAN_SIXTEEN", "ÄRZTE"])
def test_no_command_is_offered_for_a_title_that_the_standard_does_not_allow(title: str) -> None:
    assert command_to_add(title) is None
