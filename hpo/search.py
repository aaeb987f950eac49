"""The sampler and the pruner of a study, asked under a lease."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from hpo.objective import Params
from hpo.records import StudyRecord
from hpo.store import Lease, Store
from hpo.study import Study

#: How often the sampler is asked again when it proposes what the study has had.
REDRAWS = 10


class SpaceExhausted(Exception):
    """Every point of a finite space has been evaluated."""


class Search:
    """Ask, prune and tell for the trials of one study."""

    def __init__(self, store: Store, record: StudyRecord, spec: Study) -> None:
        self._store, self._spec = store, spec
        self._storage = optuna.storages.get_storage(store.database)
        self.optuna = optuna.load_study(
            study_name=record.name, storage=self._storage, sampler=spec.sampler(spec.seed), pruner=spec.pruner()
        )
        self._space = optuna.search_space.IntersectionSearchSpace(include_pruned=True)
        self.prunes = not isinstance(self.optuna.pruner, optuna.pruners.NopPruner)

    def choose(self, lease: Lease) -> Params:
        """Parameters the study has not had, written to the trial.

        Raises:
            SpaceExhausted: when there are none left.
        """
        chosen = self._store.results.chosen(lease)
        if chosen is not None:
            return chosen  # an attempt before this one has written them, and only the database's reply was lost
        # An infinite space has room for ever, and no list of points to fall back on.
        for draw in range(REDRAWS if self._spec.points() is not None else 100 * REDRAWS):
            params = self._draw(lease, draw)
            if params is not None:
                return params
        for point in self._unused():
            attrs: dict[str, Any] = point
            self._storage.set_trial_system_attr(lease.trial_id or 0, "fixed_params", attrs)
            params = self._draw(lease, 0)
            if params is not None:
                return params
        raise SpaceExhausted

    def refresh(self) -> None:
        """Read what other workers have recorded since."""
        self._storage.get_all_trials(self.optuna._study_id, deepcopy=False)

    def has_room(self, unchosen: int) -> bool:
        """Whether a finite space has more points left than there are trials that have yet to choose theirs."""
        return self._spec.points() is None or len(list(itertools.islice(self._unused(), unchosen + 1))) > unchosen

    def pruning(self, lease: Lease) -> Pruning:
        """The pruner's decisions on the trial of this lease."""
        return Pruning(self.optuna, self._store, lease)

    def tell(self, lease: Lease, state: TrialState, value: float | None, broken: str | None = None) -> None:
        """End the trial for Optuna; `broken` names a constraint that its configuration violated.

        TPE learns from COMPLETE and PRUNED trials only, so a configuration that cannot be trained is told as PRUNED
        and infeasible.
        """
        assert lease.number is not None and lease.trial_id is not None
        if broken is not None and not self._storage.get_trial(lease.trial_id).state.is_finished():
            optuna.trial.Trial(self.optuna, lease.trial_id).set_constraint(broken, 1.0)
        told = value if state == TrialState.COMPLETE else None
        # Finished already: told by another tool with access to the database; our own rows keep what we measured.
        self.optuna.tell(lease.number, told, state, skip_if_finished=True)

    def _draw(self, lease: Lease, draw: int) -> Params | None:
        # The sampler's seed is a function of the trial and the draw: no two workers ever share one.
        seed = np.random.SeedSequence([self._spec.seed, lease.number or 0, draw]).generate_state(1)[0]
        self.optuna.sampler = self._sampler(int(seed))
        self.refresh()  # Optuna's cache takes parameters only of trials that it has read
        with self._store.database.deferred_params() as suggested:
            params = self._spec.suggest(optuna.trial.Trial(self.optuna, lease.trial_id or 0))
        return params if self._store.results.choose(lease, params, suggested) else None

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        sampler = self._spec.sampler(seed)
        if isinstance(sampler, optuna.samplers.TPESampler):
            # What it has worked out of all trials' spaces goes on with the next one: 46 ms a trial at 10,000.
            sampler._search_space = self._space
        return sampler

    def _unused(self) -> Iterator[dict[str, Any]]:
        """The points of a finite space that the study has not had, one by one: a grid may have billions."""
        if self._spec.points() is None:
            return
        used = self._store.results.used_params(self.optuna._study_id)
        names = list(self._spec.space)
        values = [_values(self._spec.space[name]) for name in names]
        for combination in itertools.product(*values):
            point = dict(zip(names, combination, strict=True))
            if self._spec.params(point).key() not in used:
                yield point


class Pruning:
    """The pruner of a study, asked about one running trial.

    The trial is read once and kept: nobody but the holder of its lease reports to it.
    """

    def __init__(self, study: optuna.Study, store: Store, lease: Lease) -> None:
        self._study, self._database, self._trial_id = study, store.database, lease.trial_id or 0
        self._trial: FrozenTrial | None = None

    def __call__(self, step: int, value: float) -> bool:
        """The decision on this report, which is in the database, and on all before it."""
        if self._trial is None:
            self._trial = self._database.get_trial(self._trial_id)
        self._trial.intermediate_values[step] = value
        decision = self._study.pruner.prune(self._study, self._trial)
        self._trial.system_attrs = self._database.get_trial_system_attrs(self._trial_id)  # ASHA keeps its rungs there
        return decision

    def forget(self) -> None:
        """Read the trial again: what was reported or decided last may not be on record."""
        self._trial = None


def _values(distribution: Any) -> list[Any]:
    """Every value of a finite distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    assert isinstance(distribution, FloatDistribution)
    if distribution.step is None:
        return [distribution.low]
    steps = round((distribution.high - distribution.low) / distribution.step)
    return [distribution.low + step * distribution.step for step in range(steps + 1)]
