"""The admin pages. They only look: what changes something is done with the command line, and each page says how."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from dicom_node.audit.acts import Audit, browser
from dicom_node.audit.syslog import unsent_bytes
from dicom_node.config import Config
from dicom_node.live_config import RELOADED, RELOADED_OF_ANALYSIS
from dicom_node.pipeline import auditing
from dicom_node.store import overview
from dicom_node.store.database import Database, mask_password
from dicom_node.tls import certificates
from dicom_node.web import doctor, words
from dicom_node.web.guard import Guard
from dicom_node.web.looks import Looks
from dicom_node.web.metrics import Scrape, free_bytes, render

FOLDER = Path(__file__).parent
STUDIES_PER_PAGE = 50
ASSOCIATIONS_SHOWN = 200
DELIVERIES_SHOWN = 200
SET_ASIDE_SHOWN = 200


def utc_now() -> datetime:
    """Give the time, aware UTC."""
    return datetime.now(UTC)


def make_app(
    database: Database,
    current_config: Callable[[], Config],
    problem: Callable[[], str | None],
    audit: Audit,
    clock: Callable[[], datetime] = utc_now,
) -> Starlette:
    """Make the web application.

    :param current_config: gives the configuration in force.
    :param problem: gives why the file on disk was refused, or None.
    :param audit: takes down who looked at which study.
    """
    pages = Pages(database, current_config, problem, audit, clock)
    return Starlette(
        routes=[
            Route("/", pages.studies, name="studies"),
            Route("/studies/{uid}", pages.study, name="study"),
            Route("/associations", pages.associations, name="associations"),
            Route("/deliveries", pages.deliveries, name="deliveries"),
            Route("/set-aside", pages.set_aside, name="set_aside"),
            Route("/config", pages.config, name="config"),
            Route("/healthz", pages.healthz, name="healthz"),
            Route("/metrics", pages.metrics, name="metrics"),
            Mount("/static", StaticFiles(directory=FOLDER / "static"), name="static"),
        ],
        middleware=[Middleware(Guard, current_config=current_config)],
        exception_handlers={HTTPException: pages.refusal, SQLAlchemyError: pages.no_database},
    )


class Pages:
    """One method for each page. They are plain functions, so each runs in a thread and may wait for the database."""

    def __init__(
        self,
        database: Database,
        current_config: Callable[[], Config],
        problem: Callable[[], str | None],
        audit: Audit,
        clock: Callable[[], datetime],
    ) -> None:
        self.database = database
        self.current_config = current_config
        self.problem = problem
        self.audit = audit
        self.looks = Looks()
        self.clock = clock
        self.templates = Jinja2Templates(env=_environment())

    def studies(self, request: Request) -> Response:
        """List the studies, the newest first."""
        asked = request.query_params
        with self.database.read() as session:
            page = overview.page_of_studies(
                session,
                STUDIES_PER_PAGE,
                older_than=asked.get("older", ""),
                newer_than=asked.get("newer", ""),
                oldest="oldest" in asked,
            )
        return self._show(request, "studies", lines=page.lines, has_newer=page.has_newer, has_older=page.has_older)

    def study(self, request: Request) -> Response:
        """Show one study."""
        uid = request.path_params["uid"]
        with self.database.read() as session:
            record = overview.show_study(session, uid)
            if record is None:
                raise HTTPException(404, f"No study {uid} is on record here.")
            self._audit_view(request, session, uid)
        said = record.analysis.summary if record.analysis else []
        return self._show(
            request,
            "study",
            record=record,
            line=record.line,
            findings=[entry for entry in said if entry["name"] != "not analysed"],
            not_analysed=[entry for entry in said if entry["name"] == "not analysed"],
            current=[entry for entry in record.results if entry[0].version == record.line.version],
            earlier=[entry for entry in record.results if entry[0].version != record.line.version],
        )

    def _audit_view(self, request: Request, session: Session, uid: str) -> None:
        """Take down who looks; a page that stays open, and asks again by itself, is one look."""
        host = request.client.host if request.client else ""
        if self.looks.is_new(host, uid, self.clock()):
            self.audit.viewed(browser(host), auditing.known(session, self.current_config().node.data_dir, uid))

    def associations(self, request: Request) -> Response:
        """Show the association doctor."""
        with self.database.read() as session:
            found = overview.list_associations(session, ASSOCIATIONS_SHOWN)
        config = self.current_config()
        return self._show(
            request,
            "associations",
            associations=[(association, doctor.refused_contexts(association)) for association in found],
            strangers=doctor.strangers(found, config),
            turned_away=doctor.turned_away(found, config),
            refused_classes=doctor.refused_classes(found),
            most=ASSOCIATIONS_SHOWN,
        )

    def deliveries(self, request: Request) -> Response:
        """Show the lanes, the dead letters, and what is being tried again."""
        with self.database.read() as session:
            lanes = overview.lanes(session)
            oldest = overview.oldest_pending(session)
            dead = overview.list_dead_letters(session, DELIVERIES_SHOWN)
            waiting = overview.list_waiting(session, DELIVERIES_SHOWN)
        destinations = {destination.name: destination for destination in self.current_config().destinations}
        names = [*destinations, *sorted(lanes.keys() - destinations.keys())]
        return self._show(
            request,
            "deliveries",
            lanes=[(name, destinations.get(name), lanes.get(name, {}), oldest.get(name)) for name in names],
            dead=dead,
            waiting=waiting,
            most=DELIVERIES_SHOWN,
        )

    def set_aside(self, request: Request) -> Response:
        """Show the instances that are kept but not used."""
        with self.database.read() as session:
            found = overview.list_set_aside(session, SET_ASIDE_SHOWN)
        return self._show(request, "set_aside", instances=found, most=SET_ASIDE_SHOWN)

    def config(self, request: Request) -> Response:
        """Show the configuration in force."""
        config = self.current_config()
        reloaded = (*RELOADED, *(f"analysis.{key}" for key in RELOADED_OF_ANALYSIS))
        return self._show(request, "config", config=config, text=public_text(config), reloaded=reloaded)

    def healthz(self, request: Request) -> Response:  # noqa: ARG002 - the shape of an endpoint
        """Answer 200 when the database does."""
        with self.database.read() as session:
            overview.list_associations(session, 1)
        return PlainTextResponse("ok\n")

    def metrics(self, request: Request) -> Response:  # noqa: ARG002 - the shape of an endpoint
        """Answer a scrape."""
        config = self.current_config()
        with self.database.read() as session:
            gauges = overview.gauges(session)
        scrape = Scrape(
            gauges,
            [destination.name for destination in config.destinations],
            free_bytes(config.node.data_dir),
            audit_unsent_bytes=unsent_bytes(config.node.data_dir) if config.audit.syslog else 0,
            config_refused=self.problem() is not None,
            certificates=certificates(config),
            now=self.clock(),
        )
        return Response(render(scrape), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def refusal(self, request: Request, error: Exception) -> Response:
        """Show what is wrong with a request."""
        status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
        return self._show(request, "refusal", status_code=status, detail=detail)

    def no_database(self, request: Request, error: Exception) -> Response:  # noqa: ARG002 - it may name secrets
        """Say that the database does not answer."""
        detail = "The database does not answer. The log of the node says why."
        if request.url.path in ("/healthz", "/metrics"):
            return PlainTextResponse(f"{detail}\n", 503)
        return self._show(request, "refusal", status_code=503, detail=detail)

    def _show(self, request: Request, page: str, status_code: int = 200, **context: Any) -> Response:
        """Render a page with what every page shows."""
        now = self.clock()
        shared = {
            "page_name": page,
            "node": self.current_config().node,
            "problem": self.problem(),
            "now": now,
            "status_code": status_code,
        }
        return self.templates.TemplateResponse(request, f"{page}.html", {**shared, **context}, status_code=status_code)


def public_text(config: Config) -> str:
    """Write a configuration as config.yaml would, with the password of the database masked."""
    values = config.model_dump(mode="json")
    if config.database.url is not None:
        values["database"]["url"] = mask_password(config.database.url)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        distance=words.distance,
        duration=words.duration,
        quoted=shlex.quote,
        short_uid=words.short_uid,
        status_hex=words.status_hex,
        status_words=words.status_words,
        uid_name=words.uid_name,
    )
    environment.globals.update(meanings=words.MEANINGS, kinds=words.KINDS, steps=words.STEPS)
    return environment
