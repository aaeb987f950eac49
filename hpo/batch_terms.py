"""The loss terms of a training batch: of the batch itself, or of its blend with itself in another order."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hpo import mixup
from hpo.measure import forward
from hpo.mining import losses_of_rows
from hpo.objective import Batch, Objective, Outputs, Params, Sums, Term


def terms_and_sums(
    model: torch.nn.Module,
    objective: Objective,
    batch: Batch,
    params: Params,
    statistics: Mapping[str, Tensor],
    generator: torch.Generator,
    row_weights: Mapping[str, float] | None = None,
) -> tuple[dict[str, Term], Sums, Tensor | None]:
    """Terms and sums of an augmented batch; with the weights of the terms also the loss of each row, `[row]`."""

    def terms_of(outputs: Outputs, batch: Batch) -> dict[str, Term]:
        return objective.losses(outputs, batch, params, statistics)

    def counted(outputs: Outputs, batch: Batch) -> tuple[Sums, Tensor | None]:
        with torch.no_grad():
            sums = objective.sums(outputs, batch)
            if row_weights is None:
                return sums, None
            return sums, losses_of_rows(objective, outputs, batch, params, statistics, row_weights)

    alpha = params.augment.get("mixup")
    if alpha is not None:
        mixup.require(objective.mixed, batch)  # also while it is off, before a trial turns it on
    if not alpha:
        outputs = forward(model, batch)
        return terms_of(outputs, batch), *counted(outputs, batch)
    other, share = mixup.partners(batch, generator), mixup.draw_share(alpha, generator).to(next(iter(batch.values())))
    blend = mixup.blended(batch, other, objective.mixed, share)
    outputs = forward(model, blend)
    # A target that is blended itself, such as a signal to be restored, is the blend for both.
    labels = {**other, **{name: blend[name] for name in objective.mixed}}
    # A blend is scored by the labels of the row that is the greater part of it.
    terms = mixup.blended_terms(terms_of(outputs, blend), terms_of(outputs, labels), share)
    return terms, *counted(outputs, blend)
