"""The behaviour objective: labels, statistics, losses and scores against numpy, torch and scikit-learn; windows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics
from torch import Tensor

from hpo.arrays import Arrays, Feed, open_arrays
from hpo.measure import measure
from hpo.objective import Batch, Params
from hpo.predictions import long
from hpo.training import FoldRun
from objectives.behaviour.objective import Behaviour
from objectives.segments import segment_scores, segment_sums
from tests.objectives.cases import PREPARED

CPU = torch.device("cpu")
CLASSES, POINTS = 3, 4
INFO: dict[str, Any] = {"classes": ["rest", "walk", "lick"]}


def params(**changes: Any) -> Params:
    flat = Behaviour().parameters() | {name.replace("__", "."): value for name, value in changes.items()}
    return Params.from_flat(flat)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    return open_arrays(Behaviour(), None, PREPARED["behaviour"], tmp_path_factory.mktemp("cache"))


def taken(arrays: Arrays, rows: np.ndarray) -> Batch:
    return Feed(arrays, CPU).take(torch.from_numpy(rows))


def answers(rows: int = 6, time: int = 30) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random answers to clips of which something is masked: actions, points, and the last frames of the last clip."""
    g = torch.Generator().manual_seed(0)
    frame = torch.arange(time).repeat(rows, 1)
    action = torch.randint(-1, CLASSES, (rows, time), generator=g)
    keypoints = torch.rand(rows, time, POINTS, 2, generator=g)
    keypoints[torch.rand(rows, time, POINTS, generator=g) < 0.2] = torch.nan
    frame[-1, -7:], action[-1, -7:], keypoints[-1, -7:] = -1, -1, torch.nan
    outputs = {
        "action": 3 * torch.randn(rows, time, CLASSES, generator=g),
        "keypoints": torch.rand(rows, time, POINTS, 2, generator=g),
    }
    return outputs, {"action": action, "frame": frame, "keypoints": keypoints}


STATISTICS = {"class_rows": torch.tensor([70.0, 20.0, 10.0]), "place": torch.tensor([[0.5, 0.4], [0.2, 0.1]])}


def term(name: str, outputs: dict[str, Tensor], batch: dict[str, Tensor], **changes: Any) -> Tensor:
    """As the training loop divides it."""
    value, count = Behaviour().losses(outputs, batch, params(**changes), STATISTICS)[name]
    return value / count


# ---- labels and statistics


def test_a_clip_is_labelled_by_its_rarest_action(made: Arrays) -> None:
    total = [int((made["action"] == k).sum()) for k in range(len(made.info["classes"]))]
    expected = [min((k for k in set(row.tolist()) if k >= 0), key=lambda k: total[k]) for row in made["action"]]
    assert Behaviour().labels(made).tolist() == expected
    assert set(expected) == set(range(len(total)))


def test_class_counts_are_annotated_frames(made: Arrays) -> None:
    classes = len(made.info["classes"])
    expected = [np.bincount(row[row >= 0], minlength=classes) for row in made["action"]]
    np.testing.assert_array_equal(Behaviour().class_counts(made), expected)


def test_statistics_are_those_of_numpy_over_the_training_rows(made: Arrays) -> None:
    rows = np.arange(0, len(made), 3)
    found = Behaviour().statistics(made, rows)
    points = made["keypoints"][rows].astype(np.float64)
    # Single precision and the order of a sum over 100 000 places.
    close: dict[str, Any] = {"rtol": 1e-5}
    flat = points.reshape(-1, 2)
    np.testing.assert_allclose(found["place"], [np.nanmean(flat, 0), np.nanstd(flat, 0)], **close)
    np.testing.assert_allclose(
        found["speed"], np.nanmean(np.hypot(*np.moveaxis(np.diff(points, axis=1), -1, 0))), **close
    )
    sizes = []
    for clip in points:
        several = clip[np.isfinite(clip[..., 0]).sum(1) > 1]
        away = several - np.nanmean(several, axis=1, keepdims=True)
        sizes.append(np.sqrt(np.nanmean((away**2).sum(-1), axis=1).mean()))
    np.testing.assert_allclose(found["body"], np.mean(sizes), **close)
    assert torch.equal(found["animal"], torch.ones(1, points.shape[2]))
    frames = [(made["action"][rows] == k).sum() for k in range(len(made.info["classes"]))]
    np.testing.assert_array_equal(found["class_rows"], frames)
    assert "grey" not in found


def test_statistics_of_a_mirror_image(made: Arrays, tmp_path: Path) -> None:
    """Places are mirrored; ways, sizes and actions are those of the session."""
    rows = np.arange(20)
    turned = Behaviour().augment(taken(made, np.arange(len(made))), params(augment__flip=1.0), torch.Generator())
    folder = tmp_path / "mirrored"
    shutil.copytree(made.path, folder)
    np.save(folder / "keypoints.npy", turned["keypoints"].numpy())
    plain, mirrored = (Behaviour().statistics(arrays, rows) for arrays in (made, Arrays(folder)))
    width = float(made["extent"][0, 0])
    # Subtracting from the width rounds in the eighth digit.
    expected = {**plain, "place": plain["place"].clone()}
    expected["place"][0, 0] = width - plain["place"][0, 0]
    for name, value in expected.items():
        torch.testing.assert_close(mirrored[name], value, rtol=1e-4, atol=1e-6)
    names = [name.lower() for name in made.info["points"]]
    left, right = names.index("l_hindpaw"), names.index("r_hindpaw")
    was, now = made["keypoints"][rows, :, left, 0], turned["keypoints"][rows, :, right, 0].numpy()
    np.testing.assert_allclose(now, width - was, atol=1e-6)


# ---- losses


def test_action_is_torchs_cross_entropy_over_annotated_frames() -> None:
    outputs, batch = answers()
    expected = F.cross_entropy(outputs["action"].flatten(0, 1), batch["action"].flatten(), ignore_index=-1)
    torch.testing.assert_close(term("action", outputs, batch), expected)
    weights = 100 / (3 * STATISTICS["class_rows"])  # balanced, as scikit-learn has it
    weighed = F.cross_entropy(
        outputs["action"].flatten(0, 1), batch["action"].flatten(), weights, ignore_index=-1, label_smoothing=0.1
    )
    found = term("action", outputs, batch, loss__class_weights="balanced", loss__label_smoothing=0.1)
    torch.testing.assert_close(found, weighed)


def test_keypoints_are_torchs_smooth_l1_over_seen_points() -> None:
    """In standard deviations of the training rows."""
    outputs, batch = answers()
    seen, spread = torch.isfinite(batch["keypoints"]), STATISTICS["place"][1]
    expected = F.smooth_l1_loss((outputs["keypoints"] / spread)[seen], (batch["keypoints"] / spread)[seen])
    torch.testing.assert_close(term("keypoints", outputs, batch), expected)


def test_what_is_masked_teaches_nothing_whatever_was_said() -> None:
    outputs, batch = answers()
    plain = Behaviour().losses(outputs, batch, params(loss__focal_gamma=2.0), STATISTICS)
    padding = batch["frame"] < 0
    wild = {name: value.clone() for name, value in outputs.items()}
    wild["keypoints"][torch.isnan(batch["keypoints"])] = torch.inf
    wild["action"][padding] = torch.nan
    for value in wild.values():
        value.requires_grad_()
    found = Behaviour().losses(wild, batch, params(loss__focal_gamma=2.0), STATISTICS)
    for name, pair in plain.items():
        assert [part.item() for part in found[name]] == [part.item() for part in pair]
    torch.stack([value for value, _ in found.values()]).sum().backward()
    gradients = {name: value.grad for name, value in wild.items()}
    assert gradients["action"] is not None and gradients["keypoints"] is not None
    assert not gradients["action"][padding].any()
    assert not gradients["keypoints"][torch.isnan(batch["keypoints"])].any()
    unnamed = batch["action"] < 0
    assert torch.isfinite(gradients["action"]).all()
    wild["action"].grad = None
    Behaviour().losses(wild, batch, params(), STATISTICS)["action"][0].backward()
    assert wild["action"].grad is not None and not wild["action"].grad[unnamed].any()


def test_points_are_restored_as_they_were_before_they_were_changed() -> None:
    outputs, batch = answers()
    changed = {**batch, "keypoints": torch.full_like(batch["keypoints"], torch.nan), "clean": batch["keypoints"]}
    assert torch.equal(term("keypoints", outputs, changed), term("keypoints", outputs, batch))
    sums = [Behaviour().sums(outputs, one)["keypoints"] for one in (batch, changed)]
    assert torch.equal(*sums)


def ms_tcn_smoothness(logits: Tensor, mask: Tensor) -> Tensor:
    """As the authors of MS-TCN wrote it, over the pairs of frames that there are: clamp(mse, max=16) * mask[1:]."""
    p = logits.transpose(1, 2)
    squares = F.mse_loss(
        F.log_softmax(p[:, :, 1:], dim=1), F.log_softmax(p.detach()[:, :, :-1], dim=1), reduction="none"
    )
    pairs = mask[:, None, 1:].expand_as(squares)
    return (torch.clamp(squares, min=0, max=16) * pairs).sum() / pairs.sum()


def test_smoothness_and_its_gradient_are_those_of_ms_tcn() -> None:
    outputs, batch = answers()
    ours, theirs = (outputs["action"].double().requires_grad_() for _ in range(2))
    found = term("smoothness", {**outputs, "action": ours}, batch)
    expected = ms_tcn_smoothness(theirs, batch["frame"] >= 0)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*torch.autograd.grad(found, ours), *torch.autograd.grad(expected, theirs))
    step = F.log_softmax(ours, -1).diff(dim=1).abs()
    assert (step > 4).any() and (step < 4).any(), "some steps are truncated"


def test_smoothness_counts_no_step_from_or_to_padding() -> None:
    """Also where a clip was rolled, and its padding has frames behind it."""
    outputs, batch = ({name: value[:1] for name, value in part.items()} for part in answers(2, 20))
    parts = [slice(0, 6), slice(11, 20)]
    batch["frame"][:, 6:11] = -1
    found = Behaviour().losses(outputs, batch, params(), STATISTICS)["smoothness"]
    alone = [
        Behaviour().losses(
            {name: value[:, part] for name, value in outputs.items()},
            {name: value[:, part] for name, value in batch.items() if name != "frame"}
            | {"frame": torch.arange(part.stop - part.start)[None]},
            params(),
            STATISTICS,
        )["smoothness"]
        for part in parts
    ]
    assert float(found[1]) == 5 + 8
    torch.testing.assert_close(found, (alone[0][0] + alone[1][0], alone[0][1] + alone[1][1]))


# ---- sums and scores


def test_scores_of_frames_and_points_are_those_of_scikit_learn() -> None:
    outputs, batch = answers()
    sums = {name: value.numpy() for name, value in Behaviour().sums(outputs, batch).items()}
    named = batch["action"] >= 0
    truth, said = batch["action"][named], outputs["action"].argmax(-1)[named]
    np.testing.assert_array_equal(sums["confusion"], metrics.confusion_matrix(truth, said))
    found = Behaviour().score(sums, INFO)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(truth, said, average="macro"))
    seen = torch.isfinite(batch["keypoints"])
    error = metrics.mean_absolute_error(batch["keypoints"][seen], outputs["keypoints"][seen])
    assert found["keypoint_mae"] == pytest.approx(error, rel=1e-6)
    assert {name for name in found if not name.startswith("f1.")} <= set(Behaviour.scores)
    report = Behaviour().report(sums, INFO)
    assert report["lick"]["support"] == int((truth == 2).sum())


def test_segments_are_counted_over_whole_clips_and_not_in_training() -> None:
    outputs, batch = answers()
    found = Behaviour().score({name: v.numpy() for name, v in Behaviour().sums(outputs, batch).items()}, INFO)
    counted = segment_sums(outputs["action"].argmax(-1).numpy(), batch["action"].numpy(), CLASSES)
    expected = segment_scores(counted, INFO["classes"])
    assert {name: found[name] for name in expected} == expected
    assert set(expected) == {"segment_f1@0.1", "segment_f1@0.3", "segment_f1@0.5", "edit"}
    training = Behaviour().sums(outputs, {**batch, "clean": batch["keypoints"]})
    assert set(training) == {"confusion", "keypoints"}
    assert not set(expected) & set(Behaviour().score({name: v.numpy() for name, v in training.items()}, INFO))


def test_scores_that_nothing_is_known_of_are_left_out() -> None:
    outputs, batch = answers()
    batch["action"][:], batch["keypoints"][:] = -1, torch.nan
    assert Behaviour().score({name: v.numpy() for name, v in Behaviour().sums(outputs, batch).items()}, INFO) == {}


def test_predictions_are_columns_of_frames(made: Arrays) -> None:
    outputs, batch = answers(len(made), made["frame"].shape[1])
    batch["action"] = torch.where(torch.from_numpy(made["frame"]) >= 0, batch["action"], -1)
    table = long({**Behaviour().identify(made), **Behaviour().predict(outputs, batch, INFO)})
    kept = made["frame"] >= 0
    assert list(table) == ["session", "frame", "time_s", "truth", "prediction", "p.rest", "p.walk", "p.lick"]
    assert table["frame"].tolist() == made["frame"][kept].tolist()
    names = [*INFO["classes"], ""]
    assert table["truth"].tolist() == [names[k] for k in batch["action"].numpy()[kept]]
    assert set(table["truth"]) == set(names), "frames that are not annotated have an empty truth"
    assert table["prediction"].tolist() == [names[k] for k in outputs["action"].argmax(-1).numpy()[kept]]
    columns = np.stack([table[f"p.{name}"] for name in INFO["classes"]], -1)
    np.testing.assert_allclose(columns, torch.softmax(outputs["action"], -1).numpy()[kept], rtol=1e-6)


# ---- augmentation and windows


def test_rare_changes_exactly_the_clips_that_hold_a_rare_action(made: Arrays) -> None:
    batch = taken(made, np.arange(len(made)))
    given = {"augment__jitter": 0.02, "sampling__rare_threshold_share": 0.05}
    share = Behaviour().class_counts(made).sum(0) / (made["action"] >= 0).sum()
    rare = np.array([bool(set(np.flatnonzero(share < 0.05)) & set(row.tolist())) for row in made["action"]])
    assert 0 < rare.sum() < len(rare)
    for apply, expected in (("rare", rare), ("all", np.ones_like(rare))):
        found = Behaviour().augment(batch, params(**given, augment__apply=apply), torch.Generator().manual_seed(0))
        same = np.array(
            [torch.equal(*(each["keypoints"][row].nan_to_num() for each in (found, batch))) for row in range(len(rare))]
        )
        np.testing.assert_array_equal(same, ~expected)
        torch.testing.assert_close(found["clean"], batch["keypoints"], rtol=0, atol=0, equal_nan=True)


def test_training_takes_windows_of_train_T(made: Arrays) -> None:
    batch = taken(made, np.arange(10))
    found = Behaviour().augment(batch, params(data__train_T=15), torch.Generator().manual_seed(0))
    assert found["frame"].shape == (10, 15)
    assert (found["frame"].diff(dim=1) == 1).all()
    for row in range(10):
        at = int(found["frame"][row, 0] - batch["frame"][row, 0])
        for name in ("action", "keypoints"):
            expected = batch[name][row, at : at + 15]
            torch.testing.assert_close(found[name][row], expected, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(found["mirror"], batch["mirror"])


def test_validation_takes_every_frame_once_in_pieces_of_val_T(made: Arrays) -> None:
    """Clips of 40 frames, trained in windows of 16 and validated in pieces of 25 and 15."""
    fold, given = Behaviour().split(made, 2, 0).folds[0], params(data__train_T=16, data__val_T=25, model__width=8)
    metric = Behaviour().metric("macro_f1")
    run = FoldRun(Behaviour(), made, Feed(made, CPU), fold, given, metric, epochs=1, seed=0)
    run.epoch()
    batch = taken(made, fold.validation)
    measured = measure(run.model, [batch], Behaviour(), given, run.statistics, made.info)
    with torch.inference_mode():
        outputs = run.model.eval()(batch)
        parts = [{name: batch[name][:, part] for name in ("keypoints", "frame")} for part in (slice(25), slice(25, 40))]
        whole = Behaviour().model(params(data__val_T=40, model__width=8), run.statistics)
        whole.load_state_dict(run.model.state_dict())
        alone = [whole.eval()(part) for part in parts]
    for name, value in outputs.items():
        # Batches of other sizes are multiplied in another order, in single precision.
        torch.testing.assert_close(value, torch.cat([part[name] for part in alone], 1), rtol=1e-4, atol=1e-5)
    named = batch["action"] >= 0
    expected = metrics.f1_score(batch["action"][named], outputs["action"].argmax(-1)[named], average="macro")
    assert measured.values["macro_f1"] == pytest.approx(expected)
    assert run.epochs[0].validation["macro_f1"] == pytest.approx(expected)
