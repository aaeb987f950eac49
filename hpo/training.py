"""The one training loop: a `FoldRun` trains one model on one fold, one epoch per call."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.utils._pytree import tree_map_only

from hpo.arrays import Arrays, Feed
from hpo.measure import Ledger, NonFiniteLoss, forward, half, measure
from hpo.objective import Batch, Epoch, Fold, Metric, Objective, Params
from hpo.sampling import boosted_weights, draw
from hpo.schedule import Schedule, best_epoch, should_stop

__all__ = ["FoldRun", "Interrupted", "NonFiniteLoss", "seed_for"]

#: Streams of randomness; each epoch of each fold gets a generator of its own per stream.
INIT, ORDER, AUGMENT, DROPOUT = range(4)
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
        stop: looked at between batches; True makes `epoch` raise `Interrupted`.
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
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.objective, self.arrays, self.feed = objective, arrays, feed
        self.fold, self.params, self.metric = fold, params, metric
        self.epochs_max, self.seed, self.repeat, self._stop = epochs, seed, repeat, stop
        self.device = feed.device
        self.min_epochs = min(params.stopping["min_epochs"], epochs)
        self.epochs: list[Epoch] = []
        self.best_state: dict[str, Tensor] | None = None

        statistics = objective.statistics(arrays, fold.train)
        self.statistics = {name: value.to(self.device) for name, value in statistics.items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed(0, INIT))
            self.model = objective.model(params, statistics)
        self._on_gpu = self.device.type == "cuda"
        layout = torch.channels_last if self._on_gpu else torch.contiguous_format
        self.model = self.model.to(self.device).to(memory_format=layout)
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
        self._weights = boosted_weights(objective.labels(arrays)[fold.train], params.sampling)

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
        train, lr, norm = self._train(number)
        validation = self.evaluate(self.fold.validation)
        epoch = Epoch(
            number=number,
            train=train,
            validation=validation,
            lr=lr,
            gradient_norm=norm,
            seconds=time.perf_counter() - started,
            samples=len(self.fold.train),
            peak_memory_mb=self._peak_memory_mb(),
        )
        self.epochs.append(epoch)
        if len(self.fold.validation):  # a refit replays the drops of its folds and makes none of its own
            self.schedule.observe(epoch)
        if self.best is epoch:
            self.best_state = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        return epoch

    def evaluate(self, rows: np.ndarray) -> dict[str, float]:
        """Losses and scores of the current model on the given rows; empty for no rows."""
        if not len(rows):
            return {}
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

    def _train(self, number: int) -> tuple[dict[str, float], float, float]:
        ledger = Ledger(self.objective, self.params)
        steps = math.ceil(len(self.fold.train) / self.params.data["batch_size"])
        lr = 0.0
        for step, batch in enumerate(self.training_batches(number)):
            lr = self.schedule.lr(number - 1 + (step + 1) / steps)
            self.step(batch, lr, ledger)
        return ledger.close(self.arrays.info, number), lr, ledger.mean_norm

    def training_batches(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch in its order, augmented; what the epoch draws is seeded when the first is asked for.

        Args:
            number: of the epoch, counted from 1.
        """
        self.model.train()
        rows = draw(self.fold.train, self._weights, np.random.default_rng(self._seed(number, ORDER)))
        torch.manual_seed(self._seed(number, DROPOUT))
        generator = torch.Generator(self.device).manual_seed(self._seed(number, AUGMENT))
        for batch in self._batches(rows, self.params.data["batch_size"]):
            yield self.objective.augment(batch, self.params, generator)

    def step(self, batch: Batch, lr: float, ledger: Ledger) -> Tensor:
        """One step of the optimizer at the given rate on an augmented batch; the ledger takes what it came to.

        Returns:
            The weighted loss before the step, 0-d and detached: reading it makes a GPU wait.
        """
        self.optimizer.param_groups[0]["lr"] = lr
        outputs = forward(self.model, batch)
        terms = self.objective.losses(outputs, batch, self.params, self.statistics)
        loss = ledger.total(terms)
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        norm = self._clip()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        with torch.no_grad():
            ledger.add(terms, self.objective.sums(outputs, batch), norm)
        return loss.detach()

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
        norm = get_total_norm(gradients)
        if self._scaler.is_enabled():
            # The scaler skips a step whose scaled gradients overflow, as the first ones do; it is no lost training.
            norm = torch.where(norm.isfinite(), norm, torch.zeros_like(norm))
        if self.params.optimizer["gradient_clip"]:
            clip_grads_with_norm_(self._parameters, self.params.optimizer["gradient_clip"], norm)
        return norm

    def _monitor(self, name: str) -> Metric:
        return self.metric if name == "metric" else self.objective.metric(name)

    def _seed(self, epoch: int, stream: int) -> int:
        return seed_for(self.seed, self.repeat, self.fold.index, epoch, stream)

    def _peak_memory_mb(self) -> float:
        if self._on_gpu:
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
