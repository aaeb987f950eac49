"""What `hpo check` tries: one configuration of a study, with its data and its device."""

from __future__ import annotations

from dataclasses import dataclass

from hpo.arrays import Arrays, Feed
from hpo.objective import Fold, Objective, Params, Split
from hpo.study import Study
from hpo.training import FoldRun


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One configuration of a study with the data and the device it would train on."""

    spec: Study
    objective: Objective
    arrays: Arrays
    split: Split
    feed: Feed
    params: Params

    def run(self, fold: Fold, epochs: int) -> FoldRun:
        """A training as a trial of the study would do it, for the given number of epochs."""
        return FoldRun(
            self.objective,
            self.arrays,
            self.feed,
            fold,
            self.params,
            self.spec.metric,
            epochs=epochs,
            schedule_epochs=max(epochs, self.spec.budget.epochs),
            validation=self.spec.validation,
            seed=self.spec.seed,
        )
