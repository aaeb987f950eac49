"""A one-dimensional residual net with several heads for short waveforms.

Shape legend: `batch`, `time` (samples), `position` (a quarter as many, rounded up), `width` (channels), `static`,
`task`, `head`, `class`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dropout import Dropout

#: Tasks that read the waveform through an attention of their own; `class` may have several.
TASKS = ("presence", "latency", "amplitude")
#: Scales that every block looks at side by side.
DILATIONS = (1, 2, 4, 8)
BLOCKS = 2
STRIDE = 4  #: samples per position
#: Hidden units of a head. Wide, because heads cost little and a wide layer moves faster at a small learning rate.
HIDDEN = 1024


@dataclass(frozen=True)
class Scaling:
    """Centre and scale of training rows; all float32."""

    wave: Tensor  #: `[2]`, mean and standard deviation, uV: the unit that the signal is restored in
    response: Tensor  #: `[2]`, median and robust standard deviation without artefacts, uV: the unit of the input
    statics: Tensor  #: `[2, static]`
    latency: Tensor  #: `[2]`, ms
    amplitude: Tensor  #: `[2]`, uV


class WaveformNet(nn.Module):
    """Strided stem, residual blocks of parallel dilated convolutions, an attention and a head per task.

    Several temporal scales side by side in each residual block are how nets for time series are built since
    InceptionTime (Ismail Fawaz et al. 2020); dilations in place of its long kernels are those of Yu and Koltun (2016).
    The input is compressed by asinh, linear for the response and logarithmic for a stimulus artefact that is a hundred
    times larger. Each task pools over time by an attention of its own (Ilse et al. 2018) and is told where that
    attention lies, so that a latency can be read off. The classification may have several heads, each with its own
    attention; their probabilities are averaged (an ensemble on shared features, Lee et al. 2015).

    The net scales its inputs and outputs itself: the training rows' statistics are buffers and travel with the
    weights. No convolution in front of a normalisation has a bias (its gradient would be rounding noise), nor has the
    attention (softmax cancels it). GroupNorm keeps no running state, so lanes stay pure.
    """

    wave: Tensor
    response: Tensor
    statics: Tensor
    latency: Tensor
    amplitude: Tensor
    place: Tensor

    def __init__(
        self, classes: int, width: int, dropout: float, scaling: Scaling, samples: int, class_heads: int = 1
    ) -> None:
        """Build the net.

        Args:
            classes: number of hearing classes.
            width: channels; a positive multiple of 8.
            dropout: share of the pooled features dropped in training.
            scaling: of the training rows.
            samples: length of a waveform.
            class_heads: size of the ensemble that classifies; 1 or more.

        Raises:
            ValueError: when `width` is not a positive multiple of 8, or there is no head.
        """
        super().__init__()
        if width <= 0 or width % 8:
            raise ValueError(f"model.width is a positive multiple of 8 (GroupNorm takes 8 groups), got {width}")
        if class_heads < 1:
            raise ValueError(f"model.class_heads is 1 or more, got {class_heads}")
        for name, value in vars(scaling).items():
            self.register_buffer(name, value.clone())
        self.register_buffer("place", torch.linspace(-1, 1, -(-samples // STRIDE)))
        self.stem = nn.Conv1d(1, width, 4 * STRIDE, stride=STRIDE, padding=3 * STRIDE // 2, bias=False)
        self.blocks = nn.Sequential(*(_Residual(width) for _ in range(BLOCKS)))
        self.norm = nn.GroupNorm(8, width)
        self.signal = nn.ConvTranspose1d(width, 1, 4 * STRIDE, stride=STRIDE, padding=3 * STRIDE // 2)
        self.attention = nn.Conv1d(width, len(TASKS) + class_heads, 1, bias=False)
        self.embed = nn.Linear(scaling.statics.shape[1] + 1, width)
        self.dropout = Dropout(dropout)
        self.heads = nn.ModuleDict({f"{task}_head": _Head(2 * width + 1, HIDDEN, 1) for task in TASKS})
        self.class_heads = nn.ModuleList(_Head(2 * width + 1, HIDDEN, classes) for _ in range(class_heads))

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Answer all questions about a batch.

        Args:
            batch: `waveform` float `[batch, time]` in uV, `statics` float `[batch, static]`.

        Returns:
            `class` logits `[batch, class]`, `presence` logit `[batch]`, `latency_ms` `[batch]`, `amplitude_uv`
            `[batch]`, `signal` `[batch, time]` in uV.
        """
        wave = torch.asinh((batch["waveform"] - self.response[0]) / self.response[1])
        time = wave.shape[-1]
        whole = F.pad(wave[:, None], (0, -time % STRIDE))
        features = F.relu(self.norm(self.blocks(self.stem(whole))))  # [batch, width, position]
        pooled = self._pool(features, self._context(wave, batch["statics"]))
        # In mixed precision heads answer in 16 bits, whose steps near 6 ms are 0.03 ms wide: scaled in full ones.
        full = self.latency.dtype
        answer = {task: self.heads[f"{task}_head"](pooled[:, k]).squeeze(-1).to(full) for k, task in enumerate(TASKS)}
        return {
            "class": self._classify(pooled[:, len(TASKS) :]),
            "presence": answer["presence"],
            "latency_ms": self.latency[0] + self.latency[1] * answer["latency"],
            "amplitude_uv": self.amplitude[0] + self.amplitude[1] * answer["amplitude"],
            "signal": self.wave[0] + self.wave[1] * self.signal(features)[:, 0, :time].to(full),
        }

    def _context(self, wave: Tensor, statics: Tensor) -> Tensor:
        """Statics and the loudness of the waveform, which GroupNorm removes from the features; `[batch, width]`.

        The mean of the logarithm, which an artefact at one end moves little.
        """
        loudness = torch.log(wave.abs() + 0.1).mean(-1, keepdim=True)
        scaled = (statics - self.statics[0]) / self.statics[1]
        return F.relu(self.embed(torch.cat([scaled, loudness], -1)))

    def _pool(self, features: Tensor, context: Tensor) -> Tensor:
        """What each head sees: its features, the place it looks at, the context; `[batch, head, 2 width + 1]`."""
        share = torch.softmax(self.attention(features), -1)  # [batch, head, position]
        seen = torch.einsum("bhp,bwp->bhw", share, features)
        where = (share * self.place).sum(-1, keepdim=True)
        pooled: Tensor = self.dropout(torch.cat([seen, where, context[:, None].expand_as(seen)], -1))
        return pooled

    def _classify(self, pooled: Tensor) -> Tensor:
        """Logits of the heads' mean probability; `[batch, head, 2 width + 1]` to `[batch, class]`."""
        if len(self.class_heads) == 1:
            only: Tensor = self.class_heads[0](pooled[:, 0])
            return only
        said = torch.stack([head(pooled[:, k]) for k, head in enumerate(self.class_heads)], 1)
        return torch.logsumexp(F.log_softmax(said, -1), 1) - math.log(len(self.class_heads))


class _Residual(nn.Module):
    """Norm, ReLU, dilated convolutions side by side; norm, ReLU, convolution; added to the input.

    The order is that of He et al. (2016b, figure 4e); each dilation gives a quarter of the channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        part = width // len(DILATIONS)
        self.before = nn.Sequential(nn.GroupNorm(8, width), nn.ReLU())
        self.scales = nn.ModuleList(nn.Conv1d(width, part, 5, padding=2 * d, dilation=d, bias=False) for d in DILATIONS)
        self.after = nn.Sequential(nn.GroupNorm(8, width), nn.ReLU(), nn.Conv1d(width, width, 5, padding=2, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, width, position]` to the same shape."""
        ready = self.before(x)
        out: Tensor = x + self.after(torch.cat([scale(ready) for scale in self.scales], 1))
        return out


class _Head(nn.Module):
    """A linear answer plus a correction by one hidden layer: the shortcut of He et al. (2016), for a head."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = nn.Linear(inputs, outputs)
        self.hidden = nn.Linear(inputs, hidden)
        self.correction = nn.Linear(hidden, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., inputs]` to `[..., outputs]`."""
        out: Tensor = self.shortcut(x) + self.correction(F.relu(self.hidden(x)))
        return out
