"""The training loop: `FoldRun` against the same science in a loop written by hand, and in a DataLoader loop.

Three sides train digits, abr and expression (drawn faces, resnet18, 96 pixels) on one thread, from scratch, with the
same network, augmentation, losses, optimizer, schedule, clipping, validation and scores, and keep the best weights:

  FoldRun     the service's loop; besides, it records every loss term and the scores of the training rows
  by hand     the shortest loop over the same tensors
  DataLoader  a Dataset that augments sample by sample, as most training scripts do

Measured are seconds per epoch, without the first epoch of each training, which warms up. A repetition trains all three
sides one after the other, in alternating order; ratios are medians over the repetitions.
Must reach: at least 0.95x the speed of the loop by hand; for digits and abr at least 2x that of the DataLoader; for
expression, whose network takes nearly all of the time, an epoch within 60 s. Its trainings are fewer and shorter.
"""

from __future__ import annotations

import copy
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader, Dataset

from bench.measure import Goal, alternate, arguments, conclude, ratio, spread, table
from bench.tasks import Task, abr, digits, expression
from hpo.arrays import Feed
from hpo.objective import Batch
from hpo.training import FoldRun

#: A training of some epochs, which yields the validation score of each.
Side = Callable[[Task, int], Iterator[float]]

#: The objective whose epochs take seconds.
EXPENSIVE = "expression"
VALIDATION_BATCHES = 4  #: validation batches are this much larger, on every side


def fold_run(task: Task, epochs: int) -> Iterator[float]:
    """The service's loop."""
    feed = Feed(task.arrays, torch.device("cpu"))
    run = FoldRun(task.objective, task.arrays, feed, task.fold, task.params, task.metric, epochs=epochs, seed=0)
    while not run.finished:
        yield run.epoch().validation[task.metric.name]


def by_hand(task: Task, epochs: int) -> Iterator[float]:
    """What one would write for this one question, with the data in memory."""
    tensors = {name: torch.from_numpy(task.arrays[name]) for name in task.arrays}
    train, validation = torch.from_numpy(task.fold.train), torch.from_numpy(task.fold.validation)
    size = task.params.data["batch_size"]
    generator = torch.Generator().manual_seed(0)

    def training_batches() -> Iterator[Batch]:
        for rows in train[torch.randperm(len(train), generator=generator)].split(size):
            yield task.objective.augment({k: v[rows] for k, v in tensors.items()}, task.params, generator)

    def validation_batches() -> Iterator[Batch]:
        for rows in validation.split(size * VALIDATION_BATCHES):
            yield {k: v[rows] for k, v in tensors.items()}

    return _train(task, epochs, training_batches, validation_batches)


def data_loader(task: Task, epochs: int) -> Iterator[float]:
    """What most scripts do: every sample by itself, augmented by itself, collated into a batch.

    Without worker processes: for data in memory and one core they are slower.
    """
    size = task.params.data["batch_size"]
    generator = torch.Generator().manual_seed(0)

    def augment(sample: Batch) -> Batch:
        one = {name: value.unsqueeze(0) for name, value in sample.items()}
        return {k: v.squeeze(0) for k, v in task.objective.augment(one, task.params, generator).items()}

    training = DataLoader(_Samples(task, task.fold.train.tolist(), augment), size, shuffle=True, generator=generator)
    validation = DataLoader(_Samples(task, task.fold.validation.tolist()), size * VALIDATION_BATCHES)
    return _train(task, epochs, lambda: iter(training), lambda: iter(validation))


class _Samples(Dataset[Batch]):
    """Samples as dictionaries of tensors."""

    def __init__(self, task: Task, rows: list[int], transform: Callable[[Batch], Batch] = lambda one: one) -> None:
        self._tensors = {name: torch.from_numpy(task.arrays[name]) for name in task.arrays}
        self._rows, self._transform = rows, transform

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Batch:
        row = self._rows[number]
        return self._transform({name: tensor[row] for name, tensor in self._tensors.items()})


def _train(
    task: Task,
    epochs: int,
    training_batches: Callable[[], Iterator[Batch]],
    validation_batches: Callable[[], Iterator[Batch]],
) -> Iterator[float]:
    """The loop by hand; yields the validation score of each epoch."""
    torch.manual_seed(0)
    objective, params = task.objective, task.params
    statistics = objective.statistics(task.arrays, task.fold.train)
    model = objective.model(params, statistics)
    lr, weight_decay = params.optimizer["lr"], params.optimizer["weight_decay"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay, fused=True)
    steps = math.ceil(len(task.fold.train) / params.data["batch_size"])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _cosine(steps, epochs, params.schedule["warmup_epochs"]))
    best, best_weights = -math.inf, None
    for _ in range(epochs):
        model.train()
        losses: list[Tensor] = []
        for batch in training_batches():
            loss = _loss(task, model(batch), batch, statistics)
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(model.parameters(), params.optimizer["gradient_clip"])
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        if not torch.stack(losses).isfinite().all():
            raise ArithmeticError("the loss is not finite")
        score = _validate(task, model, validation_batches(), statistics)[task.metric.name]
        if score > best:
            best, best_weights = score, copy.deepcopy(model.state_dict())
        yield score
    assert best_weights is not None


def _loss(task: Task, outputs: Batch, batch: Batch, statistics: Mapping[str, Tensor]) -> Tensor:
    terms = task.objective.losses(outputs, batch, task.params, statistics)
    means = [task.params.loss[f"{name}_weight"] * s / n.clamp_min(1e-12) for name, (s, n) in terms.items()]
    return torch.stack(means).sum()


def _validate(
    task: Task, model: torch.nn.Module, batches: Iterator[Batch], statistics: Mapping[str, Tensor]
) -> dict[str, float]:
    """Loss and scores over all validation rows."""
    model.eval()
    added: dict[str, Tensor] = {}
    loss = torch.zeros(())
    with torch.inference_mode():
        for batch in batches:
            outputs = model(batch)
            loss += _loss(task, outputs, batch, statistics)
            for name, value in task.objective.sums(outputs, batch).items():
                added[name] = added[name] + value if name in added else value
    scores = task.objective.score({name: value.numpy() for name, value in added.items()}, task.arrays.info)
    return scores | {"loss": float(loss)}


def _cosine(steps: int, epochs: int, warmup_epochs: int) -> Callable[[int], float]:
    """Factor of the learning rate after a step: a linear warm-up, then half a cosine."""
    warmup, total = warmup_epochs * steps, epochs * steps

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2

    return factor


def seconds_per_epoch(
    side: Side, task: Task, epochs: int, scores: list[float], clock: Callable[[], float] = time.perf_counter
) -> float:
    """Train `epochs` after one that warms up; the last score is appended to `scores`."""
    training = side(task, epochs + 1)
    next(training)
    started = clock()
    last = list(training)[-1]
    seconds = clock() - started
    scores.append(last)
    return seconds / epochs


def compare(
    name: str, task: Task, epochs: int, repetitions: int, clock: Callable[[], float]
) -> tuple[list[list[object]], list[Goal]]:
    """Rows of the table and goals of one objective."""
    sides: dict[str, Side] = {"FoldRun": fold_run, "by hand": by_hand, "DataLoader": data_loader}
    scores: dict[str, list[float]] = {side: [] for side in sides}

    def measuring(side: str) -> Callable[[], float]:
        return lambda: seconds_per_epoch(sides[side], task, epochs, scores[side], clock)

    found = alternate({side: measuring(side) for side in sides}, repetitions)
    speed = {side: ratio(found[side], found["FoldRun"]) for side in sides}
    rows: list[list[object]] = [
        [name, side, 1e3 * median(times), spread([1e3 * t for t in times]), speed[side], median(scores[side])]
        for side, times in found.items()
    ]
    hand = Goal(what=f"{name}, speed against the loop by hand", value=speed["by hand"], at_least=0.95)
    if name == EXPENSIVE:
        return rows, [hand, Goal(what=f"{name}, an epoch", value=median(found["FoldRun"]), at_most=60.0, unit=" s")]
    return rows, [hand, Goal(what=f"{name}, speed against the DataLoader", value=speed["DataLoader"], at_least=2.0)]


def main(words: list[str] | None = None) -> int:
    parser = arguments("loop", __doc__)
    parser.add_argument("--data", type=Path, help="recordings for abr; synthetic ones without")
    parser.add_argument("--epochs", type=int, default=10, help="measured per training and side (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=7, help="of each side (%(default)s)")
    parser.add_argument("--cpu-seconds", action="store_true", help="of the process, not wall time: on a busy machine")
    options = parser.parse_args(words)
    epochs, repetitions = (1, 1) if options.quick else (options.epochs, options.repetitions)
    clock = time.process_time if options.cpu_seconds else time.perf_counter
    torch.set_num_threads(1)
    rows: list[list[object]] = []
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory() as cache:
        faces = expression(Path(cache), 32 if options.quick else 96)
        for name, task in (
            ("digits", digits(Path(cache))),
            ("abr", abr(Path(cache), options.data)),
            (EXPENSIVE, faces),
        ):
            size = (-(-epochs // 5), -(-repetitions // 3)) if name == EXPENSIVE else (epochs, repetitions)
            its_rows, its_goals = compare(name, task, *size, clock)
            rows += its_rows
            goals += its_goals
    header = ["objective", "loop", "ms per epoch", "smallest-largest", "FoldRun is faster by", "macro F1"]
    return conclude("loop", options, [table(header, rows)], goals)


if __name__ == "__main__":
    raise SystemExit(main())
