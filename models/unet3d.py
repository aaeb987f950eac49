"""A 3-D U-Net: which voxels of a window of a volume are foreground."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dropout import Dropout

ENCODERS = ("plain", "residual")


def factor(depth: int) -> int:
    """What every side of a window is a multiple of, for a net of `depth` levels: each but the last halves it."""
    return 2 ** (depth - 1)


class UNet3d(nn.Module):
    """The 3-D U-Net (Cicek et al. 2016, section 2) with as many filters as one wants and single windows normalised.

    On every level two convolutions, on the way down and on the way up; max pooling between levels, where the number of
    filters doubles; on the way up transposed convolutions, and what the way down saw on the level joins in. GroupNorm
    (Wu and He 2018) takes the place of BatchNorm: a batch holds a few windows, and how they differ from each other is
    not there when the net is used. Dropout acts where Ronneberger et al. 2015 (section 3.1) have it, on the lowest
    level.

    With the residual encoder (He et al. 2016), as in the modules of Lee et al. 2017 (section 2), the first convolution
    of a level changes the number of filters and the others add to it: the shortcut is then the identity on every level,
    and not a convolution as in the residual encoders of nnU-Net (Isensee et al. 2024).

    With deep supervision (Lee et al. 2015; Isensee et al. 2021), the coarser levels on the way up have heads of their
    own, which answer in training alone; the lowest level, which has no way up, has none: there are depth - 2.

    Voxels lie with their channels last. A training step of 4 windows of 32^3 with 8 filters and depth 3 took
    0.18 s on one core and 0.09 s on two, instead of 0.26 s and 0.15 s; trilinear upsampling in place of transposed
    convolutions took 0.20 s and 0.11 s.
    """

    pixels: Tensor

    def __init__(
        self, filters: int, depth: int, encoder: str, dropout: float, deep_supervision: bool, pixels: Tensor
    ) -> None:
        """Build the net with random weights.

        Args:
            filters: of the first level; each level has twice as many as the one above.
            depth: levels, the lowest among them.
            encoder: one of ENCODERS.
            dropout: share of the lowest level's answers that is dropped in training.
            deep_supervision: whether coarser levels answer too.
            pixels: `[2]`, mean and standard deviation of the training rows' voxels, in the unit of the image.

        Raises:
            ValueError: for an unknown encoder, no filter, or a depth below 2.
        """
        super().__init__()
        if encoder not in ENCODERS:
            raise ValueError(f"model.encoder is one of {', '.join(ENCODERS)}, got {encoder!r}")
        if filters < 1:
            raise ValueError(f"model.filters is at least 1, got {filters}")
        if depth < 2:
            raise ValueError(f"model.depth is at least 2 (one level below the first), got {depth}")
        self.register_buffer("pixels", pixels.clone())
        widths = [filters * 2**level for level in range(depth)]
        down = _Residual if encoder == "residual" else _Plain
        self.down = nn.ModuleList(down(above, own) for above, own in itertools.pairwise([1, *widths]))
        self.dropout = Dropout(dropout)
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(below, own, 2, stride=2, bias=False) for own, below in itertools.pairwise(widths)
        )
        self.joined = nn.ModuleList(_Plain(2 * own, own) for own in widths[:-1])
        self.heads = nn.ModuleList(nn.Conv3d(own, 1, 1) for own in (widths[:-1] if deep_supervision else widths[:1]))

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """How likely every voxel is foreground.

        Args:
            batch: `image` integer or float `[row, d, h, w]`, sides of multiples of `factor(depth)`.

        Returns:
            `logits` `[row, d, h, w]`, before the sigmoid. In training with deep supervision from depth 3 on also `deep`
            `[row, level, d, h, w]`: what the coarser levels say, the finest first, upsampled trilinearly.

        Raises:
            ValueError: when a side is no such multiple.
        """
        image = batch["image"]
        sides, multiple = image.shape[1:], factor(len(self.down))
        if any(side % multiple for side in sides):
            raise ValueError(
                f"the sides of a window are multiples of {multiple} at model.depth {len(self.down)}, got "
                f"{' x '.join(map(str, sides))}: change data.patch or model.depth"
            )
        mean, spread = self.pixels
        # Channels last in memory, which every layer passes on; `contiguous`, which names it, does not run under vmap.
        x = ((image.to(mean.dtype) - mean) / spread)[..., None].movedim(-1, 1)
        seen: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool3d(x, 2) if level else x)
            seen.append(x)
        x = self.dropout(seen.pop())
        said: list[Tensor] = []
        for level in reversed(range(len(self.up))):
            x = self.joined[level](torch.cat([self.up[level](x), seen.pop()], 1))
            if level == 0 or (self.training and level < len(self.heads)):
                said.insert(0, self.heads[level](x))
        outputs = {"logits": said[0][:, 0]}
        if said[1:]:
            full = [F.interpolate(coarse, sides, mode="trilinear")[:, 0] for coarse in said[1:]]
            outputs["deep"] = torch.stack(full, 1)
        return outputs


class _Plain(nn.Sequential):
    """Two convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(*_convolution(inputs, outputs), nn.ReLU(), *_convolution(outputs, outputs), nn.ReLU())


class _Residual(nn.Module):
    """A convolution, and two more that add to what it says."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*_convolution(inputs, outputs), nn.ReLU())
        self.added = nn.Sequential(*_convolution(outputs, outputs), nn.ReLU(), *_convolution(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return F.relu(first + self.added(first))


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    """3 x 3 x 3, and groups of at least 4 channels: one channel in a group of its own would lose how loud it is.

    No bias in front of a normalisation: its gradient would be rounding noise.
    """
    groups = max(1, math.gcd(32, outputs) // 4)
    return nn.Conv3d(inputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(groups, outputs)
