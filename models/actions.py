"""A dilated temporal convolutional network that names the action of every frame of a clip.

Shape legend: `batch` (clips), `time` (frames), `point` (tracked), `animal`, `side` (pixels of a square frame), `width`
(channels), `class`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dropout import Dropout

#: By what positions are normalised.
UNITS = ("frame", "animal")
#: Channels of the convolutions that look at a single frame of video.
PICTURE = (16, 32, 64)
#: Frames over which the way of a point is measured.
LAGS = (1, 4, 16)
#: Frames to either side over which ways and distances are averaged.
WINDOWS = (5, 20)


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Of the training rows; all float32, lengths in units of the frame's longer side."""

    place: Tensor  #: `[2, 2]`, mean and standard deviation of x and of y
    speed: Tensor  #: 0-d, mean way of a point from frame to frame
    body: Tensor  #: 0-d, mean size of an animal, see `posture`
    animal: Tensor  #: `[animal, point]`, 1 where a point belongs to an animal
    grey: Tensor | None = None  #: `[2]`, mean and standard deviation of the video, 0 to 1; None without videos


class ActionNet(nn.Module):
    """Residual dilated convolutions over the frames of a clip, with two linear heads.

    The encoder is one stage of MS-TCN (Farha and Gall 2019, section 3.1): layers whose dilation doubles, so that layer
    k sees 2^k frames to either side. The head `action` classifies every frame; the head `keypoints` restores the
    points, those that are hidden or were moved included, and so keeps the features about the body.

    A frame is what its points say: where they are, how they have moved since the frame before, which of them are seen;
    how far each has come within some frames and how far apart any two are, there and on average over windows around
    it, as programs for behaviour have long described it (Kabra et al. 2013, JAABA). Positions are normalised by the
    frame (mean and spread of the training rows), or by the animal: as seen from its own centre, in units of its size,
    and the centres of other animals from that of the first. Where there are videos, a small convolutional net per
    frame adds what it sees. The net scales its input itself.

    Norms run over the channels of one frame (Ba et al. 2016): no running state, and a clip's length changes nothing.
    """

    place: Tensor
    speed: Tensor
    body: Tensor
    animal: Tensor
    grey: Tensor

    def __init__(
        self,
        classes: int,
        width: int,
        layers: int,
        dropout: float,
        head_dropout: float,
        scaling: Scaling,
        *,
        unit: str = "frame",
        piece: int = 0,
    ) -> None:
        """Build the net.

        Args:
            classes: number of actions.
            width: channels.
            layers: of the encoder, dilations 1, 2, 4, ...
            dropout: share of each layer's channels dropped in training.
            head_dropout: share of what the heads see dropped in training.
            scaling: of the training rows.
            unit: one of UNITS.
            piece: frames that are looked at together in evaluation; longer clips are cut. 0 = all.

        Raises:
            ValueError: for a width or a number of layers below 1, or an unknown unit.
        """
        super().__init__()
        if width < 1 or layers < 1:
            raise ValueError(f"model.width and model.layers are 1 or more, got {width} and {layers}")
        if unit not in UNITS:
            raise ValueError(f"model.unit is one of {', '.join(UNITS)}, got {unit!r}")
        for name, value in vars(scaling).items():
            self.register_buffer(name, None if value is None else value.clone())
        self.unit, self.piece = unit, piece
        animals, points = scaling.animal.shape
        others = 2 * (animals - 1) if unit == "animal" else 0
        shape = len(LAGS) * points + points * (points - 1) // 2
        self.points = nn.Linear(5 * points + (1 + len(WINDOWS)) * shape + others, width)
        self.picture = None if scaling.grey is None else _Picture(width)
        self.encoder = nn.ModuleList(_Layer(width, 2**k, dropout) for k in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head_dropout = Dropout(head_dropout)
        self.action = nn.Linear(width, classes)
        self.keypoints = nn.Linear(width, 2 * points)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Answer both questions about every frame.

        Args:
            batch: `keypoints` float `[batch, time, point, 2]`, NaN = not seen; `frame` int64 `[batch, time]`, below 0 =
                padding, which no other frame notices; with videos `video` uint8 `[batch, time, side, side]`.

        Returns:
            `action` logits `[batch, time, class]`, `keypoints` `[batch, time, point, 2]`.
        """
        points, real, video = batch["keypoints"], batch["frame"] >= 0, batch.get("video")
        time = points.shape[1]
        if self.training or not self.piece or time <= self.piece:
            return self._whole(points, real, video)
        parts = [slice(first, first + self.piece) for first in range(0, time, self.piece)]
        seen = [None if video is None else video[:, part] for part in parts]
        said = [self._whole(points[:, part], real[:, part], film) for part, film in zip(parts, seen, strict=True)]
        return {name: torch.cat([one[name] for one in said], 1) for name in said[0]}

    def _whole(self, points: Tensor, real: Tensor, video: Tensor | None) -> dict[str, Tensor]:
        # In mixed precision matrix products have 16 bits, in which a place is a multiple of pixels, as is a way.
        with torch.autocast(points.device.type, enabled=False):
            centre, body = posture(points, self.animal, self.body)
            own = torch.einsum("btac,ap->btpc", centre, self.animal)
            told = self._read(points, centre, own, body)
        features = self.points(told)
        if self.picture is not None and video is not None:
            features = features + self.picture((video.to(features.dtype) / 255 - self.grey[0]) / self.grey[1])
        for layer in self.encoder:
            features = layer(features, real)
        features = self.head_dropout(F.relu(self.norm(features)))
        # In mixed precision heads answer in 16 bits: places are scaled in full ones.
        said = self.keypoints(features).unflatten(-1, (-1, 2)).to(self.place.dtype)
        if self.unit == "frame":
            return {"action": self.action(features), "keypoints": self.place[0] + self.place[1] * said}
        return {"action": self.action(features), "keypoints": own + body[:, None, None, None] * said}

    def _read(self, points: Tensor, centre: Tensor, own: Tensor, body: Tensor) -> Tensor:
        """What the encoder is told of each frame, `[batch, time, feature]`; 0 = not seen.

        `centre` of each animal, `own` of the animal that each point belongs to.
        """
        seen = torch.isfinite(points)
        moved = points.diff(dim=1, prepend=points[:, :1])
        if self.unit == "frame":
            where, zoom = (points - self.place[0]) / self.place[1], torch.ones_like(body)
        else:
            where, zoom = (points - own) / body[:, None, None, None], body / self.body
        # Tracks jump: asinh is linear for the ways of a body and logarithmic for leaps across the frame.
        moved = torch.asinh(moved / (self.speed * zoom[:, None, None, None]))
        told = [part.flatten(2) for part in (_known(where), _known(moved), seen[..., :1].to(points.dtype))]
        zoom = zoom[:, None, None]
        ways = [torch.asinh(_way(points, lag) / (self.speed * zoom)) for lag in LAGS]
        shape = torch.cat([*ways, _apart(points) / (self.body * zoom)], -1)
        told += [_known(shape), *(_window_mean(shape, frames) for frames in WINDOWS)]
        if self.unit == "animal":
            told.append(((centre[:, :, 1:] - centre[:, :, :1]) / body[:, None, None, None]).flatten(2))
        return torch.cat(told, -1)


def _way(points: Tensor, lag: int) -> Tensor:
    """How far each point has come within so many frames, `[batch, time, point]`; NaN where it is not seen at both ends.

    A clip's first frames are compared with the first one.
    """
    before = torch.cat([points[:, :1].expand(-1, lag, -1, -1), points], 1)[:, : points.shape[1]]
    return torch.linalg.vector_norm(points - before, dim=-1)


def _apart(points: Tensor) -> Tensor:
    """Distance of any two points, `[batch, time, pair]`; NaN where one is not seen."""
    first, second = torch.triu_indices(points.shape[2], points.shape[2], 1, device=points.device)
    return torch.linalg.vector_norm(points[:, :, first] - points[:, :, second], dim=-1)


def _window_mean(values: Tensor, frames: int) -> Tensor:
    """Of `[batch, time, feature]`, over so many frames to either side, of those that are not NaN; 0 without any."""
    known = torch.isfinite(values).to(values.dtype)

    def mean(of: Tensor) -> Tensor:
        return F.avg_pool1d(of.transpose(1, 2), 2 * frames + 1, 1, frames).transpose(1, 2)

    share = mean(known)
    return torch.where(share > 0, mean(_known(values)) / share.clamp_min(1e-6), torch.zeros_like(share))


def posture(points: Tensor, animal: Tensor, otherwise: Tensor) -> tuple[Tensor, Tensor]:
    """Where the animals are, and how large they look.

    Args:
        points: `[batch, time, point, 2]`, NaN = not seen.
        animal: `[animal, point]`, 1 where a point belongs to an animal.
        otherwise: 0-d, the size where no frame shows two points of an animal.

    Returns:
        Centre of each animal's seen points, `[batch, time, animal, 2]`, its mean over the clip where it is not seen
        and 0 where it never is; the size `[batch]`, the root mean square distance of the points from their centre,
        over the frames of the clip that show two points of an animal.
    """
    seen = torch.isfinite(points[..., :1]).to(points.dtype)
    known = _known(points)
    number = torch.einsum("btpc,ap->btac", seen, animal)
    present = (number > 0).to(points.dtype)
    centre = torch.einsum("btpc,ap->btac", known, animal) / number.clamp_min(1)
    mean = centre.sum(1, keepdim=True) / present.sum(1, keepdim=True).clamp_min(1)
    centre = torch.where(present > 0, centre, mean)
    away = (known - torch.einsum("btac,ap->btpc", centre, animal)) * seen
    several = (number > 1).to(points.dtype)
    square = torch.einsum("btp,ap->bta", (away**2).sum(-1), animal)[..., None] / number.clamp_min(1)
    square = (square * several).sum((1, 2, 3))
    count = several.sum((1, 2, 3))
    size = (square / count.clamp_min(1)).clamp_min(1e-12).sqrt()
    return centre, torch.where(count > 0, size, otherwise.to(size.dtype))


def _known(values: Tensor) -> Tensor:
    """0 for NaN."""
    return torch.where(torch.isfinite(values), values, torch.zeros_like(values))


class _Layer(nn.Module):
    """Norm, dilated convolution, ReLU, convolution of length 1, dropout; added to the input."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.dilated = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.mix = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """`[batch, time, width]` to the same shape; neighbours that are not `real` `[batch, time]` count as 0."""
        normed = self.norm(x)
        near = self.dilated((normed * real[..., None].to(normed.dtype)).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.dropout(self.mix(F.relu(near)))
        return out


class _Picture(nn.Module):
    """Strided convolutions on each frame alone, averaged over its area."""

    def __init__(self, width: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for before, after in zip((1, *PICTURE), PICTURE, strict=False):
            parts += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.GroupNorm(8, after), nn.ReLU()]
        self.convolutions = nn.Sequential(*parts)
        self.out = nn.Linear(PICTURE[-1], width)

    def forward(self, video: Tensor) -> Tensor:
        """`[batch, time, side, side]` to `[batch, time, width]`."""
        frames = self.convolutions(video.flatten(0, 1)[:, None]).mean((-2, -1))
        out: Tensor = self.out(frames).unflatten(0, video.shape[:2])
        return out
