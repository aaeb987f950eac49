"""What every built-in objective keeps to, on its own data and on recordings where they are present."""

from __future__ import annotations

import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

from hpo.arrays import Feed
from hpo.checkpoint import Checkpoints
from hpo.measure import weighted_means
from hpo.mining import losses_of_rows
from hpo.objective import Batch, Fold, Params
from hpo.predictions import long
from hpo.training import FoldRun
from objectives import BUILT_IN
from tests.equal import assert_equal, train
from tests.objectives.cases import FOLDS, ROOT, SEED, STEPS, Case, built_in

RULES = ("loss__class_weights", "loss__unit_weights")
GAMMAS, SMOOTHINGS, STRENGTHS = [0.0, 0.7, 2.5], [0.0, 0.1, 0.3], [0.0, 0.4, 1.3]


def train_rows(case: Case) -> np.ndarray:
    return case.objective.split(case.arrays, FOLDS, SEED).folds[0].train


def ready(case: Case, params: Params, seed: int = 0) -> tuple[torch.nn.Module, dict[str, Tensor]]:
    statistics = case.objective.statistics(case.arrays, train_rows(case))
    torch.manual_seed(seed)
    return case.objective.model(params, statistics), statistics


def total(case: Case, model: torch.nn.Module, batch: Batch, params: Params, statistics: dict[str, Tensor]) -> Tensor:
    terms = case.objective.losses(model(batch), batch, params, statistics)
    return sum_of_terms(terms, params)


def sum_of_terms(terms: dict[str, tuple[Tensor, Tensor]], params: Params) -> Tensor:
    parts = [params.loss[f"{name}_weight"] * value / count.clamp_min(1) for name, (value, count) in terms.items()]
    return torch.stack(parts).sum()


# ---- what the class says


@pytest.mark.parametrize("name", BUILT_IN)
def test_is_named_as_it_is_listed(name: str) -> None:
    assert built_in(name).name == name


@pytest.mark.parametrize("name", BUILT_IN)
def test_ranges_are_of_its_own_numbers_and_hold_their_defaults(name: str) -> None:
    """`parameters` alone would not notice a misspelt name; every strength of an augmentation has a range."""
    objective = built_in(name)
    for key, (low, high) in objective.ranges.items():
        assert low <= float(objective.defaults[key]) <= (float("inf") if high is None else high)
    strengths = {key for key in objective.defaults if key.startswith("augment.") and key not in objective.words}
    assert strengths <= {*objective.ranges, "augment.mixup"}


def test_listing_the_objectives_does_not_load_torch() -> None:
    code = "import sys, objectives; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_term_has_a_default_weight_and_every_default_a_group(case: Case) -> None:
    defaults = case.objective.defaults
    assert {f"loss.{term}_weight" for term in case.objective.terms} <= set(defaults)
    Params.from_flat(case.objective.parameters())


# ---- splits


def test_equal_seeds_give_equal_folds(case: Case) -> None:
    first, second = (case.objective.split(case.arrays, FOLDS, SEED).to_json() for _ in range(2))
    assert first == second


def test_training_and_validation_rows_cover_everything_once(case: Case) -> None:
    split = case.objective.split(case.arrays, FOLDS, SEED)
    everything = np.arange(len(case.arrays))
    assert len(split.folds) == FOLDS
    for fold in split.folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([fold.train, fold.validation, split.test])), everything)
    validated = np.concatenate([fold.validation for fold in split.folds])
    np.testing.assert_array_equal(np.sort(np.concatenate([validated, split.test])), everything)


def test_no_group_is_on_two_sides(case: Case) -> None:
    grouped = [name for name in ("subject", "group") if name in list(case.arrays)]
    if not grouped:
        pytest.skip(f"rows of {case.objective.name} form no groups")
    subject = case.arrays[grouped[0]]
    split = case.objective.split(case.arrays, FOLDS, SEED)
    for fold in split.folds:
        sides = [set(subject[rows].tolist()) for rows in (fold.train, fold.validation, split.test)]
        assert sum(map(len, sides)) == len(set.union(*sides))


# ---- losses and sums


def test_loss_terms_are_named_finite_and_counted(case: Case) -> None:
    params = case.params(loss__focal_gamma=1.5, loss__label_smoothing=0.1)
    model, statistics = ready(case, params)
    batch = case.batch(case.labelled_rows(64))
    terms = case.objective.losses(model(batch), batch, params, statistics)
    assert tuple(terms) == case.objective.terms
    for value, count in terms.values():
        assert value.shape == count.shape == ()
        assert torch.isfinite(value)
        assert count >= 0


def test_sums_of_two_halves_add_to_those_of_the_whole(case: Case) -> None:
    params = case.params()
    model, statistics = ready(case, params)
    model.double().eval()
    batch = case.batch(case.labelled_rows(50))
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    halves = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 20), slice(20, 50))]
    with torch.no_grad():
        whole = everything(case, model, batch, params, statistics)
        parts = [everything(case, model, half, params, statistics) for half in halves]
    for name, value in whole.items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], value, rtol=1e-6, atol=1e-9)


def test_every_row_has_a_loss_of_its_own(case: Case) -> None:
    """That of a batch of it alone, which the mining of hard rows needs; float32 has 24 bits."""
    params = case.params()
    model, statistics = ready(case, params)
    rows, weights = case.labelled_rows(6), {term: params.loss[f"{term}_weight"] for term in case.objective.terms}
    batch = case.batch(rows)
    with torch.no_grad():
        outputs = model.eval()(batch)
        found = losses_of_rows(case.objective, outputs, batch, params, statistics, weights)
        for row in range(len(rows)):
            one = {name: value[[row]] for name, value in outputs.items()}
            of = ({name: value[[row]] for name, value in batch.items()}, params, statistics)
            expected = sum(weighted_means(case.objective.losses(one, *of), weights).values())
            torch.testing.assert_close(found[row], expected, rtol=1e-5, atol=1e-6)


def test_networks_with_scalings_of_their_own_are_scored_together_as_one_is(case: Case) -> None:
    """Nets of halves of the rows: `sums` and `predict` know neither's statistics; they take their outputs' mean."""
    params, batch = case.params(), case.batch(case.labelled_rows(24))
    said = []
    for seed, half in enumerate(np.array_split(np.random.default_rng(4).permutation(train_rows(case)), 2)):
        torch.manual_seed(seed)
        model = case.objective.model(params, case.objective.statistics(case.arrays, np.sort(half))).eval()
        with torch.no_grad():
            said.append(model(batch))
    together = case.objective.combined(said)
    assert together.keys() == said[0].keys()
    for name, value in together.items():
        if value.is_floating_point():
            expected = (said[0][name].double() + said[1][name].double()) / 2
            torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)  # float32 has 24 bits
    alone = case.objective.sums(said[0], batch)
    assert {k: v.shape for k, v in case.objective.sums(together, batch).items()} == {
        k: v.shape for k, v in alone.items()
    }
    columns = case.objective.predict(together, batch, case.arrays.info)
    assert columns.keys() == case.objective.predict(said[0], batch, case.arrays.info).keys()


def everything(
    case: Case, model: torch.nn.Module, batch: Batch, params: Params, statistics: dict[str, Tensor]
) -> dict[str, Tensor]:
    outputs = model(batch)
    terms = case.objective.losses(outputs, batch, params, statistics).items()
    return {**case.objective.sums(outputs, batch), **{f"loss.{name}": torch.stack(pair) for name, pair in terms}}


def test_scores_are_known_finite_and_equal_to_scikit_learns(case: Case) -> None:
    params = case.params()
    model, _ = ready(case, params)
    model.eval()
    rows = case.labelled_rows(300)
    batch = case.batch(rows)
    with torch.no_grad():
        outputs = model(batch)
    sums = {name: value.numpy() for name, value in case.objective.sums(outputs, batch).items()}
    scores = case.objective.score(sums, case.arrays.info)
    for name, value in scores.items():
        assert np.isfinite(value)
        if not any(fnmatchcase(name, pattern) for pattern in case.objective.shares):
            assert case.objective.metric(name).name == name
    table = case.objective.predict(outputs, batch, case.arrays.info)
    assert {len(column) for column in table.values()} == {len(rows)}
    assert all(len(column) == len(case.arrays) for column in case.objective.identify(case.arrays).values())
    table = long(table)  # a line per entry, where rows hold several
    if "iou" in case.objective.scores:
        _voxels_agree(outputs["logits"], batch["label"], scores)
    else:
        (_classes_agree if "macro_f1" in case.objective.scores else _values_agree)(table, scores)


def _classes_agree(table: dict[str, np.ndarray], scores: dict[str, float]) -> None:
    labelled = table["truth"] != ""
    truth, prediction = table["truth"][labelled], table["prediction"][labelled]
    assert labelled.sum() >= 100
    occurring = np.unique(truth)
    f1 = metrics.f1_score(truth, prediction, labels=occurring, average="macro", zero_division=0)
    assert scores["macro_f1"] == pytest.approx(f1)
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(truth, prediction))


def _values_agree(table: dict[str, np.ndarray], scores: dict[str, float]) -> None:
    labelled = np.isfinite(table["score"])
    truth, prediction = table["score"][labelled].astype(float), table["prediction"][labelled].astype(float)
    assert labelled.sum() >= 100
    assert scores["r2"] == pytest.approx(metrics.r2_score(truth, prediction))
    assert scores["mae"] == pytest.approx(metrics.mean_absolute_error(truth, prediction))
    assert scores["correlation"] == pytest.approx(np.corrcoef(truth, prediction)[0, 1])


def _voxels_agree(logits: Tensor, label: Tensor, scores: dict[str, float]) -> None:
    labelled = (label < 2).numpy()
    truth, prediction = label.numpy()[labelled] == 1, logits.numpy()[labelled] > 0
    assert 0 < truth.sum() < len(truth)
    assert scores["dice"] == pytest.approx(metrics.f1_score(truth, prediction))
    assert scores["iou"] == pytest.approx(metrics.jaccard_score(truth, prediction))
    assert scores["foreground.true"] == pytest.approx(truth.mean())
    assert scores["foreground.predicted"] == pytest.approx(prediction.mean())


# ---- training


def test_gradient_reaches_every_parameter(case: Case) -> None:
    params = case.params()
    model, statistics = ready(case, params)
    batch = case.batch(train_rows(case))
    total(case, model, batch, params, statistics).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent


def test_a_few_steps_lower_the_loss_on_a_tiny_sample(case: Case) -> None:
    params = case.params(model__dropout=0.0)
    model, statistics = ready(case, params)
    batch = case.batch(case.labelled_rows(32))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(STEPS.get(case.objective.name, 25)):
        loss = total(case, model, batch, params, statistics)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_statistics_travel_with_the_weights(case: Case) -> None:
    params = case.params()
    model, statistics = ready(case, params)
    other = {name: value + 1 for name, value in statistics.items()}
    copy = case.objective.model(params, other)
    copy.load_state_dict(model.state_dict())
    batch = case.batch(train_rows(case)[:5])
    for left, right in zip(model.eval()(batch).values(), copy.eval()(batch).values(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_augmentation_of_strength_zero_changes_nothing_the_network_sees(case: Case) -> None:
    batch = case.batch(train_rows(case)[:8])
    augmented = case.objective.augment(batch, case.params(), torch.Generator().manual_seed(1))
    for name, value in batch.items():
        torch.testing.assert_close(augmented[name], value, rtol=0, atol=0, equal_nan=True)


def test_augmentation_draws_from_its_generator_only(case: Case) -> None:
    batch = case.batch(train_rows(case)[:8])
    params = case.params(**augmentation(case, 1.0))
    state = torch.random.get_rng_state()
    first, second, third = (
        case.objective.augment(batch, params, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(state, torch.random.get_rng_state())
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0, equal_nan=True)
    assert any(not torch.equal(first[name].nan_to_num(), third[name].nan_to_num()) for name in first)


# ---- resuming


def run_of(case: Case, variant: str) -> FoldRun:
    """Four epochs of few rows, with everything on that draws random numbers."""
    rows = case.labelled_rows(160)
    fold = Fold(0, np.sort(rows[::2]), np.sort(rows[1::2]))
    often = {"sampling__rare_boost_cap": 8.0, "sampling__hard_boost_cap": 3.0}
    drawn = {"model__dropout": 0.2, **often, **augmentation(case, 1.0)}
    drawn |= {"augment__mixup": 0.4} if case.objective.mixed else {}
    params = case.params(**drawn, data__batch_size=16, schedule__name=variant, schedule__patience=0)
    feed, metric = Feed(case.arrays, torch.device("cpu")), case.objective.metric("loss")
    return FoldRun(case.objective, case.arrays, feed, fold, params, metric, epochs=4, seed=SEED)


@pytest.mark.parametrize("variant", ["cosine", "plateau"])
def test_a_resumed_run_equals_an_uninterrupted_one(case: Case, tmp_path: Path, variant: str) -> None:
    """From a checkpoint after each epoch, bit for bit: the same code on the same CPU with the same threads."""
    whole, first = train(run_of(case, variant)), run_of(case, variant)
    for after in (1, 2, 3):
        first.epoch()
        Checkpoints(tmp_path, after).save(first.state_dict())
        resumed = run_of(case, variant)
        torch.manual_seed(99)  # the global generator plays no part
        resumed.load_state_dict(Checkpoints(tmp_path, after + 1).load(pytest.fail) or {})
        assert len(resumed.epochs) == after
        assert_equal(train(resumed), whole)


# ---- lanes


def lane_params(case: Case, gamma: Any, smoothing: Any, strength: Any, weight: Any) -> Params:
    weights = {f"loss__{term}_weight": weight * (k + 1) for k, term in enumerate(case.objective.terms)}
    focal = {"loss__focal_gamma": gamma, "loss__label_smoothing": smoothing}
    focal |= {name: "balanced" for name in RULES if name.replace("__", ".") in case.objective.defaults}
    return case.params(**focal, **weights, **augmentation(case, strength))


def augmentation(case: Case, strength: Any) -> dict[str, Any]:
    """Every augmentation of the objective that has a strength, at one that changes its rows; mixup is the loop's."""
    others = {"augment.mixup", *case.objective.words}
    names = [name for name in case.objective.defaults if name.startswith("augment.") and name not in others]
    factor = {"augment.shift": 1.0, "augment.rotation": 20.0, "augment.roll": 10.0}
    return {name.replace(".", "__"): strength * factor.get(name, 0.1) for name in names}


def test_lanes_equal_plain_runs(case: Case) -> None:
    """Three models with their own dropout, losses, weights and augmentation: gradients as if each were alone."""
    rates = [0.0, 0.2, 0.5]
    models = [ready(case, case.params(model__dropout=rate), seed)[0].double() for seed, rate in enumerate(rates)]
    statistics = {name: value.double() for name, value in ready(case, case.params())[1].items()}
    batch = case.batch(case.labelled_rows(24))
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}

    def loss(parameters: Any, buffers: Any, gamma: Any, smoothing: Any, strength: Any, weight: Any) -> Any:
        params = lane_params(case, gamma, smoothing, strength, weight)
        augmented = case.objective.augment(batch, params, torch.Generator().manual_seed(3))
        outputs = functional_call(models[0], (parameters, buffers), (augmented,))
        terms = case.objective.losses(outputs, augmented, params, statistics)
        return sum_of_terms(terms, params), case.objective.sums(outputs, augmented)

    values = (GAMMAS, SMOOTHINGS, STRENGTHS, [1.0, 0.5, 2.0])
    lanes = vmap(grad(loss, has_aux=True), randomness="same")
    torch.manual_seed(5)
    gradients, sums = lanes(*stack_module_state(models), *(torch.tensor(v, dtype=torch.float64) for v in values))
    for lane, model in enumerate(models):
        torch.manual_seed(5)
        state = dict(model.named_parameters()), dict(model.named_buffers())
        alone, sums_alone = grad(loss, has_aux=True)(*state, *(v[lane] for v in values))
        of_lane = [{name: value[lane] for name, value in stacked.items()} for stacked in (gradients, sums)]
        torch.testing.assert_close(of_lane, [alone, sums_alone], rtol=1e-9, atol=1e-12)
