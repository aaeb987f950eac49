"""Dilation, contour and skeleton against torch, scipy and shapes whose answer is plain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from objectives.soft_morphology import contour, skeleton, widened
from tests.objectives.volume_loops import ROUNDING, drawn, expected_skeleton, sheet


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_skeleton_is_algorithm_1_in_scipy(steps: int) -> None:
    logits, target = drawn(2, 9, 10, 11)
    x, known = torch.sigmoid(logits), target >= 0
    expected = expected_skeleton(x.numpy(), known.numpy(), steps)
    np.testing.assert_allclose(skeleton(x, known.double(), steps).numpy(), expected, atol=ROUNDING)


@pytest.mark.parametrize("shape", [(2, 6, 7, 8), (5, 1, 3), (2, 2, 2)])
@pytest.mark.parametrize("radius", [1, 2])
def test_widened_is_torchs_max_pooling(shape: tuple[int, ...], radius: int) -> None:
    x = torch.sigmoid(drawn(3, *shape)[0])
    cube = x[None] if len(shape) == 3 else x
    truth = F.max_pool3d(cube, 2 * radius + 1, 1, radius).reshape(shape)
    torch.testing.assert_close(widened(x, radius), truth, rtol=0, atol=ROUNDING)


def test_contour_of_a_block_is_its_shell_and_none_along_the_border_or_what_is_ignored() -> None:
    block = torch.zeros(9, 9, 9)
    block[:5, 2:7, 2:7] = 1  # begins at the border
    labelled = torch.ones(9, 9, 9)
    labelled[:, :, 6:] = 0
    shell = block.clone()
    shell[:4, 3:6, 3:6] = 0  # the inside
    assert torch.equal(contour(block, labelled), shell * labelled)


@pytest.mark.parametrize("thickness", range(1, 9))
def test_three_steps_find_the_middle_of_sheets_up_to_eight_voxels_thick(thickness: int) -> None:
    found = skeleton(sheet(thickness).double(), torch.ones(20, 20, 20), 3)[:, 9, 9].nonzero().flatten().tolist()
    middle = 9 + (thickness - 1) / 2
    assert found == sorted({int(middle), int(middle + 0.5)})
