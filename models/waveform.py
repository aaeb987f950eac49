"""A one-dimensional residual net with several heads for short waveforms.

Shape legend: `batch`, `time` (samples), `position` (half as many), `width` (channels), `static`, `task`, `class`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dropout import Dropout

#: Tasks that read the waveform through an attention of their own.
TASKS = ("class", "presence", "latency", "amplitude")
DILATIONS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of training rows; all float32."""

    wave: Tensor  #: `[2]`, uV
    statics: Tensor  #: `[2, static]`
    latency: Tensor  #: `[2]`, ms
    amplitude: Tensor  #: `[2]`, uV


class WaveformNet(nn.Module):
    """Strided stem, residual dilated convolutions (He et al. 2016; van den Oord et al. 2016), a head per task.

    Each task pools over time by an attention of its own (Ilse et al. 2018) and is told where that attention lies, so
    that a latency can be read off. The net scales its inputs and outputs itself: the training rows' statistics are
    buffers and travel with the weights. No convolution in front of a normalisation has a bias (its gradient would be
    rounding noise), nor has the attention (softmax cancels it). GroupNorm keeps no running state, so lanes stay pure.
    """

    wave: Tensor
    statics: Tensor
    latency: Tensor
    amplitude: Tensor
    place: Tensor

    def __init__(self, classes: int, width: int, dropout: float, scaling: Scaling, samples: int) -> None:
        """Build the net.

        Args:
            classes: number of hearing classes.
            width: channels; a positive multiple of 8.
            dropout: share of the pooled features dropped in training.
            scaling: of the training rows.
            samples: length of a waveform; even.

        Raises:
            ValueError: when `width` is not a positive multiple of 8.
        """
        super().__init__()
        if width <= 0 or width % 8:
            raise ValueError(f"model.width is a positive multiple of 8 (GroupNorm takes 8 groups), got {width}")
        for name, value in vars(scaling).items():
            self.register_buffer(name, value.clone())
        self.register_buffer("place", torch.linspace(-1, 1, samples // 2))
        self.stem = nn.Conv1d(1, width, 8, stride=2, padding=3, bias=False)
        self.blocks = nn.Sequential(*(_Residual(width, dilation) for dilation in DILATIONS))
        self.norm = nn.GroupNorm(8, width)
        self.signal = nn.ConvTranspose1d(width, 1, 8, stride=2, padding=3)
        self.attention = nn.Conv1d(width, len(TASKS), 1, bias=False)
        self.embed = nn.Linear(scaling.statics.shape[1] + 1, width)
        self.dropout = Dropout(dropout)
        sizes = {"class": classes, "presence": 1, "latency": 1, "amplitude": 1}
        self.heads = nn.ModuleDict({f"{task}_head": nn.Linear(2 * width + 1, sizes[task]) for task in TASKS})

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Answer all questions about a batch.

        Args:
            batch: `waveform` float `[batch, time]` in uV, `statics` float `[batch, static]`.

        Returns:
            `class` logits `[batch, class]`, `presence` logit `[batch]`, `latency_ms` `[batch]`, `amplitude_uv`
            `[batch]`, `signal` `[batch, time]` in uV.
        """
        wave = (batch["waveform"] - self.wave[0]) / self.wave[1]
        features = F.relu(self.norm(self.blocks(self.stem(wave[:, None]))))  # [batch, width, position]
        context = self._context(wave, batch["statics"])
        pooled = self._pool(features, context)
        answer = {task: self.heads[f"{task}_head"](pooled[:, k]) for k, task in enumerate(TASKS)}
        return {
            "class": answer["class"],
            "presence": answer["presence"].squeeze(-1),
            "latency_ms": self.latency[0] + self.latency[1] * answer["latency"].squeeze(-1),
            "amplitude_uv": self.amplitude[0] + self.amplitude[1] * answer["amplitude"].squeeze(-1),
            "signal": self.wave[0] + self.wave[1] * self.signal(features).squeeze(1),
        }

    def _context(self, wave: Tensor, statics: Tensor) -> Tensor:
        """Statics and the loudness of the waveform, which GroupNorm removes from the features; `[batch, width]`."""
        loudness = 0.5 * torch.log(wave.square().mean(-1, keepdim=True) + 1e-6)
        scaled = (statics - self.statics[0]) / self.statics[1]
        return F.relu(self.embed(torch.cat([scaled, loudness], -1)))

    def _pool(self, features: Tensor, context: Tensor) -> Tensor:
        """What each task sees: its features, the place it looks at, the context; `[batch, task, 2 width + 1]`."""
        share = torch.softmax(self.attention(features), -1)  # [batch, task, position]
        seen = torch.einsum("btp,bwp->btw", share, features)
        where = (share * self.place).sum(-1, keepdim=True)
        pooled: Tensor = self.dropout(torch.cat([seen, where, context[:, None].expand_as(seen)], -1))
        return pooled


class _Residual(nn.Module):
    """Norm, ReLU, dilated convolution, twice, added to the input (He et al. 2016b, figure 4e)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation, bias=False),
            nn.GroupNorm(8, width),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, width, position]` to the same shape."""
        out: Tensor = x + self.path(x)
        return out
