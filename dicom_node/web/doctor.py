"""The association doctor: from the association log, what is wrong with which caller and what to do about it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from dicom_node.config import Config, Scanner
from dicom_node.store.tables import AssociationRow


@dataclass(slots=True)
class Stranger:
    """A caller that was rejected and is still unknown.

    :ivar command: what adds it, ready for a shell; None when no AE title may look like this.
    """

    calling_ae_title: str
    host: str
    last_seen_at: datetime
    times: int
    command: str | None


@dataclass(slots=True)
class RefusedClass:
    """A SOP class that a caller proposed and could not use at all: its objects did not come."""

    calling_ae_title: str
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    reason: str
    last_seen_at: datetime
    times: int


def strangers(associations: Iterable[AssociationRow], config: Config) -> list[Stranger]:
    """Find the callers that were rejected and that the configuration in force still does not know.

    :param associations: the newest first.
    """
    found: dict[str, Stranger] = {}
    for association in associations:
        title = association.calling_ae_title
        if association.outcome != "rejected" or _knows(config, title):
            continue
        stranger = found.setdefault(
            title, Stranger(title, association.host, association.started_at, 0, command_to_add(title))
        )
        stranger.times += 1
    return list(found.values())


def turned_away(associations: Iterable[AssociationRow], config: Config) -> list[AssociationRow]:
    """Find the last association of each known caller, where it was rejected: a wrong called AE title, a wrong host.

    :param associations: the newest first.
    """
    last: dict[str, AssociationRow] = {}
    for association in associations:
        last.setdefault(association.calling_ae_title, association)
    return [a for a in last.values() if a.outcome == "rejected" and _knows(config, a.calling_ae_title)]


def refused_classes(associations: Iterable[AssociationRow]) -> list[RefusedClass]:
    """Find the classes that no context of an association was accepted for.

    A context that is refused beside an accepted one of the same class costs nothing and is left out.

    :param associations: the newest first.
    """
    found: dict[tuple[str, str, tuple[str, ...]], RefusedClass] = {}
    for association in associations:
        usable = {context["abstract_syntax"] for context in association.contexts if context["accepted"]}
        unusable: dict[tuple[str, str, tuple[str, ...]], Mapping[str, Any]] = {}
        for context in refused_contexts(association):
            if context["abstract_syntax"] not in usable:
                syntaxes = tuple(context["transfer_syntaxes"])
                unusable[association.calling_ae_title, context["abstract_syntax"], syntaxes] = context
        for key, context in unusable.items():
            refused = found.setdefault(key, RefusedClass(*key, context["reason"] or "", association.started_at, 0))
            refused.times += 1
    return list(found.values())


def refused_contexts(association: AssociationRow) -> list[Mapping[str, Any]]:
    """Give the presentation contexts of an association that were refused."""
    return [context for context in association.contexts if not context["accepted"]]


def command_to_add(ae_title: str) -> str | None:
    """Give the command that lets a caller send. The title came from the network, so it is quoted for a shell.

    None when the title is not one that the standard allows, so that no command can add it.
    """
    try:
        Scanner(ae_title=ae_title)
    except ValidationError:
        return None
    dashes = "-- " if ae_title.startswith("-") else ""
    return f"dicom-node ae add {dashes}{shlex.quote(ae_title)}"


def _knows(config: Config, ae_title: str) -> bool:
    return config.scanner(ae_title) is not None or any(d.ae_title == ae_title for d in config.destinations)
