"""Storage URLs: read strictly, shown without their password."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from hpo.store.errors import StorageError


def parse_url(url: str) -> sa.URL:
    """The URL with our driver; raises StorageError without repeating the URL's password."""
    unreadable = StorageError(
        "the storage URL cannot be read: use sqlite:///runs/hpo.db or postgresql://user:password@host/name "
        "(characters such as @ / : in a user's name or password are written %40 %2F %3A)"
    )
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number, and perhaps the end of a password
        raise unreadable from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise StorageError(
            f"{parsed.drivername}:// in --storage or HPO_STORAGE is not supported: use sqlite:///FILE or "
            "postgresql://USER:PASSWORD@HOST/NAME"
        )
    if parsed.get_backend_name() == "sqlite" and (parsed.host or parsed.username or not parsed.database):
        raise StorageError("sqlite:// needs a file: sqlite:///runs/hpo.db")
    if parsed.get_backend_name() == "postgresql":
        if url.count("@") > 1:
            raise unreadable  # an @ of the password was not quoted: its end would be shown as the host
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed


def redacted(url: str) -> str:
    """The URL without its password, for people."""
    try:
        return parse_url(url).set(query={}).render_as_string(hide_password=True)
    except StorageError:
        return "the storage URL"
