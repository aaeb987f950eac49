"""What config.yaml of a model's folder has to be: the folder may come from somebody else, or be edited by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from hpo.epoch import Direction
from hpo.params import Value


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _text_or_nothing(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _mapping(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _parameters(value: Any) -> bool:
    return _mapping(value) and bool(value) and all(isinstance(one, get_args(Value)) for one in value.values())


def _metric(value: Any) -> bool:
    right = _mapping(value) and value.keys() == {"name", "direction"} and isinstance(value["name"], str)
    return right and value["direction"] in get_args(Direction)


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= least


#: Key -> whether a value is one of those that can be, and what they are; those of REQUIRED are always there.
_KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "objective": (_text, "a name"),
    "objective_hash": (_text_or_nothing, "a text or null"),
    "params": (_parameters, "GROUP.KEY: value of every parameter"),
    "info": (_mapping, "names and values"),
    "data": (_text_or_nothing, "a path or null"),
    "fingerprint": (_text, "a text"),
    "metric": (_metric, f"a name and a direction, {' or '.join(get_args(Direction))}"),
    "targets": (lambda value: isinstance(value, list), "a list"),
    "folds": (_whole(2), "a whole number from 2 on"),
    "fold": (_whole(-1), "a whole number, -1 for a model of no fold"),
    "study": (_text, "a name"),
    "trial": (_whole(0), "a whole number"),
    "weights_sha256": (_text_or_nothing, "a text or null"),
    "started_from": (_mapping, "names and values"),
}
#: Folders of older versions lack the others.
REQUIRED = ("objective", "objective_hash", "params", "info", "data", "fingerprint", "metric")


def problems_of(config: Mapping[str, Any]) -> list[str]:
    """What is wrong with a model's configuration, each with its key; nothing where it can be read.

    Args:
        config: content of config.yaml.
    """
    missing = [f"{key} is missing" for key in REQUIRED if key not in config]
    return missing + [
        f"{key} is {config[key]!r:.60}, and {expected} is needed"
        for key, (fits, expected) in _KINDS.items()
        if key in config and not fits(config[key])
    ]
