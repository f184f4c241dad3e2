"""config.yaml: the shipped file is the documentation; a bad one is refused whole, with line, key and reason."""

from pathlib import Path

import pytest

from dicom_node.config import Analysis, Config, load_config, parse_config
from dicom_node.errors import ConfigError

ROOT = Path(__file__).parents[2]
HERE = Path("/nowhere/config.yaml")


def test_the_shipped_file_is_valid_and_its_paths_are_relative_to_it() -> None:
    config = load_config(ROOT / "config.yaml")
    assert config.node.data_dir == ROOT / "var"
    assert config.database_url == f"sqlite:///{ROOT / 'var' / 'node.sqlite'}"
    assert config.destinations[0].name == "main-pacs"


def test_every_setting_stands_in_the_shipped_file_with_its_default_and_a_comment() -> None:
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    config = load_config(ROOT / "config.yaml")
    for section_name, field in Config.model_fields.items():
        assert f"{section_name}:" in text
        section = getattr(config, section_name)
        for key in getattr(type(section), "model_fields", {}):
            line = next(line for line in text.splitlines() if line.strip().startswith(f"{key}:"))
            assert "#" in line, f"{section_name}.{key} has no comment"
            if section_name != "node" or key != "data_dir":
                assert getattr(section, key) == getattr(field.default, key), f"{section_name}.{key}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("node:\n  aet: X\n", "2: node.aet: unknown key"),
        ("nodes: {}\n", "1: nodes: unknown key"),
        ("dicom:\n  host: a\n  port: abc\n", "3: dicom.port: "),
        ("dicom: {port: 0}\n", "1: dicom.port: "),
        ("a: [\n", "not YAML"),
        ("- 1\n", "1: the file must hold named sections"),
        ("node: {}\nweb: {}\nnode: {}\n", "3: node: given twice"),
        ("scanners:\n  - {ae_title: A}\n  - {ae_title: A}\n", "1: scanners: given twice: A"),
        ("scanners:\n  - {ae_title: 'SEVENTEEN LETTERS'}\n", "2: scanners[0].ae_title: an AE title has 1 to 16"),
        ("scanners:\n  - {ae_title: 'A\\B'}\n", "2: scanners[0].ae_title: an AE title"),
        ("scanners:\n  - {ae_title: A, quiet_seconds: 0}\n", "2: scanners[0].quiet_seconds: "),
        ("destinations:\n  - {name: x, ae_title: B, host: h, port: 1, send: [pdf]}\n", "2: destinations[0].send[0]: "),
        ("analysis:\n  tasks: [biometry]\n", "2: analysis.tasks: the first task must be planes"),
        ("database: {url: mysql://x}\n", "1: database.url: use postgresql+psycopg"),
        ("node: {uid_root: 1.02.3}\n", "1: node.uid_root: "),
    ],
)
def test_a_fault_is_named_with_line_key_and_reason(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(text, HERE)
    assert said in str(refused.value)
    assert str(HERE) in str(refused.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config("node: {x: 1}\nweb: {y: 2}\n", HERE)
    assert len(str(refused.value).splitlines()) == 2


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "no.yaml")


def test_an_unknown_scanner_has_a_policy_only_when_the_site_allows_it() -> None:
    assert Config().scanner("STRANGER") is None
    policy = Config(accept_unknown_scanners=True).scanner("STRANGER")
    assert policy is not None
    assert policy.quiet_seconds == 10


def test_the_detector_is_an_option_of_structures_alone() -> None:
    analysis = Analysis(detector="both")
    assert analysis.options("structures") == {"detector": "both"}
    assert analysis.options("planes") == {}
    with pytest.raises(ValueError, match="detector"):
        Analysis.model_validate({"detector": "rcnn"})
