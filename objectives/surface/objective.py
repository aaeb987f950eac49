"""Surface: which voxels of a volume belong to a thin surface, a papyrus sheet of a scroll or the wall of a cell?

A row is a cubic window of a volume. Windows are drawn and trained on; validation slides a window over whole volumes and
scores these. The classes of this objective are how much foreground a window holds: by them windows are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor

from hpo.objective import Batch, DataError, Objective, Outputs, Params, Split, Sums, Term, Whole
from models.unet3d import ENCODERS, UNet3d, factor
from objectives import losses, region_losses, scores, volume_augmentation
from objectives.class_weights import class_weights
from objectives.surface import arrays as surface_arrays
from objectives.surface import examples as surface_examples
from objectives.surface import split as surface_split
from objectives.surface import statistics as surface_statistics
from objectives.surface.blending import SCORES, Blended
from objectives.surface.data import FOREGROUND, IGNORED
from objectives.surface.synthetic import VARIANTS

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hpo.arrays import ArrayFolder, Arrays

#: How sure the predictor is that always says the majority: a probability of 0 or 1 would have an infinite loss.
SURE = 0.99
#: Weight of each coarser level that answers, as a share of that of the level above it (Isensee et al. 2021).
COARSER = 0.5


@final
class Surface(Objective):
    """Segmentation of thin surfaces in volumes (files: see `objectives.surface.files`)."""

    name = "surface"
    version = 2
    prepare_keys = surface_arrays.KEYS
    references = ("majority", "constant")
    predicts_classes = False
    terms = ("dice", "focal", "boundary", "cldice", "connectivity")
    words = MappingProxyType({"data.sheets": VARIANTS, "model.encoder": ENCODERS})
    ranges = MappingProxyType(
        {
            "data.patch": (8, 512),
            "data.overlap": (0, 0.9),
            "model.initial_filters": (1, None),
            "model.depth": (2, 7),
            "loss.focal_alpha": (0, 1),
            "loss.skeleton_steps": (1, 20),
            "augment.flip": (0, 1),
            "augment.rotate": (0, 1),
            "augment.brightness": (0, None),
            "augment.contrast": (0, 1),
            "augment.noise": (0, None),
            "augment.elastic": (0, 3),
        }
    )
    scores = MappingProxyType(
        {
            "dice": "maximize",
            "iou": "maximize",
            **dict.fromkeys(SCORES, "maximize"),
            "component_error": "minimize",
            "foreground_error": "minimize",
        }
    )
    shares = ("foreground.*",)
    defaults = MappingProxyType(
        {
            #: Windows.
            "data.batch_size": 4,
            #: Voxels along each edge of a window, and the least share of it that the next one covers again.
            "data.patch": 32,
            "data.overlap": 0.5,
            #: Of made-up volumes: `thick`, 66 % foreground as in the note, or `thin`; no matter where data are named.
            "data.sheets": "thick",
            "model.initial_filters": 16,
            #: Levels of the U-Net; a window is halved on each but the first.
            "model.depth": 3,
            #: `plain`, or `residual` blocks on the way down.
            "model.encoder": "plain",
            #: Whether coarser levels answer too, and are trained on the labels.
            "model.deep_supervision": False,
            "model.dropout": 0.0,
            "loss.dice_weight": 0.3,
            "loss.focal_weight": 0.4,
            "loss.boundary_weight": 0.15,
            "loss.cldice_weight": 0.1,
            "loss.connectivity_weight": 0.05,
            "loss.focal_gamma": 2.0,
            #: Of the foreground, the positive class, as in torchvision: background has 0.66, see `losses`.
            "loss.focal_alpha": 0.34,
            #: Weights of background and foreground in the term focal, see `objectives.class_weights`.
            "loss.class_weights": "none",
            #: Erosions of the soft skeleton: half the thickness of the thickest surface.
            "loss.skeleton_steps": 3,
            #: One draw per window, see `objectives.volume_augmentation`.
            "augment.flip": 0.0,
            "augment.rotate": 0.0,
            "augment.brightness": 0.0,
            "augment.contrast": 0.0,
            "augment.noise": 0.0,
            "augment.elastic": 0.0,
        }
    )

    def prepare(self, source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
        """See `objectives.surface.arrays`."""
        return surface_arrays.prepare(source, data, folder)

    def split(self, arrays: Arrays, folds: int, seed: int) -> Split:
        """See `objectives.surface.split`."""
        return surface_split.split(arrays, folds, seed)

    def labels(self, arrays: Arrays) -> np.ndarray:
        """How much foreground a window holds, a number in `objectives.surface.arrays.STRATA`."""
        return np.asarray(arrays["stratum"])

    def training_rows(self, arrays: Arrays, rows: np.ndarray, params: Params) -> np.ndarray:
        """Windows with a labelled voxel."""
        labelled = arrays["labelled"][rows] > 0
        if not labelled.any():
            raise DataError(f"none of {len(rows)} training windows has a labelled voxel")
        return rows[labelled]

    def statistics(self, arrays: Arrays, rows: np.ndarray) -> dict[str, Tensor]:
        """See `objectives.surface.statistics`."""
        return surface_statistics.statistics(arrays, rows)

    def contradiction(self, params: Params) -> str:
        """Windows that cannot be halved as often as the net is deep."""
        patch, depth = params.data["patch"], params.model["depth"]
        unit, least = factor(depth), self.ranges["data.patch"][0]
        if patch % unit == 0:
            return ""
        below = patch // unit * unit
        fitting = " or ".join(str(size) for size in (below, below + unit) if size >= least)
        possible = (patch & -patch).bit_length()  # levels: one more than the patch has factors of 2
        shallower = f", or model.depth {possible}" if possible >= self.ranges["model.depth"][0] else ""
        why = f"data.patch is {patch}, which cannot be halved {depth - 1} time{'s' * (depth > 2)}: model.depth {depth}"
        return f"{why} needs a multiple of {unit}; set data.patch to {fitting}{shallower}"

    def model(self, params: Params, statistics: Mapping[str, Tensor]) -> torch.nn.Module:
        """A 3-D U-Net that scales its input itself.

        Raises:
            DataError: windows cannot be halved so often.
        """
        if why := self.contradiction(params):
            raise DataError(why)
        p = params.model
        shape = (p["initial_filters"], p["depth"], p["encoder"], p["dropout"], p["deep_supervision"])
        return UNet3d(*shape, statistics["pixels"])

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """Mirror, turn, bend and recolour each window by a draw of its own (`objectives.volume_augmentation`)."""
        strengths = volume_augmentation.Strengths(**params.augment)
        image, label = volume_augmentation.augmented(batch["image"], batch["label"], strengths, generator)
        return {**batch, "image": image, "label": label}

    def losses(
        self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, Tensor]
    ) -> dict[str, Term]:
        """Dice, focal, boundary, clDice and connectivity terms of windows (`objectives.region_losses`).

        The focal term is torchvision's: `focal_alpha` weighs the positive class, which is foreground here, and 1 minus
        it background. With 0.34 the minority of the note, background, weighs 0.66, as the note intends.

        Where coarser levels answer in training, each term is the mean over the levels, each weighed half as much as the
        one above it.
        """
        target = _target(batch)
        weights = class_weights(statistics["voxels"], params.loss["class_weights"])
        found = _terms(outputs["logits"], target, params, weights)
        if "deep" not in outputs:
            return found
        levels = [found, *(_terms(logits, target, params, weights) for logits in outputs["deep"].unbind(1))]
        shares = [COARSER**level for level in range(len(levels))]

        def mean(name: str) -> Tensor:
            parts = [share * one[name][0] for share, one in zip(shares, levels, strict=True)]
            return torch.stack(parts).sum(0) / sum(shares)

        return {name: (mean(name), count) for name, (_, count) in found.items()}

    def sums(self, outputs: Outputs, batch: Batch) -> Sums:
        """`voxels` `[4]`: outcomes over the labelled voxels of windows, as of `objectives.scores.binary_counts`."""
        return {"voxels": scores.binary_counts(outputs["logits"].flatten(), _target(batch).flatten())}

    def whole(self, arrays: Arrays, folder: Path | None = None) -> Whole:
        """See `objectives.surface.blending`."""
        return Blended(arrays, folder)

    def reference(self, name: str, batch: Batch, statistics: Mapping[str, Tensor]) -> Outputs:
        """`majority` is SURE of the more frequent class everywhere, `constant` says the share of foreground."""
        share = surface_statistics.share(statistics)
        if name == "majority":
            share = torch.where(share > 0.5, SURE, 1 - SURE)
        return {"logits": torch.logit(share).expand(batch["label"].shape)}

    def score(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, float]:
        """Dice, IoU and shares of foreground over all voxels; of whole volumes the mean of each of SCORES."""
        found: dict[str, float] = {}
        if "voxels" in sums and (count := float(np.sum(sums["voxels"]))):
            hits, invented, missed, _ = (float(value) for value in sums["voxels"])
            if hits + invented + missed:
                found |= {"dice": 2 * hits / (2 * hits + invented + missed), "iou": hits / (hits + invented + missed)}
            said, true = (hits + invented) / count, (hits + missed) / count
            found |= {"foreground.predicted": said, "foreground.true": true, "foreground_error": abs(said - true)}
        if "volumes" in sums:
            pairs = zip(SCORES, np.asarray(sums["volumes"]), strict=True)
            found |= {name: float(total / count) for name, (total, count) in pairs if count}
        return found

    def report(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and support, in voxels, of background and foreground."""
        # where every voxel of the validation volumes is ignored there are no sums
        hits, invented, missed, rest = (float(value) for value in sums.get("voxels", np.zeros(4)))
        each = {"background": (rest, missed, invented), "foreground": (hits, invented, missed)}
        return {name: _precision_recall(*outcomes) for name, outcomes in each.items()}

    def predict(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Shares of foreground in each window, `truth` (NaN = nothing is labelled) and `prediction`, before blending.

        What becomes of volumes are files (`hpo predict --files`); their scores stand in the table (`Blended.columns`).
        """
        known = batch["label"] != IGNORED
        labelled = known.sum((1, 2, 3))
        true = ((batch["label"] == FOREGROUND).sum((1, 2, 3)) / labelled).cpu().numpy()
        said = (outputs["logits"] > 0).float().mean((1, 2, 3)).cpu().numpy()
        return {"labelled": labelled.cpu().numpy(), "truth": true, "prediction": said}

    def examples(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """See `objectives.surface.examples`."""
        return surface_examples.examples(outputs, batch, info)

    def example_kinds(self, arrays: Arrays) -> np.ndarray:
        """The volume, so that no large one crowds out the others; -1 for all windows in which nothing is labelled."""
        return np.where(arrays["labelled"] > 0, arrays["volume"], -1)

    def figures(
        self, predictions: Mapping[str, np.ndarray], examples: Mapping[str, np.ndarray], info: Mapping[str, Any]
    ) -> list[tuple[str, str, go.Figure]]:
        """See `objectives.surface.figures`."""
        from objectives.surface import figures as surface_figures  # and with it plotly, which no worker needs

        return surface_figures.figures(predictions, examples, info)

    def identify(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """The volume, its group, and the first slice, line and column of the window."""
        names, groups = (np.asarray([about[key] for about in arrays.info["volumes"]]) for key in ("name", "group"))
        places = zip(("slice", "line", "column"), np.asarray(arrays["corner"]).T, strict=True)
        return {"volume": names[arrays["volume"]], "group": groups[arrays["volume"]], **dict(places)}

    def misfit(self, info: Mapping[str, Any], trained: Mapping[str, Any]) -> str:
        """Brightness of other units means something else."""
        if info["dtype"] == trained["dtype"]:
            return ""
        return f"the images are {info['dtype']}; the model was trained on {trained['dtype']}: save them as that"

    def counts(self, arrays: Arrays) -> dict[str, dict[str, int]]:
        """Windows by their share of foreground, by group; labelled voxels of each class, in all windows."""
        windows = np.bincount(arrays["group"], minlength=len(arrays.info["groups"]))
        foreground, labelled = int(arrays["foreground"].sum()), int(arrays["labelled"].sum())
        return {
            "foreground in a window": super().counts(arrays)["class"],
            "group": dict(zip(arrays.info["groups"], windows.tolist(), strict=True)),
            "voxels in windows": {"background": labelled - foreground, "foreground": foreground},
        }


def _target(batch: Batch) -> Tensor:
    """int64, 1 = foreground, 0 = background, -1 = ignored."""
    label = batch["label"].long()
    return torch.where(label == IGNORED, -1, label)


def _terms(logits: Tensor, target: Tensor, params: Params, weights: Tensor) -> dict[str, Term]:
    p = params.loss
    return {
        "dice": region_losses.dice(logits, target),
        "focal": losses.binary_focal(logits, target, p["focal_gamma"], p["focal_alpha"], class_weights=weights),
        "boundary": region_losses.boundary(logits, target),
        "cldice": region_losses.cldice(logits, target, p["skeleton_steps"]),
        "connectivity": region_losses.connectivity(logits, target),
    }


def _precision_recall(hits: float, invented: float, missed: float) -> dict[str, float]:
    """Of one class; what has no value is left out."""
    found = {
        "precision": (hits, hits + invented),
        "recall": (hits, hits + missed),
        "f1-score": (2 * hits, 2 * hits + invented + missed),
    }
    return {name: part / whole for name, (part, whole) in found.items() if whole} | {"support": hits + missed}
