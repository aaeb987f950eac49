"""The WSGI middleware between a browser and optuna-dashboard: login, known hosts, reading only, inert uploads."""

from __future__ import annotations

import csv
import hmac
import html
import io
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from hpo.harmless import cell

Headers = list[tuple[str, str]]

#: A token made here has 43 characters; a shorter one of the user's own could be guessed.
SHORTEST_TOKEN = 16

#: No request that we accept needs a body, except the login form.
LARGEST_BODY = 4096

#: What optuna-dashboard wrote itself. Everything else (artifacts, routes of a later version) counts as
#: somebody's upload and is handed out as a file, never shown as a page.
_OWN_PAGES = re.compile(r"/|/(dashboard|api|static|csv)(/.*)?|/favicon\.ico|/incompatible-rdb-schema/?", re.DOTALL)

_EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A cache in front of us must not give one user's answer to another.
    "Cache-Control": "private, no-cache",
}
_OWN_CSP = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>hpo dashboard</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 30rem; margin: 15vh auto; padding: 0 1rem; color: #222 }}
input, button {{ font: inherit; padding: .4rem .6rem }} input {{ width: 100%; box-sizing: border-box }}
button {{ margin-top: .6rem }}
</style></head><body><h1>hpo dashboard</h1><p>{text}</p>{form}</body></html>
"""
# The link: browsers keep a SameSite=Strict cookie back from whoever comes from another site.
_FORM = """<form method="post" action="/login"><label>Token<br>
<input type="password" name="token" autocomplete="off" autofocus required></label><button>Log in</button></form>
<p>Logged in, but sent here by a link on another page? <a href="">Go on</a></p>"""


class DashboardError(RuntimeError):
    """The dashboard cannot start; the message says why and what to do."""


def guard(app: WSGIApplication, token: str, hosts: Collection[str]) -> WSGIApplication:
    """Put a login, a host check and a read-only rule before optuna-dashboard.

    Args:
        app: `optuna_dashboard.wsgi(storage)`.
        token: accepted as `?token=`, in the form of the login page, and as `Authorization: Bearer`.
        hosts: `Host` headers to answer, in lower case (see `allowed_hosts`).

    Raises:
        DashboardError: when the token is short enough to be guessed.
    """
    if len(token) < SHORTEST_TOKEN:
        raise DashboardError(f"the token has {len(token)} characters; use at least {SHORTEST_TOKEN}, or leave it out")
    return _Guard(app, token, hosts)


class _Guard:
    """The middleware of `guard`: `_answer` decides, `_pass` hands on and cleans what comes back."""

    def __init__(self, app: WSGIApplication, token: str, hosts: Collection[str]) -> None:
        self._app = app
        self._token = token
        self._hosts = frozenset(hosts)
        self._session = secrets.token_urlsafe(32)  #: value of the cookie: ends with the process, unlike a token
        self._guesses = _Guesses()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._answer(environ)
        if answer is None:
            return self._pass(environ, start_response)
        return answer.send(environ, start_response)

    def _answer(self, environ: WSGIEnvironment) -> _Answer | None:
        """What to say instead of the dashboard, or None to let the request through."""
        method = environ["REQUEST_METHOD"]
        host = environ.get("HTTP_HOST", "").lower()
        if host not in self._hosts:  # DNS rebinding: a foreign name that resolves to this machine
            return _page("421 Misdirected Request", f"Host {host!r} is not known here; add it with --allow-host.")
        if method == "POST" and environ.get("PATH_INFO") == "/login":
            return self._login(environ)
        # Not for the images and frames of a foreign page, which could use up the guesses.
        if method in ("GET", "HEAD") and environ.get("HTTP_SEC_FETCH_DEST", "document") == "document":
            offered = parse_qs(environ.get("QUERY_STRING", "")).get("token")
            if offered:
                refusal = None if self._has_session(environ) else self._refuse(offered[-1])
                return refusal or self._welcome(environ, _without_token(environ))
        refusal = self._authorise(environ)
        return refusal or (None if method in ("GET", "HEAD") else _READ_ONLY)

    def _login(self, environ: WSGIEnvironment) -> _Answer:
        """Answer the form of the login page."""
        # Nor for the forms of one. (Origin says nothing: under our Referrer-Policy, our own form sends "null".)
        if environ.get("HTTP_SEC_FETCH_SITE", "same-origin") not in ("same-origin", "none"):
            return _page("403 Forbidden", "This form was sent by another page.")
        length = environ.get("CONTENT_LENGTH") or "0"
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            return _page("413 Content Too Large", "That is no token.")
        form = parse_qs(environ["wsgi.input"].read(int(length)).decode("utf-8", "replace"))
        return self._refuse(form.get("token", [""])[-1]) or self._welcome(environ, "/")

    def _authorise(self, environ: WSGIEnvironment) -> _Answer | None:
        """None for a request with the cookie or the token in its header."""
        if self._has_session(environ):
            return None
        scheme, _, offered = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._refuse(offered.strip())
        return _page("401 Unauthorized", "Paste the token that `hpo dashboard` printed at its start.", _BEARER)

    def _refuse(self, offered: str) -> _Answer | None:
        """None when `offered` is the token. Wrong ones are counted, and too many refused unseen."""
        if not self._guesses.left():
            return _page("429 Too Many Requests", "Too many wrong tokens; wait a moment.", ("Retry-After", "1"))
        if _equal(offered, self._token):
            return None
        self._guesses.count()
        return _page("401 Unauthorized", "That is not the token that `hpo dashboard` printed at its start.", _BEARER)

    def _has_session(self, environ: WSGIEnvironment) -> bool:
        name = _cookie_name(environ)
        pairs = (pair.strip().partition("=") for pair in environ.get("HTTP_COOKIE", "").split(";"))
        return any(key == name and _equal(value, self._session) for key, _, value in pairs)

    def _welcome(self, environ: WSGIEnvironment, location: str) -> _Answer:
        cookie = f"{_cookie_name(environ)}={self._session}; Path=/; HttpOnly; SameSite=Strict"
        return _Answer("303 See Other", [("Location", location), ("Set-Cookie", cookie)])

    def _pass(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ = _for_dashboard(environ)
        path = environ["PATH_INFO"] or "/"

        def start(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
            return start_response(status, _cleaned(path, status, headers), exc_info)

        return _tame_csv(self._app, environ, start) if path.startswith("/csv/") else self._app(environ, start)


@dataclass(frozen=True)
class _Answer:
    """A response of our own."""

    status: str
    headers: Sequence[tuple[str, str]] = ()
    body: str = ""
    kind: str = "text/html; charset=utf-8"

    def send(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = self.body.encode()
        own = {"Content-Type": self.kind, "Content-Length": str(len(body)), "Content-Security-Policy": _OWN_CSP}
        headers = {**_EVERYWHERE, **own, "Cache-Control": "no-store", **dict(self.headers)}
        start_response(self.status, list(headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


class _Guesses:
    """Wrong tokens: ten at once, then one a second."""

    def __init__(self, burst: int = 10, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._clock = burst, clock
        self._left, self._seen = float(burst), clock()
        self._lock = threading.Lock()

    def left(self) -> bool:
        with self._lock:
            now = self._clock()
            self._left, self._seen = min(self._burst, self._left + now - self._seen), now
            return self._left >= 1

    def count(self) -> None:
        with self._lock:
            self._left -= 1


def _page(status: str, text: str, *headers: tuple[str, str]) -> _Answer:
    form = _FORM if status[:3] in ("401", "413", "429") else ""
    return _Answer(status, headers, _PAGE.format(text=html.escape(text), form=form))


_BEARER = ("WWW-Authenticate", "Bearer")
_READ_ONLY = _Answer(
    "405 Method Not Allowed",
    [("Allow", "GET, HEAD")],
    json.dumps({"reason": "This dashboard is read-only; change studies with the hpo command."}),  # shown by the page
    "application/json",
)


def _equal(offered: str, secret: str) -> bool:
    return hmac.compare_digest(offered.encode("utf-8", "surrogatepass"), secret.encode())


def _cookie_name(environ: WSGIEnvironment) -> str:
    return f"hpo_{environ['SERVER_PORT']}"  # browsers keep one jar for all ports of a host


def _without_token(environ: WSGIEnvironment) -> str:
    """The address asked for, on this server (`//name` would be another) and without the token."""
    path = "/" + quote(environ.get("PATH_INFO", "").encode("latin-1")).lstrip("/")
    query = [pair for pair in parse_qsl(environ["QUERY_STRING"], keep_blank_values=True) if pair[0] != "token"]
    return f"{path}?{urlencode(query)}" if query else path


def _for_dashboard(environ: WSGIEnvironment) -> WSGIEnvironment:
    """The request as optuna-dashboard sees it: no credentials, no body, the path as it will read it."""
    unwanted = ("HTTP_COOKIE", "HTTP_AUTHORIZATION", "CONTENT_TYPE", "HTTP_TRANSFER_ENCODING")
    kept = {name: value for name, value in environ.items() if name not in unwanted}
    # bottle leaves bytes out that are not UTF-8: `/art\xffifacts/1/ab` must not look harmless here and match there.
    path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "ignore").encode().decode("latin-1")
    kept |= {"PATH_INFO": path, "CONTENT_LENGTH": "0", "wsgi.input": io.BytesIO()}
    return {"HTTP_ACCEPT_ENCODING": "identity", **kept}  # without one, /static/bundle.js is a KeyError


def _cleaned(path: str, status: str, headers: Headers) -> Headers:
    """The headers of optuna-dashboard, with ours."""
    sent = {name.title(): value for name, value in headers if not name.lower().startswith("access-control-")}
    if "Location" in sent:  # bottle makes it absolute, which is wrong behind a proxy that speaks HTTPS
        sent["Location"] = "/" + urlsplit(sent["Location"]).path.lstrip("/")
    sent.setdefault("Content-Security-Policy", _OWN_CSP)
    if not _OWN_PAGES.fullmatch(path):
        sent["Content-Security-Policy"] = "sandbox; default-src 'none'"
        if status.startswith("2"):
            sent |= {"Content-Type": "application/octet-stream", "Content-Disposition": "attachment"}
    return list({**sent, **_EVERYWHERE}.items())


def _tame_csv(app: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the table of `app`, without formulas. It is in memory as a whole there already."""
    caught: list[tuple[str, Headers]] = []

    def catch(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
        caught.append((status, headers))
        return lambda _: None

    body = b"".join(app({**environ, "REQUEST_METHOD": "GET"}, catch))
    status, headers = caught[-1]
    if status.startswith("200"):
        body = _without_formulas(body.decode()).encode()
        kept = [(name, value) for name, value in headers if name.lower() not in ("content-type", "content-length")]
        headers = [*kept, ("Content-Type", "text/csv; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _without_formulas(text: str) -> str:
    """`text` with an apostrophe before every cell that a spreadsheet would compute; numbers stay."""
    written = io.StringIO(newline="")
    rows = csv.reader(io.StringIO(text, newline=""))
    usual = csv.field_size_limit()
    csv.field_size_limit(max(usual, len(text)))  # a user attribute may be longer than 128 kB
    try:
        csv.writer(written).writerows(map(cell, row) for row in rows)
    finally:
        csv.field_size_limit(usual)  # it holds for the whole process
    return written.getvalue()
