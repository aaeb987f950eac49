"""hpo check: what it finds in data and training, and the command as users call it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

from hpo.arrays import Arrays, Feed, open_arrays
from hpo.check import Training, estimate, train_fold, train_two_batches
from hpo.check_data import DataFindings, look_at_data
from hpo.check_study import curriculum_warnings, first_params, pruner_warnings, space_warnings
from hpo.check_subject import Subject
from hpo.cli.check_view import CheckView
from hpo.cli.group import hpo as group
from hpo.dealing import split_of
from hpo.files import SHIPPED
from hpo.objective import Batch, DataError, Epoch, Fold, Objective, Outputs, Params, Split, Sums, Term
from hpo.study import Study
from objectives.scores import regression_scores, regression_sums
from objectives.splits import grouped_folds, to_split
from tests.toy import CPU, FEATURES, STUDY, Toy, ToyNet, toy_arrays, toy_run

Hpo = Callable[..., subprocess.CompletedProcess[str]]
Invoke = Callable[..., Result]

#: Rows enough for every class to be in every fold.
TOY = STUDY.replace("fixed:", "fixed:\n  data: {rows: 360}")
#: A user's own file: the toy with a term that divides zero by zero.
BROKEN = """\
from tests.toy import Toy


class Own(Toy):
    name = "own"

    def losses(self, outputs, batch, params, statistics):
        terms = super().losses(outputs, batch, params, statistics)
        value, count = terms["number"]
        return {**terms, "number": (value * 0 / 0, count)}
"""


def subject(cache: Path, objective: Objective | None = None, text: str = TOY) -> Subject:
    objective = objective or Toy()
    spec = Study.from_text(text, "/toy.yaml", lambda _: objective)
    arrays = open_arrays(objective, None, spec.fixed, cache)
    return Subject(
        spec=spec,
        objective=objective,
        arrays=arrays,
        split=split_of(spec, objective, arrays),
        feed=Feed(arrays, CPU),
        params=first_params(spec, "before"),
    )


def look(given: Subject) -> DataFindings:
    return look_at_data(given.spec, given.objective, given.arrays, given.split, given.params)


def with_fold(given: Subject, number: int, train: np.ndarray, validation: np.ndarray) -> Subject:
    folds = list(given.split.folds)
    folds[number] = Fold(number, train, validation)
    return replace(given, split=Split(tuple(folds), given.split.test))


# -- the data


class Grouped(Toy):
    """Four rows of a group."""

    def identify(self, arrays: Arrays) -> dict[str, np.ndarray]:
        return {"subject": np.asarray([f"m{row // 4:02}" for row in range(len(arrays))])}


def test_the_groups_that_a_fold_leaves_out_are_named(tmp_path: Path) -> None:
    given = subject(tmp_path, Grouped())
    found = look(given)
    for rows, fold in zip(found.folds, given.split.folds, strict=True):
        assert rows.groups == tuple(sorted({f"m{row // 4:02}" for row in fold.validation.tolist()}))
    assert not any(rows.groups for rows in look(subject(tmp_path / "other")).folds)


class Drawn(Toy):
    """Its classes are kinds of rows."""

    predicts_classes = False


def test_kinds_of_rows_may_be_missing_from_a_fold(tmp_path: Path) -> None:
    for objective, warned in ((Toy(), True), (Drawn(), False)):
        given = subject(tmp_path, objective)
        fold = given.split.folds[1]
        common = [rows[np.asarray(given.arrays["target"])[rows] == 0] for rows in (fold.train, fold.validation)]
        found = look(with_fold(given, 1, *common))
        assert any("class 'rare' has no row" in text for text in found.warnings) == warned


def test_good_data_are_counted_by_fold(tmp_path: Path) -> None:
    given = subject(tmp_path)
    found = look(given)
    assert (found.rows, found.test_rows, found.source, found.synthetic) == (360, 60, "tests.toy:Toy's own", True)
    assert not found.warnings and not found.problems
    assert sum(found.counts["class"].values()) == 360
    for rows, fold in zip(found.folds, given.split.folds, strict=True):
        labels = np.asarray(given.arrays["target"])[fold.validation]
        assert list(rows.validation_classes.values()) == [int((labels == k).sum()) for k in range(3)]
        assert rows.labelled == sum(rows.validation_classes.values())
        assert (rows.train, rows.validation) == (len(fold.train), len(fold.validation))


def test_a_class_that_a_fold_lacks_is_named(tmp_path: Path) -> None:
    given = subject(tmp_path)
    fold, labels = given.split.folds[2], np.asarray(given.arrays["target"])
    others = fold.validation[labels[fold.validation] != 2]
    found = look(with_fold(given, 2, fold.train, others))
    assert found.warnings == ("class 'rare' has no row in the validation part of fold 2: its score is missing there",)
    found = look(with_fold(given, 1, fold.train[labels[fold.train] != 0], fold.validation))
    assert found.warnings == ("class 'often' has no row in the training part of fold 1: none can learn it",)


class Clips(Toy):
    """Rows that hold ten frames: of their own class and, in every seventh row, one of the rare class as well."""

    def class_counts(self, arrays: Arrays) -> np.ndarray:
        counts = 10 * super().class_counts(arrays)
        counts[::7, 2] += 1
        return counts


def test_rows_of_several_classes_are_counted_by_their_entries(tmp_path: Path) -> None:
    given = subject(tmp_path, Clips())
    labels = np.asarray(given.arrays["target"])
    marked = np.arange(len(labels)) % 7 == 0
    found = look(given)
    assert found.counts["class"] == {
        "unlabelled": int(((labels < 0) & ~marked).sum()),
        "often": 10 * int((labels == 0).sum()),
        "seldom": 10 * int((labels == 1).sum()),
        "rare": 10 * int((labels == 2).sum()) + int(marked.sum()),
    }
    for rows, fold in zip(found.folds, given.split.folds, strict=True):
        part = fold.validation
        assert rows.labelled == int(((labels[part] >= 0) | marked[part]).sum())
        assert rows.validation_classes["rare"] == 10 * int((labels[part] == 2).sum()) + int(marked[part].sum())


def test_two_batches_hold_every_class_that_a_row_holds_beside_another(tmp_path: Path) -> None:
    """Class weights may divide by the number of a class's entries."""
    seen: list[np.ndarray] = []

    class Together(Toy):
        """The rare class never has a row of its own."""

        def class_counts(self, arrays: Arrays) -> np.ndarray:
            counts = np.zeros((len(arrays), 3), np.int64)
            counts[:, 0], counts[::40, 1], counts[7::90, 2] = 9, 1, 1
            return counts

        def statistics(self, arrays: Arrays, rows: np.ndarray) -> dict[str, torch.Tensor]:
            seen.append(self.class_counts(arrays)[rows].sum(0))
            return super().statistics(arrays, rows)

    given = subject(tmp_path, Together())
    train_two_batches(given)
    assert all(counts.all() for counts in seen), seen


def test_a_fold_smaller_than_the_largest_batch_is_named(tmp_path: Path) -> None:
    given = subject(tmp_path)
    small = with_fold(given, 0, given.split.folds[0].train[:60], given.split.folds[0].validation)
    assert not look(small).warnings
    searched = Study.from_text(
        TOY.replace("space:", "space:\n  data: {batch_size: {int: [8, 64]}}"), "/toy.yaml", lambda _: Toy()
    )
    need = "fold 0: 60 training rows are fewer than a batch of 64; lower data.batch_size"
    assert look(replace(small, spec=searched)).warnings == (need,)


def test_rows_on_two_sides_are_a_problem(tmp_path: Path) -> None:
    given = subject(tmp_path)
    fold = given.split.folds[1]
    found = look(with_fold(given, 1, np.concatenate([fold.train, fold.validation[:3]]), fold.validation))
    assert found.problems == ("fold 1: 3 rows are both training and validation rows; mend the objective's split",)


def test_another_number_of_folds_is_refused(tmp_path: Path) -> None:
    class Two(Toy):
        def split(self, arrays: Arrays, folds: int, seed: int) -> Split:
            return super().split(arrays, 2, seed)

    with pytest.raises(DataError, match="made 2 folds where 3 were asked for"):
        subject(tmp_path, Two())


def test_folds_that_the_data_do_not_allow_are_refused_with_the_file_that_asks_for_them(tmp_path: Path) -> None:
    class Few(Toy):
        def split(self, arrays: Arrays, folds: int, seed: int) -> Split:
            groups = np.arange(len(arrays)) % 2
            return to_split(grouped_folds(groups, np.ones((len(arrays), 1), bool), folds, seed, ["A", "B"]), folds)

    text = "3 folds need at least 3 groups, the data have 2: A, B; ask for fewer, folds: {count: 2}, or add recordings"
    way = "of more groups\n  folds: {count: 3} stands in "
    with pytest.raises(DataError, match=re.escape(f"{text} {way}/toy.yaml") + "$"):
        subject(tmp_path, Few())
    given = subject(tmp_path)
    shipped = replace(given.spec, source=str(SHIPPED / "abr.yaml"))
    copy = "studies/abr.yaml, which ships with hpo: copy it, edit the copy and give that instead"
    with pytest.raises(DataError, match=re.escape(copy)):
        split_of(shipped, Few(), given.arrays)


# -- training


def test_two_batches_of_a_good_objective(tmp_path: Path) -> None:
    given = subject(tmp_path)
    training = train_two_batches(given)
    assert not training.problems and not training.warnings and not training.unreached
    assert training.epochs[0].samples == 2 * 16 and {"loss.class", "loss.number"} <= set(training.epochs[0].train)
    assert training.seconds_per_epoch is not None and training.seconds_per_epoch > 0
    for counted, fold in zip(training.label_weights, given.split.folds, strict=True):
        rows = fold.validation
        assert counted["class"] == (given.arrays["target"][rows] >= 0).sum()
        assert counted["number"] == np.isfinite(given.arrays["number"][rows]).sum()


class Weighed(Toy):
    """A number weighs 0.75."""

    def losses(
        self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, Tensor]
    ) -> dict[str, Term]:
        terms = super().losses(outputs, batch, params, statistics)
        return {**terms, "number": (0.75 * terms["number"][0], 0.75 * terms["number"][1])}


def test_labels_that_a_term_weighs_are_not_told_as_their_number(tmp_path: Path) -> None:
    given = subject(tmp_path, Weighed())
    training, lines = train_two_batches(given), list[str]()
    CheckView(lambda line: lines.append(str(line))).batches(given, "before", training)
    numbers = [np.isfinite(given.arrays["number"][fold.validation]).sum() for fold in given.split.folds]
    assert [fold["number"] for fold in training.label_weights] == [0.75 * n for n in numbers]
    at = next(k for k, line in enumerate(lines) if line.startswith("\nweight of labelled entries "))
    assert any(n % 4 for n in numbers), "some weights are no whole numbers"
    expected = [f"{0.75 * n:.1f}".removesuffix(".0") for n in numbers]
    assert lines[at + 2].split() == ["number", *expected]


def test_what_has_learned_nothing_is_said_below_the_first_epoch(tmp_path: Path) -> None:
    first = toy_run(toy_arrays(tmp_path)).epoch()
    lines, given = list[str](), {"majority": {"loss": 1.25}}
    CheckView(lambda line: lines.append(str(line))).epoch(replace(first, references=given), 5)
    assert lines[0].startswith("epoch 1/5 | ") and lines[1:] == ["  nothing learned | majority loss 1.25"]


class Infinite(Toy):
    def losses(
        self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, Tensor]
    ) -> dict[str, Term]:
        terms = super().losses(outputs, batch, params, statistics)
        return {**terms, "number": (terms["number"][0] * torch.inf, terms["number"][1])}


class Swapped(Toy):
    terms = ("number", "class")


class Raises(Toy):
    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        raise TypeError("no such output: 'logit'")


class Idle(Toy):
    def model(self, params: Params, statistics: Mapping[str, Tensor]) -> nn.Module:
        net = super().model(params, statistics)
        net.register_module("spare", nn.Linear(2, 2))
        return net


class Unlabelled(Toy):
    def losses(
        self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, Tensor]
    ) -> dict[str, Term]:
        return {name: (value * 0, count * 0) for name, (value, count) in self._terms(outputs, batch, params).items()}

    def _terms(self, outputs: Outputs, batch: Batch, params: Params) -> dict[str, Term]:
        return super().losses(outputs, batch, params, {})


@pytest.mark.parametrize(
    ("objective", "problem"),
    [
        (Infinite(), "loss term 'number' is not finite at epoch 1, step 1"),
        (Swapped(), "losses() returns class, number, but `terms` is number, class: make names and order equal"),
        (Raises(), "the objective raised TypeError: no such output: 'logit'\nTraceback"),
        (Idle(), "no gradient reaches spare.weight, spare.bias: no loss term depends on them"),
    ],
)
def test_what_would_fail_is_a_problem(tmp_path: Path, objective: Objective, problem: str) -> None:
    training = train_two_batches(subject(tmp_path, objective))
    assert len(training.problems) == 1 and training.problems[0].startswith(problem)


class SpareNet(ToyNet):
    """The number comes from a layer of its own, too, `alive` times."""

    alive = 1.0

    def __init__(self, width: int, dropout: float, statistics: Mapping[str, Tensor]) -> None:
        super().__init__(width, dropout, statistics)
        self.spare = nn.Linear(FEATURES, 1)

    def forward(self, batch: Batch) -> Outputs:
        found = super().forward(batch)
        return {**found, "number": found["number"] + self.alive * self.spare(batch["features"])[:, 0]}


class DeadNet(SpareNet):
    alive = 0.0


class Alive(Toy):
    net: type[SpareNet] = SpareNet

    def model(self, params: Params, statistics: Mapping[str, Tensor]) -> nn.Module:
        return self.net(params.model["width"], params.model["dropout"], statistics)


class Dead(Alive):
    net = DeadNet


def without_classes(cache: Path, fold: int, side: str) -> Subject:
    """The subject with data in which no row of that part has a class."""
    given = subject(cache)
    given.arrays["target"][getattr(given.split.folds[fold], side)] = -1  # in memory alone
    return given


def test_terms_without_labels_are_noted_once(tmp_path: Path) -> None:
    training = train_two_batches(subject(tmp_path, Unlabelled()))
    assert training.notes == [
        "the two batches have no label for loss terms class, number: gradients of these were not tried"
    ]
    assert not any("gradient" in warning for warning in training.warnings)
    assert "loss terms class, number find nothing labelled in the validation part of folds 0, 1, 2" in training.warnings
    assert training.unreached and training.label_weights == [{"class": 0.0, "number": 0.0}] * 3


def test_a_gradient_that_is_0_although_there_are_labels_is_warned_of(tmp_path: Path) -> None:
    training = train_two_batches(subject(tmp_path, Dead()))
    text = "in the two batches the gradient of spare.weight, spare.bias is 0, although their loss terms had labels"
    assert training.warnings == [text]
    assert not training.notes and training.unreached == ["spare.weight", "spare.bias"]
    assert not train_two_batches(subject(tmp_path, Alive())).unreached


def test_a_term_of_weight_0_is_noted(tmp_path: Path) -> None:
    text = TOY.replace("fixed:", "fixed:\n  loss: {number_weight: 0.0}")
    training = train_two_batches(subject(tmp_path, Alive(), text))
    assert training.notes == ["loss term number of weight 0: parameters that nothing else needs are not trained"]
    assert not training.warnings and training.unreached == ["spare.weight", "spare.bias"]


def test_a_search_fold_without_what_the_metric_needs_is_a_problem(tmp_path: Path) -> None:
    untaught = without_classes(tmp_path, 0, "train")
    found = train_two_batches(untaught)
    way = "Label more groups, search on another fold (folds: {search: N}), or choose another metric"
    only = (
        "labelled there is only number; if accuracy is computed from that, there are too few, or labels or predictions"
    )
    text = f"accuracy cannot be computed on the training rows of the search fold 0: {only} are all equal"
    assert found.problems == [f"{text}. {way}"]
    assert text in train_fold(untaught, 0, 1, lambda epoch: None).problems[0]
    assert look(untaught).warnings[:1] == ("no row in the training part of fold 0 has a class: none can be learnt",)
    unscored = without_classes(tmp_path, 0, "validation")
    text = f"accuracy cannot be computed on the validation rows of the search fold 0: {only} are all equal"
    assert train_two_batches(unscored).problems == [f"{text}; no trial would have a value. {way}"]
    assert look(unscored).warnings[:1] == (
        "no row in the validation part of fold 0 has a class: scores of classes are missing there",
    )
    other = train_two_batches(without_classes(tmp_path, 1, "validation"))
    assert not other.problems and any("accuracy could not be computed in the valid" in w for w in other.warnings)


class Agreeing(Toy):
    """Scored by R2 of its number, too."""

    scores = MappingProxyType({**Toy.scores, "r2": "maximize"})

    def sums(self, outputs: Outputs, batch: Batch) -> Sums:
        return super().sums(outputs, batch) | {"moments": regression_sums(outputs["number"], batch["number"])}

    def score(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, float]:
        agreement = regression_scores(sums["moments"])
        return super().score(sums, info) | ({"r2": agreement["r2"]} if "r2" in agreement else {})


@pytest.mark.parametrize("side", ["train", "validation"])
def test_labels_that_are_all_equal_are_not_called_missing(tmp_path: Path, side: str) -> None:
    given = subject(tmp_path, Agreeing(), TOY.replace("metric: accuracy", "metric: r2"))
    rows = getattr(given.split.folds[0], side)
    assert not train_two_batches(given).problems
    given.arrays["number"][rows] = 0.5  # in memory alone
    (found,) = train_two_batches(given).problems
    text = f"r2 cannot be computed on the {'training' if side == 'train' else side} rows of the search fold 0: every"
    assert found.startswith(f"{text} loss term finds labels there, but there are too few, or labels or predictions")
    assert found.endswith("search on another fold (folds: {search: N}), or choose another metric")


def test_a_fold_trains_as_its_trial_would(tmp_path: Path) -> None:
    heard: list[Epoch] = []
    given = subject(tmp_path)
    training = train_fold(given, 1, 3, heard.append)
    run = given.run(given.split.folds[1], given.spec.budget.epochs)
    expected = [run.epoch() for _ in range(3)]
    assert [e.validation for e in training.epochs] == [e.validation for e in expected]
    assert heard == training.epochs and training.best in heard
    failed: Training = train_fold(subject(tmp_path, Infinite()), 1, 3, heard.append)
    assert failed.problems == ["loss term 'number' is not finite at epoch 1, step 1"] and not failed.epochs


def test_the_estimate_is_the_budget_without_pruning() -> None:
    spec = Study.from_text(STUDY, "/toy.yaml", lambda _: Toy())
    found = estimate(spec, 2.0, workers=2)
    assert found.search == 4 * 3 * 2.0 / 2
    # Finalist and baseline on three folds, and a refit on half as many rows more.
    assert (found.trainings, found.promotion) == (7, (6 + 1.5) * 3 * 2.0 / 2)
    assert not list(space_warnings(spec))


def test_neither_the_first_epoch_nor_a_disturbed_one_counts(tmp_path: Path) -> None:
    """The first makes caches and thread pools; another process may disturb any."""
    trained = train_fold(subject(tmp_path, Toy()), 0, 5, lambda epoch: None)
    assert trained.seconds_per_epoch == median(epoch.seconds for epoch in trained.epochs[1:])
    assert len(trained.epochs) == 5


def test_the_estimate_is_for_the_workers_of_the_launch(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    for workers in (1, 2):
        done = invoke("check", "digits", "--device", "cpu", "--workers", str(workers), "--json")
        found = json.loads(done.stdout)["estimate"]
        assert (found["workers"], torch.get_num_threads()) == (workers, max(1, cores // workers))
        assert found["search"] == pytest.approx(30 * 12 * found["seconds_per_epoch"] / workers)


def test_a_space_smaller_than_the_budget_is_warned_of() -> None:
    text = STUDY.replace("{float: [1e-3, 1e-1], log: true}", "{choice: [1e-2, 3e-2]}")
    spec = Study.from_text(text, "/toy.yaml", lambda _: Toy())
    assert list(space_warnings(spec)) == [
        "the space has 2 points, fewer than budget.trials 4: the search ends early",
    ]


@pytest.mark.parametrize(
    ("pruner", "more", "warned"),
    [
        ("none", "", False),
        ("{name: asha, min_resource: 2}", "", False),
        ("{name: asha, min_resource: 3}", "", True),
        ("{name: asha, min_resource: 1, reduction_factor: 3, early_stopping_rate: 1}", "", True),
        ("{name: hyperband, min_resource: 3}", "", True),
        ("{name: median, min_resource: 2}", "", False),
        ("{name: median, min_resource: 2}", "validation: {full_validation_every: 3}\n", True),
        ("asha", "", False),  # from epoch 1 on, as stopping.min_epochs says
    ],
)
def test_a_pruner_that_never_acts_is_warned_of(pruner: str, more: str, warned: bool) -> None:
    """A training of 3 epochs is over at its third, and what has ended is not pruned."""
    text = STUDY.replace("pruner: none", f"pruner: {pruner}") + more
    found = list(pruner_warnings(Study.from_text(text, "/toy.yaml", lambda _: Toy())))
    assert len(found) == warned
    assert all("compares nothing before epoch 3, the last of budget.epochs: no trial is" in line for line in found)


def test_a_curriculum_that_outlasts_the_budget_is_warned_of() -> None:
    """A term that starts at `s` counts fully from epoch `s + ramp_epochs`."""

    def warned(text: str) -> list[str]:
        return list(curriculum_warnings(Study.from_text(text, "/toy.yaml", lambda _: Toy()), Toy.terms))

    assert not warned(STUDY)
    fixed = STUDY.replace("fixed:", "fixed:\n  loss: {number_start: 1, ramp_epochs: RAMP}")
    assert not warned(fixed.replace("RAMP", "1"))
    way = "lower loss.*_start or loss.ramp_epochs, or raise the budget"
    assert warned(fixed.replace("RAMP", "2")) == [
        f"configuration 'before': loss term number counts fully from epoch 3 on, of budget.epochs 3; {way}"
    ]
    searched = STUDY.replace("space:", "space:\n  loss: {class_start: {int: [0, 4]}, number_start: {int: [0, 4]}}")
    searched = searched.replace("before: {", "before: {loss: {class_start: 0, number_start: 0}, ")
    assert warned(searched) == [
        f"the end of the space: loss terms class, number count fully from epoch 5 on, of budget.epochs 3; {way}"
    ]


# -- the command


@pytest.fixture
def invoke(tmp_path: Path) -> Iterator[Invoke]:
    """The command in this process, which is quicker; it sets the number of threads, which other tests must not see."""
    threads = torch.get_num_threads()
    yield lambda *words: CliRunner(env={"HPO_RUNS": str(tmp_path / "runs")}).invoke(group, words)
    torch.set_num_threads(threads)


def test_check_tells_everything_about_digits_and_leaves_nothing_but_the_cache(hpo: Hpo, tmp_path: Path) -> None:
    done = hpo("check", "digits", "--runs", "runs", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    for text in (
        "7 searched parameters, infinitely many points",
        "30 trials, each of at most 12 epochs on fold 0; then best and the baseline on all 5 folds, a refit",
        "1134 rows, 359 of them for the final test; fingerprint ",
        "count per class - 0: 178, 1: 167,",
        "  entries of 9        2        2        2        2        3",
        "device     cpu, 1 thread\n",
        "two batches, 128 rows, with configuration 'before'",
        "reaches every parameter",
        "per epoch; peak memory",
        "without pruning (30 trials x 12 epochs x",
        "result     ok",
    ):
        assert text in done.stdout, text
    assert "SYNTHETIC" not in done.stdout and "preparing the data ..." in done.stderr
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["cache"]


def test_check_trains_a_fold_without_a_study(hpo: Hpo, tmp_path: Path) -> None:
    done = hpo("check", "digits", "--fold", "1", "--epochs", "2", "--runs", "runs", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("epoch ")]
    assert [line.split(" | ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert all("train loss " in line and "| validation loss " in line and " macro_f1 " in line for line in lines)
    assert "best       epoch " in done.stdout
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["cache"]


def test_check_names_the_term_of_a_users_objective_that_is_not_finite(
    hpo: Hpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    (tmp_path / "own.py").write_text(BROKEN)
    (tmp_path / "own.yaml").write_text(STUDY.replace("tests.toy:Toy", "own.py:Own"))
    done = hpo("check", "own.yaml", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["data"]["synthetic"]) == (1, False, True)
    assert found["problems"] == ["loss term 'number' is not finite at epoch 1, step 1"]
    assert f"runs your code: {tmp_path / 'own.py'}:Own (sha256 " in done.stderr


def test_check_lists_every_mistake_of_a_file(hpo: Hpo, tmp_path: Path) -> None:
    text = STUDY.replace("trials: 4", "trials: 0").replace("sampler: random", "sampler: randon")
    (tmp_path / "bad.yaml").write_text(text.replace("tests.toy:Toy", "digits"))
    done = hpo("check", "bad.yaml")
    assert done.returncode == 2 and not done.stdout and "Traceback" not in done.stderr
    assert "bad.yaml: 2 mistakes" in done.stderr
    assert "line 5: budget.trials is 0: a whole number of at least 1 is needed" in done.stderr
    assert "line 6: sampler is 'randon': did you mean 'random'?" in done.stderr


@pytest.mark.parametrize("words", [["check"], ["launch", "--workers", "1"]])
def test_values_that_cannot_go_together_are_a_mistake_of_the_file(hpo: Hpo, tmp_path: Path, words: list[str]) -> None:
    """Said before data are looked for: there are none in that folder."""
    text = (SHIPPED / "surface.yaml").read_text()
    (tmp_path / "bad.yaml").write_text(text.replace("{patch: 32,", "{patch: 30,"))
    done = hpo(words[0], "bad.yaml", *words[1:], "--data", "nowhere")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"{tmp_path / 'bad.yaml'}: 1 mistake\n  configurations 'before', " in done.stderr
    assert "set data.patch to 28 or 32" in done.stderr
    assert not (tmp_path / "runs" / "cache").exists()


def test_check_says_that_data_are_missing(hpo: Hpo, tmp_path: Path) -> None:
    done = hpo("check", "abr", "--data", "recordings")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"Error: {tmp_path / 'recordings'}: no such file or folder" in done.stderr
    assert not done.stdout, "nothing about the study comes before it"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fold", "5"], "--fold 5: the study has folds 0 to 4"),
        (["--device", "cuda:99"], "--device cuda:99: this machine has cpu"),
        (["--configuration", "after"], "has before, recommended"),
        (["--configuration", "recomended"], "; did you mean 'recommended'?"),
    ],
)
def test_wrong_options_are_the_users_mistake(invoke: Invoke, words: list[str], message: str) -> None:
    done = invoke("check", "digits", *words)
    assert done.exit_code == 2 and message in done.stderr


def test_synthetic_data_are_announced_loudly(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(STUDY)
    done = invoke("check", str(tmp_path / "toy.yaml"))
    assert done.exit_code == 0 and "SYNTHETIC DATA: no --data was given" in done.stdout


def test_help_teaches_by_example(invoke: Invoke) -> None:
    done = invoke("check", "--help")
    assert "\n  hpo check my_study.yaml --fold 1 --epochs 3" in done.stdout
