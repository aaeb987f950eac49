"""A residual network for faces with one head for the emotion and one for the action units."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models import backbones
from models.dropout import Dropout


class FaceNet(nn.Module):
    """Backbone, global average pooling, dropout, two linear heads.

    With attention, what the AU head says gates the pooled features before the emotion is read off them: evidence for
    an action unit opens or closes channels, as squeeze-and-excitation does with the features themselves (Hu et al.
    2018). The gate of an undecided face is near 1, so that attention starts as no attention.

    The backbone normalises over the batch (Ioffe and Szegedy 2015): its running statistics are buffers, stacked with
    the weights in lanes. The net scales its input itself.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str,
        classes: int,
        units: int,
        dropout: float,
        mean: Tensor,
        std: Tensor,
        *,
        au_attention: bool = False,
    ) -> None:
        """Build the net with random weights; nothing is downloaded.

        Args:
            backbone: one of `models.backbones.BACKBONES`.
            classes: number of emotions.
            units: number of action units; 0 leaves out their head, and attention with it.
            dropout: share of the pooled features dropped in training.
            mean: `[3]`, of the training images' channels, 0 to 1.
            std: `[3]`, likewise.
            au_attention: whether evidence for action units gates the features of the emotion head.

        Raises:
            ValueError: for an unknown backbone.
        """
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())
        self.backbone, width = backbones.backbone(backbone)
        self.dropout = Dropout(dropout)
        self.emotion = nn.Linear(width, classes)
        self.au = nn.Linear(width, units) if units else None
        self.gate = nn.Linear(units, width) if units and au_attention else None

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits of both heads.

        Args:
            batch: `image` uint8 `[batch, 3, side, side]`, RGB.

        Returns:
            `emotion` `[batch, class]`; with a head for them `au` `[batch, unit]`.
        """
        image = batch["image"].to(self.mean.dtype) / 255
        scaled = (image - self.mean[:, None, None]) / self.std[:, None, None]
        pooled = self.dropout(self.backbone(scaled))
        if self.au is None:
            return {"emotion": self.emotion(pooled)}
        au = self.au(pooled)
        if self.gate is not None:
            pooled = pooled * 2 * torch.sigmoid(self.gate(torch.sigmoid(au) - 0.5))
        return {"emotion": self.emotion(pooled), "au": au}
