"""Digits: which digit does an 8 x 8 scan show, where some digits are rare?

The data are scikit-learn's bundled copy of the UCI optical digits test set (Alpaydin and Kaynak 1998; 1797 scans, about
180 per digit), so that a first study needs no download. They are made imbalanced by a fixed recipe, because focal
gamma, boosting of rare rows and label smoothing have nothing to do on balanced data:

1. A fifth of each digit is set aside as test rows, balanced.
2. Of the others, digit k keeps a share 1 - 0.925 k / 9: about 18 % of the rows are zeros and 1.4 % are nines.
3. Every scan gets noise of NOISE times full ink, clipped to 0..1. Clean scans are too easy: several configurations
   reach a macro F1 of exactly 1 on a validation part, and a search cannot tell them apart.

The draws are seeded by a constant: every study sees the same data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from hpo.objective import Batch, DataError, Objective, Outputs, Params, Split, Sums, Term
from models.digits import DigitNet
from objectives import losses, scores, splits
from objectives.class_weights import class_weights

if TYPE_CHECKING:
    from hpo.arrays import ArrayFolder, Arrays

CLASSES = [str(digit) for digit in range(10)]
TEST_SHARE = 0.2
LEAST_KEPT = 0.075  #: share of the nines that stay
NOISE = 0.15  #: standard deviation, in units of full ink
RECIPE_SEED = 8  #: of test rows, thinning and noise
SIDE = 8  #: pixels


@final
class Digits(Objective):
    """Classify scanned digits; small enough for a study of 30 trials in a minute on two cores."""

    name = "digits"
    version = 1
    terms = ("class",)
    mixed = ("image",)
    scores = scores.CLASSIFICATION
    ranges = MappingProxyType({"augment.shift": (0, None), "augment.noise": (0, None)})
    defaults = MappingProxyType(
        {
            "data.batch_size": 64,
            #: Eights (3 %) and nines (1.4 %) are rare here; the usual 2 % would leave the eights out.
            "sampling.rare_threshold_share": 0.05,
            #: Channels of the first convolution; a multiple of 8.
            "model.width": 16,
            "model.dropout": 0.1,
            "loss.class_weight": 1.0,
            #: Focal exponent; 0 = cross entropy.
            "loss.focal_gamma": 0.0,
            "loss.label_smoothing": 0.0,
            #: From the training rows: none, inverse_share, odds, balanced, effective_number.
            "loss.class_weights": "none",
            #: Largest random translation in pixels, each way; 0 = off.
            "augment.shift": 0.0,
            #: Standard deviation of Gaussian noise, in units of full ink; 0 = off.
            "augment.noise": 0.0,
            #: Alpha of mixup; 0 = off.
            "augment.mixup": 0.0,
        }
    )

    def prepare(self, source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
        """Write `image` float32 `[rows, 1, 8, 8]` (0 paper to 1 ink) and `target` int64 `[rows]`; test rows first."""
        from sklearn.datasets import load_digits  # half a second that only the first worker of a cache pays

        if source is not None:
            raise DataError(f"{source}: the objective 'digits' brings its own data; leave the data path out")
        images, target = load_digits(return_X_y=True)
        generator = np.random.default_rng(RECIPE_SEED)
        test, kept = _imbalanced(target, generator)
        rows = np.concatenate([test, kept])
        ink = images[rows].reshape(-1, 1, SIDE, SIDE) / 16.0
        noisy = np.clip(ink + NOISE * generator.standard_normal(ink.shape), 0.0, 1.0)
        folder.add("image", noisy.astype(np.float32))
        folder.add("target", target[rows].astype(np.int64))
        return {"classes": CLASSES, "test_rows": len(test), "source": "sklearn.datasets.load_digits"}

    def split(self, arrays: Arrays, folds: int, seed: int) -> Split:
        """Folds with equal class shares; the test rows are those of the recipe, whatever the seed."""
        test_rows = int(arrays.info["test_rows"])
        number = np.full(len(arrays), splits.TEST)
        number[test_rows:] = splits.stratified_folds(arrays["target"][test_rows:], folds, seed, CLASSES)
        return splits.to_split(number, folds)

    def labels(self, arrays: Arrays) -> np.ndarray:
        """The digit of each row; every row has one."""
        return np.asarray(arrays["target"])

    def statistics(self, arrays: Arrays, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """`mean` and `std` of all pixels of the training images, 0-d float32; `class_rows` `[10]`."""
        images, counts = arrays["image"][rows], np.bincount(arrays["target"][rows], minlength=len(CLASSES))
        pixels = {"mean": torch.tensor(float(images.mean())), "std": torch.tensor(float(images.std()))}
        return {**pixels, "class_rows": torch.from_numpy(counts.astype(np.float32))}

    def model(self, params: Params, statistics: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        """A net of three convolutions that scales its input itself."""
        width, dropout = params.model["width"], params.model["dropout"]
        return DigitNet(len(CLASSES), width, dropout, statistics["mean"], statistics["std"])

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """Translate each image by up to `shift` pixels and add noise of `noise`.

        A translation by a fraction of a pixel interpolates linearly, so that the strength acts continuously.
        """
        image = batch["image"]
        rows, device = image.shape[0], image.device
        draw = torch.rand((2, rows), generator=generator, device=generator.device).to(device, image.dtype)
        noise = torch.randn(image.shape, generator=generator, device=generator.device).to(device, image.dtype)
        down, right = (2 * draw - 1) * params.augment["shift"]
        moved = _shift_matrix(down) @ image @ _shift_matrix(right).transpose(-1, -2)
        return {**batch, "image": moved + noise * params.augment["noise"]}

    def losses(
        self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, torch.Tensor]
    ) -> dict[str, Term]:
        """Focal cross entropy."""
        focal = (params.loss["focal_gamma"], params.loss["label_smoothing"])
        weights = class_weights(statistics["class_rows"], params.loss["class_weights"])
        return {"class": losses.focal_cross_entropy(outputs["logits"], batch["target"], *focal, weights)}

    def sums(self, outputs: Outputs, batch: Batch) -> Sums:
        """The confusion matrix, `confusion` `[10, 10]`, truth down."""
        return {"confusion": scores.confusion(outputs["logits"], batch["target"])}

    def score(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, float]:
        """The F1 family."""
        return scores.classification_scores(np.asarray(sums["confusion"]), info["classes"])

    def report(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and support of each digit."""
        return scores.classification_report(np.asarray(sums["confusion"]), info["classes"])

    def predict(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """`truth`, `prediction` and the probability of each class, `p.NAME`."""
        probability = torch.softmax(outputs["logits"], -1).float().cpu().numpy()
        names = np.asarray(info["classes"])
        columns = {"truth": names[batch["target"].cpu().numpy()], "prediction": names[probability.argmax(1)]}
        return columns | {f"p.{name}": probability[:, k] for k, name in enumerate(info["classes"])}


def _imbalanced(target: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the test set and of the rows that stay for the folds, both ascending."""
    test, kept = [], []
    for digit in range(10):
        rows = generator.permutation(np.flatnonzero(target == digit))
        tested = round(TEST_SHARE * len(rows))
        share = 1 - (1 - LEAST_KEPT) * digit / 9
        test.append(rows[:tested])
        kept.append(rows[tested : tested + round(share * (len(rows) - tested))])
    return np.sort(np.concatenate(test)), np.sort(np.concatenate(kept))


def _shift_matrix(pixels: torch.Tensor) -> torch.Tensor:
    """`[rows, 1, 8, 8]` matrices that move an axis of 8 pixels by `pixels` `[rows]`, interpolating linearly.

    Entry (i, j) is the weight of old pixel j in new pixel i, `1 - |i - pixels - j|` where positive; what comes in
    from outside is 0. Exactly the identity for 0, and arithmetic only, so that a lane may bring its own strength.
    """
    position = torch.arange(SIDE, dtype=pixels.dtype, device=pixels.device)
    distance = position[:, None] - pixels[:, None, None, None] - position
    return (1 - distance.abs()).clamp_min(0)
