"""ABR: what does an auditory brainstem response say about hearing, and where is its wave V?

One network answers five questions about an averaged waveform: the signal without noise, the hearing class (level
relative to threshold), whether there is a wave V, its latency, its amplitude. Most rows have labels for some of them
only; each loss term and each score counts the rows that are labelled for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor

from hpo.objective import Batch, DataError, Objective, Outputs, Params, Split, Sums, Term
from models.waveform import Scaling, WaveformNet
from objectives import losses, scaling, scores, splits, waveforms
from objectives.abr import data as abr_data
from objectives.abr import source as abr_source
from objectives.abr import synthetic as abr_synthetic
from objectives.abr.data import EARLIEST_MS, Grid
from objectives.class_weights import class_weights

if TYPE_CHECKING:
    from hpo.arrays import ArrayFolder, Arrays
    from objectives.abr import figures as abr_figures

#: Arrays of labels and what to call them where they are missing.
LABELS = MappingProxyType(
    {"hearing_class": "class", "present": "presence", "latency_ms": "peak latency", "amplitude_uv": "peak amplitude"}
)


@final
class Abr(Objective):
    """Multi-task learning on averaged brainstem responses (files: see `objectives.abr.csv` and `abr_epl`).

    Beware: the first 3 ms at 90 dB and above are stimulus artefact; the network sees them and the level.
    """

    name = "abr"
    version = 2
    prepare_keys = ("rate_hz", "window_ms")
    terms = ("signal", "class", "presence", "peak_latency", "peak_amplitude")
    mixed = ("waveform", "clean", "statics")
    scores = MappingProxyType(
        {
            **scores.CLASSIFICATION,
            "presence_f1": "maximize",
            "latency_mae_ms": "minimize",
            "amplitude_mae_uv": "minimize",
            "signal_rmse": "minimize",
            "signal_correlation": "maximize",
        }
    )
    ranges = MappingProxyType(
        {"model.class_heads": (1, None), "augment.noise": (0, None), "augment.shift": (0, None)}
        | {"augment.frequency_mask": (0, 1)}
    )
    defaults = MappingProxyType(
        {
            "data.batch_size": 64,
            #: Every waveform is resampled to this rate, Hz, and cut to this window after stimulus onset, ms.
            "data.rate_hz": float(abr_data.RATE_HZ),
            "data.window_ms": abr_data.WINDOW_MS,
            #: No class of a typical set is under 2 %; what is under 20 % counts as rare.
            "sampling.rare_threshold_share": 0.2,
            #: Channels; a multiple of 8.
            "model.width": 32,
            "model.dropout": 0.1,
            #: Heads that classify, each with an attention of its own; their probabilities are averaged.
            "model.class_heads": 1,
            "loss.signal_weight": 1.0,
            "loss.class_weight": 1.0,
            "loss.presence_weight": 1.0,
            "loss.peak_latency_weight": 1.0,
            "loss.peak_amplitude_weight": 1.0,
            #: Epoch after which latency and amplitude begin, see `docs/training.md`.
            "loss.peak_start": 0,
            #: Focal exponent of the terms class and presence; 0 = cross entropy.
            "loss.focal_gamma": 0.0,
            #: Of the terms class and presence.
            "loss.label_smoothing": 0.0,
            #: Of the term class, from the training rows: none, inverse_share, odds, balanced, effective_number.
            "loss.class_weights": "none",
            #: Gaussian noise on the input, as a share of the waveform's own standard deviation; 0 = off.
            "augment.noise": 0.0,
            #: Largest shift in time in samples of the grid, each way; latency labels move along. 0 = off.
            "augment.shift": 0.0,
            #: Largest part of the spectrum that is left out of the input, a band per row; 0 = off.
            "augment.frequency_mask": 0.0,
            #: Alpha of mixup; 0 = off.
            "augment.mixup": 0.0,
        }
    )

    def prepare(self, source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
        """Write the arrays of recordings, or of made-up waveforms, on the grid that `data` asks for.

        `waveform` float32 `[rows, samples]` uV; `statics` float32 `[rows, 4]` = level dB, frequency kHz, log10 of the
        sweeps, 1 for a click; `subject` int64, number in `info["subjects"]`; `hearing_class` and `present` int64, -1 =
        missing; `latency_ms` and `amplitude_uv` float32, NaN = missing; where rows come from several files, `file`
        int64, number in `info["files"]`.
        """
        grid = Grid.of(data)
        read = _made_up(grid) if source is None else abr_source.read(source, grid)
        recordings, doubtful = read.masked_picks(grid.end_ms)
        subjects, subject = np.unique(recordings.subject, return_inverse=True)
        level, freq, sweeps = recordings.statics.T
        statics = np.stack([level, freq, np.log10(sweeps), freq == 0], axis=1)
        folder.add("waveform", recordings.waveform)
        folder.add("statics", statics.astype(np.float32))
        folder.add("subject", subject.astype(np.int64))
        for name in LABELS:
            folder.add(name, getattr(recordings, name))
        # All classes, whether they occur or not: a model must be able to meet recordings that have the others.
        info: dict[str, Any] = {"classes": list(abr_data.CLASSES), "subjects": subjects.tolist()}
        info |= {"sampling_rate_hz": grid.rate_hz, "window_ms": grid.end_ms, "synthetic": source is None}
        info |= {"notes": list(recordings.notes), "unlabelled": recordings.unlabelled}
        if recordings.file is not None:
            files, number = np.unique(recordings.file, return_inverse=True)
            folder.add("file", number.astype(np.int64))
            info["files"] = files.tolist()
        if doubtful:
            info["notes"].append(
                f"latency and amplitude of {doubtful} picks before {abr_data.EARLIEST_MS:g} ms or after the window's "
                f"end ({grid.end_ms:g} ms) are treated as missing; the rows stay"
            )
        return info

    def split(self, arrays: Arrays, folds: int, seed: int) -> Split:
        """Folds of whole subjects with every kind of label spread over them.

        Test subjects are set aside, as many as validate a fold, only where that costs no fold a kind of label: every
        kind must occur in at least two more subjects than there are folds.
        """
        kinds = _kinds(arrays)
        subject = arrays["subject"]
        reach = [len(np.unique(subject[kind])) for kind in kinds.T if kind.any()]
        testing = bool(reach) and min(reach) >= folds + 2
        number = splits.grouped_folds(subject, kinds, folds + testing, seed, arrays.info["subjects"])
        return splits.to_split(np.where(number == folds, splits.TEST, number), folds)

    def labels(self, arrays: Arrays) -> np.ndarray:
        """The hearing class; -1 where no expert looked."""
        return np.asarray(arrays["hearing_class"])

    def statistics(self, arrays: Arrays, rows: np.ndarray) -> dict[str, Tensor]:
        """`[mean, std]` of waveform, statics, latency and amplitude over the training rows; `class_rows` `[class]`.

        `response` is the unit of the reconstruction: median and robust standard deviation of what lies after the
        stimulus artefact, from EARLIEST_MS on, in uV.
        """
        present = self.labels(arrays)[rows]
        counts = np.bincount(present[present >= 0], minlength=len(arrays.info["classes"]))
        samples = arrays["waveform"].shape[1]
        after = min(round(EARLIEST_MS * 1e-3 * arrays.info["sampling_rate_hz"]), samples // 2)
        return {
            "response": scaling.median_spread(arrays["waveform"][rows, after:]),
            "wave": scaling.mean_std(arrays["waveform"][rows].reshape(-1, 1))[:, 0],
            "statics": scaling.mean_std(arrays["statics"][rows]),
            "latency": scaling.mean_std(arrays["latency_ms"][rows, None])[:, 0],
            "amplitude": scaling.mean_std(arrays["amplitude_uv"][rows, None])[:, 0],
            "class_rows": torch.from_numpy(counts.astype(np.float32)),
        }

    def model(self, params: Params, statistics: Mapping[str, Tensor]) -> torch.nn.Module:
        """A residual net that scales inputs and outputs itself."""
        names = ("wave", "response", "statics", "latency", "amplitude")
        units = Scaling(**{name: statistics[name] for name in names})
        classes, p = len(statistics["class_rows"]), params.model
        samples = Grid.of(params.data).samples
        return WaveformNet(classes, p["width"], p["dropout"], units, samples, p["class_heads"])

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """Shift each waveform in time, with its latency; add noise to the input and leave a band of its spectrum out.

        `clean` is the waveform without noise and with all of its spectrum: what the network has to restore.
        """
        wave, device = batch["waveform"], batch["waveform"].device
        draw = torch.rand((3, len(wave)), generator=generator, device=generator.device).to(device, wave.dtype)
        white = torch.randn(wave.shape, generator=generator, device=generator.device).to(device, wave.dtype)
        grid = Grid.of(params.data)
        shift = (2 * draw[0] - 1) * params.augment["shift"]
        clean = waveforms.delay(wave, shift)
        noisy = clean + white * wave.std(-1, keepdim=True) * params.augment["noise"]
        latency = batch["latency_ms"] + shift * (1e3 / grid.rate_hz)
        visible = (latency >= 0) & (latency <= grid.end_ms)
        return {
            **batch,
            "clean": clean,
            "waveform": noisy - waveforms.band(noisy, draw[1], draw[2] * params.augment["frequency_mask"]),
            "latency_ms": torch.where(visible, latency, torch.full_like(latency, torch.nan)),
        }

    def losses(
        self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, Tensor]
    ) -> dict[str, Term]:
        """Focal terms for the classes; smooth L1 for the values, in units of the training rows.

        Latency and amplitude in their standard deviations, the signal in the robust one of the response: there a
        stimulus artefact that was left in weighs as much as it is larger.
        """
        focal = (params.loss["focal_gamma"], params.loss["label_smoothing"])
        weights = class_weights(statistics["class_rows"], params.loss["class_weights"])

        def scaled(name: str, prediction: Tensor, target: Tensor) -> Term:
            return losses.smooth_l1(prediction / statistics[name][1], target / statistics[name][1])

        return {
            "signal": scaled("response", outputs["signal"], _clean(batch)),
            "class": losses.focal_cross_entropy(outputs["class"], batch["hearing_class"], *focal, weights),
            "presence": losses.binary_focal(outputs["presence"], batch["present"], focal[0], None, focal[1]),
            "peak_latency": scaled("latency", outputs["latency_ms"], batch["latency_ms"]),
            "peak_amplitude": scaled("amplitude", outputs["amplitude_uv"], batch["amplitude_uv"]),
        }

    def sums(self, outputs: Outputs, batch: Batch) -> Sums:
        """`confusion` `[class, class]`, `presence` `[4]`, and moments `[8]` of latency, amplitude and signal."""
        return {
            "confusion": scores.confusion(outputs["class"], batch["hearing_class"]),
            "presence": scores.binary_counts(outputs["presence"], batch["present"]),
            "latency": scores.regression_sums(outputs["latency_ms"], batch["latency_ms"]),
            "amplitude": scores.regression_sums(outputs["amplitude_uv"], batch["amplitude_uv"]),
            "signal": scores.regression_sums(outputs["signal"], _clean(batch)),
        }

    def score(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, float]:
        """Scores of all tasks; `signal_rmse` is in uV, `signal_correlation` over all samples of the split."""
        latency, amplitude, signal = (
            scores.regression_scores(np.asarray(sums[name])) for name in ("latency", "amplitude", "signal")
        )
        named = {
            "presence_f1": scores.binary_f1(np.asarray(sums["presence"])),
            "latency_mae_ms": latency.get("mae"),
            "amplitude_mae_uv": amplitude.get("mae"),
            "signal_rmse": signal.get("rmse"),
            "signal_correlation": signal.get("correlation"),
        }
        classified = scores.classification_scores(np.asarray(sums["confusion"]), info["classes"])
        return classified | {name: value for name, value in named.items() if value is not None}

    def report(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and support of each hearing class."""
        return scores.classification_report(np.asarray(sums["confusion"]), info["classes"])

    def predict(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Truth (empty or NaN where missing) and prediction of each task, and class probabilities `p.NAME`."""
        probability = torch.softmax(outputs["class"], -1).float().cpu().numpy()
        names = np.asarray([*info["classes"], ""])  # the last one answers to -1
        present = batch["present"].cpu().numpy()
        columns: dict[str, np.ndarray] = {
            "truth": names[batch["hearing_class"].cpu().numpy()],
            "prediction": names[probability.argmax(1)],
            "wave_v_present": np.where(present >= 0, present, np.nan),
            "p.wave_v": torch.sigmoid(outputs["presence"]).float().cpu().numpy(),
        }
        for name in ("latency_ms", "amplitude_uv"):
            columns[f"wave_v_{name}"] = batch[name].cpu().numpy()
            columns[f"predicted_{name}"] = outputs[name].float().cpu().numpy()
        return columns | {f"p.{name}": probability[:, k] for k, name in enumerate(info["classes"])}

    def examples(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The predictions, and the waveforms as recorded and as restored, `[rows, samples]` uV."""
        curves = {"waveform": batch["waveform"], "restored": outputs["signal"]}
        return self.predict(outputs, batch, info) | {k: v.float().cpu().numpy() for k, v in curves.items()}

    def example_kinds(self, arrays: Arrays) -> np.ndarray:
        """The class; of rows without one, those with a picked peak and those without."""
        picked = _labelled(arrays["latency_ms"])
        return np.where(self.labels(arrays) >= 0, self.labels(arrays), np.where(picked, -2, -1))

    def figures(
        self, predictions: Mapping[str, np.ndarray], examples: Mapping[str, np.ndarray], info: Mapping[str, Any]
    ) -> list[abr_figures.Shown]:
        """See `objectives.abr.figures`."""
        from objectives.abr import figures as abr_figures  # and with it plotly, which no worker needs

        return abr_figures.figures(predictions, examples, info)

    def identify(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """Subject, level and frequency, of which a series has one row each, after the file where there are several."""
        level, frequency = arrays["statics"][:, :2].T
        subject = np.asarray(arrays.info["subjects"])[arrays["subject"]]
        files = {"file": np.asarray(arrays.info["files"])[arrays["file"]]} if "files" in arrays.info else {}
        return {**files, "subject": subject, "level_db": level, "freq_khz": frequency}

    def counts(self, arrays: Arrays) -> dict[str, dict[str, int]]:
        """Rows per class, per subject, and without a label for each task."""
        rows = np.bincount(arrays["subject"], minlength=len(arrays.info["subjects"]))
        missing = {title: int((~_labelled(arrays[name])).sum()) for name, title in LABELS.items()}
        subject = dict(zip(arrays.info["subjects"], rows.tolist(), strict=True))
        return {**super().counts(arrays), "subject": subject, "missing label": missing}


def _made_up(grid: Grid) -> abr_data.Recordings:
    """The made-up responses on a grid."""
    made = abr_synthetic.generate()
    if lack := grid.lacks(made.waveform.shape[1], abr_data.RATE_HZ, 0.0):
        raise DataError(f"made-up responses: {lack}")
    return replace(made, waveform=grid.place(made.waveform, abr_data.RATE_HZ, 0.0))


def _labelled(values: np.ndarray) -> np.ndarray:
    """Which entries hold a label: not -1, not NaN."""
    return np.asarray(np.isfinite(values) if values.dtype.kind == "f" else values >= 0)


def _kinds(arrays: Arrays) -> np.ndarray:
    """Which kinds of label a row has, bool `[rows, kind]`: each class, wave V or none, a latency."""
    classes, present = arrays["hearing_class"], arrays["present"]
    columns = [classes == k for k in range(len(arrays.info["classes"]))]
    columns += [present == 0, present == 1, _labelled(arrays["latency_ms"])]
    return np.stack(columns, axis=1)


def _clean(batch: Batch) -> Tensor:
    """The signal to be restored: without the noise of `augment`, or the waveform as recorded."""
    return batch.get("clean", batch["waveform"])
