"""The one clock of the database: UTC, unmarked, as Optuna 5 stores it.

Times that one process writes and another compares come from the database's own clock, in SQL: the clocks of two
machines may be an hour apart.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class utc_now(FunctionElement[Any]):
    """The moment at which the statement runs, to the millisecond; a function of SQL, and written like one."""

    type = sa.DateTime()
    inherit_cache = True


@compiles(utc_now, "sqlite")
def _sqlite(_element: utc_now, _compiler: SQLCompiler, **_: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f', 'now')"


@compiles(utc_now, "postgresql")
def _postgresql(_element: utc_now, _compiler: SQLCompiler, **_: Any) -> str:
    return "timezone('UTC', clock_timestamp())"  # not now(): that is when the transaction began
