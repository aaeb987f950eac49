"""Grimace: how much pain does an animal's face show in a video, and which of its features move?

One network scores the whole clip and its features. A row is a video; scores that nobody gave are masked. The classes of
this objective are the moments of a recording, M0 to M4: rows are drawn, weighed and scored by them.
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
from models.backbones import load_backbone
from models.clip import ENCODERS, ClipNet
from objectives import colour_clips, losses, scores
from objectives.grimace import arrays as grimace_arrays
from objectives.grimace import split as grimace_split
from objectives.grimace import statistics as grimace_statistics
from objectives.grimace.data import MOMENTS
from objectives.grimace.feature_weights import feature_weights

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hpo.arrays import ArrayFolder, Arrays

#: Frames of a clip that the report shows.
SHOWN = 4


@final
class Grimace(Objective):
    """Multi-task regression of pain and of the face's features from video (files: see `objectives.grimace.files`)."""

    name = "grimace"
    version = 1
    prepare_keys = grimace_arrays.KEYS
    terms = ("score", "features")
    words = MappingProxyType(
        {"data.fit": ("stretch", "pad"), "data.frames": ("even", "event"), "model.encoder": ENCODERS}
    )
    ranges = MappingProxyType(
        {
            "data.max_frames": (2, None),
            "data.resolution": (32, 512),
            "data.first_frame": (0, None),
            "data.last_frame": (0, None),
            "data.event_frame": (0, None),
            "model.width": (1, None),
            "model.lstm_hidden": (1, None),
            "loss.huber_delta": (0.01, None),
            **{f"loss.{moment}_weight": (0, None) for moment in MOMENTS},
            **{f"augment.{moment}_factor": (0, None) for moment in MOMENTS},
            "augment.flip": (0, 1),
            "augment.brightness": (0, 1),
            "augment.contrast": (0, 1),
            "augment.saturation": (0, 1),
            "augment.hue": (0, 0.5),
            "augment.rotation": (0, 180),
            "augment.translate": (0, 1),
            "augment.scale": (0, 0.9),
            "augment.blur": (0, None),
        }
    )
    scores = MappingProxyType(
        {
            "r2": "maximize",
            "mae": "minimize",
            "rmse": "minimize",
            "correlation": "maximize",
            "mae.*": "minimize",
            "mae_ratio": "minimize",
            "r2.*": "maximize",
            "r.*": "maximize",
        }
    )
    defaults = MappingProxyType(
        {
            #: Clips.
            "data.batch_size": 8,
            #: Frames of a clip, and the side of the square that they are scaled to: `objectives.grimace.data.Wanted`.
            "data.max_frames": 32,
            "data.resolution": 112,
            "data.fit": "stretch",
            #: `even`, from `first_frame` to before `last_frame` (0 = the end), or `event`: those around it.
            "data.frames": "even",
            "data.first_frame": 0,
            "data.last_frame": 0,
            #: Of videos of which labels.csv has no `event`.
            "data.event_frame": 0,
            #: `small` suits a CPU; resnet18, resnet34, ... of torchvision.
            "model.encoder": "small",
            #: Channels of the small encoder's first layer.
            "model.width": 32,
            "model.lstm_hidden": 256,
            "model.dropout": 0.5,
            #: Whether the LSTM is also told where the picture has changed since the frame before.
            "model.motion": False,
            #: File of weights for the encoder, such as torchvision's of a resnet; "" = random ones.
            "model.weights": "",
            "loss.score_weight": 1.0,
            "loss.features_weight": 0.5,
            #: Error, in standard deviations of the training rows, from which on it counts linearly.
            "loss.huber_delta": 1.0,
            #: Focal-R: how much small errors are discounted; 0 = not. What a focal loss of classes is to regression.
            "loss.focal_gamma": 0.0,
            #: Weight of the clips of each moment, in both terms; 1 where it is not said.
            **{f"loss.{moment}_weight": 1.0 for moment in MOMENTS},
            #: Weights of features by name, such as "ears_frontal=2, nose_bulge=0.5"; 1 for the others.
            "loss.feature_weights": "",
            #: One draw per clip, for all its frames, see `objectives.colour_clips`.
            "augment.flip": 0.0,
            "augment.brightness": 0.0,
            "augment.contrast": 0.0,
            "augment.saturation": 0.0,
            "augment.hue": 0.0,
            "augment.rotation": 0.0,
            "augment.translate": 0.0,
            "augment.scale": 0.0,
            "augment.blur": 0.0,
            #: By what all of these but the flip are multiplied for the clips of each moment.
            **{f"augment.{moment}_factor": 1.0 for moment in MOMENTS},
        }
    )

    def prepare(self, source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
        """See `objectives.grimace.arrays`."""
        return grimace_arrays.prepare(source, data, folder)

    def split(self, arrays: Arrays, folds: int, seed: int) -> Split:
        """See `objectives.grimace.split`."""
        return grimace_split.split(arrays, folds, seed)

    def labels(self, arrays: Arrays) -> np.ndarray:
        """The moment of a clip; -1 where it is not said."""
        return np.asarray(arrays["moment"])

    def training_rows(self, arrays: Arrays, rows: np.ndarray, params: Params) -> np.ndarray:
        """Clips with a score or a feature: the others teach nothing."""
        labelled = np.isfinite(arrays["score"][rows]) | np.isfinite(arrays["features"][rows]).any(axis=1)
        if not labelled.any():
            raise DataError(f"none of {len(rows)} training rows has a score or a feature")
        return rows[labelled]

    def statistics(self, arrays: Arrays, rows: np.ndarray) -> dict[str, Tensor]:
        """See `objectives.grimace.statistics`."""
        return grimace_statistics.statistics(arrays, rows)

    def model(self, params: Params, statistics: Mapping[str, Tensor]) -> torch.nn.Module:
        """An encoder of frames and an LSTM that scale their input and output themselves."""
        p = params.model
        units = (*(statistics[name] for name in ("pixels", "motion", "score")), grimace_statistics.features(statistics))
        return ClipNet(p["encoder"], p["width"], p["lstm_hidden"], p["dropout"], *units, motion=p["motion"])

    def initialise(self, model: torch.nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Take over the encoder of a state_dict."""
        assert isinstance(model, ClipNet)
        try:
            load_backbone(model.encoder, weights)
        except ValueError as error:
            raise DataError(f"model.weights does not fit model.encoder: {error}") from None

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """Mirror, turn, shift, scale, recolour and blur each clip by a draw of its own (`objectives.colour_clips`)."""
        own = dict(params.augment)
        factor = _by_moment([own.pop(f"{moment}_factor") for moment in MOMENTS], batch)
        return {
            **batch,
            "video": colour_clips.augmented(batch["video"], colour_clips.Strengths(**own), factor, generator),
        }

    def losses(
        self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, Tensor]
    ) -> dict[str, Term]:
        """Smooth L1 of score and features, in standard deviations of the training rows, weighed by moment."""
        p = params.loss
        weight, nothing = (
            _by_moment([p[f"{moment}_weight"] for moment in MOMENTS], batch),
            outputs["score"].new_zeros(()),
        )
        error = (p["huber_delta"], p["focal_gamma"])
        spread, units = statistics["score"][1], grimace_statistics.features(statistics)
        found = {"score": _robust(outputs["score"] / spread, batch["score"] / spread, weight, *error)}
        if not units.shape[1]:
            return found | {"features": (nothing, nothing)}
        names = grimace_statistics.names(statistics)
        each = weight[:, None] * feature_weights(p["feature_weights"], names).to(weight)
        return found | {
            "features": _robust(outputs["features"] / units[1], _given(batch, units) / units[1], each, *error)
        }

    def sums(self, outputs: Outputs, batch: Batch) -> Sums:
        """Moments of the scores `[8]`, of those of each moment `[moment, 8]`, of each feature `[feature, 8]`."""
        said, truth = outputs["score"], batch["score"]
        of = [torch.where(batch["moment"] == k, truth, torch.nan) for k in range(len(MOMENTS))]
        found = {
            "score": scores.regression_sums(said, truth),
            "moment": torch.stack([scores.regression_sums(said, one) for one in of]),
        }
        if "features" not in outputs:
            return found
        columns = zip(outputs["features"].unbind(1), _given(batch, outputs["features"]).unbind(1), strict=True)
        return found | {"features": torch.stack([scores.regression_sums(*column) for column in columns])}

    def score(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, float]:
        """Of the score R2, MAE and RMSE in its unit, and Pearson's r; MAE of each moment, the worst over the best.

        Of each feature R2 and Pearson's r.
        """
        found = scores.regression_scores(np.asarray(sums["score"]))
        each = [scores.regression_scores(one) for one in np.asarray(sums["moment"])]
        errors = {f"mae.{name}": one["mae"] for name, one in zip(MOMENTS, each, strict=True) if one}
        found |= errors
        if len(errors) > 1 and min(errors.values()) > 0:
            found["mae_ratio"] = max(errors.values()) / min(errors.values())
        for name, one in zip(info["features"], np.asarray(sums.get("features", ())), strict=False):
            of = scores.regression_scores(one)
            found |= {f"{short}.{name}": of[long] for short, long in (("r2", "r2"), ("r", "correlation")) if long in of}
        return found

    def predict(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """`score`, NaN = not scored, and `prediction`; of each feature `feature.NAME` and `prediction.NAME`."""
        found = {"score": _plain(batch["score"]), "prediction": _plain(outputs["score"])}
        if "features" not in outputs:
            return found
        said, given = _plain(outputs["features"]), _plain(_given(batch, outputs["features"]))
        for k, name in enumerate(info["features"]):
            found |= {f"feature.{name}": given[:, k], f"prediction.{name}": said[:, k]}
        return found

    def examples(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """`clip` uint8 `[row, frame, 3, side, side]`, a few frames of each; `truth`, `said`, `moment` and `video`."""
        video = batch["video"]
        frames = torch.linspace(0, video.shape[1] - 1, min(SHOWN, video.shape[1]), device=video.device).round().long()
        moments, videos = np.asarray([*info["classes"], ""]), np.asarray(info["videos"])
        return {
            "clip": video[:, frames].cpu().numpy(),
            "truth": _plain(batch["score"]),
            "said": _plain(outputs["score"]),
            "moment": moments[batch["moment"].cpu().numpy()],
            "video": videos[batch["clip"].cpu().numpy()],
        }

    def figures(
        self, predictions: Mapping[str, np.ndarray], examples: Mapping[str, np.ndarray], info: Mapping[str, Any]
    ) -> list[tuple[str, str, go.Figure]]:
        """See `objectives.grimace.figures`."""
        from objectives.grimace import figures as grimace_figures  # and with it plotly, which no worker needs

        return grimace_figures.figures(predictions, examples, info)

    def identify(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """The video's file, its subject and its moment ("" = not said)."""
        info = arrays.info
        return {
            "video": np.asarray(info["videos"])[arrays["clip"]],
            "subject": np.asarray(info["subjects"])[arrays["subject"]],
            "moment": np.asarray([*info["classes"], ""])[arrays["moment"]],
        }

    def misfit(self, info: Mapping[str, Any], trained: Mapping[str, Any]) -> str:
        """Features are told apart by their order; videos alone have none, and those without any value are as none."""
        if not info["features"] or list(info["features"]) == list(trained["features"]):
            return ""
        have, knows = (", ".join(of["features"]) or "none" for of in (info, trained))
        return f"the features are {have}; the model was trained on {knows}: labels.csv needs the same feature_ columns"

    def counts(self, arrays: Arrays) -> dict[str, dict[str, int]]:
        """Clips per moment and per subject, and labels that are missing."""
        subjects = np.bincount(arrays["subject"], minlength=len(arrays.info["subjects"]))
        missing = dict(zip(arrays.info["features"], (~np.isfinite(arrays["features"])).sum(0).tolist(), strict=True))
        return {
            "moment": super().counts(arrays)["class"],
            "subject": dict(zip(arrays.info["subjects"], subjects.tolist(), strict=True)),
            "missing label": {"score": int((~np.isfinite(arrays["score"])).sum()), **missing},
        }


def _given(batch: Batch, like: Tensor) -> Tensor:
    """The features `[row, feature]` of the columns of `like`; none of them where the data name none."""
    given = batch["features"]
    return given if given.shape[1] == like.shape[1] else given.new_full((len(given), like.shape[1]), torch.nan)


def _plain(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def _by_moment(values: list[Any], batch: Batch) -> Tensor:
    """A number per clip `[row]` by its moment; 1 where that is not said."""
    moment = batch["moment"]
    like = [torch.as_tensor(value, dtype=torch.float32, device=moment.device) for value in values]
    return torch.stack([*like, torch.ones_like(like[0])])[moment]


def _robust(said: Tensor, truth: Tensor, weight: Tensor, delta: Any, gamma: Any) -> Term:
    return losses.smooth_l1(said, truth, delta, weight, gamma)
