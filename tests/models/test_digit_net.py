"""The net for digits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.digits import DigitNet


def net(width: int = 8) -> DigitNet:
    return DigitNet(10, width, 0.1, torch.tensor(0.3), torch.tensor(0.4))


def test_every_row_is_answered_by_itself() -> None:
    model = net().eval()
    image = torch.rand(5, 1, 8, 8)
    together = model({"image": image})["logits"]
    assert together.shape == (5, 10)
    torch.testing.assert_close(model({"image": image[2:3]})["logits"], together[2:3], rtol=1e-5, atol=1e-5)


def test_no_convolution_in_front_of_a_normalisation_has_a_bias() -> None:
    assert all(module.bias is None for module in net().modules() if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize("width", [0, 12, -8])
def test_a_width_that_groups_do_not_divide_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match=f"model.width is a positive multiple of 8 .* got {width}"):
        net(width)
