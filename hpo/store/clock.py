"""The one clock of the database: UTC, unmarked, as Optuna 5 stores it."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
