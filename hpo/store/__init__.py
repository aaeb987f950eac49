"""Every SQL statement of the service: results go in and come out as plain objects."""

from __future__ import annotations

from hpo.store.database import Database
from hpo.store.errors import DATABASE_ERRORS, Exists, LeaseLost, StorageError, Unknown, cause
from hpo.store.leases import MOST_LOSSES, Lease, Leases
from hpo.store.promotions import Promotions
from hpo.store.reading import Reading
from hpo.store.results import Results
from hpo.store.studies import Studies
from hpo.store.url import parse_url, redacted
from hpo.store.watch import Watch, grace_period
from hpo.store.workers import Workers

__all__ = [
    "DATABASE_ERRORS",
    "MOST_LOSSES",
    "Exists",
    "Lease",
    "LeaseLost",
    "StorageError",
    "Store",
    "Unknown",
    "Watch",
    "cause",
    "grace_period",
    "parse_url",
    "redacted",
]


class Store:
    """One database, by subject.

    Args:
        url: see `Database`.
        create: make the tables when they are missing.
    """

    def __init__(self, url: str, *, create: bool = False) -> None:
        self.database = Database(url, create=create)
        self.studies = Studies(self.database)
        self.leases = Leases(self.database)
        self.results = Results(self.database)
        self.workers = Workers(self.database)
        self.promotions = Promotions(self.database)
        self.reading = Reading(self.database)

    def close(self) -> None:
        """Close every connection."""
        self.database.engine.dispose()
