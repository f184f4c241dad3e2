"""The figures for Prometheus, computed from the database when they are asked for: they survive every restart."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dicom_node.domain.study import DeliveryState, GenerationState
from dicom_node.store.overview import Gauges
from dicom_node.tls import Certificate

_STUDY_STATES = (*(state.value for state in GenerationState), "delivered", "committed")
_INSTANCE_STATES = ("stored", "conflict", "quarantined", "removed")
_RESULT_STATES = ("ready", "quarantined")
_OUTCOMES = ("released", "aborted", "lost", "rejected")


class Scrape(Collector):
    """The metrics of one scrape."""

    def __init__(
        self,
        gauges: Gauges,
        destinations: Iterable[str],
        spool_free_bytes: int,
        *,
        audit_unsent_bytes: int,
        config_refused: bool,
        certificates: Sequence[Certificate],
        now: datetime,
    ) -> None:
        self.gauges = gauges
        self.destinations = sorted({*destinations, *(name for name, _ in gauges.deliveries)})
        self.spool_free_bytes = spool_free_bytes
        self.audit_unsent_bytes = audit_unsent_bytes
        self.config_refused = config_refused
        self.certificates = certificates
        self.now = now

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Give every metric; a state that no row has is zero, not absent, so that alerts can be written on it."""
        gauges = self.gauges
        yield _by(
            "instances", "Instances received and on record, by state.", "state", gauges.instances, _INSTANCE_STATES
        )
        yield _by("studies", "Studies on record, by the word of their state.", "state", gauges.studies, _STUDY_STATES)
        yield _by("results", "Result objects on record, by state.", "state", gauges.results, _RESULT_STATES)
        yield _by(
            "associations", "Ended associations on record, by outcome.", "outcome", gauges.associations, _OUTCOMES
        )
        yield _one("open_associations", "Associations under way.", gauges.associations.get("open", 0))
        deliveries = GaugeMetricFamily(
            "dicom_node_deliveries",
            "Deliveries on record, by destination and state.",
            labels=["destination", "state"],
        )
        ages = GaugeMetricFamily(
            "dicom_node_oldest_pending_delivery_age_seconds",
            "Age of the oldest result object that a destination has not accepted yet; 0 when nothing waits.",
            labels=["destination"],
        )
        for name in self.destinations:
            for state in DeliveryState:
                deliveries.add_metric([name, state.value], gauges.deliveries.get((name, state.value), 0))
            since = gauges.oldest_pending_at.get(name, self.now)
            ages.add_metric([name], max(0.0, (self.now - since).total_seconds()))
        yield deliveries
        yield ages
        yield _one("spool_free_bytes", "Free space on the volume of data_dir.", self.spool_free_bytes)
        yield _one(
            "audit_unsent_bytes",
            "Audit trail that the syslog server has not got yet; 0 where there is none.",
            self.audit_unsent_bytes,
        )
        yield _one(
            "config_refused", "1 while the file on disk is refused and older settings hold.", self.config_refused
        )
        ends = GaugeMetricFamily(
            "dicom_node_certificate_ends_timestamp_seconds",
            "When a certificate of the configuration ends, in seconds since 1970.",
            labels=["setting", "subject"],
        )
        for certificate in self.certificates:
            ends.add_metric([certificate.setting, certificate.subject], certificate.ends.timestamp())
        yield ends


def render(scrape: Scrape) -> bytes:
    """Write a scrape in the Prometheus text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(scrape)
    return generate_latest(registry)


def free_bytes(folder: Path) -> int:
    """Give the free space of a folder's volume, also before the folder exists."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


def _one(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"dicom_node_{name}", text, value=value)


def _by(name: str, text: str, label: str, counts: Mapping[str, int], known: Iterable[str]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"dicom_node_{name}", text, labels=[label])
    for value in known:
        family.add_metric([value], counts.get(value, 0))
    return family
