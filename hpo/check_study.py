"""What is odd about a study file that can be read: a small space, a pruner that never acts, a long curriculum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hpo import curriculum
from hpo.objective import Params
from hpo.study import Study


def first_params(spec: Study, configuration: str) -> Params:
    """The values of a configuration, as its trial would have them."""
    values = spec.configurations[configuration]
    return spec.params({key: values[key] for key in spec.space}, configuration)


def study_warnings(spec: Study, terms: Sequence[str]) -> Iterator[str]:
    """Everything below; `terms` are the objective's loss terms."""
    yield from space_warnings(spec)
    yield from pruner_warnings(spec)
    yield from curriculum_warnings(spec, terms)


def space_warnings(spec: Study) -> Iterator[str]:
    """A finite space that is smaller than the budget."""
    points = spec.points()
    if points is not None and points < spec.budget.trials:
        yield f"the space has {points} points, fewer than budget.trials {spec.budget.trials}: the search ends early"


def pruner_warnings(spec: Study) -> Iterator[str]:
    """A pruner that hears nothing before the last epoch, after which no trial is pruned any more."""
    if spec.pruner_spec.name == "none":
        return
    options, epochs = dict[str, Any](spec.pruner_spec.options), spec.budget.epochs
    # ASHA leaves out its first rungs.
    first = options["min_resource"] * options.get("reduction_factor", 1) ** options.get("early_stopping_rate", 0)
    if not any(spec.validation.is_full(epoch, epochs) for epoch in range(first, epochs)):
        late = f"pruner {spec.pruner_spec.name} compares nothing before epoch {epochs}, the last of budget.epochs"
        way = "lower pruner.min_resource (stopping.min_epochs where it is not set), or write pruner: none"
        yield f"{late}: no trial is ever pruned; {way}"


def curriculum_warnings(spec: Study, terms: Sequence[str]) -> Iterator[str]:
    """Loss terms that do not count fully before the last epoch, by configuration and at the far end of the space."""
    cases = {f"configuration '{name}'": first_params(spec, name).loss for name in spec.configurations}
    searched = [key for key in spec.space if key.startswith("loss.") and key.endswith(("_start", ".ramp_epochs"))]
    if searched:
        ends = {key.removeprefix("loss."): limits(spec.space[key], 0)[1] for key in searched}
        cases["the end of the space"] = {**next(iter(cases.values())), **ends}
    for case, loss in cases.items():
        late = {epoch: names for epoch, names in _complete(terms, loss).items() if epoch >= spec.budget.epochs}
        for epoch, names in late.items():
            counts = "terms " + ", ".join(names) + " count" if len(names) > 1 else f"term {names[0]} counts"
            way = "lower loss.*_start or loss.ramp_epochs, or raise the budget"
            yield f"{case}: loss {counts} fully from epoch {epoch} on, of budget.epochs {spec.budget.epochs}; {way}"


def _complete(terms: Sequence[str], loss: Mapping[str, Any]) -> dict[int, list[str]]:
    """Epoch -> terms with a curriculum that count fully from it on."""
    found: dict[int, list[str]] = {}
    for term in terms:
        if (epoch := curriculum.complete_at([term], loss)) > 1:
            found.setdefault(epoch, []).append(term)
    return found


def limits(distribution: BaseDistribution | None, value: float) -> tuple[float, float]:
    """The lowest and the highest value of a searched number; its one value, twice, where it is not searched."""
    if isinstance(distribution, (FloatDistribution, IntDistribution)):
        return distribution.low, distribution.high
    if isinstance(distribution, CategoricalDistribution):
        choices = [float(choice) for choice in distribution.choices if choice is not None]
        return min(choices), max(choices)
    return value, value
