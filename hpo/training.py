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
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.utils._pytree import tree_map_only

from hpo import curriculum, mixup
from hpo.arrays import Arrays, Feed
from hpo.measure import Ledger, Measured, NonFiniteLoss, Steps, forward, half, measure, weighted_means
from hpo.network import Trained, initial
from hpo.objective import Batch, Epoch, Fold, Metric, Objective, Outputs, Params, Sums, Term
from hpo.sampling import draw, part, row_weights, trained_rows
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
        layout = torch.channels_last if self._on_gpu else torch.contiguous_format
        self.model = model.to(self.device).to(memory_format=layout)
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self._parameters,
            lr=params.optimizer["lr"],
            weight_decay=params.optimizer["weight_decay"],
            fused=True,
        )
        # bfloat16 has float32's range and needs no scaling; older GPUs train in float16, which does.
        self._scaler = torch.GradScaler(self.device.type, enabled=self._on_gpu and half(self.device) is torch.float16)
        monitor = self._monitor(params.schedule["monitor"])
        self.schedule = Schedule(params, schedule_epochs or epochs, monitor, drops=list(drops))
        self._stopping_monitor = self._monitor(params.stopping["monitor"])
        self._weights = row_weights(objective, arrays, self.fold.train, params.sampling)
        self._fast_rows = part(fold.validation, validation.fast_share, np.random.default_rng(self._seed(0, FAST)))

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
        batches = self._batches(rows, self.params.data["batch_size"] * VALIDATION_BATCHES)
        return measure(self.model, batches, self.objective, self.params, self.statistics, self.arrays.info)

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs: tensors, plain values and the epochs so far."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "schedule": self.schedule.state_dict(),
            "best": self.best_state,
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
        return ledger.close(self.arrays.info).values, steps_record, lr

    def training_batches(self, number: int, generator: torch.Generator) -> Iterator[Batch]:
        """The batches of an epoch in its order, augmented with draws from the generator; dropout is seeded, too."""
        self.model.train()
        rows = draw(self.fold.train, self._weights, np.random.default_rng(self._seed(number, ORDER)))
        torch.manual_seed(self._seed(number, DROPOUT))
        for batch in self._batches(rows, self.params.data["batch_size"]):
            yield self.objective.augment(batch, self.params, generator)

    def step(
        self, batch: Batch, lr: float, weights: Mapping[str, float], generator: torch.Generator
    ) -> tuple[dict[str, Term], Sums, Tensor]:
        """One step of the optimizer on an augmented batch.

        Returns:
            The loss terms, the objective's sums, and gradient norms before clipping: `[1]`, or `[1 + term]` with those
            of the weighted terms.
        """
        self.optimizer.param_groups[0]["lr"] = lr
        terms, sums = self._seen(batch, generator)
        parts = weighted_means(terms, weights)
        norms = self._term_norms(parts) if self._per_term else []
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(torch.stack(list(parts.values())).sum()).backward()
        norm = self._clip()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        return terms, sums, torch.stack([norm, *norms])

    def _seen(self, batch: Batch, generator: torch.Generator) -> tuple[dict[str, Term], Sums]:
        """Terms and sums of a batch, or of its blend with itself in another order."""

        def terms_of(outputs: Outputs, batch: Batch) -> dict[str, Term]:
            return self.objective.losses(outputs, batch, self.params, self.statistics)

        def sums_of(outputs: Outputs, batch: Batch) -> Sums:
            with torch.no_grad():
                return self.objective.sums(outputs, batch)

        alpha = self.params.augment.get("mixup")
        if alpha is not None:
            mixup.require(self.objective.mixed, batch)  # also while it is off, before a trial turns it on
        if not alpha:
            outputs = forward(self.model, batch)
            return terms_of(outputs, batch), sums_of(outputs, batch)
        other, share = mixup.partners(batch, generator), mixup.draw_share(alpha, generator).to(self.device)
        blend = mixup.blended(batch, other, self.objective.mixed, share)
        outputs = forward(self.model, blend)
        # A target that is blended itself, such as a signal to be restored, is the blend for both.
        labels = {**other, **{name: blend[name] for name in self.objective.mixed}}
        # A blend is scored by the labels of the row that is the greater part of it.
        terms = mixup.blended_terms(terms_of(outputs, blend), terms_of(outputs, labels), share)
        return terms, sums_of(outputs, blend)

    def _term_norms(self, parts: Mapping[str, Tensor]) -> list[Tensor]:
        """Norm of each weighted term's gradient; 0 for a term that depends on nothing."""
        scale = self._scaler.get_scale()
        norms = []
        for loss in parts.values():
            gradients = (
                torch.autograd.grad(loss * scale, self._parameters, retain_graph=True, materialize_grads=True)
                if loss.requires_grad
                else [torch.zeros((), device=self.device)]
            )
            norms.append(self._without_overflow(get_total_norm(gradients) / scale))
        return norms

    def _batches(self, rows: np.ndarray, size: int) -> Iterator[Batch]:
        """Batches of nearly equal size: a last batch of one row would break batch normalisation."""
        index = torch.from_numpy(rows)
        if self.feed.resident:
            index = index.to(self.device)
        for batch in self.feed.batches(torch.tensor_split(index, math.ceil(len(rows) / size))):
            if self._stop():
                raise Interrupted
            yield batch

    def _clip(self) -> Tensor:
        """The gradient's norm before clipping to `optimizer.gradient_clip`."""
        self._scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = self._without_overflow(get_total_norm(gradients))
        if self.params.optimizer["gradient_clip"]:
            clip_grads_with_norm_(self._parameters, self.params.optimizer["gradient_clip"], norm)
        return norm

    def _without_overflow(self, norm: Tensor) -> Tensor:
        """The scaler skips a step whose scaled gradients overflow, as the first ones do; it is no lost training."""
        return torch.where(norm.isfinite(), norm, torch.zeros_like(norm)) if self._scaler.is_enabled() else norm

    def _monitor(self, name: str) -> Metric:
        return self.metric if name == "metric" else self.objective.metric(name)

    def _seed(self, epoch: int, stream: int) -> int:
        return seed_for(self.seed, self.repeat, self.fold.index, epoch, stream)

    def _peak_memory_mb(self) -> float:
        if self._on_gpu:
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
