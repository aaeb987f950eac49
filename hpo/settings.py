"""Parameters that a command line sets, `GROUP.KEY=VALUE`, checked as the values of a study file are."""

from __future__ import annotations

from collections.abc import Sequence

from hpo.objective import DataError, Value, Vocabulary
from hpo.strict_yaml import resolve_scalar, shown
from hpo.study_parameters import MONITORS, measure, near_parameter
from hpo.study_space import checked


def settings(names: Vocabulary, words: Sequence[str]) -> dict[str, Value]:
    """The value of each parameter that is set.

    Args:
        names: of the objective, which knows its parameters.
        words: `optimizer.lr=1e-5`; of one that is text, what stands behind the sign is its value as it is.

    Raises:
        DataError: with everything that is wrong.
    """
    values: dict[str, Value] = {}
    wrong: list[str] = []
    for word in words:
        key, sign, text = word.partition("=")
        try:
            if not sign:
                raise ValueError("GROUP.KEY=VALUE is needed, such as optimizer.lr=1e-5")
            if key in values:
                raise ValueError(f"{key} is set twice: keep one of the two")
            values[key] = _value(names, key, text)
        except ValueError as error:
            wrong.append(f"--set {word}: {error}")
    if wrong:
        raise DataError("\n".join(wrong))
    return values


def _value(names: Vocabulary, key: str, text: str) -> Value:
    defaults = names.parameters()
    if key not in defaults:
        raise ValueError(f"unknown parameter {key!r}; {near_parameter(key, defaults)}")
    if key in {f"data.{name}" for name in names.prepare_keys}:
        raise ValueError(f"{key} decides how the data are prepared, and the model knows no others: launch a study")
    if key == "model.weights":
        raise ValueError("the training goes on from the weights of the model, and from no others")
    read = text if isinstance(defaults[key], str) else resolve_scalar(text)
    try:
        value = checked(key, read, defaults[key], names.words, names.ranges)
    except ValueError as error:
        raise ValueError(f"{key} is {shown(read)}: {error}") from None
    if key in MONITORS and value != "metric":
        try:
            measure(names, str(value))
        except ValueError as error:
            raise ValueError(f"{key} {error}; 'metric' stands for the metric") from None
    return value
