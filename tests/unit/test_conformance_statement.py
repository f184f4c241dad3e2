"""The conformance statement in docs is the one that the command prints."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.conformance import RESULT_CLASSES
from dicom_node.profile import SERIES_NUMBERS, ObjectKind

DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"


def test_the_document_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(app, ["conformance"])
    assert printed.exit_code == 0, printed.output
    assert DOCUMENT.read_text(encoding="utf-8") == printed.output, "run: dicom-node conformance > docs/conformance.md"


def test_it_speaks_of_every_kind_of_object() -> None:
    assert set(RESULT_CLASSES) == set(SERIES_NUMBERS) == set(get_args(ObjectKind))
