"""config.yaml: the shipped file is the documentation; a bad one is refused whole, with line, key and reason."""

from pathlib import Path

import pytest

from dicom_node.config import Analysis, Config, Destination, load_config, parse_config
from dicom_node.errors import ConfigError

ROOT = Path(__file__).parents[2]
PACS = "name: x, ae_title: B, host: h, port: 1"
PACS_IN_LINES = PACS.replace(", ", "\n    ")
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


def test_every_setting_of_a_destination_stands_there_too() -> None:
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    lines = text[text.index("destinations:") : text.index("analysis:")].splitlines()
    (shipped,) = load_config(ROOT / "config.yaml").destinations
    for key, field in Destination.model_fields.items():
        line = next(line for line in lines if line.lstrip(" -").startswith(f"{key}:"))
        if not field.is_required():
            assert "#" in line, f"{key} has no comment"
            assert getattr(shipped, key) == field.default, key


def test_two_kinds_may_share_a_number_while_only_one_of_them_is_sent() -> None:
    text = f"destinations:\n  - {{{PACS}, send: [findings_sr], series_numbers: {{findings_sr: 903}}}}\n"
    assert parse_config(text, HERE).destinations[0].profile.series_number("findings_sr") == 903


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
        (f"destinations:\n  - {{{PACS}, send: []}}\n", "2: destinations[0].send: name at least one kind of object"),
        (f"destinations:\n  - {{{PACS}, sr_class: 3d}}\n", "2: destinations[0].sr_class: Input should be 'compr"),
        (f"destinations:\n  - {{{PACS}, series_numbers: {{pdf: 1}}}}\n", "[0].series_numbers.pdf: Input should be 'fi"),
        (
            f"destinations:\n  - {PACS_IN_LINES}\n    series_numbers:\n      findings_sr: 2147483648\n",
            "7: destinations[0].series_numbers.findings_sr: a series number is a whole number from 0 to 2147483647",
        ),
        (
            f"destinations:\n  - {{{PACS}, series_numbers: {{findings_sr: 903}}}}\n",
            "2: destinations[0]: series_numbers: findings_sr and secondary_capture would both be series 903",
        ),
        ("analysis:\n  tasks: [biometry]\n", "2: analysis.tasks: the first task must be planes"),
        ("database: {url: mysql://x}\n", "1: database.url: use postgresql+psycopg"),
        ("node: {uid_root: 1.02.3}\n", "1: node.uid_root: "),
        ("node: {ae_title: 2026-13-45}\n", "not YAML: month must be in 1..12"),
        ("web: &a {host: *a}\n", "web.host: "),
        ("[" * 5000, "not YAML: maximum recursion depth"),
        ('node: {data_dir: "a\\0b"}\n', "1: node.data_dir: no file has such a name"),
        (
            "scanners:\n  - {ae_title: A, host: us1..hospital}\n",
            "2: scanners[0].host: no part of a host's name is empty",
        ),
        ("retention: {images_days: .inf}\n", "1: retention.images_days: "),
        ("retention: {min_free_gb: .inf}\n", "1: retention.min_free_gb: "),
        ("audit: {keep_days: 1000000}\n", "1: audit.keep_days: "),
        ("database: {url: 'postgresql+psycopg://a:b:c/x'}\n", "1: database.url: it is no URL of a database"),
        ("database: {url: 'sqlite:///'}\n", "1: database.url: it names no database"),
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


def test_a_syslog_server_has_absolute_files_and_a_certificate_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("audit: {syslog: {host: audit.example.org, ca: ca.pem, cert: node.pem, key: node.key}}\n")
    syslog = load_config(path).audit.syslog
    assert syslog is not None
    assert (syslog.port, syslog.ca, syslog.key) == (6514, tmp_path / "ca.pem", tmp_path / "node.key")
    path.write_text("audit:\n  syslog: {host: audit.example.org, cert: node.pem}\n")
    with pytest.raises(ConfigError, match=r"config.yaml:2: audit.syslog: cert and key go together"):
        load_config(path)
