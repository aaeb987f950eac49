"""A small convolutional net for 8 x 8 images."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.dropout import Dropout


class DigitNet(nn.Module):
    """Three 3 x 3 convolutions, 2 x 2 average pooling, one linear layer.

    No convolution has a bias: the normalisation behind it would cancel it, and Adam would turn the rounding noise of
    its gradient into full-size steps. GroupNorm (Wu and He 2018) keeps no running state, so that lanes stay pure.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classes: int, width: int, dropout: float, mean: Tensor, std: Tensor) -> None:
        """Build the net.

        Args:
            classes: number of classes.
            width: channels of the first convolution, twice as many follow; a multiple of 8.
            dropout: share of the pooled features dropped in training.
            mean: 0-d, of the training images.
            std: 0-d, of the training images.

        Raises:
            ValueError: when `width` is not a positive multiple of 8.
        """
        super().__init__()
        if width <= 0 or width % 8:
            raise ValueError(f"model.width is a positive multiple of 8 (GroupNorm takes 8 groups), got {width}")
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())
        self.features = nn.Sequential(
            *_block(1, width, stride=1),
            *_block(width, 2 * width, stride=2),
            *_block(2 * width, 2 * width, stride=1),
            nn.AvgPool2d(2),
        )
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(2 * width * 4, classes)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Class scores before softmax.

        Args:
            batch: `image` float `[batch, 1, 8, 8]`, 0 (paper) to 1 (ink).

        Returns:
            `logits` `[batch, class]`.
        """
        pooled = self.features((batch["image"] - self.mean) / self.std)
        return {"logits": self.head(self.dropout(torch.flatten(pooled, 1)))}


def _block(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return convolution, nn.GroupNorm(8, outputs), nn.ReLU()
