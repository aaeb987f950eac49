"""What to see to before a study is trained, or trained again, each with its numbers: the list that ends `hpo check`.

Nothing here looks anything up: what the disk, the device and the database hold is handed in.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpo.check import Training
from hpo.check_study import first_params, limits
from hpo.objective import Params
from hpo.records import FinalRecord, TrialRecord
from hpo.study import Study
from hpo.wording import counted, duration, number, plus_minus

#: A training loss that has grown by more than this share has risen: less is the scatter of dropout and augmentation.
RISEN = 0.1
#: A first epoch whose validation loss is this many times that of the untrained net has thrown the net off.
THROWN_OFF = 10.0
#: Share of the device's memory above which another batch, or another program, may be one too many.
CROWDED = 0.8


@dataclass(frozen=True, kw_only=True)
class Item:
    """One line of the list."""

    name: str
    state: Literal["ok", "look"]  #: `look`: something to do or to decide, no problem
    text: str  #: what was found, in numbers, and the way out


@dataclass(frozen=True, kw_only=True)
class Device:
    """What trainings run on."""

    name: str
    memory_mb: float
    workers: int  #: that share it


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the database holds of the study."""

    best: TrialRecord | None
    final: FinalRecord | None
    data: str | None  #: of the launch


def models(name: str, folders: Sequence[Path], root: Path) -> Item:
    """Those that are there already; `folders` are the model folders of the study, `root` is the runs folder."""
    found = counted(len(folders), "model folder") if folders else "no model folder yet"
    way = "none is ever overwritten, new ones appear beside them"
    return _ok("models", f"{found} of study {name} in {root / 'models'}; {way}")


def one_fold(spec: Study, training: Training, fold: int | None, again: str) -> Item:
    """Whether a fold was trained, `fold`, or how to; `again` is the command of this check without --fold."""
    if fold is None:
        search, seconds = spec.folds.search, training.seconds_per_epoch
        most = counted(spec.budget.epochs, "epoch") + (f", {duration(seconds * spec.budget.epochs)}" if seconds else "")
        way = f"`{again} --fold {search}` trains fold {search} alone, as its trial would (at most {most})"
        return _look("one fold first", f"not tried yet: {way}")
    came = f"fold {fold} trained for {counted(len(training.epochs), 'epoch')} of at most {spec.budget.epochs}"
    if training.problems:
        return _look("one fold first", f"{came}, with a problem: see above")
    best, metric = training.best, spec.metric.name
    return _ok(
        "one fold first", came + (f": {metric} {number(best.get(metric))} at epoch {best.number}" if best else "")
    )


def first_loss(training: Training, fold: int | None, again: str) -> Item:
    """Whether the training loss falls, and what the first epoch, or round over two batches, makes of an untrained net.

    Both validation losses are those of the same rows, with all terms at their full weights.
    """
    losses = [epoch.train["loss"] for epoch in training.epochs if "loss" in epoch.train]
    if not losses:
        return _look("first loss", "no epoch has ended with a finite loss: see the problem above")
    noun, over = ("round", " over two batches") if fold is None else ("epoch", "")
    way = f"lower optimizer.lr, `{again} --lr-range` says how far"
    text = f"training loss {number(losses[0])} -> {number(losses[-1])} in {counted(len(losses), noun)}{over}"
    before, first = training.untrained.get("loss"), next((epoch for epoch in training.epochs if epoch.full), None)
    after = first.validation.get("loss") if first else None
    if first is not None and before is not None and after is not None:
        text += f"; on validation rows {number(before)} untrained, {number(after)} after {noun} {first.number}"
        if after > THROWN_OFF * before > 0:
            return _look("first loss", f"{text}, {after / before:.0f} times as much: {way}")
    if losses[-1] > losses[0] + RISEN * abs(losses[0]):
        return _look("first loss", f"{text}: the training loss has risen; {way}")
    return _ok("first loss", f"every term is finite; {text}")


def early_stopping(spec: Study, params: Params, configuration: str) -> Item:
    """From which epoch on a model is kept and a training may stop, see `hpo.schedule.should_stop`.

    Args:
        spec: the study.
        params: of the configuration.
        configuration: that was trained. It may differ from the study's other trials on purpose, as old values do.
    """
    epochs, patience, least = spec.budget.epochs, params.stopping["patience"], params.stopping["min_epochs"]
    if not patience:
        stops = f"patience 0 turns early stopping off: none stops before epoch {epochs}"
    elif least + patience >= epochs:
        stops = f"with patience {patience} none stops before epoch {epochs}, the last of budget.epochs"
    else:
        stops = f"with patience {patience} none stops before epoch {least + patience} of {epochs}"
    asked = max((int(t.at_least) for t in spec.targets if t.kind == "epochs" and t.at_least is not None), default=0)
    if least < asked:
        way = f"lets epoch {least} be kept, and a target asks for {asked}: set it to {asked}"
    elif least == 1 < epochs:
        way = f"lets the first epoch be kept: set it to {min(5, epochs)}, say"
    else:
        return _ok("early stopping", f"no model before epoch {least} is kept; {stops}")
    others = _least_of_others(spec, configuration)
    whose = "" if others == {least} else f" of configuration '{configuration}'"
    if min(others) >= max(asked, 2):
        way += f", or leave it if it is meant: in all other trials no model before epoch {min(others)} is kept"
    return _look("early stopping", f"stopping.min_epochs {least}{whose} {way}; {stops}")


def _least_of_others(spec: Study, configuration: str) -> set[int]:
    """`stopping.min_epochs` of all configurations but one, and of the trials that the sampler asks for at the least."""
    key = "stopping.min_epochs"
    named = {first_params(spec, name).stopping["min_epochs"] for name in spec.configurations if name != configuration}
    return named | {int(limits(spec.space.get(key), spec.fixed.get(key, 1))[0])}  # type: ignore[arg-type]


def memory(training: Training, params: Params, device: Device, again: str) -> Item:
    """The most that the trainings of this check took, for all workers of the device, against what it has."""
    peak = max((epoch.peak_memory_mb for epoch in training.epochs), default=0.0)
    if not peak:
        return _look("memory", "not measured, no epoch has ended: see the problem above")
    taken = f"{peak:.0f} MB at data.batch_size {params.data['batch_size']}"
    taken += f" x {device.workers} workers" if device.workers > 1 else ""
    share = peak * device.workers / device.memory_mb
    text = f"{taken} of {device.memory_mb:.0f} MB of {device.name}: {share:.0%}"
    if share <= CROWDED:
        return _ok("memory", text)
    ways = "lower data.batch_size" + (", start fewer workers" if device.workers > 1 else "")
    return _look("memory", f"{text}; {ways}, `{again} --batch-size` says what fits")


def current_best(spec: Study, standing: Standing | None, trouble: str = "") -> Item:
    """What new trainings are to be compared with.

    Args:
        spec: the study.
        standing: None where the database does not know it.
        trouble: why the database cannot be read; empty where it can.
    """
    if trouble:
        return _look("current best", f"unknown, since the database cannot be read: {trouble}")
    if standing is None or standing.best is None:
        why = f"study {spec.name} is not in the database" if standing is None else "no trial is complete"
        return _ok("current best", f"none yet, {why}: nothing to compare with")
    best, final, metric = standing.best, standing.final, spec.metric.name
    parts = [f"trial {best.number} with {metric} {number(best.value)} on fold {best.fold}"]
    if final is not None and metric in final.scores:
        over = plus_minus(final.scores[metric], final.spread.get(metric))
        parts.append(f"trial {final.candidate} promoted, {over} over the folds")
    if final is not None and final.path:
        data = ["--data", standing.data] if standing.data else []
        parts.append(f"compare with it: `{shlex.join(['hpo', 'evaluate', final.path, *data])}`")
    else:
        parts.append("no final model yet")
    return _ok("current best", "; ".join(parts))


def _ok(name: str, text: str) -> Item:
    return Item(name=name, state="ok", text=text)


def _look(name: str, text: str) -> Item:
    return Item(name=name, state="look", text=text)
