"""Expression: which emotion does a face show, and which of its muscles (action units) move?

One network answers both. Many faces have an emotion but no action units ("null": nobody coded them); their units are
masked, because a network that is told "no unit" for them learns to say it of everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor

from hpo.objective import Batch, DataError, Objective, Outputs, Params, Split, Sums, Term
from models.backbones import BACKBONES, load_backbone
from models.face import FaceNet
from objectives import images, losses, scaling, scores
from objectives.class_weights import RULES, class_weights
from objectives.expression import files as expression_files
from objectives.expression import names as expression_names
from objectives.expression import split as expression_split
from objectives.expression import synthetic as expression_synthetic
from objectives.expression.data import TEST, Faces

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hpo.arrays import ArrayFolder, Arrays

#: Sides of a picture in pixels: below, the backbone has nothing left to pool; above, no face needs it.
SMALLEST, LARGEST = 32, 1024


@final
class Expression(Objective):
    """Multi-task learning of emotions and action units from faces (files: see `objectives.expression.files`)."""

    name = "expression"
    version = 1
    prepare_keys = ("image_size", "minority_share")
    terms = ("emotion", "au")
    words = MappingProxyType(
        {
            "model.backbone": BACKBONES,
            "loss.null_au": ("mask", "drop", "negative"),
            "loss.unit_weights": tuple(RULES),
        }
    )
    ranges = MappingProxyType(
        {
            "data.image_size": (SMALLEST, LARGEST),
            "data.minority_share": (0, 1),
            "augment.flip": (0, 1),
            "augment.crop": (0, 0.99),
            "augment.rotation": (0, 180),
            "augment.colour": (0, None),
            "augment.erasing": (0, 1),
        }
    )
    scores = MappingProxyType(
        {
            **scores.CLASSIFICATION,
            "minority_f1": "maximize",
            "au_f1": "maximize",
            "au_f1.*": "maximize",
        }
    )
    defaults = MappingProxyType(
        {
            "data.batch_size": 32,
            #: Side of the square that every picture is fitted into, pixels.
            "data.image_size": 96,
            #: Classes with a smaller share of the labelled rows count in `minority_f1`.
            "data.minority_share": 0.05,
            "sampling.rare_threshold_share": 0.05,
            #: One of torchvision's ResNets: resnet18, resnet34, resnet50, resnet101, resnet152.
            "model.backbone": "resnet18",
            #: File with a state_dict of that ResNet to start from; nothing is ever downloaded. "" = random weights.
            "model.weights": "",
            "model.dropout": 0.0,
            #: Whether evidence for action units gates the features that the emotion is read off.
            "model.au_attention": False,
            #: Without action units: the single-task network to compare with.
            "model.emotion_only": False,
            "loss.emotion_weight": 1.0,
            "loss.au_weight": 1.0,
            #: Of faces without coded units: `mask` = they teach nothing about units; `drop` = they are not trained on;
            #: `negative` = read as "no unit", the mistake that makes AU-F1 0, to see what it costs.
            "loss.null_au": "mask",
            #: Focal exponent of the term emotion; 0 = cross entropy.
            "loss.focal_gamma": 0.0,
            #: Of the term emotion.
            "loss.label_smoothing": 0.0,
            #: Of the term emotion, from the training rows: none, inverse_share, odds, balanced, effective_number.
            "loss.class_weights": "none",
            #: Of yes and no of each unit, by the same rules: rare units are otherwise hardly ever said.
            "loss.unit_weights": "none",
            #: Probability of a mirror image.
            "augment.flip": 0.0,
            #: Largest share of the side that a random window leaves out.
            "augment.crop": 0.0,
            #: Largest rotation either way, degrees.
            "augment.rotation": 0.0,
            #: Largest change of brightness, contrast and saturation, as a share.
            "augment.colour": 0.0,
            #: Probability that a random rectangle is blanked.
            "augment.erasing": 0.0,
        }
    )

    def prepare(self, source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
        """Write faces, read or drawn.

        `image` uint8 `[rows, 3, side, side]`, RGB; `emotion` int64 `[rows]`, -1 = missing; `au` int64 `[rows, unit]`,
        1, 0 or -1 = nobody looked; `file` int64, number in `info["files"]`; where groups are known, `group` int64,
        number in `info["groups"]`; where a partition is known, `part` int64 (see `objectives.expression.data`).
        """
        side = int(data["image_size"])
        faces = expression_synthetic.generate() if source is None else expression_files.read(source)
        image = folder.create("image", (len(faces.file), 3, side, side), np.uint8)
        for row, picture in enumerate(faces.pictures(side)):
            image[row] = picture
        image.flush()
        folder.add("emotion", faces.emotion)
        folder.add("au", faces.units)
        folder.add("file", np.arange(len(faces.file)))
        info: dict[str, Any] = {"classes": list(faces.classes), "units": list(faces.unit_names)}
        info |= {"files": faces.file.tolist(), "synthetic": source is None, "notes": list(faces.notes)}
        info |= {"minority": _minority(faces, data["minority_share"])}
        info |= {"minority_share": data["minority_share"], "unlabelled": faces.unlabelled}
        if faces.group is not None:
            groups, number = np.unique(faces.group, return_inverse=True)
            folder.add("group", number.astype(np.int64))
            info["groups"] = groups.tolist()
        if faces.part is not None:
            folder.add("part", faces.part)
        return info

    def split(self, arrays: Arrays, folds: int, seed: int) -> Split:
        """See `objectives.expression.split`."""
        return expression_split.split(arrays, folds, seed)

    def labels(self, arrays: Arrays) -> np.ndarray:
        """The emotion."""
        return np.asarray(arrays["emotion"])

    def training_rows(self, arrays: Arrays, rows: np.ndarray, params: Params) -> np.ndarray:
        """All, or with `loss.null_au: drop` those with action units; all where the data have none at all."""
        if params.loss["null_au"] != "drop" or not (arrays["au"] >= 0).any():
            return rows
        coded = rows[(arrays["au"][rows] >= 0).any(axis=1)]
        if not len(coded):
            raise DataError(f"loss.null_au: drop leaves none of {len(rows)} training rows, all are null; use mask")
        return coded

    def statistics(self, arrays: Arrays, rows: np.ndarray) -> dict[str, Tensor]:
        """`mean` and `std` `[3]` of the training images' channels, 0 to 1; rows of each class and unit.

        `class_rows` float32 `[class]`; `unit_rows` float32 `[unit, 2]`, coded rows without and with the unit.
        """
        mean, std = scaling.channels_mean_std(arrays["image"], rows)
        emotion, au = self.labels(arrays)[rows], arrays["au"][rows]
        counts = np.bincount(emotion[emotion >= 0], minlength=len(arrays.info["classes"]))
        return {
            "mean": mean,
            "std": std,
            "class_rows": torch.from_numpy(counts.astype(np.float32)),
            "unit_rows": torch.from_numpy(np.stack([(au == k).sum(0) for k in (0, 1)], axis=1).astype(np.float32)),
        }

    def model(self, params: Params, statistics: Mapping[str, Tensor]) -> torch.nn.Module:
        """A ResNet with two heads, that scales its input itself."""
        p, classes = params.model, len(statistics["class_rows"])
        units = 0 if p["emotion_only"] else len(statistics["unit_rows"])
        scale = (statistics["mean"], statistics["std"])
        return FaceNet(p["backbone"], classes, units, p["dropout"], *scale, au_attention=p["au_attention"])

    def initialise(self, model: torch.nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Take over the backbone of a torchvision state_dict."""
        assert isinstance(model, FaceNet)
        try:
            load_backbone(model.backbone, weights)
        except ValueError as error:
            raise DataError(f"model.weights does not fit model.backbone: {error}") from None

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """Mirror, crop, turn, recolour and blank a part, each face by draws of its own."""
        strengths = images.Strengths(**params.augment)
        return {**batch, "image": images.augmented(batch["image"], strengths, generator)}

    def losses(
        self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, Tensor]
    ) -> dict[str, Term]:
        """Focal cross entropy of the emotion; binary cross entropy of the units.

        The term au is the mean over the rows with units, scaled by their share of the batch (the note's fix 1): its sum
        over those rows is divided by the entries of all rows. A batch without any adds nothing, nor to the count: a
        split without any has no value.
        """
        focal = (params.loss["focal_gamma"], params.loss["label_smoothing"])
        weights = class_weights(statistics["class_rows"], params.loss["class_weights"])
        emotion = losses.focal_cross_entropy(outputs["emotion"], batch["emotion"], *focal, weights)
        return {"emotion": emotion, "au": self._au(outputs, batch, params, statistics["unit_rows"])}

    def _au(self, outputs: Outputs, batch: Batch, params: Params, rows: Tensor) -> Term:
        nothing = outputs["emotion"].new_zeros(())
        if "au" not in outputs:
            return nothing, nothing
        target = batch["au"]
        if params.loss["null_au"] == "negative":
            target = target.clamp_min(0)
        weights = torch.vmap(lambda unit: class_weights(unit, params.loss["unit_weights"]))(rows)
        value, _ = losses.binary_focal(outputs["au"], target, class_weights=weights.T)
        return value, (target >= 0).any() * (nothing + target.numel())

    def sums(self, outputs: Outputs, batch: Batch) -> Sums:
        """`confusion` `[class, class]`; with a head for them `au` `[4, unit]`, outcomes over the rows with units."""
        sums = {"confusion": scores.confusion(outputs["emotion"], batch["emotion"])}
        return sums | ({"au": scores.binary_counts(outputs["au"], batch["au"])} if "au" in outputs else {})

    def score(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, float]:
        """The F1 family of the emotions, that of the minority classes, and F1 of the units that occur."""
        found = scores.classification_scores(np.asarray(sums["confusion"]), info["classes"])
        rare = [found[f"f1.{name}"] for name in info["minority"] if f"f1.{name}" in found]
        found |= {"minority_f1": float(np.mean(rare))} if rare else {}
        units = _unit_f1(sums, info)
        found |= {"au_f1": float(np.mean(list(units.values())))} if units else {}
        return found | {f"au_f1.{name}": value for name, value in units.items()}

    def report(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and support of each emotion."""
        return scores.classification_report(np.asarray(sums["confusion"]), info["classes"])

    def predict(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """`truth`, `prediction` and `p.CLASS`; of each unit `truth.UNIT`, `prediction.UNIT` and `p.UNIT`.

        A unit is said where its probability is above a half; its truth is NaN where nobody looked.
        """
        probability = torch.softmax(outputs["emotion"], -1).float().cpu().numpy()
        names = np.asarray([*info["classes"], ""])  # the last one answers to -1
        columns = {"truth": names[batch["emotion"].cpu().numpy()], "prediction": names[probability.argmax(1)]}
        columns |= {f"p.{name}": probability[:, k] for k, name in enumerate(info["classes"])}
        if "au" not in outputs:
            return columns
        au = torch.sigmoid(outputs["au"]).float().cpu().numpy()
        label = batch["au"].cpu().numpy()
        if label.shape != au.shape:  # pictures without label files name no units
            label = np.full(au.shape, -1)
        for k, name in enumerate(info["units"]):
            columns[f"truth.{name}"] = np.where(label[:, k] >= 0, label[:, k], np.nan)
            columns |= {f"prediction.{name}": (au[:, k] > 0.5).astype(np.int64), f"p.{name}": au[:, k]}
        return columns

    def examples(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The predictions, and the faces, uint8 `[rows, 3, side, side]`."""
        return self.predict(outputs, batch, info) | {"image": batch["image"].cpu().numpy()}

    def figures(
        self, predictions: Mapping[str, np.ndarray], examples: Mapping[str, np.ndarray], info: Mapping[str, Any]
    ) -> list[tuple[str, str, go.Figure]]:
        """See `objectives.expression.figures`."""
        from objectives.expression import figures as expression_figures  # and with it plotly, which no worker needs

        return expression_figures.figures(predictions, examples, info)

    def identify(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """The file of the picture, and its group where groups are known."""
        columns = {"file": np.asarray(arrays.info["files"])[arrays["file"]]}
        if "groups" in arrays.info:
            columns["group"] = np.asarray(arrays.info["groups"])[arrays["group"]]
        return columns

    def misfit(self, info: Mapping[str, Any], trained: Mapping[str, Any]) -> str:
        """Classes and units are numbered by their names: other names, other numbers; pictures alone name none."""
        if info.get("unlabelled"):
            return ""
        for what, key in (("emotions", "classes"), ("action units", "units")):
            if differ := expression_names.difference(info[key], trained[key]):
                return (
                    f"the {what} are not those of the model ({differ}); name the same ones in the same order in "
                    "classes.json, or give a folder of images alone to predict on"
                )
        return ""

    def counts(self, arrays: Arrays) -> dict[str, dict[str, int]]:
        """Rows per class, faces that show each unit, and rows without a label."""
        au = arrays["au"]
        active = dict(zip(arrays.info["units"], (au == 1).sum(0).tolist(), strict=True))
        null = int((au < 0).all(axis=1).sum())
        missing = {"action units": null, "emotion": int((self.labels(arrays) < 0).sum())}
        return {**super().counts(arrays), "action unit": active, "missing label": missing}


def _minority(faces: Faces, share: float) -> list[str]:
    """Names of the classes that occur, in less than `share` of the labelled rows; the test part is not looked at."""
    labelled = (faces.emotion >= 0) & (True if faces.part is None else faces.part != TEST)
    counts = np.bincount(faces.emotion[labelled], minlength=len(faces.classes))
    return [name for name, count in zip(faces.classes, counts, strict=True) if 0 < count < share * counts.sum()]


def _unit_f1(sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, float]:
    """F1 of each unit that some row with units shows."""
    if "au" not in sums:
        return {}
    found = {
        name: scores.binary_f1(counts) for name, counts in zip(info["units"], np.asarray(sums["au"]).T, strict=True)
    }
    return {name: value for name, value in found.items() if value is not None}
