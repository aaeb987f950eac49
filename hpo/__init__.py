"""Hyperparameter optimisation for multi-task deep nets over cross-validation folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpo.final_model import load_model as load_model

__version__ = "0.1.0"
__all__ = ["__version__", "load_model"]


def __getattr__(name: str) -> Any:
    """Import torch only when a model is asked for: `hpo status` must not pay for it."""
    if name == "load_model":
        from hpo.final_model import load_model

        return load_model
    raise AttributeError(f"module 'hpo' has no attribute {name!r}")
