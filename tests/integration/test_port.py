"""A node does not share its port with a stranger, although SO_REUSEPORT would let it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from conftest import free_port

from dicom_node.bootstrap import check_port
from dicom_node.config import Config
from dicom_node.engine.executors import hold, open_locks
from dicom_node.errors import ConfigError


def test_a_port_that_another_program_shares_is_refused_unless_it_is_our_own_receiver(tmp_path: Path) -> None:
    port = free_port()
    config = Config.model_validate({"node": {"data_dir": tmp_path / "var"}, "dicom": {"port": port}})
    check_port(config, ["receiver-0"])
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        with pytest.raises(ConfigError, match=f"another program listens on 127.0.0.1:{port}"):
            check_port(config, ["receiver-0"])
        with hold(open_locks(config.database_url, config.node.data_dir), "receiver-0"):
            check_port(config, ["receiver-0", "receiver-1"])
    check_port(config, ["receiver-0"])
