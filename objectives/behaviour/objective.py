"""Behaviour: which action does an animal perform in every frame, by its tracked points and what the camera saw?

One network names the actions and restores the points. A row is a clip; what is not annotated, not seen or behind the
end of a session is masked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor

from hpo.objective import Batch, Objective, Outputs, Params, Split, Sums, Term
from models.actions import UNITS, ActionNet, Scaling, posture
from objectives import clips, losses, scaling, scores, segments
from objectives.behaviour import arrays as behaviour_arrays
from objectives.behaviour import split as behaviour_split
from objectives.class_weights import RULES, class_weights
from objectives.windows import window

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hpo.arrays import ArrayFolder, Arrays


@final
class Behaviour(Objective):
    """Multi-task learning of actions and key points from clips (files: see `objectives.behaviour.files`)."""

    name = "behaviour"
    version = 1
    prepare_keys = behaviour_arrays.KEYS
    terms = ("action", "keypoints", "smoothness")
    words = MappingProxyType(
        {"augment.apply": ("all", "rare"), "model.unit": UNITS, "loss.class_weights": tuple(RULES)}
    )
    ranges = MappingProxyType(
        {
            "data.train_T": (2, None),
            "data.val_T": (2, None),
            "data.min_frames": (1, None),
            "data.context_frames": (0, None),
            "data.clip_frames": (0, None),
            "data.min_likelihood": (0, 1),
            "data.image_size": (16, 512),
            "model.width": (1, None),
            "model.layers": (1, 16),
            "augment.jitter": (0, 1),
            "augment.brightness": (0, 1),
            "augment.contrast": (0, 1),
            "augment.temporal_drop": (0, 1),
            "augment.noise": (0, 1),
            "augment.roll": (0, None),
            "augment.flip": (0, 1),
        }
    )
    scores = MappingProxyType(
        {
            **scores.CLASSIFICATION,
            **dict.fromkeys((*(f"segment_f1@{overlap}" for overlap in segments.OVERLAPS), "edit"), "maximize"),
            "keypoint_mae": "minimize",
        }
    )
    defaults = MappingProxyType(
        {
            #: Clips.
            "data.batch_size": 2,
            #: Frames of a clip that are trained on at a time, a window of the clip, and that are validated at a time.
            "data.train_T": 360,
            "data.val_T": 360,
            #: Annotation files with fewer rows are skipped, unless they cover all of their clip.
            "data.min_frames": 345,
            #: The most rows that a file may lack at the start of its clip, see `objectives.behaviour.clips`.
            "data.context_frames": 15,
            #: Frames of each clip where a session has several files; 0 = its frames over their number.
            "data.clip_frames": 0,
            #: Points with a lower likelihood count as not seen. 0.6 is customary for nets that track one animal.
            "data.min_likelihood": 0.2,
            #: Whether videos are read where there are some, and the side of the square that a frame is fitted into.
            "data.videos": True,
            "data.image_size": 48,
            "model.width": 64,
            #: Of the encoder: its last one sees 2^(layers - 1) frames to either side.
            "model.layers": 7,
            "model.dropout": 0.1,
            "model.head_dropout": 0.0,
            #: By what positions are normalised: `frame`, or `animal` = as seen from it, in units of its size.
            "model.unit": "frame",
            "loss.action_weight": 1.0,
            "loss.keypoints_weight": 1.0,
            #: Of steps from frame to frame in what is said; 0 = off. The authors used 0.15.
            "loss.smoothness_weight": 0.0,
            #: Focal exponent of the term action; 0 = cross entropy.
            "loss.focal_gamma": 0.0,
            #: Of the term action.
            "loss.label_smoothing": 0.0,
            #: Of the term action, from the training frames: none, inverse_share, odds, balanced, effective_number.
            "loss.class_weights": "none",
            #: Which clips are changed: `all`, or `rare` = those that hold an action below `rare_threshold_share`.
            "augment.apply": "all",
            #: Standard deviation of how far a point is off all through a clip, as a share of the frame's longer side.
            "augment.jitter": 0.0,
            #: Largest change of the video's brightness and contrast, as a share.
            "augment.brightness": 0.0,
            "augment.contrast": 0.0,
            #: Share of the frames that are blanked.
            "augment.temporal_drop": 0.0,
            #: Standard deviation of noise on the video, as a share of white.
            "augment.noise": 0.0,
            #: Largest circular shift in time, either way, frames.
            "augment.roll": 0,
            #: Probability of a mirror image, in which left and right points swap.
            "augment.flip": 0.0,
        }
    )

    def prepare(self, source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
        """See `objectives.behaviour.arrays`."""
        return behaviour_arrays.prepare(source, data, folder)

    def split(self, arrays: Arrays, folds: int, seed: int) -> Split:
        """See `objectives.behaviour.split`."""
        return behaviour_split.split(arrays, self.class_counts(arrays) > 0, folds, seed)

    def labels(self, arrays: Arrays) -> np.ndarray:
        """The rarest action that a clip holds; -1 where none is annotated."""
        counts = self.class_counts(arrays)
        held = np.where(counts > 0, counts.sum(0), np.iinfo(np.int64).max)
        return np.where(counts.any(axis=1), held.argmin(axis=1), -1)

    def class_counts(self, arrays: Arrays) -> np.ndarray:
        """Frames of each action in a clip."""
        return (arrays["action"][..., None] == np.arange(len(arrays.info["classes"]))).sum(1)

    def statistics(self, arrays: Arrays, rows: np.ndarray) -> dict[str, Tensor]:
        """What `models.actions.Scaling` holds, of the training clips, and frames of each action, float32 `[class]`."""
        points = torch.from_numpy(arrays["keypoints"][rows])
        place = scaling.mean_std(points.reshape(-1, 2).numpy())
        ways = torch.linalg.vector_norm(points.diff(dim=1), dim=-1)
        ways = ways[torch.isfinite(ways)]
        animal = torch.eye(len(arrays.info["animals"]))[torch.tensor(arrays.info["animal"])].T.contiguous()
        _, size = posture(points, animal, torch.tensor(torch.nan))
        found = {
            "place": place,
            "speed": (ways.mean() if len(ways) else torch.tensor(1.0)).clamp_min(1e-6),
            "body": size.nanmean().nan_to_num(1.0),  # clips that show no two points of an animal say nothing of it
            "animal": animal,
            "class_rows": torch.from_numpy(self.class_counts(arrays)[rows].sum(0).astype(np.float32)),
        }
        if "video" not in list(arrays):
            return found
        return found | {"grey": scaling.channels_mean_std(arrays["video"].reshape(len(arrays), 1, -1, 1), rows)[:, 0]}

    def model(self, params: Params, statistics: Mapping[str, Tensor]) -> torch.nn.Module:
        """A dilated temporal net that scales its input itself."""
        p, classes = params.model, len(statistics["class_rows"])
        units = Scaling(**{name: value for name, value in statistics.items() if name != "class_rows"})
        size = (p["width"], p["layers"], p["dropout"], p["head_dropout"])
        return ActionNet(classes, *size, units, unit=p["unit"], piece=params.data["val_T"])

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """Cut a window of `train_T` frames out of each clip, and change it (see `objectives.clips`)."""
        own = dict(params.augment)
        rare = batch["rarity"] < params.sampling["rare_threshold_share"]
        chosen = torch.ones_like(rare) if own.pop("apply") == "all" else rare
        cut = window(batch, params.data["train_T"], generator)
        return clips.augmented(cut, clips.Strengths(**own), chosen, generator)

    def losses(
        self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, Tensor]
    ) -> dict[str, Term]:
        """Focal cross entropy of the action; smooth L1 of the points that are seen; steps between frames.

        Points are restored as they were before they were moved or hidden, in standard deviations of the training
        rows' places.
        """
        focal = (params.loss["focal_gamma"], params.loss["label_smoothing"])
        weights = class_weights(statistics["class_rows"], params.loss["class_weights"])
        spread = statistics["place"][1]
        return {
            "action": losses.focal_cross_entropy(outputs["action"], batch["action"], *focal, weights),
            "keypoints": losses.smooth_l1(outputs["keypoints"] / spread, _clean(batch) / spread),
            "smoothness": losses.truncated_smoothness(outputs["action"], batch["frame"] >= 0),
        }

    def sums(self, outputs: Outputs, batch: Batch) -> Sums:
        """`confusion` `[class, class]` of frames, moments `[8]` of the points, and what `objectives.segments` counts.

        Segments are not counted in training: there a clip may be rolled, and a part of its frames blanked.
        """
        logits, action = outputs["action"], batch["action"]
        found = {
            "confusion": scores.confusion(logits.flatten(0, 1), action.flatten()),
            "keypoints": scores.regression_sums(outputs["keypoints"], _clean(batch)),
        }
        if "clean" in batch:
            return found
        said, truth = logits.argmax(-1).cpu().numpy(), action.cpu().numpy()
        counted = segments.segment_sums(said, truth, logits.shape[-1])
        return found | {name: torch.from_numpy(value).to(logits.device) for name, value in counted.items()}

    def score(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, float]:
        """The F1 family of the frames, segment F1 and edit score, mean error of the points in frame's longer sides."""
        found = scores.classification_scores(np.asarray(sums["confusion"]), info["classes"])
        points = scores.regression_scores(np.asarray(sums["keypoints"]))
        found |= {"keypoint_mae": points["mae"]} if points else {}
        return found | (segments.segment_scores(sums, info["classes"]) if "segments" in sums else {})

    def report(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and support of each action, in frames."""
        return scores.classification_report(np.asarray(sums["confusion"]), info["classes"])

    def predict(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """`truth` ("" = not annotated), `prediction` and `p.CLASS` of every frame, each `[row, time]`."""
        probability = torch.softmax(outputs["action"], -1).float().cpu().numpy()
        names = np.asarray([*info["classes"], ""])  # the last one answers to -1
        columns = {"truth": names[batch["action"].cpu().numpy()], "prediction": names[probability.argmax(-1)]}
        return columns | {f"p.{name}": probability[..., k] for k, name in enumerate(info["classes"])}

    def figures(
        self, predictions: Mapping[str, np.ndarray], examples: Mapping[str, np.ndarray], info: Mapping[str, Any]
    ) -> list[tuple[str, str, go.Figure]]:
        """See `objectives.behaviour.figures`."""
        from objectives.behaviour import figures as behaviour_figures  # and with it plotly, which no worker needs

        return behaviour_figures.figures(predictions, examples, info)

    def identify(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """The session, and of each frame its number there and its time; what is behind a session's end is masked."""
        names, fps = np.asarray(arrays.info["sessions"]), arrays.info["fps"]
        session, frame = names[arrays["session"]], np.asarray(arrays["frame"])
        rate = np.asarray([fps.get(name) or np.nan for name in names])[arrays["session"]]
        columns: dict[str, np.ndarray] = {"session": session, "frame": np.ma.masked_less(frame, 0)}
        return columns | ({"time_s": frame / rate[:, None]} if fps else {})

    def misfit(self, info: Mapping[str, Any], trained: Mapping[str, Any]) -> str:
        """Points are told apart by their order, actions by their numbers; who has learnt to look has to see."""
        for what, key in (("points", "points"), *((("actions", "classes"),) if not info["unlabelled"] else ())):
            if list(info[key]) != list(trained[key]):
                return f"the {what} are {', '.join(info[key])}; the model was trained on {', '.join(trained[key])}"
        if trained["video"] and not info["video"]:
            return "there are no videos; the model was trained with videos"
        if info["guessed"] and info["guessed"] not in trained["frames"]:
            return (
                f"a frame is taken to have {info['guessed']} pixels, which holds all points, but those that the model "
                f"was trained on have {' or '.join(trained['frames'])}; give a folder whose sessions.csv names width "
                "and height"
            )
        return ""

    def counts(self, arrays: Arrays) -> dict[str, dict[str, int]]:
        """Frames of each action, clips of each session, annotation files by how they cover clips, points, videos."""
        frames = dict(zip(arrays.info["classes"], self.class_counts(arrays).sum(0).tolist(), strict=True))
        real = np.asarray(arrays["frame"]) >= 0
        unannotated = int((real & (arrays["action"] < 0)).sum())
        rows = np.bincount(arrays["session"], minlength=len(arrays.info["sessions"]))
        seen = int(np.isfinite(arrays["keypoints"][..., 0]).sum())
        points = int(real.sum()) * len(arrays.info["points"])
        return {
            "frame": {**frames, "not annotated": unannotated},
            "session, in clips": dict(zip(arrays.info["sessions"], rows.tolist(), strict=True)),
            "annotation file": dict(arrays.info["files"]),
            "point": {"seen": seen, "not seen": points - seen},
            "clip": {
                "with video": len(arrays) * arrays.info["video"],
                "without": len(arrays) * (not arrays.info["video"]),
            },
        }


def _clean(batch: Batch) -> Tensor:
    """The points to be restored: without what `augment` did to them, or as tracked."""
    return batch.get("clean", batch["keypoints"])
