"""The guard before optuna-dashboard: every route of the installed version, and the server that carries it."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.types import WSGIApplication
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import optuna
import optuna_dashboard
import pytest
import sqlalchemy
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

from hpo.dashboard import allowed_hosts, exposure, require_schema, serve
from hpo.guard import DashboardError, _Guesses, guard

TOKEN = "correct-horse-battery-staple"
HOST = "127.0.0.1:8080"
HOSTS = allowed_hosts("127.0.0.1", 8080)
BEARER = {"HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}
WRITES = ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")
SCRIPT = "<script>fetch('/api/studies')</script>"

#: Asked of the application itself, so that a route of a later version is covered.
ROUTES = sorted((r.method, r.rule) for r in optuna_dashboard.wsgi(optuna.storages.InMemoryStorage()).routes)
every_route = pytest.mark.parametrize(("method", "rule"), ROUTES, ids=lambda part: str(part))

Reply = tuple[int, dict[str, str], bytes]


class Site:
    """A dashboard with one study, its database file and its artifacts."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "study.db"
        self.storage = optuna.storages.RDBStorage(f"sqlite:///{self.file}")
        artifacts = FileSystemArtifactStore(str(folder))
        study = optuna.create_study(storage=self.storage, study_name="digits")
        for lr, cell in [(0.1, "=HYPERLINK(1)"), (0.2, "-0.5"), (0.3, "plain")]:
            trial = study.ask({"lr": optuna.distributions.FloatDistribution(0, 1)})
            trial.set_user_attr("note", cell)
            trial.report(lr, 1)
            study.tell(trial, -lr)
        (folder / "evil.html").write_text(SCRIPT)
        self.artifact = upload_artifact(
            artifact_store=artifacts, file_path=str(folder / "evil.html"), study_or_trial=study
        )
        self.app: WSGIApplication = optuna_dashboard.wsgi(self.storage, artifacts)

    def fill(self, rule: str) -> str:
        """A path of this site that matches a route of bottle."""
        values = {"study_id": "1", "trial_id": "1", "artifact_id": self.artifact, "filename": "bundle.js"}
        values |= {"plot_type": "slice", "": ""}
        return re.sub(r"<(\w*)(?::[^<>]*)?>", lambda match: values.get(match[1], "1"), rule)

    def dump(self) -> list[str]:
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            return list(connection.iterdump())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    built = Site(tmp_path_factory.mktemp("dashboard"))
    yield built
    built.storage.engine.dispose()


def call(
    app: WSGIApplication, method: str, target: str, environ: Mapping[str, str] | None = None, body: bytes = b""
) -> Reply:
    """One request, with the rules of WSGI checked on the way out."""
    path, _, query = target.partition("?")
    full: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "HTTP_HOST": HOST}
    full |= {
        "SERVER_PORT": "8080",
        "SCRIPT_NAME": "",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        **(environ or {}),
    }
    setup_testing_defaults(full)
    caught: list[tuple[str, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        caught.append((status, headers))
        return lambda _: None

    chunks = app(full, start)
    try:
        content = b"".join(chunks)
    finally:
        getattr(chunks, "close", lambda: None)()
    status, headers = caught[-1]
    return int(status[:3]), dict(headers), content


def log_in(app: WSGIApplication) -> dict[str, str]:
    """The environment of a browser that holds the cookie."""
    _, headers, _ = call(app, "GET", f"/?token={TOKEN}")
    return {"HTTP_COOKIE": headers["Set-Cookie"].partition(";")[0]}


def untouchable(*_: object) -> Any:
    raise AssertionError("the dashboard was called")


def test_the_routes_are_those_we_know_of() -> None:
    assert len(ROUTES) >= 30
    assert ("DELETE", "/api/studies/<study_id:int>") in ROUTES


@every_route
@pytest.mark.parametrize(
    ("query", "environ", "status"),
    [
        ("", {}, 401),
        ("?token=wrong", {}, 401),
        ("", {"HTTP_AUTHORIZATION": "Bearer wrong"}, 401),
        ("", {"HTTP_AUTHORIZATION": f"Basic {TOKEN}"}, 401),
        ("", {"HTTP_COOKIE": "hpo_8080=wrong"}, 401),
        ("", {"HTTP_COOKIE": f"hpo_8080={TOKEN}"}, 401),
        ("", {**BEARER, "HTTP_HOST": "evil.example"}, 421),
        ("", {**BEARER, "HTTP_HOST": "evil.example:8080"}, 421),
        ("", {**BEARER, "HTTP_HOST": "127.0.0.1:8081"}, 421),
        ("", {**BEARER, "HTTP_HOST": ""}, 421),
        (f"?token={TOKEN}", {"HTTP_HOST": "evil.example:8080"}, 421),
    ],
)
def test_no_route_answers_strangers(
    site: Site, method: str, rule: str, query: str, environ: dict[str, str], status: int
) -> None:
    reply = call(guard(untouchable, TOKEN, HOSTS), method, site.fill(rule) + query, environ)
    assert reply[0] == status
    assert b"/login" in reply[2] or status == 421
    assert reply[1]["Cache-Control"] == "no-store"
    assert TOKEN not in str(reply)


@every_route
@pytest.mark.parametrize("write", WRITES)
def test_no_route_writes(site: Site, method: str, rule: str, write: str) -> None:
    app = guard(untouchable, TOKEN, HOSTS)
    for credentials in (BEARER, log_in(app)):
        status, headers, body = call(app, write, site.fill(rule), credentials, b'{"version": 1}')
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
        assert b'{"reason": "This dashboard is read-only' in body


@every_route
def test_every_page_is_read_without_writing(site: Site, method: str, rule: str) -> None:
    if method != "GET":
        return  # covered by test_no_route_writes
    app = validator(guard(site.app, TOKEN, HOSTS))
    before, statements = site.dump(), list[str]()

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    sqlalchemy.event.listen(site.storage.engine, "before_cursor_execute", note)
    try:
        replies = {verb: call(app, verb, site.fill(rule), log_in(app)) for verb in ("GET", "HEAD")}
    finally:
        sqlalchemy.event.remove(site.storage.engine, "before_cursor_execute", note)
    status, headers, body = replies["GET"]
    # The artifact route of a trial is asked for an artifact of the study.
    assert status in ((404,) if "trial_id" in rule else (200, 302)), body
    assert replies["HEAD"][0] == status
    assert replies["HEAD"][2] == b""
    assert not [sql for sql in statements if not sql.startswith(("SELECT", "PRAGMA"))]
    assert site.dump() == before
    assert "Content-Security-Policy" in headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers.get("Location", "/").startswith("/")
    assert not [name for name in headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    ("target", "location"),
    [
        (f"/?token={TOKEN}", "/"),
        (f"/dashboard/studies/1?a=1&token={TOKEN}&b=%26", "/dashboard/studies/1?a=1&b=%26"),
        (f"/x?token={TOKEN}&token={TOKEN}", "/x"),
        (f"//evil.example/?token={TOKEN}", "/evil.example/"),
        (f"/\\evil.example?token={TOKEN}", "/%5Cevil.example"),
        (f"/a\r\nb?token={TOKEN}", "/a%0D%0Ab"),
    ],
)
def test_a_login_link_leaves_no_token_behind(target: str, location: str) -> None:
    status, headers, body = call(guard(untouchable, TOKEN, HOSTS), "GET", target)
    assert (status, headers["Location"], body) == (303, location, b"")
    assert re.fullmatch(r"hpo_8080=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict", headers["Set-Cookie"])
    assert TOKEN not in str(headers)


def test_an_old_link_is_harmless_with_a_session() -> None:
    app = guard(untouchable, TOKEN, HOSTS)
    assert call(app, "GET", "/x?token=of-yesterday", log_in(app))[:2][0] == 303


def test_a_session_ends_with_its_process(site: Site) -> None:
    cookie = log_in(guard(site.app, TOKEN, HOSTS))
    assert call(guard(site.app, TOKEN, HOSTS), "GET", "/api/studies", cookie)[0] == 401


def test_the_login_form() -> None:
    app = guard(untouchable, TOKEN, HOSTS)
    status, headers, _ = call(app, "POST", "/login", body=f"token={TOKEN}".encode())
    assert (status, headers["Location"]) == (303, "/")
    assert call(app, "POST", "/login", body=b"token=wrong")[0] == 401
    assert call(app, "POST", "/login", body=b"\xff")[0] == 401
    assert call(app, "POST", "/login", body=b"token=" + b"x" * 5000)[0] == 413
    assert call(app, "POST", "/login", {"HTTP_SEC_FETCH_SITE": "cross-site"}, f"token={TOKEN}".encode())[0] == 403
    assert call(app, "POST", "/login", {"HTTP_HOST": "evil.example"}, f"token={TOKEN}".encode())[0] == 421


def test_guesses_are_limited_and_sessions_go_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """At one moment, whatever time the requests take."""
    monkeypatch.setattr("hpo.guard._Guesses", partial(_Guesses, clock=lambda: 0.0))
    app = guard(site.app, TOKEN, HOSTS)
    cookie = log_in(app)
    guesses = [call(app, "GET", "/", {"HTTP_AUTHORIZATION": f"Bearer {i}"})[0] for i in range(12)]
    assert guesses == [401] * 10 + [429] * 2
    assert call(app, "POST", "/login", body=f"token={TOKEN}".encode())[1]["Retry-After"] == "1"
    assert call(app, "GET", "/api/studies", cookie)[0] == 200


def test_guesses_come_back_one_a_second() -> None:
    now = [0.0]
    guesses = _Guesses(burst=2, clock=lambda: now[0])
    guesses.count()
    guesses.count()
    assert not guesses.left()
    now[0] = 1.0
    assert guesses.left()
    guesses.count()
    assert not guesses.left()


def test_images_of_a_foreign_page_are_no_guesses() -> None:
    app = guard(untouchable, TOKEN, HOSTS)
    for _ in range(20):
        assert call(app, "GET", "/?token=wrong", {"HTTP_SEC_FETCH_DEST": "image"})[0] == 401
    assert call(app, "GET", f"/?token={TOKEN}")[0] == 303


@pytest.mark.parametrize("path", ["/artifacts/1/{}", "/art\xffifacts/1/{}", "/artifacts/1/{}/"])
def test_an_uploaded_page_is_a_file(site: Site, path: str) -> None:
    status, headers, body = call(guard(site.app, TOKEN, HOSTS), "GET", path.format(site.artifact), BEARER)
    assert (status, body.decode()) == (200, SCRIPT)
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == "attachment"
    assert headers["Content-Security-Policy"].startswith("sandbox;")


def test_a_route_of_a_later_version_is_a_file() -> None:
    def app(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html"), ("access-control-allow-origin", "*")])
        return [SCRIPT.encode()]

    _, headers, _ = call(guard(app, TOKEN, HOSTS), "GET", "/preview/1", BEARER)
    assert headers["Content-Type"] == "application/octet-stream"
    assert "Access-Control-Allow-Origin" not in headers


def test_the_dashboard_sees_neither_credentials_nor_body() -> None:
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(environ)
        start_response("200 OK", [])
        return []

    call(guard(app, TOKEN, HOSTS), "GET", "/api/studies", {**BEARER, "CONTENT_TYPE": "multipart/form-data"}, b"x" * 99)
    assert (seen["wsgi.input"].read(), seen["CONTENT_LENGTH"]) == (b"", "0")
    assert TOKEN not in str(seen)
    assert not {"HTTP_AUTHORIZATION", "HTTP_COOKIE", "CONTENT_TYPE"} & seen.keys()


@pytest.mark.parametrize("path", ["/csv/1", "/cs\xffv/1", "/csv/1/"])
def test_a_table_has_no_formulas(site: Site, path: str) -> None:
    _, headers, body = call(guard(site.app, TOKEN, HOSTS), "GET", path, BEARER)
    rows = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    assert [row["UserAttribute note"] for row in rows] == ["'=HYPERLINK(1)", "-0.5", "plain"]
    assert [row["Value"] for row in rows] == ["-0.1", "-0.2", "-0.3"]
    assert headers["Content-Type"] == "text/csv; charset=utf-8"
    assert headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize("cell", ["=1+1", "+cmd|' /C calc'!A0", "-1+1", "@SUM(A1)", "\t=1", " =1", "\r=1", "＝1", "-"])  # noqa: RUF001
def test_cells_that_compute(cell: str) -> None:
    assert served_cell(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["-0.5", "+1", "-1e-05", "-inf", "1", "a=b", "", 'say "hi", twice', "x" * 200_000])
def test_cells_that_do_not(cell: str) -> None:
    usual = csv.field_size_limit(10**6)  # to read the long one back
    assert served_cell(cell) == cell
    csv.field_size_limit(usual)


def served_cell(cell: str) -> str:
    def app(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/csv; chatset=cp932")])
        written = io.StringIO(newline="")
        csv.writer(written).writerow(["0", cell])
        return [written.getvalue().encode()]

    body = call(guard(app, TOKEN, HOSTS), "GET", "/csv/1", BEARER)[2].decode()
    return next(csv.reader(io.StringIO(body, newline="")))[1]


def test_a_short_token_is_refused() -> None:
    with pytest.raises(DashboardError, match=r"the token has 6 characters; use at least 16, or leave it out"):
        guard(untouchable, "secret", HOSTS)


def test_hosts() -> None:
    assert HOSTS == {"127.0.0.1:8080", "localhost:8080", "[::1]:8080"}
    assert allowed_hosts("::", 80) >= {"[::]", "[::]:80", "localhost"}
    assert allowed_hosts("127.0.0.1", 1, ["Lab.example"]) >= {"lab.example", "lab.example:1"}


def test_exposure() -> None:
    assert [exposure(host) for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9")] == [None] * 5
    for host in ("0.0.0.0", "::", "192.168.1.2", "lab.example"):
        assert re.match(rf"warning: listening on {host} without TLS", exposure(host) or "")


# --- the database and the server ---


def opened(file: Path) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(f"sqlite:///{file}")


def test_a_missing_database_is_not_made(tmp_path: Path) -> None:
    storage = opened(tmp_path / "gone.db")
    storage.engine.dispose()
    (tmp_path / "gone.db").unlink()
    with pytest.raises(DashboardError, match=r"no database at .*gone.db: launch a study first, or name the right"):
        require_schema(storage)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("DROP TABLE alembic_version", r"sqlite:///.*old.db has no tables of Optuna: launch a study first"),
        ("UPDATE alembic_version SET version_num='v1.3.0.a'", r"version v1\.3\.0\.a, .*`optuna storage upgrade`"),
    ],
)
def test_a_database_without_our_schema_is_left_alone(tmp_path: Path, sql: str, message: str) -> None:
    storage = opened(tmp_path / "old.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.execute(sql)
        connection.commit()
        before = list(connection.iterdump())
        with pytest.raises(DashboardError, match=message):
            serve(storage, port=0, ready=lambda _: pytest.fail("it started"))
        assert list(connection.iterdump()) == before
    storage.engine.dispose()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    storage = opened(tmp_path / "text.db")
    storage.engine.dispose()
    (tmp_path / "text.db").write_text("x" * 9999)
    with pytest.raises(DashboardError, match=r"cannot read sqlite:///.*text.db: file is not a database"):
        require_schema(storage)
    storage.engine.dispose()


def test_a_taken_port_is_named(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DashboardError, match=rf"port {port} of 127.0.0.1 is in use, .* with --port \(0: a free"):
            serve(site.storage, port=port, ready=untouchable)


def test_addresses_that_cannot_be(site: Site) -> None:
    with pytest.raises(DashboardError, match=r"port 70000 cannot be used; choose one between 1024 and 65535"):
        serve(site.storage, port=70000, ready=untouchable)
    with pytest.raises(
        DashboardError, match=r"cannot listen on 192\.0\.2\.1: .*an address of this machine with --host"
    ):
        serve(site.storage, host="192.0.2.1", ready=untouchable)
