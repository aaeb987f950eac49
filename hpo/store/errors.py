"""What can be wrong with a database, a name or a lease."""

from __future__ import annotations

import optuna
import sqlalchemy as sa


class StorageError(Exception):
    """The database cannot be used as it is; the message says why and what to do. Never holds a password."""


#: What a database that is away, full or locked raises; never the fault of the trial that met it.
DATABASE_ERRORS = (sa.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)


class Unknown(LookupError):
    """No study of that name; the message names those there are."""


class Exists(Exception):
    """There is a study of that name."""


class LeaseLost(Exception):
    """Another worker holds the lease: whatever was about to be written is refused."""
