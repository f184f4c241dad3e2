"""The figures that no row of the database has."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from dicom_node.store.overview import Gauges
from dicom_node.tls import Certificate
from dicom_node.web.metrics import Scrape, render


def test_the_end_of_each_certificate_is_a_figure_to_alert_on() -> None:
    ends = Certificate("dicom.tls.cert", Path("node.pem"), "CN=node", datetime(2026, 1, 2, tzinfo=UTC))
    scrape = Scrape(
        Gauges(),
        [],
        0,
        audit_unsent_bytes=0,
        config_refused=False,
        certificates=[ends],
        now=datetime(2025, 1, 2, tzinfo=UTC),
    )
    line = 'dicom_node_certificate_ends_timestamp_seconds{setting="dicom.tls.cert",subject="CN=node"} 1.7673120e+09'
    name, _, value = line.rpartition(" ")
    (found,) = [one for one in render(scrape).decode().splitlines() if one.startswith(name)]
    assert float(found.rpartition(" ")[2]) == float(value)
