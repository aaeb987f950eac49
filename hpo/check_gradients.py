"""Which parameters of a net the loss does not reach, and whether that is for want of labels in the batches tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hpo.measure import forward
from hpo.training import FoldRun

#: Names listed in a message before it says how many more there are.
NAMES = 6


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What the gradients of each loss term in the batches say."""

    unreached: tuple[str, ...]  #: parameters whose gradient is missing or 0
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def look_at_gradients(run: FoldRun) -> Reach:
    """Tell parameters that no term uses from those whose terms had nothing to say in the training rows of `run`.

    A parameter on which no term depends is none of the loss, which is a problem. One with a gradient of 0 deserves a
    warning, unless every term that depends on it had no label in these rows, or weight 0: those terms are noted.
    """
    names = [name for name, p in run.model.named_parameters() if p.requires_grad]
    labelled, depends, moved = _gradients(run, names)
    off = [term for term in run.objective.terms if run.params.loss[f"{term}_weight"] == 0]
    unlabelled = [term for term in run.objective.terms if term not in labelled]
    active = [term for term in run.objective.terms if term in labelled and term not in off]
    missing = [name for name in names if not any(name in depends[term] for term in depends)]
    zero = [name for name in names if name not in missing and not any(name in moved[term] for term in active)]
    odd = [name for name in zero if any(name in depends[term] for term in active)]
    problems, warnings, notes = [], [], []
    if missing:
        why = "no loss term depends on them; use them, remove them or freeze them (requires_grad_(False))"
        problems.append(f"no gradient reaches {_some(missing)}: {why}")
    if odd:
        warnings.append(f"in the two batches the gradient of {_some(odd)} is 0, although their loss terms had labels")
    if unlabelled:
        notes.append(f"the two batches have no label for {_terms(unlabelled)}: gradients of these were not tried")
    if off:
        notes.append(f"{_terms(off)} of weight 0: parameters that nothing else needs are not trained")
    unreached = (*missing, *zero)
    return Reach(unreached=unreached, problems=tuple(problems), warnings=tuple(warnings), notes=tuple(notes))


def _gradients(run: FoldRun, names: Sequence[str]) -> tuple[set[str], dict[str, set[str]], dict[str, set[str]]]:
    """Terms that found a label in an epoch's batches; parameters that each term depends on, and that it moves.

    Autograd knows what a term depends on, whatever the labels are: a masked term has a gradient, which is 0.
    """
    parameters = dict(run.model.named_parameters())
    labelled: set[str] = set()
    depends: dict[str, set[str]] = {term: set() for term in run.objective.terms}
    moved: dict[str, set[str]] = {term: set() for term in run.objective.terms}
    for batch in run.training_batches(1, torch.Generator(run.device).manual_seed(0)):
        terms = run.objective.losses(forward(run.model, batch), batch, run.params, run.statistics)
        for term, (value, count) in terms.items():
            if float(count):
                labelled.add(term)
            for name, gradient in zip(names, _of(value, [parameters[name] for name in names]), strict=True):
                if gradient is not None:
                    depends[term].add(name)
                    moved[term] |= {name} if bool(gradient.any()) else set()
    return labelled, depends, moved


def _of(value: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor | None]:
    if not value.requires_grad:
        return [None] * len(parameters)
    return torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)


def _terms(names: Sequence[str]) -> str:
    return f"loss term{'s' * (len(names) > 1)} {', '.join(names)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(names[:NAMES]) + more
