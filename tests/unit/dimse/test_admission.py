import pytest

from dicom_node.config import Config
from dicom_node.dimse.admission import Rejection, admit, plain_address
from dicom_node.dimse.contexts import Purpose
from dicom_node.dimse.handlers import Caller

CONFIG = Config.model_validate(
    {
        "node": {"ae_title": "NODE"},
        "scanners": [{"ae_title": "ANYWHERE"}, {"ae_title": "FIXED", "host": "us1.hospital"}],
        "destinations": [{"name": "pacs", "ae_title": "PACS", "host": "10.0.0.9", "port": 104}],
    }
)


def resolve(host):
    return frozenset({"10.0.0.5"}) if host == "us1.hospital" else frozenset()


def verdict(calling, called="NODE", host="10.0.0.5", config=CONFIG):
    return admit(Caller(calling, called, host), config, resolve)


def test_a_listed_scanner_is_a_scanner():
    assert verdict("ANYWHERE", host="192.168.1.1") is Purpose.SCANNER


@pytest.mark.parametrize("host", ["10.0.0.5", "::ffff:10.0.0.5"])
def test_a_scanner_with_a_host_is_taken_from_there(host):
    assert verdict("FIXED", host=host) is Purpose.SCANNER


def test_a_scanner_with_a_host_is_refused_from_elsewhere():
    rejection = verdict("FIXED", host="10.0.0.6")
    assert isinstance(rejection, Rejection)
    assert "only accepted from us1.hospital, but this came from 10.0.0.6" in rejection.reason


def test_an_unknown_caller_is_told_apart_from_a_wrong_called_title():
    unknown, wrong = verdict("NOBODY"), verdict("ANYWHERE", called="OTHER")
    assert isinstance(unknown, Rejection)
    assert isinstance(wrong, Rejection)
    assert (unknown.source, unknown.diagnostic) == (1, 3)
    assert (wrong.source, wrong.diagnostic) == (1, 7)
    assert "add it under scanners" in unknown.reason
    assert "this node is 'NODE'" in wrong.reason


def test_unknown_scanners_may_be_let_in_but_a_destination_stays_a_destination():
    everyone = CONFIG.model_copy(update={"accept_unknown_scanners": True})
    assert verdict("NOBODY", config=everyone) is Purpose.SCANNER
    assert verdict("PACS", config=everyone) is Purpose.DESTINATION


def test_addresses_have_one_form():
    assert plain_address("::ffff:127.0.0.1") == "127.0.0.1"
    assert plain_address("fe80::1%eth0") == "fe80::1"
    assert plain_address("not an address") == "not an address"
