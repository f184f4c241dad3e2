"""A real viewer: Orthanc with DICOMweb, OHIF behind nginx, and headless Chromium driven over the DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import Orthanc, free_port, listens, run_orthanc, wait_until

PROJECT = Path(__file__).parents[2]
OHIF = PROJECT / ".venv" / "ohif"  #: where `make test` puts the viewer
OHIF_SETTINGS = PROJECT / "deploy" / "ohif.js"
NGINX = "/usr/sbin/nginx"
CHROMIUM = "/usr/bin/chromium"
SIZE = (1600, 1000)
#: The graphics are computed in software, so that a machine without a graphics card draws what others draw.
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-pipe",
]
NGINX_CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    types {{ text/html html; text/javascript js; text/css css; application/wasm wasm; image/svg+xml svg; }}
    types_hash_bucket_size 128;
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {ohif};
        location / {{ try_files $uri /index.html; }}
        location = /app-config.js {{ alias {settings}; }}
        location /dicom-web/ {{
            proxy_pass http://127.0.0.1:{orthanc_port};
            proxy_set_header Host $http_host;
            proxy_buffering off;
        }}
    }}
}}
"""


@contextmanager
def run_viewer(folder: Path) -> Iterator[tuple[Orthanc, str]]:
    """Run Orthanc with DICOMweb and the viewer before it; gives Orthanc and the viewer's address."""
    assert (OHIF / "index.html").is_file(), f"the viewer is not at {OHIF}: run `make viewer`"
    with run_orthanc(folder / "orthanc", plugins=["libOrthancDicomWeb.so"]) as orthanc:
        site, port = folder / "nginx", free_port()
        site.mkdir()
        config = NGINX_CONFIG.format(
            folder=site, port=port, ohif=OHIF, settings=OHIF_SETTINGS, orthanc_port=orthanc.http_port
        )
        (site / "nginx.conf").write_text(config, encoding="utf-8")
        command = [NGINX, "-p", str(site), "-e", str(site / "error.log"), "-c", str(site / "nginx.conf")]
        process = subprocess.Popen(command)
        try:
            wait_until(lambda: process.poll() is not None or listens(port), what="nginx's start")
            assert process.poll() is None, (site / "error.log").read_text(encoding="utf-8")
            yield orthanc, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


@dataclass
class Page:
    """One page of a running Chromium. It is told what to do through one pipe and answers through another."""

    to_browser: int
    from_browser: int
    session: str | None = None
    said: list[str] = field(default_factory=list)  #: errors: of the console, of scripts and of failed requests
    _unread: bytes = b""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def call(self, method: str, timeout_s: float = 180, **params: Any) -> dict[str, Any]:
        """Give a command of the DevTools protocol and wait for its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout_s
        while True:
            answer = self._receive(deadline - time.monotonic())
            assert answer is not None, f"{method} was not answered within {timeout_s} s"
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self._note(answer)

    def run(self, script: str) -> Any:
        """Evaluate an expression in the page, waiting for its promise; gives its value."""
        outcome = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in outcome, f"{script}: {outcome['exceptionDetails']}"
        return outcome["result"].get("value")

    def wait_for(self, condition: str, timeout_s: float = 240) -> Any:
        """Wait until an expression is true in the page; gives its value."""
        deadline = time.monotonic() + timeout_s
        while not (value := self.run(condition)):
            assert time.monotonic() < deadline, f"{condition} did not become true in {timeout_s} s:\n{self.said[-9:]}"
            time.sleep(0.1)
        return value

    def screenshot(self) -> bytes:
        """Give a PNG of what a person would see."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _receive(self, timeout_s: float) -> dict[str, Any] | None:
        while b"\0" not in self._unread:
            if timeout_s <= 0 or not select.select([self.from_browser], [], [], timeout_s)[0]:
                return None
            data = os.read(self.from_browser, 1 << 20)
            assert data, "the browser has gone"
            self._unread += data
        message, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.said.append(f"exception: {details.get('exception', {}).get('description') or details['text']}")
            case "Runtime.consoleAPICalled" if params["type"] in {"error", "assert"}:
                words = [str(it.get("value", it.get("description", ""))) for it in params["args"]]
                self.said.append(f"console: {' '.join(words)}")
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.said.append(f"log: {params['entry']['text']} {params['entry'].get('url', '')}")


@contextmanager
def run_chromium(folder: Path) -> Iterator[Page]:
    """Run headless Chromium with an empty profile; gives its page. It ends when its pipe does."""
    child_reads, to_browser = os.pipe()
    from_browser, child_writes = os.pipe()
    options = [*FLAGS, f"--user-data-dir={folder}", f"--window-size={SIZE[0]},{SIZE[1]}", "about:blank"]
    # Chromium listens on descriptor 3 and answers on 4; the shell puts our ends there.
    command = ["bash", "-c", f'exec "$@" 3<&{child_reads} 4>&{child_writes}', "bash", CHROMIUM, *options]
    with ExitStack() as stack:
        for end in (to_browser, from_browser):
            stack.callback(os.close, end)
        folder.mkdir(parents=True)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, pass_fds=(child_reads, child_writes), start_new_session=True
            )
        stack.callback(process.wait, 20)
        stack.callback(process.terminate)
        os.close(child_reads)
        os.close(child_writes)
        page = Page(to_browser, from_browser)
        targets: Sequence[dict[str, Any]] = page.call("Target.getTargets")["targetInfos"]
        target = next(it["targetId"] for it in targets if it["type"] == "page")
        page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        page.call(
            "Emulation.setDeviceMetricsOverride", width=SIZE[0], height=SIZE[1], deviceScaleFactor=1, mobile=False
        )
        yield page


@dataclass
class Viewer:
    """OHIF showing one study, worked with as a reader does: thumbnails are opened by a double click."""

    page: Page

    @classmethod
    def open(cls, page: Page, url: str, study_instance_uid: str, series: int) -> Viewer:
        """Open a study and wait until all its series are listed and the first picture stands."""
        page.said.clear()
        # As for a reader who has seen the guided tour and what the viewer says of itself.
        page.call(
            "Page.addScriptToEvaluateOnNewDocument",
            source="""localStorage.setItem("shownTours", '["basicViewerTour"]');
                      sessionStorage.setItem("investigationalUseDialog", "true")""",
        )
        page.call("Page.navigate", url=f"{url}/viewer?StudyInstanceUIDs={study_instance_uid}")
        viewer = cls(page)
        page.wait_for(f"window.services?.displaySetService?.getActiveDisplaySets().length >= {series}")
        page.wait_for(f"({VIEWPORT})?.getCurrentImageId?.() && {DRAWN}")
        page.wait_for(f"document.querySelectorAll('[id^=thumbnail-]').length >= {series}")
        viewer.settle()
        return viewer

    def series(self) -> list[dict[str, Any]]:
        """List the series that the viewer knows."""
        listed = self.page.run(
            "services.displaySetService.getActiveDisplaySets().map((it) => ({number: it.SeriesNumber,"
            " modality: it.Modality, description: it.SeriesDescription, shown: !it.unsupported}))"
        )
        return list(listed)

    def settle(self) -> None:
        """Wait until no image is on its way: OHIF stumbles over pictures that come for a closed viewport."""
        self.page.wait_for(QUIET)
        time.sleep(0.3)
        self.page.wait_for(QUIET)

    def open_series(self, description: str, place: int = 0) -> None:
        """Double click the thumbnail of a series; ``place`` among those of the same description."""
        self.settle()
        x, y = self.page.wait_for(
            f"""(() => {{
                const items = [...document.querySelectorAll('[id^="thumbnail-"]')];
                const found = items.filter((it) => it.innerText.includes({json.dumps(description)}))[{place}];
                if (!found) return null;
                found.scrollIntoView({{block: "nearest"}});
                const box = found.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        for clicks in (1, 2):
            for kind in ("mousePressed", "mouseReleased"):
                self.page.call(
                    "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=clicks
                )

    def press(self, words: str) -> None:
        """Press a button that is there."""
        self.page.run(
            f"[...document.querySelectorAll('button')].find((it) => it.innerText === {json.dumps(words)})?.click()"
        )

    def text(self) -> str:
        """Give all words on the page."""
        return str(self.page.run("document.body.innerText"))

    def wait_for_picture(self, sop_instance_uid: str, frame_number: int = 1, timeout_s: float = 240) -> None:
        """Wait until a frame is shown and drawn."""
        where = json.dumps(f"/instances/{sop_instance_uid}/frames/{frame_number}")
        self.page.wait_for(f"({VIEWPORT})?.getCurrentImageId?.()?.endsWith({where}) && {DRAWN}", timeout_s)

    def scroll_to(self, sop_instance_uid: str, frame_number: int = 1) -> None:
        """Scroll the stack to a frame, and stop there: the viewer plays a cine of its own accord."""
        where = json.dumps(f"/instances/{sop_instance_uid}/frames/{frame_number}")
        place = self.page.wait_for(f"(({VIEWPORT})?.getImageIds?.() ?? []).findIndex((it) => it.endsWith({where})) + 1")
        for attempts_left in reversed(range(SCROLL_ATTEMPTS)):
            self.page.run(
                "services.cineService.setCine({id: services.viewportGridService.getActiveViewportId(),"
                f" isPlaying: false}}), cornerstoneTools.utilities.cine.stopClip(({VIEWPORT}).element), true"
            )
            self.page.run(f"({VIEWPORT}).setImageIdIndex({place - 1}).then(() => true)")
            try:
                self.wait_for_picture(sop_instance_uid, frame_number, timeout_s=30)
            except AssertionError:  # on a busy machine it begins to play only after it was stopped
                if not attempts_left:
                    raise
            else:
                return

    def canvas(self) -> tuple[bytes, list[float]]:
        """Give a PNG of the canvas, and where on it the picture lies (left, top, right, bottom)."""
        data, corners = self.page.run(
            f"""(() => {{
                const viewport = {VIEWPORT}, id = viewport.getCurrentImageId();
                const {{rows, columns}} = cornerstone.metaData.get("imagePixelModule", id);
                const at = (x, y) => viewport.worldToCanvas(cornerstone.utilities.imageToWorldCoords(id, [x, y]));
                viewport.render();
                return [viewport.canvas.toDataURL("image/png").split(",")[1], [...at(0, 0), ...at(columns, rows)]];
            }})()"""
        )
        return base64.b64decode(data), list(corners)

    def annotations(self) -> dict[str, dict[str, Any]]:
        """Give what is annotated from reports, by tracking UID: image, labels."""
        found = self.page.run(
            """cornerstoneTools.annotation.state.getAllAnnotations()
                .filter((it) => it.metadata.toolName === "DICOMSRDisplay")
                .map((it) => [it.annotationUID, {
                    image: it.metadata.referencedImageId,
                    frame: it.data.frameNumber,
                    labels: it.data.labels.map(({label, value}) => `${label}: ${value}`),
                    points: it.data.renderableData.POLYLINE[0].map((point) =>
                        cornerstone.utilities.worldToImageCoords(it.metadata.referencedImageId, point)),
                }])"""
        )
        return {uid: dict(what) for uid, what in found}

    def wait_for_lines(self, count: int) -> None:
        """Wait until so many shapes of annotations are drawn on the picture."""
        self.page.wait_for(f"({VIEWPORT})?.element.querySelectorAll('svg polyline, svg line').length >= {count}")


SCROLL_ATTEMPTS = 4
#: The active viewport, and whether it has drawn its picture.
VIEWPORT = (
    "services.cornerstoneViewportService.getCornerstoneViewport(services.viewportGridService.getActiveViewportId())"
)
DRAWN = f"({VIEWPORT}).viewportStatus === 'rendered'"
QUIET = "Object.values(cornerstone.imageLoadPoolManager.numRequests).every((it) => it === 0)"
