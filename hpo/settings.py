"""Parameters that a command line sets, `GROUP.KEY=VALUE`, checked as the values of a study file are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hpo.objective import GROUPS, DataError, Value, Vocabulary
from hpo.strict_yaml import resolve_scalar, shown
from hpo.study_parameters import MONITORS, measure, near_parameter
from hpo.study_space import checked

#: Keys of a study file outside of its parameters, as users write them -> the option of a command that stands for them.
STAND_FOR = {
    "budget.epochs": "epochs",
    "data": "data",
    "epochs": "epochs",
    "folds": "folds",
    "folds.count": "folds",
    "metric": "metric",
    "metric.name": "metric",
    "seed": "seed",
}


def settings(names: Vocabulary, words: Sequence[str], options: Collection[str]) -> dict[str, Value]:
    """The value of each parameter that is set.

    Args:
        names: of the objective, which knows its parameters.
        words: `optimizer.lr=1e-5`; of one that is text, what stands behind the sign is its value as it is.
        options: of the command, of those in STAND_FOR.

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
            values[key] = _value(names, key, text, options)
        except ValueError as error:
            wrong.append(f"--set {word}: {error}")
    if wrong:
        raise DataError("\n".join(wrong))
    return values


def _value(names: Vocabulary, key: str, text: str, options: Collection[str]) -> Value:
    defaults = names.parameters()
    if key not in defaults:
        raise ValueError(_unknown(key, text, defaults, options))
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


def _unknown(key: str, text: str, known: Collection[str], options: Collection[str]) -> str:
    """What was meant; of a key outside of all groups the option that stands for it, or the groups that there are."""
    group, dot, _ = key.partition(".")
    if dot and group in GROUPS:
        return f"unknown parameter {key!r}; {near_parameter(key, known)}"
    if (option := STAND_FOR.get(key)) in options:
        return f"{key} is no parameter: use --{option} {text}"
    hint = near_parameter(key, known)
    groups = f"the groups of parameters are {', '.join(GROUPS)}"
    return f"unknown parameter {key!r}; {hint if hint.startswith('did') else groups}"
