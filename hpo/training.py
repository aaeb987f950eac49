"""The one training loop: a `FoldRun` trains one model on one fold, one epoch per call."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from hpo import curriculum
from hpo import gradient_norms as norms_of
from hpo.arrays import Arrays, Feed
from hpo.batch_terms import terms_and_sums
from hpo.measure import Ledger, Measured, NonFiniteLoss, Steps, half, measure, references, weighted_means
from hpo.mining import RowLosses
from hpo.network import Trained, initial
from hpo.objective import Batch, Epoch, Fold, Metric, Objective, Params, Sums, Term
from hpo.optimizer import optimizer
from hpo.sampling import boosted, draw, fast_rows, row_weights, trained_rows
from hpo.schedule import EVERY_EPOCH, Schedule, Validation, best_epoch, should_stop

__all__ = ["FoldRun", "Interrupted", "NonFiniteLoss", "seed_for"]

#: Streams of randomness; each epoch of each fold gets a generator of its own per stream.
INIT, ORDER, AUGMENT, DROPOUT, FAST = range(5)
#: Rows per validation batch, as a multiple of the training batch: no gradients need to be kept.
VALIDATION_BATCHES = 4


class Interrupted(Exception):
    """The stop flag was seen between two batches; the epoch under way does not count."""


def seed_for(seed: int, repeat: int, fold: int, epoch: int, stream: int) -> int:
    """The seed of one stream of one epoch: a function of where we are, never of how we got there."""
    words = np.random.SeedSequence([seed, repeat, fold + 1, epoch, stream]).generate_state(2, np.uint32)
    return int(words[0]) << 31 ^ int(words[1])


def channels_last(model: torch.nn.Module) -> None:
    """Lay the weights of 2-D convolutions out as a GPU reads them fastest; those of 3-D ones have no such layout."""
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.to(memory_format=torch.channels_last)


class FoldRun:
    """One model training on one fold. The caller advances it: `while not run.finished: run.epoch()`.

    Nothing of a run depends on the trial's number or on an earlier process: a run resumed from `state_dict()` equals
    an uninterrupted one (bit for bit on a CPU with the same number of threads).

    Args:
        objective: supplies network, augmentation, losses and scores.
        arrays: the prepared data.
        feed: takes rows of `arrays` to the device; shared by all runs of a worker.
        fold: rows to train and to validate on; without validation rows the run trains for `epochs` and keeps the last.
        params: every value of the trial.
        metric: of the study; decides the best epoch.
        epochs: the most epochs to train.
        seed: of the study.
        repeat: distinguishes repeated trainings of the same parameters.
        drops: epochs after which a plateau schedule lowers its rate, for a refit that cannot observe them.
        schedule_epochs: length of the cosine schedule, `epochs` by default; a refit that ends early follows the curve
            that its folds followed.
        validation: which epochs are validated on all rows, and which have a classification report.
        gradient_norms: measure the norm of each term's gradient, which costs a backward pass per term and step.
        stop: looked at between batches; True makes `epoch` raise `Interrupted`.
        start: a trained network to go on from, whose statistics stay; None begins anew.
    """

    def __init__(
        self,
        objective: Objective,
        arrays: Arrays,
        feed: Feed,
        fold: Fold,
        params: Params,
        metric: Metric,
        *,
        epochs: int,
        seed: int,
        repeat: int = 0,
        drops: tuple[int, ...] = (),
        schedule_epochs: int | None = None,
        validation: Validation = EVERY_EPOCH,
        gradient_norms: bool = False,
        stop: Callable[[], bool] = lambda: False,
        start: Trained | None = None,
    ) -> None:
        self.objective, self.arrays, self.feed = objective, arrays, feed
        self.fold = replace(fold, train=trained_rows(objective, arrays, fold.train, params))
        self.params, self.metric = params, metric
        self.epochs_max, self.seed, self.repeat, self._stop = epochs, seed, repeat, stop
        self.validation, self._per_term = validation, gradient_norms
        self.device = feed.device
        self.min_epochs = min(params.stopping["min_epochs"], epochs)
        self.epochs: list[Epoch] = []
        self.best_state: dict[str, Tensor] | None = None

        statistics = start.statistics if start else objective.statistics(arrays, self.fold.train)
        self.statistics = {name: value.to(self.device) for name, value in statistics.items()}
        seed_of_weights = self._seed(0, INIT)
        if start is None:
            model = initial(objective, params, statistics, seed_of_weights)
        else:
            model = start.network(objective, params, seed_of_weights)
        self._on_gpu = self.device.type == "cuda"
        self.model = model.to(self.device)
        if self._on_gpu:
            channels_last(self.model)
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = optimizer(self._parameters, params.optimizer)
        # bfloat16 has float32's range and needs no scaling; older GPUs train in float16, which does.
        self._scaler = torch.GradScaler(self.device.type, enabled=self._on_gpu and half(self.device) is torch.float16)
        monitor = self._monitor(params.schedule["monitor"])
        self.schedule = Schedule(params, schedule_epochs or epochs, monitor, drops=list(drops))
        self._stopping_monitor = self._monitor(params.stopping["monitor"])
        self._weights = row_weights(objective, arrays, self.fold.train, params.sampling)
        cap = params.sampling["hard_boost_cap"]
        self._row_losses = RowLosses(self.fold.train, cap) if cap > 1 else None
        self._heard: list[Tensor] = []  #: of the epoch under way, losses of the rows of each batch
        fast = np.random.default_rng(self._seed(0, FAST))
        self._fast_rows = fast_rows(objective, arrays, fold.validation, validation.fast_share, fast)

    @property
    def finished(self) -> bool:
        """Whether the epochs are used up or early stopping says so."""
        if len(self.epochs) >= self.epochs_max:
            return True
        if not len(self.fold.validation):
            return False
        return should_stop(self.epochs, self._stopping_monitor, self.params.stopping, self.min_epochs)

    @property
    def best(self) -> Epoch | None:
        """The epoch that gives the run its value."""
        return best_epoch(self.epochs, self.metric, self.min_epochs)

    def epoch(self) -> Epoch:
        """Train one epoch and validate.

        Raises:
            Interrupted: when the stop flag was set; the run must then be restored from its last `state_dict()`.
            NonFiniteLoss: when a loss term is NaN or infinite.
        """
        started, number = time.perf_counter(), len(self.epochs) + 1
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        weights = self._term_weights(number)
        train, steps, lr = self._train(number, weights)
        full = self.validation.is_full(number, self.epochs_max) or not len(self.fold.validation)
        measured = self._measure(self.fold.validation if full else self._fast_rows)
        epoch = Epoch(
            number=number,
            train=train,
            validation=measured.values,
            lr=lr,
            gradient_norm=steps.gradient_norm,
            seconds=time.perf_counter() - started,
            samples=len(self.fold.train),
            peak_memory_mb=self._peak_memory_mb(),
            full=full,
            weights=weights,
            spread=steps.spread,
            gradient_norms=steps.gradient_norms,
            references={} if number > 1 or not len(self.fold.validation) else self._references(),
        )
        self.epochs.append(epoch)
        if len(self.fold.validation):  # a refit replays the drops of its folds and makes none of its own
            self.schedule.observe(epoch)
        improved = self.best is epoch
        if improved:
            self.best_state = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        if measured.sums and (improved or number % self.validation.report_every == 0):
            report = self.objective.report(measured.sums, self.arrays.info)
            self.epochs[-1] = epoch = replace(epoch, report=report or None)
        return epoch

    def evaluate(self, rows: np.ndarray) -> dict[str, float]:
        """Losses and scores of the current model on the given rows; empty for no rows."""
        return self._measure(rows).values

    def _measure(self, rows: np.ndarray) -> Measured:
        if not len(rows):
            return Measured(values={}, sums={})
        return self._measured(self.model, rows)

    def _measured(self, model: torch.nn.Module, rows: np.ndarray) -> Measured:
        batches = self._batches(rows, self.params.data["batch_size"] * VALIDATION_BATCHES)
        whole = self.objective.whole(self.arrays)
        return measure(model, batches, self.objective, self.params, self.statistics, self.arrays.info, whole)

    def _references(self) -> dict[str, dict[str, float]]:
        """What predictors that have learned nothing come to on the validation rows: once per training."""
        found = references(self.objective, self.statistics).items()
        return {name: self._measured(model, self.fold.validation).values for name, model in found}

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs: tensors, plain values and the epochs so far."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "schedule": self.schedule.state_dict(),
            "best": self.best_state,
            "row_losses": None if self._row_losses is None else self._row_losses.last,
            "epochs": tuple(self.epochs),
        }

    def snapshot(self) -> dict[str, Any]:
        """`state_dict()` as a copy that later epochs do not change."""
        state = self.state_dict()
        best = state.pop("best")  # a copy already, which is never changed
        return {**tree_map_only(Tensor, torch.clone, state), "best": best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict()` was taken."""
        self.model.load_state_dict(state["model"])
        # A copy: torch would go on in the very tensors of `state`.
        self.optimizer.load_state_dict(tree_map_only(Tensor, torch.clone, state["optimizer"]))
        self._scaler.load_state_dict(state["scaler"])
        self.schedule.load_state_dict(state["schedule"])
        self.best_state = state["best"]
        if self._row_losses is not None:
            self._row_losses.last = state["row_losses"].clone()
        self.epochs = list(state["epochs"])

    def _term_weights(self, number: int) -> dict[str, float]:
        """Of an epoch: the parameters' weights as far as the curriculum has them."""
        factors = curriculum.factors(self.objective.terms, self.params.loss, number)
        return {term: self.params.loss[f"{term}_weight"] * factor for term, factor in factors.items()}

    def _train(self, number: int, weights: Mapping[str, float]) -> tuple[dict[str, float], Steps, float]:
        generator = torch.Generator(self.device).manual_seed(self._seed(number, AUGMENT))
        ledger = Ledger(self.objective, self.params)
        steps = math.ceil(len(self.fold.train) / self.params.data["batch_size"])
        lr = 0.0
        for step, batch in enumerate(self.training_batches(number, generator)):
            lr = self.schedule.lr(number - 1 + (step + 1) / steps)
            ledger.add(*self.step(batch, lr, weights, generator))
        steps_record = ledger.steps(number)
        if self._row_losses is not None:
            self._row_losses.learn(self._drawn(number), torch.cat(self._heard))
        return ledger.close(self.arrays.info).values, steps_record, lr

    def training_batches(self, number: int, generator: torch.Generator) -> Iterator[Batch]:
        """The batches of an epoch in its order, augmented with draws from the generator; dropout is seeded, too."""
        self.model.train()
        torch.manual_seed(self._seed(number, DROPOUT))
        self._heard = []
        for batch in self._batches(self._drawn(number), self.params.data["batch_size"]):
            yield self.objective.augment(batch, self.params, generator)

    def _drawn(self, number: int) -> np.ndarray:
        """The rows of an epoch in its order."""
        weights = self._weights
        if self._row_losses is not None and number > 1:
            weights = boosted(weights, self._row_losses.factors())
        return draw(self.fold.train, weights, np.random.default_rng(self._seed(number, ORDER)))

    def step(
        self, batch: Batch, lr: float, weights: Mapping[str, float], generator: torch.Generator
    ) -> tuple[dict[str, Term], Sums, Tensor]:
        """One step of the optimizer on an augmented batch.

        Returns:
            The loss terms, the objective's sums, and gradient norms before clipping: `[1]`, or `[1 + term]` with those
            of the weighted terms.
        """
        self.optimizer.param_groups[0]["lr"] = lr
        mined = weights if self._row_losses is not None else None
        of = (self.params, self.statistics, generator, mined)
        terms, sums, of_rows = terms_and_sums(self.model, self.objective, batch, *of)
        if of_rows is not None:
            self._heard.append(of_rows)
        parts = weighted_means(terms, weights)
        norms = norms_of.of_terms(parts, self._parameters, self._scaler) if self._per_term else []
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(torch.stack(list(parts.values())).sum()).backward()
        self._scaler.unscale_(self.optimizer)
        norm = norms_of.clip(self._parameters, self.params.optimizer["gradient_clip"], self._scaler)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        return terms, sums, torch.stack([norm, *norms])

    def _batches(self, rows: np.ndarray, size: int) -> Iterator[Batch]:
        """Batches of nearly equal size: a last batch of one row would break batch normalisation."""
        index = torch.from_numpy(rows)
        if self.feed.resident:
            index = index.to(self.device)
        for batch in self.feed.batches(torch.tensor_split(index, math.ceil(len(rows) / size))):
            if self._stop():
                raise Interrupted
            yield batch

    def _monitor(self, name: str) -> Metric:
        return self.metric if name == "metric" else self.objective.metric(name)

    def _seed(self, epoch: int, stream: int) -> int:
        return seed_for(self.seed, self.repeat, self.fold.index, epoch, stream)

    def _peak_memory_mb(self) -> float:
        if self._on_gpu:
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
