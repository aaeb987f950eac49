"""The versions that a training is on record with."""

from __future__ import annotations

import importlib.metadata
import platform

PACKAGES = ("hpo", "optuna", "torch", "torchvision", "numpy", "scikit-learn", "sqlalchemy")


def versions() -> dict[str, str]:
    """Package -> version, Python's included."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}
