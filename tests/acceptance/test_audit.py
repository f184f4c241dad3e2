"""A running node's audit trail on its way to a syslog server: a real process, real TLS, a server that comes late."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import free_port, wait_until
from running import done, serve
from syslog_server import running_syslog_server

pytestmark = pytest.mark.slow


def test_what_happens_reaches_the_server_once_it_is_there(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    port = free_port()
    syslog = {"host": "127.0.0.1", "port": port, "ca": "cert.pem", "cert": "cert.pem", "key": "key.pem"}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"node": {"data_dir": "var"}, "audit": {"syslog": syslog}}))
    done("db", "upgrade", "--config", config)
    process = serve(config, tmp_path / "log", "--only", "io", "--name", "io-0")
    try:
        wait_until(lambda: "the audit trail cannot be sent" in (tmp_path / "log").read_text(), 60, "a failure to send")
        done("ae", "add", "NEWSCANNER", "--config", config)
        with running_syslog_server(cert, key, port) as server:
            wait_until(lambda: any(b"Software Configuration" in m for m in server.messages), 60, "the change")
            sent = b"\n".join(server.messages)
        assert b"Application Start" in sent
        assert b"Network Configuration" in sent  # by the command, which itself waited for nobody
    finally:
        process.terminate()
        assert process.wait(60) == 0
    told = json.loads(done("audit", "--json", "--config", config))
    assert [entry["type"] for entry in told] == [
        "Application Stop",
        "Software Configuration",
        "Network Configuration",
        "Application Start",
    ]
    assert told[1]["said"] == "taken over: scanners"
    assert json.loads(done("audit", "--check", "--json", "--config", config)) == []
