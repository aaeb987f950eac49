"""A network for clips of pictures: a convolutional encoder of every frame, an LSTM over time, two heads."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import backbones
from models.dropout import Dropout
from models.recurrent import LSTM

#: The encoder that suits a CPU, beside those of torchvision.
SMALL = "small"
ENCODERS = (SMALL, *backbones.BACKBONES)
#: Cells of the grid, per side, in which `motion` is measured.
GRID = 4


class ClipNet(nn.Module):
    """What every frame shows, read by an LSTM (Hochreiter and Schmidhuber 1997), its outputs averaged over time.

    The mean over time, instead of the last output, gives every frame the same way to the heads. Both heads answer in
    the unit of the labels: they scale what they say by mean and spread of the training rows.

    Normalised are single frames (Wu and He 2018; Ba et al. 2016), no batches: one of four clips would tell a frame by
    how it differs from the three others, which is not there when the net is used.

    With `motion`, how much the picture has changed since the frame before joins what the encoder says of a frame: the
    mean absolute difference in each cell of a grid, in spreads of the training clips, and as loud as the whole code,
    which has many more entries and would drown it.
    """

    pixels: Tensor
    moving: Tensor
    score_unit: Tensor
    feature_unit: Tensor

    def __init__(
        self,
        encoder: str,
        width: int,
        hidden: int,
        dropout: float,
        pixels: Tensor,
        moving: Tensor,
        score_unit: Tensor,
        feature_unit: Tensor,
        *,
        motion: bool = False,
    ) -> None:
        """Build the net with random weights; nothing is downloaded.

        Args:
            encoder: one of ENCODERS.
            width: channels of the small encoder's first layer; the others ignore it.
            hidden: size of the LSTM.
            dropout: share of what the LSTM says that is dropped in training.
            pixels: `[2, 3]`, mean and standard deviation of the training rows' channels, 0 to 1.
            moving: `[2]`, mean and standard deviation of `motion` in their pictures, 0 to 1.
            score_unit: `[2]`, mean and standard deviation of their scores.
            feature_unit: `[2, feature]`, likewise; without features there is no head for them.
            motion: whether motion joins the frames' codes.

        Raises:
            ValueError: for an unknown encoder.
        """
        super().__init__()
        self.register_buffer("pixels", pixels.clone())
        self.register_buffer("moving", moving.clone())
        self.register_buffer("score_unit", score_unit.clone())
        self.register_buffer("feature_unit", feature_unit.clone())
        self.motion = motion
        net, code = _small(width) if encoder == SMALL else backbones.backbone(encoder)
        self.encoder: nn.Module = net
        self.norm_code = nn.LayerNorm(code)
        self.dropout = Dropout(dropout)
        self.lstm = LSTM(code + (GRID**2 if motion else 0), hidden)
        self.score = nn.Linear(hidden, 1)
        self.features = nn.Linear(hidden, feature_unit.shape[1]) if feature_unit.shape[1] else None

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Score and features of every clip, in the units of the labels.

        Args:
            batch: `video` uint8 `[batch, time, 3, side, side]`, RGB.

        Returns:
            `score` `[batch]`; where there are features `features` `[batch, feature]`.
        """
        video = batch["video"]
        rows, time = video.shape[:2]
        mean, std = 255 * self.pixels[:, :, None, None]
        picture = (video.flatten(0, 1).to(mean.dtype) - mean) / std
        code = self.norm_code(self.encoder(picture)).unflatten(0, (rows, time))
        if self.motion:
            level, spread = self.moving
            moved = (motion(video) - level) / spread * (code.shape[-1] / GRID**2) ** 0.5
            code = torch.cat([code, moved.to(code.dtype)], -1)
        said = self.dropout(self.lstm(code)[0].mean(1))
        # In mixed precision linear layers answer in 16 bits, which tell a score of 8 from one of 8.03 and no nearer.
        with torch.autocast(said.device.type, enabled=False):
            said = said.to(self.score_unit.dtype)
            outputs = {"score": self.score(said)[..., 0] * self.score_unit[1] + self.score_unit[0]}
            if self.features is not None:
                outputs["features"] = self.features(said) * self.feature_unit[1] + self.feature_unit[0]
            return outputs


def _small(width: int) -> tuple[nn.Module, int]:
    """Patches of 4 x 4 pixels (Liu et al. 2022, section 2.2), then three convolutions of stride 2.

    A convolution over every other pixel in place of the patches took three times as long for the whole net, most of it
    for reading and writing maps of its size.
    """
    sizes = [width, 2 * width, 4 * width, 4 * width]
    # No bias in front of a normalisation: its gradient would be rounding noise.
    layers = [nn.Conv2d(3, width, 4, stride=4, bias=False), nn.GroupNorm(width // 8, width), nn.ReLU()]
    for before, after in itertools.pairwise(sizes):
        layers += [
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
            nn.GroupNorm(after // 8, after),
            nn.ReLU(),
        ]
    # Quarters instead of the whole: an eye that closes is not averaged with all that stays as it is.
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten()), 4 * sizes[-1]


def motion(video: Tensor) -> Tensor:
    """How much each cell of a grid has changed since the frame before.

    Args:
        video: uint8 `[batch, time, 3, side, side]`.

    Returns:
        float32 `[batch, time, GRID^2]`, mean absolute difference, 0 to 1; 0 in the first frame.
    """
    grey = video.float().mean(2) / 255
    cells = F.adaptive_avg_pool2d(grey.diff(dim=1).abs(), GRID).flatten(2)
    return torch.cat([torch.zeros_like(cells[:, :1]), cells], 1)
