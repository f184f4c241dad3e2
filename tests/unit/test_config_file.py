"""AE titles managed by command: the file stays what a person wrote."""

import shutil
from pathlib import Path

import pytest

from dicom_node.config import load_config
from dicom_node.config_file import add_destination, add_scanner, remove
from dicom_node.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "config.yaml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(SHIPPED, tmp_path / "config.yaml"))


def test_adding_changes_only_the_added_lines(file: Path) -> None:
    before = file.read_text().splitlines()
    add_scanner(file, {"ae_title": "EPIQ7", "host": None, "quiet_seconds": 20})
    after = file.read_text().splitlines()
    assert [line for line in before if line not in after] == []
    assert load_config(file).scanner("EPIQ7") is not None


def test_adding_then_removing_gives_the_same_settings(file: Path) -> None:
    add_destination(file, {"name": "research", "ae_title": "R", "host": "127.0.0.1", "port": 104})
    assert load_config(file).destination("research") is not None
    remove(file, "research")
    assert load_config(file).model_dump(exclude={"node"}) == load_config(SHIPPED).model_dump(exclude={"node"})


def test_a_bad_entry_leaves_the_file_as_it_was(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="given twice"):
        add_scanner(file, {"ae_title": "VOLUSON1"})
    assert file.read_bytes() == before


def test_removing_what_is_not_there_says_so(file: Path) -> None:
    with pytest.raises(ConfigError, match="no scanner with AE title 'NOBODY'"):
        remove(file, "NOBODY")
