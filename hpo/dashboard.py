"""optuna-dashboard behind a login: loopback by default, a token, known hosts, reading only.

optuna-dashboard has no authentication and no read-only mode, and serves uploaded files as pages of its own
origin (RELIABILITY.md, section B). `guard` is the WSGI middleware that adds what is missing; `serve` puts the
guarded dashboard on a port. The storage is handed in: nothing here opens, creates or migrates a database.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

from hpo.guard import LARGEST_BODY, DashboardError, guard

#: Threads of the server: the page asks for several things at once, and one poll of 10,000 trials takes 5 s.
THREADS = 8


def serve(
    storage: BaseStorage,
    host: str = "127.0.0.1",
    port: int = 8080,
    token: str | None = None,
    allow_hosts: Sequence[str] = (),
    *,
    ready: Callable[[str], None],
) -> None:
    """Serve the dashboard of `storage` until Ctrl-C.

    Args:
        storage: what to show; it must exist and be of this Optuna's version.
        host: address to listen on. Print `exposure(host)` before, if there is one.
        port: 0 takes a free one.
        token: the password; made at random when missing.
        allow_hosts: further `name` or `name:port` by which browsers may call this server.
        ready: called once with the URL that logs in, when the server accepts connections.

    Raises:
        DashboardError: when the database or its tables are missing or of another version, the port is taken,
            the address is not of this machine, or the token is too short.
    """
    require_schema(storage)
    import optuna_dashboard  # here, because it takes a second that `hpo --help` should not
    import waitress

    token = secrets.token_urlsafe(32) if token is None else token
    with _listen(host, port) as listener:
        port = listener.getsockname()[1]
        app = guard(optuna_dashboard.wsgi(storage), token, allowed_hosts(host, port, allow_hosts))
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # "queue depth is 1" is not news
        server = waitress.create_server(
            app, sockets=[listener], threads=THREADS, ident="", max_request_body_size=LARGEST_BODY
        )
        name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host.strip("[]"), _in_url(host))
        ready(f"http://{name}:{port}/?{urlencode({'token': token})}")
        server.run()  # returns on KeyboardInterrupt and SystemExit


def _listen(host: str, port: int) -> socket.socket:
    name = host.strip("[]")
    try:
        if not 0 <= port <= 65535:  # create_server would leave its socket open
            raise OverflowError
        return socket.create_server((name, port), family=socket.AF_INET6 if ":" in name else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise DashboardError(_why_not(host, port, error)) from error


def _why_not(host: str, port: int, error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code == errno.EADDRINUSE:
        return f"port {port} of {host} is in use, perhaps by another dashboard; choose one with --port (0: a free one)"
    if code == errno.EACCES or isinstance(error, OverflowError):
        return f"port {port} cannot be used; choose one between 1024 and 65535 with --port"
    return f"cannot listen on {host}: {error}; give an address of this machine with --host"


def exposure(host: str) -> str | None:
    """What to tell the user about listening on `host`: None for loopback, else a warning."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = False
    if loopback:
        return None
    return (
        f"warning: listening on {host} without TLS, so that anyone on the way can read the token and the studies. "
        "Safer: leave out --host and use `ssh -L 8080:127.0.0.1:8080 MACHINE`, or a proxy that speaks HTTPS."
    )


def require_schema(storage: BaseStorage) -> None:
    """Check that the database behind `storage` is there and current, without writing to it.

    Raises:
        DashboardError: with the database (password masked) and the way out.
    """
    from optuna.storages import RDBStorage

    storage = getattr(storage, "_backend", storage)  # what optuna.load_study wraps around an RDBStorage
    if not isinstance(storage, RDBStorage):
        return
    import sqlalchemy

    url = storage.engine.url.set(query={})  # which may hold a password, too
    # Connecting would create the file.
    in_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    if in_file and not str(url.database).startswith("file:") and not os.path.isfile(str(url.database)):
        raise DashboardError(f"no database at {url.database}: launch a study first, or name the right database")
    try:
        if not sqlalchemy.inspect(storage.engine).has_table("alembic_version"):
            raise DashboardError(f"{url!r} has no tables of Optuna: launch a study first, or name the right database")
        current, head = storage.get_current_version(), storage.get_head_version()
    except sqlalchemy.exc.DBAPIError as error:
        raise DashboardError(f"cannot read {url!r}: {error.orig}; is the server up, and the address right?") from error
    if current != head:
        raise DashboardError(
            f"{url!r} has Optuna's tables in version {current}, this Optuna needs {head}: stop all workers, back the "
            "database up, then run `optuna storage upgrade` (or install the newer Optuna if the tables are newer)"
        )


def allowed_hosts(host: str, port: int, more: Iterable[str] = ()) -> frozenset[str]:
    """Every `Host` header to answer: loopback names, the address bound to, and `more` (`name` or `name:port`)."""
    names = {_in_url(host), "localhost", "127.0.0.1", "[::1]"}
    # A name without a port means the default port of a proxy in front, or our own.
    hosts = {f"{name}:{port}" for name in names} | (names if port == 80 else set())
    for entry in more:
        hosts |= {entry, f"{entry}:{port}"}
    return frozenset(entry.lower() for entry in hosts)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
