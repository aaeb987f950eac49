"""The real server in a process of its own, called by a script and by Chromium."""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP evil.example 127.0.0.1"]
browser = pytest.mark.browser

#: `serve` as it is, with artifacts, which it does not offer of itself.
PROGRAM = """
import functools, sys, optuna, optuna_dashboard
from optuna.artifacts import FileSystemArtifactStore
from hpo.dashboard import serve
store = FileSystemArtifactStore(sys.argv[2])
optuna_dashboard.wsgi = functools.partial(optuna_dashboard.wsgi, artifact_store=store)
serve(optuna.storages.RDBStorage(sys.argv[1]), port=0, ready=lambda url: print(url, flush=True))
"""

#: For the browser's start and for what is to appear in it, on a busy machine.
PATIENCE_MS = 240_000
#: A PNG of one pixel.
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

STATES = ["Trial 0 Complete Best Trial", "Trial 1 Complete", "Trial 2 Complete", "Trial 3 Pruned"]

#: Everything a page may try without asking: forms, simple requests, images, frames.
ATTACK = """<!DOCTYPE html><title>attack</title><body><script>
const site = "http://TARGET";
const none = () => {};
const read = [];
const tries = [
  fetch(site + "/api/studies/1", {method: "DELETE", credentials: "include"}),
  fetch(site + "/api/studies", {method: "POST", mode: "no-cors", credentials: "include",
    body: '{"study_name": "forged", "directions": ["minimize"]}'}),
  fetch(site + "/api/studies", {credentials: "include"}).then(reply => reply.text()).then(text => read.push(text)),
];
for (const path of ["/incompatible-rdb-schema", "/api/studies", "/login"]) {
  const form = document.createElement("form");
  const frame = document.createElement("iframe");
  frame.name = path; document.body.append(frame);
  Object.assign(form, {method: "post", action: site + path, target: path});
  document.body.append(form); form.submit();
}
for (let i = 0; i < 15; i++) { new Image().src = site + "/?token=" + i; }
Promise.allSettled(tries).then(() => setTimeout(() => { document.title = "done" + read.join() }, 1500));
</script>"""


class Server:
    """`hpo.dashboard.serve` in a process, over a study of four trials."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "study.db"
        self.artifacts = fill(f"sqlite:///{self.file}", folder)
        command = [sys.executable, "-c", PROGRAM, f"sqlite:///{self.file}", str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.netloc = urllib.parse.urlsplit(self.url).netloc
        self.token = self.url.partition("token=")[2]

    def stop(self) -> str:
        """Press Ctrl-C; everything printed since the URL."""
        self.process.send_signal(signal.SIGINT)
        return "".join(self.process.communicate(timeout=240))

    def ask(self, method: str, path: str, **headers: str) -> tuple[int, bytes]:
        with contextlib.closing(http.client.HTTPConnection(self.netloc, timeout=240)) as connection:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            reply = connection.getresponse()
            return reply.status, reply.read()

    def dump(self) -> list[str]:
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            return list(connection.iterdump())


def fill(url: str, folder: Path) -> dict[str, str]:
    """A study of three complete trials and a pruned one with curves; its artifacts by file name."""
    storage = optuna.storages.RDBStorage(url)
    study = optuna.create_study(storage=storage, study_name="expression-fold-0")
    store = FileSystemArtifactStore(str(folder))
    (folder / "dot.png").write_bytes(base64.b64decode(DOT))
    for number in range(4):
        trial = study.ask()
        upload_artifact(artifact_store=store, file_path=str(folder / "dot.png"), study_or_trial=trial)
        rate = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        for epoch in range(5):
            trial.report(rate + 1 / (epoch + 1) + number / 10, epoch)
        if number == 3:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, rate + number)
    script = "<script>document.title = 'script ran'; fetch('/api/studies')</script>"
    (folder / "evil.html").write_text(script)
    (folder / "evil.svg").write_text(f'<svg xmlns="http://www.w3.org/2000/svg">{script}</svg>')
    ids = {
        name: upload_artifact(artifact_store=store, file_path=str(folder / name), study_or_trial=study)
        for name in ("evil.html", "evil.svg")
    }
    storage.engine.dispose()
    return ids


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("server"))
    yield started
    started.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip: playwright)")
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE_MS)


@pytest.fixture
def context(chromium: Any) -> Iterator[Any]:
    """A new, empty profile."""
    with chromium.new_context(viewport={"width": 1280, "height": 900}) as fresh:
        fresh.set_default_timeout(PATIENCE_MS)
        yield fresh


def test_a_script_reads_and_cannot_write(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        use(server)
    finally:
        printed = server.stop()
    assert server.process.returncode == 0
    assert server.token not in printed


def use(server: Server) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}", server.url)
    bearer = {"Authorization": f"Bearer {server.token}"}
    assert server.ask("GET", f"/?token={server.token}")[0] == 303
    assert server.ask("GET", f"/?token={server.token}x")[0] == 401
    status, script = server.ask("GET", "/static/bundle.js", **bearer)
    assert (status, len(script) > 1_000_000) == (200, True)
    assert b'"expression-fold-0"' in server.ask("GET", "/api/studies", **bearer)[1]
    assert server.ask("HEAD", "/csv/1", **bearer) == (200, b"")
    assert server.ask("DELETE", "/api/studies/1", **bearer)[0] == 405
    assert server.ask("GET", "/api/studies/99", **bearer)[0] == 404


@browser
def test_the_study_renders_and_nothing_is_written(server: Server, context: Any) -> None:
    page = context.new_page()
    errors: list[str] = []
    methods: set[str] = set()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: methods.add(request.method))
    before = server.dump()
    page.goto(server.url)
    page.get_by_text("expression-fold-0").first.wait_for()
    assert server.token not in page.url
    views = {"": "Hyperparameter Importance", "/analytics": "Contour", "/trials": "4 Trials", "/note": "Note"}
    for view, text in views.items():
        page.goto(f"http://{server.netloc}/dashboard/studies/1{view}")
        page.get_by_text(text, exact=True).filter(visible=True).first.wait_for()
        if view == "/trials":
            states = page.locator(".MuiListItemButton-root").filter(has_text=re.compile(r"^Trial \d"))
            states.nth(len(STATES) - 1).wait_for()
            assert [" ".join(text.split()) for text in states.all_inner_texts()] == STATES
        if "HPO_SCREENSHOTS" in os.environ:
            page.screenshot(path=f"{os.environ['HPO_SCREENSHOTS']}/study{view.replace('/', '-')}.png")
    assert errors == []
    assert methods == {"GET"}
    assert server.dump() == before


@browser
def test_the_login_page(server: Server, context: Any) -> None:
    page = context.new_page()
    assert page.goto(f"http://{server.netloc}/dashboard").status == 401
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button").click()
    page.get_by_text("That is not the token").wait_for()
    if "HPO_SCREENSHOTS" in os.environ:
        page.screenshot(path=f"{os.environ['HPO_SCREENSHOTS']}/login.png")
    page.get_by_label("Token").fill(server.token)
    page.get_by_role("button").click()
    page.get_by_text("expression-fold-0").first.wait_for()
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert cookie["value"] != server.token
    assert page.evaluate("document.cookie") == ""


@browser
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "evil.example"])  # same site, foreign site, foreign name
def test_a_foreign_page_neither_writes_nor_reads(server: Server, context: Any, name: str) -> None:
    context.new_page().goto(server.url)
    before = server.dump()
    with foreign_page(ATTACK.replace("TARGET", server.netloc)) as port:
        page = context.new_page()
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url))
        page.goto(f"http://{name}:{port}/")
        page.wait_for_function("document.title.startsWith('done')")
        assert page.title() == "done"
        while len([url for url in sent if "?token=" in url]) < 15:  # all of them, however busy the browser
            page.wait_for_timeout(50)
    assert server.dump() == before
    # Nor has it used up the guesses of the user (some would be back by now, not four).
    assert [server.ask("GET", "/?token=wrong")[0] for _ in range(4)] == [401] * 4


@contextlib.contextmanager
def foreign_page(text: str) -> Iterator[int]:
    """A web server with one page; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield listening.server_port
        finally:
            listening.shutdown()
            thread.join()


@browser
def test_a_foreign_name_for_this_machine_is_refused(server: Server, context: Any) -> None:
    port = server.netloc.partition(":")[2]
    page = context.new_page()
    assert page.goto(f"http://evil.example:{port}/?token={server.token}").status == 421
    page.get_by_text("--allow-host").wait_for()
    assert context.cookies() == []


@browser
@pytest.mark.parametrize("name", ["evil.html", "evil.svg"])
def test_an_uploaded_page_is_downloaded(server: Server, context: Any, name: str) -> None:
    page = context.new_page()
    page.goto(server.url)
    with page.expect_download() as download, contextlib.suppress(Exception):  # goto reports the download as an error
        page.goto(f"http://{server.netloc}/artifacts/1/{server.artifacts[name]}")
    assert "script" in Path(download.value.path()).read_text()
    assert page.title() != "script ran"


@browser
def test_an_uploaded_picture_is_still_shown(server: Server, context: Any) -> None:
    page = context.new_page()
    page.goto(server.url)
    page.goto(f"http://{server.netloc}/dashboard/studies/1/trials")
    picture = page.locator("img[src^='/artifacts/1/1/']").first
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1


@browser
def test_an_attempt_to_write_says_why_not(server: Server, context: Any) -> None:
    page = context.new_page()
    page.goto(server.url)
    page.goto(f"http://{server.netloc}/dashboard/studies/1/note")
    page.locator("button:has([data-testid=EditIcon])").first.click()
    page.locator("textarea").first.fill("hello")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("This dashboard is read-only").wait_for()


@browser
def test_a_link_on_another_site_logs_in(server: Server, context: Any) -> None:
    page = context.new_page()
    with foreign_page(f'<a href="{server.url}">dashboard</a>') as port:
        page.goto(f"http://localhost:{port}/")
        page.get_by_role("link").click()
        page.get_by_role("link", name="Go on").click()
        page.get_by_text("expression-fold-0").first.wait_for()
