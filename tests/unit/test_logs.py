"""What reaches the log: our words, not those of the libraries."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from dicom_node.config import Logging
from dicom_node.logs import set_up_logging


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Put the logging of the test run back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
    for handler in set(handlers) - set(root.handlers):
        root.addHandler(handler)
    root.setLevel(level)


@pytest.mark.parametrize("library", ["pynetdicom", "pydicom"])
def test_what_a_library_says_of_a_peer_is_told_by_us_only(library: str, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(Logging(), "io-0")
    logging.getLogger(f"{library}.association").error("Association Aborted")
    logging.getLogger("dicom_node.pipeline.delivery").warning("main-pacs did not take it")
    said = capsys.readouterr().err
    assert "Association Aborted" not in said
    assert "io-0       main-pacs did not take it" in said
