"""The objective of pain scores: its losses by moment and feature, its scores, what of labels is masked, its folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import mean_absolute_error, r2_score

from hpo.arrays import Arrays, open_arrays
from hpo.objective import Batch, DataError, Params
from objectives.grimace.data import MOMENTS
from objectives.grimace.feature_weights import feature_weights
from objectives.grimace.objective import Grimace
from tests.objectives.cases import PREPARED

FEATURES = ("ears", "eyes")
STATISTICS = {
    "pixels": torch.tensor([[0.5] * 3, [0.25] * 3]),
    "motion": torch.tensor([0.0, 1.0]),
    "score": torch.tensor([2.0, 4.0]),
    "feature.000.ears": torch.tensor([1.0, 0.5]),
    "feature.001.eyes": torch.tensor([0.0, 2.0]),
}
NAN = float("nan")


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    return open_arrays(Grimace(), None, PREPARED["grimace"], tmp_path_factory.mktemp("cache"))


def params(**changes: Any) -> Params:
    flat = Grimace().parameters() | {name.replace("__", "."): value for name, value in changes.items()}
    return Params.from_flat(flat)


def batch(moments: list[int], scores: list[float], features: list[list[float]] | None = None) -> Batch:
    columns = features or [[NAN, NAN]] * len(scores)
    return {
        "moment": torch.tensor(moments),
        "score": torch.tensor(scores),
        "features": torch.tensor(columns).reshape(len(scores), -1),
    }


def mean(term: tuple[torch.Tensor, torch.Tensor]) -> float:
    return float(term[0] / term[1])


def test_the_score_costs_its_error_in_spreads_weighed_by_moment() -> None:
    """By hand: errors of 1/4 and 3 spreads cost 1/32 and 2.5; M2 weighs 3, an unknown moment and the others 1."""
    outputs = {"score": torch.tensor([1.0, 12.0, 5.0, 7.0]), "features": torch.zeros(4, 2)}
    given = batch([0, 2, -1, 4], [2.0, 0.0, 5.0, NAN])
    terms = Grimace().losses(outputs, given, params(loss__M2_weight=3.0), STATISTICS)
    value, weight = terms["score"]
    assert float(weight) == 1 + 3 + 1  # the clip without a score does not count
    assert float(value) == pytest.approx(1 / 32 + 3 * 2.5)
    assert float(terms["features"][1]) == 0


def test_features_are_weighed_by_name_and_moment_and_masked_one_by_one() -> None:
    outputs = {"score": torch.zeros(2), "features": torch.tensor([[1.0, 1.0], [0.0, 0.0]])}
    given = batch([2, 0], [NAN, NAN], [[1.5, NAN], [0.25, 6.0]])
    chosen = params(loss__M2_weight=2.0, loss__feature_weights="eyes = 0.5")
    value, weight = Grimace().losses(outputs, given, chosen, STATISTICS)["features"]
    # ears are off by 1 spread in M2, by half a spread in M0; eyes by 3 spreads in M0
    assert float(weight) == 2 + 1 + 0.5
    assert float(value) == pytest.approx(2 * 0.5 + 0.125 + 0.5 * 2.5)


def test_features_keep_their_order_in_a_file_of_tensors(tmp_path: Path) -> None:
    """Such a file sorts its tensors by name: eyes before ears would come back as ears before eyes."""

    class Two(dict[str, np.ndarray]):
        info: ClassVar = {"features": ["eyes", "ears"]}

    video = np.zeros((3, 1, 3, 2, 2), np.uint8)
    two: Any = Two(video=video, score=np.arange(3.0), features=np.array([[0.0, 0.0], [100.0, 1.0], [200.0, 2.0]]))
    fresh = Grimace().statistics(two, np.arange(3))
    save_file({name: value.clone() for name, value in fresh.items()}, tmp_path / "statistics.safetensors")
    again = load_file(tmp_path / "statistics.safetensors")
    outputs = {"score": torch.zeros(1), "features": torch.tensor([[50.0, 3.0]])}
    given, chosen = batch([0], [NAN], [[0.0, 0.0]]), params(loss__feature_weights="ears=4")
    pairs = [Grimace().losses(outputs, given, chosen, of)["features"] for of in (fresh, again)]
    assert float(pairs[0][1]) == 5
    torch.testing.assert_close(pairs[0], pairs[1], rtol=0, atol=0)


def test_data_without_features_are_scored_by_a_model_that_has_some() -> None:
    outputs = {"score": torch.tensor([1.0, 2.0]), "features": torch.ones(2, 2)}
    given = batch([0, 1], [1.0, 4.0], [[], []])
    assert float(Grimace().losses(outputs, given, params(), STATISTICS)["features"][1]) == 0
    sums = {name: value.numpy() for name, value in Grimace().sums(outputs, given).items()}
    found = Grimace().score(sums, {"features": FEATURES})
    assert found["mae"] == 1 and "r.ears" not in found
    table = Grimace().predict(outputs, given, {"features": FEATURES})
    assert np.isnan(table["feature.eyes"]).all() and table["prediction.eyes"].tolist() == [1, 1]


def test_focal_discounts_small_errors_and_not_large_ones() -> None:
    outputs = {"score": torch.tensor([2.04, 42.0]), "features": torch.zeros(2, 2)}
    near, far = (batch([0], [2.0]), batch([0], [2.0]))
    ratios = []
    for row, given in enumerate((near, far)):
        said = {name: value[row : row + 1] for name, value in outputs.items()}
        plain, focal = (
            mean(Grimace().losses(said, given, params(loss__focal_gamma=gamma), STATISTICS)["score"])
            for gamma in (0.0, 1.0)
        )
        ratios.append(focal / plain)
    error = 0.04 / 4
    assert ratios[0] == pytest.approx(2 / (1 + np.exp(-error)) - 1, rel=1e-4)  # single precision of a small number
    assert ratios[1] > 0.999


def test_scores_are_those_of_scikit_learn_over_what_is_scored() -> None:
    generator = np.random.default_rng(0)
    moments, truth = generator.integers(-1, 4, 60), generator.normal(3, 2, 60).astype(np.float32)
    truth[:7] = np.nan
    said = (truth + generator.normal(0, 1, 60)).astype(np.float32)
    said[:7] = 100
    outputs = {"score": torch.from_numpy(said), "features": torch.from_numpy(np.stack([said, -said], 1))}
    given = batch(moments.tolist(), truth.tolist(), np.stack([truth, truth], 1).tolist())
    sums = {name: value.numpy() for name, value in Grimace().sums(outputs, given).items()}
    found = Grimace().score(sums, {"features": FEATURES})
    known = np.isfinite(truth)
    assert found["r2"] == pytest.approx(r2_score(truth[known], said[known]))
    assert found["mae"] == pytest.approx(mean_absolute_error(truth[known], said[known]))
    errors = {}
    for k, name in enumerate(MOMENTS[:4]):
        rows = known & (moments == k)
        errors[name] = mean_absolute_error(truth[rows], said[rows])
        assert found[f"mae.{name}"] == pytest.approx(errors[name])
    assert "mae.M4" not in found  # no clip of it: missing, not 0
    assert found["mae_ratio"] == pytest.approx(max(errors.values()) / min(errors.values()))
    assert found["r.eyes"] == pytest.approx(-np.corrcoef(truth[known], said[known])[0, 1])
    assert found["r2.eyes"] == pytest.approx(r2_score(truth[known], -said[known]))


def test_the_same_draw_changes_all_frames_and_m2_as_much_more_as_asked(arrays: Arrays) -> None:
    video = torch.from_numpy(np.array(arrays["video"][:2]))[:, :1].expand(-1, 4, -1, -1, -1).contiguous()
    given = {"video": video, "moment": torch.tensor([0, 2])}
    only_m2 = {f"augment__{name}_factor": float(name == "M2") for name in MOMENTS}
    changed = Grimace().augment(
        given, params(augment__rotation=40.0, augment__brightness=0.5, **only_m2), torch.Generator().manual_seed(0)
    )["video"]
    assert torch.equal(changed[0], video[0])
    assert not torch.equal(changed[1], video[1])
    assert all(torch.equal(changed[1, 0], frame) for frame in changed[1])


def test_no_subject_is_on_two_sides_and_each_is_validated_once(arrays: Arrays) -> None:
    for folds in (3, 9):
        split = Grimace().split(arrays, folds, 0)
        subjects = [set(arrays["subject"][fold.validation]) for fold in split.folds]
        assert sum(map(len, subjects)) == 9
        assert all(not subjects[f.index] & set(arrays["subject"][f.train]) for f in split.folds)


def test_clips_without_any_label_are_not_trained_on(arrays: Arrays) -> None:
    rows = np.arange(len(arrays))
    taught = Grimace().training_rows(arrays, rows, params())
    known = np.isfinite(arrays["score"]) | np.isfinite(arrays["features"]).any(axis=1)
    assert taught.tolist() == np.flatnonzero(known).tolist()


def test_weights_of_features_say_everything_that_is_wrong_with_them() -> None:
    assert feature_weights(" ears=2, ", FEATURES).tolist() == [2, 1]
    with pytest.raises(
        DataError, match=r"'earz' is no feature of the data; did you mean ears\?; 'eyes=-1' gives no weight"
    ):
        feature_weights("earz=2, eyes=-1", FEATURES)


def test_another_number_of_folds_than_the_source_deals_is_refused() -> None:
    class Dealt(dict[str, np.ndarray]):
        info: ClassVar = {"classes": list(MOMENTS), "subjects": ["a", "b", "c"]}

    dealt: Any = Dealt(fold=np.array([0, 1, 2]), score=np.ones(3), moment=np.zeros(3, int), subject=np.arange(3))
    assert [fold.validation.tolist() for fold in Grimace().split(dealt, 3, 0).folds] == [[0], [1], [2]]
    with pytest.raises(DataError, match=r"folds.csv deals the subjects to 3 folds, not 5: ask for folds: \{count: 3\}"):
        Grimace().split(dealt, 5, 0)


def test_other_features_do_not_fit_a_model_and_videos_alone_do() -> None:
    trained = {"features": ["ears", "eyes"]}
    said = Grimace().misfit({"features": ["eyes", "ears"]}, trained)
    assert "the features are eyes, ears; the model was trained on ears, eyes" in said
    assert not Grimace().misfit({"features": []}, trained)


def test_weights_of_another_network_are_refused_by_the_encoder(tmp_path: Path) -> None:
    model = Grimace().model(params(model__encoder="resnet18"), STATISTICS)
    with pytest.raises(DataError, match=r"model.weights does not fit model.encoder: 1 missing: conv1.weight"):
        state = {k: v for k, v in model.encoder.state_dict().items() if k != "conv1.weight"}  # type: ignore[union-attr]
        Grimace().initialise(model, state)
