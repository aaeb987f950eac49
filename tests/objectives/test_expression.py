"""The expression objective: nulls that teach nothing wrong, scores against scikit-learn, folds, weights, labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from sklearn import metrics
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from hpo.arrays import Arrays, Feed, open_arrays
from hpo.objective import DataError, Fold, Params
from hpo.study import Study, StudyError
from hpo.training import FoldRun
from models.face import FaceNet
from objectives.expression.objective import Expression
from tests.objectives.cases import PREPARED, ROOT, recordings

CPU = torch.device("cpu")
CLASSES, UNITS = ["happy", "sad", "rare"], ["AU1", "AU2", "AU12", "AU45"]
INFO: Mapping[str, Any] = MappingProxyType({"classes": CLASSES, "units": UNITS, "minority": ["rare"]})


def params(**changes: Any) -> Params:
    flat = Expression().parameters() | {name.replace("__", "."): value for name, value in changes.items()}
    return Params.from_flat(flat)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    return open_arrays(Expression(), None, PREPARED["expression"], tmp_path_factory.mktemp("cache"))


def answers(rows: int = 200, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random logits and labels; half of the rows without units, a few without an emotion, AU45 never active."""
    g = torch.Generator().manual_seed(seed)
    au = torch.randint(2, (rows, len(UNITS)), generator=g)
    au[:, UNITS.index("AU45")] = 0
    au[torch.rand(rows, generator=g) < 0.5] = -1
    emotion = torch.multinomial(torch.tensor([0.6, 0.35, 0.05]), rows, replacement=True, generator=g)
    emotion[torch.rand(rows, generator=g) < 0.1] = -1
    outputs = {
        "emotion": torch.randn(rows, len(CLASSES), generator=g),
        "au": torch.randn(rows, len(UNITS), generator=g),
    }
    return outputs, {"emotion": emotion, "au": au}


def statistics() -> dict[str, Tensor]:
    return {"class_rows": torch.tensor([60.0, 35.0, 5.0]), "unit_rows": torch.ones(len(UNITS), 2)}


def au_term(outputs: dict[str, Tensor], batch: dict[str, Tensor], **changes: Any) -> Tensor:
    """As the training loop divides it."""
    value, count = Expression().losses(outputs, batch, params(**changes), statistics())["au"]
    return value / count.clamp_min(1e-12)


# ---- what null labels teach


def test_the_au_loss_is_that_of_the_note() -> None:
    """Its fix 1 as it stands there: the mean over the valid rows, times their share."""
    outputs, batch = answers()
    valid = (batch["au"] >= 0).all(1).float()
    logits_valid, labels_valid = outputs["au"][valid == 1], batch["au"][valid == 1].float()
    loss_valid = torch.nn.BCEWithLogitsLoss()(logits_valid, labels_valid)
    # Sums in another order round differently in single precision.
    torch.testing.assert_close(au_term(outputs, batch), loss_valid * (valid.sum() / valid.numel()), rtol=1e-5, atol=0)


def test_a_batch_without_units_contributes_nothing_and_breaks_nothing() -> None:
    outputs, batch = answers()
    batch["au"] = torch.full_like(batch["au"], -1)
    outputs["au"].requires_grad_()
    loss = au_term(outputs, batch)
    loss.backward()
    assert loss == 0
    assert Expression().losses(outputs, batch, params(), statistics())["au"][1] == 0, "a split of such has no value"
    assert outputs["au"].grad is not None
    assert not outputs["au"].grad.any()


def test_negative_reads_nulls_as_zeros() -> None:
    outputs, batch = answers()
    expected = torch.nn.BCEWithLogitsLoss()(outputs["au"], batch["au"].clamp_min(0).float())
    torch.testing.assert_close(au_term(outputs, batch, loss__null_au="negative"), expected, rtol=1e-5, atol=0)


def test_balanced_units_weigh_yes_and_no_as_scikit_learn_does() -> None:
    outputs, batch = answers()
    valid = (batch["au"] >= 0).all(1)
    labels = batch["au"][valid][:, :3]  # the fourth unit is never active
    weights = torch.stack(
        [
            torch.from_numpy(compute_class_weight("balanced", classes=np.array([0, 1]), y=unit))
            for unit in labels.T.numpy()
        ],
        -1,
    )
    each = torch.nn.BCEWithLogitsLoss(reduction="none")(outputs["au"][valid][:, :3], labels.float())
    expected = (each * torch.where(labels == 1, weights[1], weights[0])).sum() / (3 * len(batch["au"]))
    rows = torch.stack([(labels == k).sum(0) for k in (0, 1)], 1).float()
    three = {"emotion": outputs["emotion"], "au": outputs["au"][:, :3]}
    known = {**batch, "au": batch["au"][:, :3]}
    given = params(loss__unit_weights="balanced")
    value, count = Expression().losses(three, known, given, {**statistics(), "unit_rows": rows})["au"]
    torch.testing.assert_close((value / count).double(), expected, rtol=1e-5, atol=0)


def test_drop_trains_on_faces_with_units_alone(drawn: Arrays) -> None:
    objective, rows = Expression(), np.arange(len(drawn))
    kept = objective.training_rows(drawn, rows, params(loss__null_au="drop"))
    np.testing.assert_array_equal(kept, np.flatnonzero((drawn["au"] >= 0).all(1)))
    np.testing.assert_array_equal(objective.training_rows(drawn, rows, params()), rows)
    null = np.flatnonzero((drawn["au"] < 0).all(1))
    with pytest.raises(DataError, match=rf"loss\.null_au: drop leaves none of {len(null)} training rows, all are null"):
        objective.training_rows(drawn, null, params(loss__null_au="drop"))


@pytest.mark.slow
def test_nulls_read_as_zeros_teach_no_unit_and_masked_ones_do_not(drawn: Arrays) -> None:
    """The note's issue 1. More than half of the units is unknown, so that "no" is right more often than not.

    After six epochs AU-F1 was 0.02 and 0.36 on this fold; the bounds leave room for other versions of torch.
    """
    fold = Expression().split(drawn, 3, 0).folds[0]

    def trained(null_au: str) -> float:
        given = params(loss__null_au=null_au, optimizer__lr=1e-3)
        metric = Expression().metric("macro_f1")
        run = FoldRun(Expression(), drawn, Feed(drawn, CPU), fold, given, metric, epochs=6, seed=0)
        while not run.finished:
            last = run.epoch()
        return last.validation["au_f1"]

    assert trained("negative") < 0.1
    assert trained("mask") > 0.2


# ---- scores


def test_scores_are_those_of_scikit_learn() -> None:
    outputs, batch = answers()
    objective = Expression()
    halves = [
        objective.sums(*({k: v[rows] for k, v in part.items()} for part in (outputs, batch)))
        for rows in (slice(0, 80), slice(80, 200))
    ]
    found = objective.score({name: (halves[0][name] + halves[1][name]).numpy() for name in halves[0]}, INFO)
    known = batch["emotion"] >= 0
    truth, said = batch["emotion"][known], outputs["emotion"][known].argmax(1)
    f1 = metrics.f1_score(truth, said, average=None)
    assert found["macro_f1"] == pytest.approx(f1.mean())
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, said))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, said))
    for average in ("weighted", "micro"):
        assert found[f"{average}_f1"] == pytest.approx(metrics.f1_score(truth, said, average=average))
    assert [found[f"f1.{name}"] for name in CLASSES] == pytest.approx(f1.tolist())
    assert found["minority_f1"] == pytest.approx(f1[2])
    valid = (batch["au"] >= 0).all(1)
    unit = metrics.f1_score(batch["au"][valid], outputs["au"][valid] > 0, average=None, zero_division=0)
    assert [found[f"au_f1.{name}"] for name in UNITS[:3]] == pytest.approx(unit[:3].tolist())
    assert "au_f1.AU45" not in found  # no row shows it
    assert found["au_f1"] == pytest.approx(unit[:3].mean())
    for name in found:
        assert objective.metric(name).direction == "maximize"


def test_scores_that_cannot_be_computed_are_missing() -> None:
    outputs, batch = answers()
    nothing = {
        "emotion": torch.where(batch["emotion"] == 2, 0, batch["emotion"]),
        "au": torch.full_like(batch["au"], -1),
    }
    found = Expression().score({k: v.numpy() for k, v in Expression().sums(outputs, nothing).items()}, INFO)
    assert not {"minority_f1", "f1.rare", "au_f1", "au_f1.AU1"} & set(found)
    single = {"emotion": outputs["emotion"]}
    alone = Expression().score({k: v.numpy() for k, v in Expression().sums(single, batch).items()}, INFO)
    assert "au_f1" not in alone


@pytest.mark.parametrize(("share", "minority"), [(0.4, []), (0.401, ["1"]), (0.6, ["1"]), (0.601, ["0", "1"])])
def test_minority_classes_are_those_under_the_share_outside_the_test_part(
    tmp_path: Path, share: float, minority: list[str]
) -> None:
    """Six and four of ten; the two test images, both of class 1, would make it even."""
    source = folder(tmp_path / "data", "000000000122", emotions="001010100111")
    arrays = open_arrays(Expression(), source, {**PREPARED["expression"], "data.minority_share": share}, tmp_path)
    assert arrays.info["minority"] == minority


def test_statistics_are_those_of_the_training_rows(drawn: Arrays) -> None:
    rows = np.arange(1, len(drawn), 3)
    found = Expression().statistics(drawn, rows)
    pixels = drawn["image"][rows].astype(np.float64) / 255
    for name in ("mean", "std"):
        expected = getattr(pixels, name)(axis=(0, 2, 3))
        np.testing.assert_allclose(found[name].numpy(), expected, rtol=1e-6)  # stored in single precision
    emotion, units = drawn["emotion"][rows], drawn["au"][rows]
    assert found["class_rows"].tolist() == [(emotion == k).sum() for k in range(len(drawn.info["classes"]))]
    assert found["unit_rows"].tolist() == np.stack([(units == 0).sum(0), (units == 1).sum(0)], 1).tolist()


def test_faces_without_any_units_are_all_trained_on(tmp_path: Path) -> None:
    source = folder(tmp_path / "data", "000000001122")
    (source / "AUlabel.txt").unlink()
    arrays, rows = open_arrays(Expression(), source, PREPARED["expression"], tmp_path), np.arange(8)
    np.testing.assert_array_equal(Expression().training_rows(arrays, rows, params(loss__null_au="drop")), rows)


# ---- folds


def test_the_test_part_of_a_partition_is_set_aside_and_groups_stay_together(tmp_path: Path) -> None:
    objective = Expression()
    arrays = open_arrays(objective, recordings("expression"), PREPARED["expression"], tmp_path)
    split = objective.split(arrays, 3, 0)
    np.testing.assert_array_equal(split.test, np.flatnonzero(arrays["part"] == 2))
    assert len(split.test) == 43
    assert sorted(np.concatenate([f.validation for f in split.folds])) == np.flatnonzero(arrays["part"] != 2).tolist()


def folder(at: Path, parts: str, emotions: str = "01" * 6) -> Path:
    """Faces with a partition and two classes, a digit of `parts` and `emotions` per face."""
    (at / "images").mkdir(parents=True)
    names = [f"{k:02}.png" for k in range(len(parts))]
    for k, name in enumerate(names):
        Image.new("RGB", (40, 40), (20 * k, 9 * k, 255 - 20 * k)).save(at / "images" / name)
    (at / "emolabel.txt").write_text("".join(f"{name} {e}\n" for name, e in zip(names, emotions, strict=True)))
    (at / "AUlabel.txt").write_text("".join(f"{name} {'null' if k % 3 else '1+12'}\n" for k, name in enumerate(names)))
    (at / "partition.txt").write_text("".join(f"{name} {part}\n" for name, part in zip(names, parts, strict=True)))
    return at


def test_without_groups_fold_0_is_that_of_the_partition(tmp_path: Path) -> None:
    arrays = open_arrays(Expression(), folder(tmp_path / "data", "000000001122"), PREPARED["expression"], tmp_path)
    split = Expression().split(arrays, 3, 0)
    assert split.test.tolist() == [10, 11]
    first = split.folds[0]
    assert (first.train.tolist(), first.validation.tolist()) == (list(range(8)), [8, 9])
    assert [len(fold.validation) for fold in split.folds] == [2, 4, 4]
    for fold in split.folds[1:]:
        assert sorted(arrays["emotion"][fold.validation]) == [0, 0, 1, 1]
    two = Expression().split(arrays, 2, 0)
    assert two.folds[1].train.tolist() == [8, 9]


# ---- weights of a file, labels of other data


def test_a_training_starts_from_a_backbone_on_disk(drawn: Arrays, tmp_path: Path) -> None:
    donor = torchvision.models.resnet18(num_classes=9)
    torch.save(donor.state_dict(), tmp_path / "resnet18.pth")

    def run(**changes: Any) -> FoldRun:
        given, fold = params(**changes), Fold(0, np.arange(40), np.arange(40, 60))
        metric = Expression().metric("macro_f1")
        return FoldRun(Expression(), drawn, Feed(drawn, CPU), fold, given, metric, epochs=1, seed=0)

    started = run(model__weights=str(tmp_path / "resnet18.pth")).model
    assert isinstance(started, FaceNet)
    torch.testing.assert_close(started.backbone.layer4[1].conv2.weight, donor.layer4[1].conv2.weight, rtol=0, atol=0)
    with pytest.raises(DataError, match=r"resnet18\.pth: model\.weights does not fit model\.backbone: .*layer1\.2"):
        run(model__weights=str(tmp_path / "resnet18.pth"), model__backbone="resnet34")


def test_labels_of_other_names_are_refused(tmp_path: Path) -> None:
    trained = {"classes": ["0", "1"], "units": ["AU1", "AU12"]}
    arrays = open_arrays(Expression(), folder(tmp_path / "data", "000000001122"), PREPARED["expression"], tmp_path)
    assert Expression().misfit(arrays.info, trained) == ""
    text = Expression().misfit({**trained, "classes": ["1", "0"]}, trained)
    assert text == (
        "the emotions are not those of the model (the same names in another order); name the same ones in the same "
        "order in classes.json, or give a folder of images alone to predict on"
    )
    text = Expression().misfit({**trained, "units": []}, trained)
    assert "the action units are not those of the model (2 missing: AU1, AU12); name" in text


@pytest.mark.parametrize("size", [31, 1025])
def test_sides_that_are_no_picture(size: int) -> None:
    text = (ROOT / "studies" / "expression.yaml").read_text().replace("image_size: 64", f"image_size: {size}")
    with pytest.raises(StudyError, match=rf"line \d+: fixed\.data\.image_size is {size}: .*32 .*1024 is needed"):
        Study.from_text(text, "/studies/expression.yaml", lambda _: Expression())


def test_predictions_leave_units_that_nobody_coded_empty(drawn: Arrays) -> None:
    outputs, batch = answers(20)
    table = Expression().predict(outputs, batch, INFO)
    null = (batch["au"] < 0).all(1).numpy()
    assert np.isnan(table["truth.AU12"][null]).all()
    np.testing.assert_array_equal(table["truth.AU12"][~null], batch["au"][~null, 2].numpy())
    np.testing.assert_array_equal(table["prediction.AU12"], (outputs["au"][:, 2] > 0).numpy())
    np.testing.assert_allclose(table["p.AU1"], torch.sigmoid(outputs["au"][:, 0]).numpy(), rtol=1e-6)
    assert {"truth", "prediction", "p.happy"} <= set(table)
    without_labels = Expression().predict(outputs, {**batch, "au": torch.empty(20, 0, dtype=torch.int64)}, INFO)
    assert np.isnan(without_labels["truth.AU1"]).all()
    assert json.dumps(Expression().identify(drawn)["file"][:1].tolist()) == '["face_0000.png"]'
