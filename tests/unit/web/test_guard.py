"""Under which names the pages may be opened."""

import socket

import pytest

from dicom_node.web.guard import is_own_name


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080", "node.hospital.example"]
)
def test_own_names(host: str) -> None:
    assert is_own_name(host, "node.hospital.example")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.5", "", "[::1", "a@evil.example"],
)
def test_foreign_names(host: str) -> None:
    assert not is_own_name(host, "127.0.0.1")


@pytest.mark.parametrize("bound_to", ["0.0.0.0", "::"])
def test_a_server_on_every_address_answers_to_addresses_and_its_machine_but_to_no_other_name(bound_to: str) -> None:
    assert is_own_name("192.168.1.5:8080", bound_to)
    assert is_own_name("[fe80::1]:8080", bound_to)
    assert is_own_name(socket.gethostname(), bound_to)
    assert not is_own_name("evil.example", bound_to)
