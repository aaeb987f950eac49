"""What can be wrong with a database, a name or a lease."""

from __future__ import annotations

import optuna
import sqlalchemy as sa


class StorageError(Exception):
    """The database cannot be used as it is; the message says why and what to do. Never holds a password."""


class Unreachable(StorageError):
    """It does not answer, and may later."""


def cause(error: BaseException) -> str:
    """What the database itself said, in one line: SQLAlchemy's errors end in the statement and an address."""
    said = getattr(error, "orig", None) or error.__cause__ or error
    if said is not error and not isinstance(said, sa.exc.SQLAlchemyError):
        return (str(said).strip().splitlines() or [type(said).__name__])[0]
    return cause(said) if said is not error else (str(said).strip().splitlines() or [type(said).__name__])[0]


#: Whatever can go wrong while a database is opened or looked over: it cannot be used as it is.
UNUSABLE = (sa.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)
#: What a database that is away, full or locked raises; never the fault of the trial that met it.
DATABASE_ERRORS = (
    sa.exc.OperationalError,
    sa.exc.InterfaceError,
    sa.exc.InternalError,  # PostgreSQL: the transaction has idled for too long, or is read-only
    sa.exc.PendingRollbackError,
    sa.exc.TimeoutError,
    optuna.exceptions.StorageInternalError,
    Unreachable,
)


class Unknown(LookupError):
    """No study of that name; the message names those there are."""


class Exists(Exception):
    """There is a study of that name."""


class LeaseLost(Exception):
    """Another worker holds the lease: whatever was about to be written is refused."""
