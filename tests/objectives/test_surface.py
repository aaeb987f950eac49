"""The objective of thin surfaces: its losses against loops, its scores against scikit-learn, what learns nothing."""

from __future__ import annotations

import re
from typing import Any, cast

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score, precision_recall_fscore_support
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from hpo.arrays import Arrays, Feed, open_arrays
from hpo.measure import measure, references
from hpo.network import Trained
from hpo.objective import Batch, DataError, Outputs, Params
from hpo.out_of_fold import example_rows
from objectives.surface.examples import LARGEST
from objectives.surface.objective import Surface
from tests.objectives.volume_loops import expected_boundary, expected_cldice, expected_connectivity, expected_dice
from tests.toy import CPU

ROWS, SIDE = 3, 8
#: As in the note: 66 % foreground. The odds of the classes are 1.94 and 0.52.
STATISTICS = {"pixels": torch.tensor([100.0, 40.0]), "voxels": torch.tensor([34.0, 66.0])}
#: Weights of the configuration `before` of studies/surface.yaml.
BEFORE = {
    "loss.dice_weight": 0.4,
    "loss.focal_weight": 0.2,
    "loss.boundary_weight": 0.15,
    "loss.cldice_weight": 0.1,
    "loss.connectivity_weight": 0.05,
    "loss.focal_alpha": 0.5,
}
#: float32, over the 512 voxels of a row.
ROUNDING = 1e-5


def params(**changes: Any) -> Params:
    flat = Surface().parameters() | {name.replace("__", "."): value for name, value in changes.items()}
    return Params.from_flat(flat)


def batch(seed: int = 0) -> Batch:
    """A slab, a row of noise, one without a label; in each some voxels are ignored."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 2, (ROWS, SIDE, SIDE, SIDE), generator=generator)
    label[0] = 0
    label[0, 2:7] = 1
    label = torch.where(torch.rand(label.shape, generator=generator) < 0.1, 2, label)
    label[2] = 2
    image = torch.randint(0, 256, label.shape, generator=generator)
    return {"image": image.to(torch.uint8), "label": label.to(torch.uint8)}


def logits(seed: int = 1, *levels: int) -> Tensor:
    return torch.randn(ROWS, *levels, SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def losses(outputs: Outputs, given: Batch, chosen: Params | None = None) -> dict[str, float]:
    found = Surface().losses(outputs, given, chosen or params(), STATISTICS)
    return {name: float(value.detach() / count) for name, (value, count) in found.items()}


def by_loops(said: Tensor, given: Batch, weights: tuple[float, float] = (1, 1)) -> dict[str, float]:
    """Ratios are means over the two rows with a label; the focal term is torchvision's, weighed by class."""
    p, label = torch.sigmoid(said.double()).numpy(), given["label"].numpy()
    t, known = np.where(label == 2, -1.0, label), label < 2
    ratios = {"dice": expected_dice, "boundary": expected_boundary, "connectivity": expected_connectivity}
    ratios["cldice"] = expected_cldice
    found = {
        name: float(np.mean([loop(p[row], t[row], known[row]) for row in (0, 1)])) for name, loop in ratios.items()
    }
    entries = given["label"] < 2
    truth = given["label"][entries].double()
    weight = torch.where(truth == 1, weights[1], weights[0])
    focal = sigmoid_focal_loss(said.double()[entries], truth, 0.34, 2.0, "none")
    return found | {"focal": float((weight * focal).sum() / weight.sum())}


# ---- losses


def test_terms_are_those_of_loops_over_what_is_labelled() -> None:
    given, said = batch(), logits()
    found = losses({"logits": said}, given)
    assert list(found) == list(Surface.terms)
    assert found == pytest.approx(by_loops(said, given), rel=ROUNDING)


def test_class_weights_are_the_odds_of_the_note() -> None:
    """1.94 for background and 0.52 for foreground, where 66 % are foreground."""
    given, said = batch(), logits()
    found = losses({"logits": said}, given, params(loss__class_weights="odds"))
    assert found == pytest.approx(by_loops(said, given, weights=(66 / 34, 34 / 66)), rel=ROUNDING)
    assert found == pytest.approx(by_loops(said, given, weights=(1.94, 0.52)), rel=0.01)  # as the note rounds them
    assert found["focal"] != pytest.approx(by_loops(said, given)["focal"], rel=0.01)


@pytest.mark.parametrize(("alpha", "of_foreground", "of_background"), [(0.34, 0.34, 0.66), (0.5, 0.5, 0.5)])
def test_alpha_weighs_the_foreground(alpha: float, of_foreground: float, of_background: float) -> None:
    """At a logit of 0 a voxel costs alpha, or 1 - alpha, times 0.25 log 2."""
    for value, share in ((1, of_foreground), (0, of_background)):
        given = {"label": torch.full((ROWS, SIDE, SIDE, SIDE), value, dtype=torch.uint8)}
        found = losses({"logits": torch.zeros(given["label"].shape)}, given, params(loss__focal_alpha=alpha))
        assert found["focal"] == pytest.approx(share * 0.25 * np.log(2))


def test_what_is_ignored_changes_nothing() -> None:
    """Neither values nor gradients, were the network to say anything there."""
    given, said = batch(), logits()
    ignored = given["label"] == 2
    found = []
    for garbage in (0.0, 1e4, -1e4):
        own = torch.where(ignored, garbage, said).requires_grad_()
        terms = Surface().losses({"logits": own, "deep": own[:, None]}, given, params(), STATISTICS)
        sum(value for value, _ in terms.values()).backward()  # type: ignore[union-attr]
        assert own.grad is not None and not own.grad[ignored].any()
        sums = Surface().sums({"logits": own.detach()}, given)["voxels"].tolist()
        found.append(({name: value.item() for name, (value, _) in terms.items()}, sums, own.grad))
    for values, sums, gradient in found[1:]:
        assert values == found[0][0] and sums == found[0][1] and torch.equal(gradient, found[0][2])


def test_rows_add_up() -> None:
    given, said = batch(), logits()
    whole = Surface().losses({"logits": said}, given, params(), STATISTICS)
    parts = [
        Surface().losses(
            {"logits": said[row]}, {name: value[row] for name, value in given.items()}, params(), STATISTICS
        )
        for row in (slice(0, 1), slice(1, 3))
    ]
    for name, (value, count) in whole.items():
        torch.testing.assert_close(sum(part[name][0] for part in parts), value)
        assert sum(part[name][1] for part in parts) == count


# ---- deep supervision


@pytest.mark.parametrize("levels", [1, 2])
def test_coarser_levels_weigh_half_as_much_each(levels: int) -> None:
    given, said, deep = batch(), logits(), logits(2, levels)
    each = [by_loops(said, given), *(by_loops(deep[:, level], given) for level in range(levels))]
    shares = [1, 0.5, 0.25][: levels + 1]
    expected = {name: np.average([one[name] for one in each], weights=shares) for name in each[0]}
    assert losses({"logits": said, "deep": deep}, given) == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize(("depth", "levels"), [(2, 0), (3, 1), (4, 2)])
def test_the_lowest_level_has_no_answer_and_the_first_is_the_net_s(depth: int, levels: int) -> None:
    chosen = params(model__depth=depth, model__deep_supervision=True, model__initial_filters=4, data__patch=SIDE)
    model = Surface().model(chosen, STATISTICS)
    given = batch()
    outputs = model.train()(given)
    assert outputs.get("deep", torch.empty(ROWS, 0)).shape[:2] == (ROWS, levels)
    assert set(model.eval()(given)) == {"logits"}
    plain = losses({"logits": outputs["logits"]}, given, chosen)
    assert (losses(outputs, given, chosen) == plain) == (levels == 0)


# ---- predictors that have learned nothing


@pytest.mark.parametrize(("name", "p"), [("majority", 0.99), ("constant", 0.66)])
def test_losses_of_what_has_learned_nothing(name: str, p: float) -> None:
    given = batch()
    outputs = Surface().reference(name, given, STATISTICS)
    assert outputs["logits"].shape == given["label"].shape
    assert torch.sigmoid(outputs["logits"]).unique().tolist() == pytest.approx([p])
    said = torch.full(given["label"].shape, float(np.log(p / (1 - p))))
    # a skeleton of what is the same everywhere is 0, but for rounding that the sum of a row adds up
    assert losses(outputs, given) == pytest.approx(by_loops(said, given), rel=1e-4)


def test_the_majority_may_be_background() -> None:
    few = {"voxels": torch.tensor([80.0, 20.0])}
    for name, p in (("majority", 0.01), ("constant", 0.2)):
        outputs = Surface().reference(name, batch(), few)
        assert torch.sigmoid(outputs["logits"]).unique().tolist() == pytest.approx([p])


@pytest.fixture(scope="module")
def thick(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    return open_arrays(Surface(), None, {"data.sheets": "thick"}, tmp_path_factory.mktemp("cache"))


def test_the_plateau_of_the_note_is_what_learns_nothing(thick: Arrays) -> None:
    """The note's training stood at 0.39 to 0.42, about what "mostly foreground" costs: here 0.37 to 0.43."""
    chosen = Params.from_flat(Surface().parameters() | BEFORE)
    rows = torch.arange(len(thick))
    statistics = Surface().statistics(thick, rows.numpy())
    found = {
        name: measure(model, Feed(thick, CPU).batches(rows.split(16)), Surface(), chosen, statistics, thick.info).values
        for name, model in references(Surface(), statistics).items()
    }
    # as measured; the windows are always the same, but for rounding in the filters that made them
    assert found["constant"]["loss"] == pytest.approx(0.372, abs=0.005)
    assert found["majority"]["loss"] == pytest.approx(0.428, abs=0.005)
    for values in found.values():
        assert values["foreground.predicted"] == 1 and values["foreground.true"] == pytest.approx(0.66, abs=0.01)


# ---- scores, tables


def test_scores_are_those_of_scikit_learn_over_what_is_labelled() -> None:
    given, said = batch(), logits()
    sums = {name: value.numpy() for name, value in Surface().sums({"logits": said}, given).items()}
    known = (given["label"] < 2).numpy()
    truth, predicted = given["label"].numpy()[known], (said > 0).numpy()[known]
    shares = {"foreground.predicted": predicted.mean(), "foreground.true": truth.mean()}
    assert Surface().score(sums, {}) == pytest.approx(
        {
            "dice": f1_score(truth, predicted),
            "iou": jaccard_score(truth, predicted),
            "foreground_error": abs(predicted.mean() - truth.mean()),
            **shares,
        }
    )
    table = np.asarray(precision_recall_fscore_support(truth, predicted)).T
    names = ("precision", "recall", "f1-score", "support")
    report = Surface().report(sums, {})
    for own, expected in zip(("background", "foreground"), table, strict=True):
        assert report[own] == pytest.approx(dict(zip(names, expected, strict=True)))


def test_scores_without_a_value_are_left_out() -> None:
    nothing = np.asarray([0.0, 0.0, 0.0, 50.0])  # no foreground, said or true
    found = Surface().score({"voxels": nothing}, {})
    assert found == {"foreground.predicted": 0, "foreground.true": 0, "foreground_error": 0}
    assert Surface().report({"voxels": nothing}, {})["foreground"] == {"support": 0}
    assert Surface().score({}, {}) == {}
    assert Surface().report({}, {}) == {"background": {"support": 0}, "foreground": {"support": 0}}


def test_the_table_says_how_much_of_a_window_is_foreground() -> None:
    given, said = batch(), logits()
    table = Surface().predict({"logits": said}, given, {})
    label = given["label"].numpy()
    assert table["labelled"].tolist() == [(row < 2).sum() for row in label]
    np.testing.assert_allclose(table["truth"][:2], [(row == 1).sum() / (row < 2).sum() for row in label[:2]], rtol=1e-6)
    assert np.isnan(table["truth"][2])
    np.testing.assert_allclose(table["prediction"], (said > 0).numpy().mean((1, 2, 3)), rtol=1e-6)


def test_examples_are_the_slices_with_most_foreground_as_a_screen_shows_them() -> None:
    given = batch() | {"volume": torch.tensor([1, 0, 1]), "corner": torch.tensor([[4, 0, 0], [0, 8, 0], [12, 0, 8]])}
    given["image"] = given["image"].to(torch.int16) * 100 - 2**15  # as of uint16
    given["label"][0, 6] = 1
    shown = Surface().examples({"logits": logits()}, given, {"volumes": [{"name": "a"}, {"name": "b"}]})
    assert shown["volume"].tolist() == ["b", "a", "b"]
    most = int((given["label"][1] == 1).sum((1, 2)).argmax())
    assert most != SIDE // 2, "or the test would not tell"
    at = [6, most, SIDE // 2]
    assert shown["slice"].tolist() == [4 + 6, most, 12 + SIDE // 2], "in the volume; the middle where there is none"
    np.testing.assert_array_equal(shown["truth"], given["label"][range(ROWS), at].numpy())
    assert shown["image"].dtype == np.uint8 and shown["image"].min() == 0 and shown["image"].max() == 255
    np.testing.assert_allclose(shown["probability"], torch.sigmoid(logits())[range(ROWS), at].numpy())


def test_of_slices_with_as_much_foreground_the_one_closest_to_the_middle_is_shown() -> None:
    given = batch() | {"volume": torch.tensor([0, 0, 0]), "corner": torch.zeros(ROWS, 3, dtype=torch.int64)}
    given["label"][:] = 0
    for row, slices in enumerate([[0, 1, 7], [0, 6], [2, 3, 4, 5]]):
        given["label"][row, slices] = 1
    shown = Surface().examples({"logits": logits()}, given, {"volumes": [{"name": "a"}]})
    assert shown["slice"].tolist() == [1, 6, SIDE // 2]


def test_of_large_windows_the_middle_of_the_slice_with_most_foreground_in_it_is_kept() -> None:
    side, edge = LARGEST + 16, 8
    label = torch.zeros(1, 5, side, side, dtype=torch.uint8)
    label[0, 1, edge - 1 : edge + 1] = 1  # two lines, of which one is seen
    label[0, 4, :edge] = 1
    image = torch.arange(side).expand(label.shape).to(torch.uint8)
    given = {"image": image, "label": label, "volume": torch.tensor([0]), "corner": torch.tensor([[3, 0, 0]])}
    shown = Surface().examples({"logits": image.float()}, given, {"volumes": [{"name": "a"}]})
    assert shown["slice"].tolist() == [3 + 1]
    np.testing.assert_array_equal(shown["truth"], label[:, 1, edge:-edge, edge:-edge].numpy())
    assert shown["image"].shape == shown["probability"].shape == (1, LARGEST, LARGEST)
    np.testing.assert_allclose(shown["probability"][0, 0], torch.sigmoid(torch.arange(edge, side - edge).float()))


def test_examples_are_drawn_from_every_volume_and_seldom_where_nothing_is_labelled(thick: Arrays) -> None:
    arrays = {"volume": np.asarray([0] * 90 + [1, 1, 2]), "labelled": np.asarray([5] * 90 + [5, 0, 0])}
    kinds = Surface().example_kinds(cast("Arrays", arrays))
    assert kinds.tolist() == [0] * 90 + [1, -1, -1]
    of_thick = np.asarray(thick["volume"])
    drawn = example_rows(Surface().example_kinds(thick), np.arange(len(thick)), seed=0)
    count = np.bincount(of_thick[drawn], minlength=len(thick.info["volumes"]))
    assert count.min() >= 1 and count.max() - count.min() <= 1


# ---- what does not fit


@pytest.mark.parametrize(
    ("patch", "depth", "halved", "multiple", "way"),
    [
        (30, 3, "2 times", 4, "28 or 32, or model.depth 2"),
        (20, 4, "3 times", 8, "16 or 24, or model.depth 3"),
        (17, 2, "1 time", 2, "16 or 18"),
        (48, 7, "6 times", 64, "64, or model.depth 5"),
    ],
)
def test_windows_that_cannot_be_halved_so_often(patch: int, depth: int, halved: str, multiple: int, way: str) -> None:
    """Of a study that names them, and of a trial whose search has drawn them."""
    wrong = params(data__patch=patch, model__depth=depth)
    expected = f"data.patch is {patch}, which cannot be halved {halved}: model.depth {depth} needs a multiple of "
    expected += f"{multiple}; set data.patch to {way}"
    assert Surface().contradiction(wrong) == expected
    with pytest.raises(DataError, match=f"^{re.escape(expected)}$"):
        Surface().model(wrong, STATISTICS)


def test_a_trained_net_stays_as_deep_as_it_is() -> None:
    """Where windows cannot be halved so often: to change those, as a study could, is no way out."""
    net = Surface().model(params(data__patch=32, model__depth=3), STATISTICS)
    trained = Trained(params=params(data__patch=32), statistics=STATISTICS, weights=net.state_dict())
    message = r"^the trained weights do not fit a network with model\.depth 3 -> 7: leave it as it was$"
    with pytest.raises(DataError, match=message):
        trained.network(Surface(), params(data__patch=32, model__depth=7), 0)


@pytest.mark.parametrize("depth", range(2, 8))
def test_windows_that_a_refusal_names_have_a_net(depth: int) -> None:
    for patch in range(8, 130):
        why = Surface().contradiction(params(data__patch=patch, model__depth=depth))
        sizes, _, depths = why.partition("; set data.patch to ")[2].partition(", or model.depth ")
        ways = [(int(size), depth) for size in sizes.split(" or ") if size]
        ways += [(patch, int(depths))] if depths else []
        assert bool(ways) == (patch % 2 ** (depth - 1) != 0)
        for size, levels in ways:
            assert not Surface().contradiction(params(data__patch=size, model__depth=levels))


def test_the_least_depth_that_a_study_may_ask_for_is_that_of_a_net() -> None:
    least = Surface.ranges["model.depth"][0]
    Surface().model(params(model__depth=least), STATISTICS)
    with pytest.raises(ValueError, match=r"model\.depth is at least 2"):
        Surface().model(params(model__depth=least - 1), STATISTICS)


def test_images_of_another_type_do_not_fit_a_model() -> None:
    said = Surface().misfit({"dtype": "uint16"}, {"dtype": "uint8"})
    assert said == "the images are uint16; the model was trained on uint8: save them as that"
    assert Surface().misfit({"dtype": "uint8"}, {"dtype": "uint8"}) == ""
