"""The 3-D U-Net: against a net composed by hand, what a voxel sees, its heads, and lanes that equal separate nets."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import zoom
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from models.unet3d import ENCODERS, UNet3d, factor

PIXELS = torch.tensor([100.0, 40.0])


def net(
    encoder: str = "plain", *, filters: int = 4, depth: int = 3, dropout: float = 0.0, deep: bool = False
) -> UNet3d:
    torch.manual_seed(0)
    return UNet3d(filters, depth, encoder, dropout, deep, PIXELS)


def windows(rows: int = 2, *sides: int) -> dict[str, Tensor]:
    shape = (rows, *(sides or (8, 8, 8)))
    return {"image": torch.randint(256, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)}


def randomised(model: UNet3d, seed: int) -> UNet3d:
    """In float64, gains and biases of normalisations among what is random."""
    torch.manual_seed(seed)
    for parameter in model.double().parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


# ---- what it computes


def convolved(x: Tensor, weight: Tensor, gain: Tensor, bias: Tensor, groups: int) -> Tensor:
    """A convolution as a sum over the 27 shifts of the padded input, then group normalisation, before the ReLU."""
    rows, _, *sides = x.shape
    padded = nn.functional.pad(x, (1,) * 6)
    total = torch.zeros(rows, len(weight), *sides, dtype=x.dtype)
    for d, h, w in torch.cartesian_prod(*[torch.arange(3)] * 3).tolist():
        shifted = padded[:, :, d : d + sides[0], h : h + sides[1], w : w + sides[2]]
        total += torch.einsum("oi,bidhw->bodhw", weight[:, :, d, h, w], shifted)
    grouped = total.reshape(rows, groups, -1)
    centred = grouped - grouped.mean(-1, keepdim=True)
    normal = (centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()).reshape(total.shape)
    return normal * gain[:, None, None, None] + bias[:, None, None, None]


def by_hand(model: UNet3d, image: Tensor, residual: bool) -> Tensor:
    """A net of 8 filters and depth 2, its weights taken in their order: down, down, up, joined, head."""
    weights = iter(model.parameters())

    def block(x: Tensor, residual: bool) -> Tensor:
        groups = {8: 2, 16: 4}
        said: list[Tensor] = []
        for number in range(3 if residual else 2):
            weight, gain, bias = (next(weights) for _ in range(3))
            x = convolved(x, weight, gain, bias, groups[len(weight)])
            x = (x + said[0] if number == 2 else x).clamp_min(0)
            said.append(x)
        return x

    def pooled(x: Tensor) -> Tensor:
        corners = [x[:, :, d::2, h::2, w::2] for d in range(2) for h in range(2) for w in range(2)]
        return torch.stack(corners).amax(0)

    first = block(((image.double() - 100) / 40)[:, None], residual)
    lowest = block(pooled(first), residual)
    up = torch.zeros_like(first)
    kernel = next(weights)
    for d, h, w in torch.cartesian_prod(*[torch.arange(2)] * 3).tolist():
        up[:, :, d::2, h::2, w::2] = torch.einsum("io,bidhw->bodhw", kernel[:, :, d, h, w], lowest)
    joined = block(torch.cat([up, first], 1), residual=False)
    weight, bias = next(weights), next(weights)
    assert next(weights, None) is None
    return torch.einsum("c,bcdhw->bdhw", weight[0, :, 0, 0, 0], joined) + bias


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_net_is_the_one_composed_by_hand(encoder: str) -> None:
    """In float64; sums of some thousand products in another order."""
    model, image = randomised(net(encoder, filters=8, depth=2), 3).eval(), windows(2, 4, 6, 8)["image"]
    expected = by_hand(model, image, residual=encoder == "residual")
    torch.testing.assert_close(model({"image": image})["logits"], expected, rtol=1e-9, atol=1e-9)


def test_parameters_are_those_counted_by_hand() -> None:
    """8 filters, depth 3: kernels of 27, gain and bias of the normalisations, kernels of 8 on the way up."""
    down = 27 * (1 * 8 + 8 * 8 + 8 * 16 + 16 * 16 + 16 * 32 + 32 * 32) + 2 * 2 * (8 + 16 + 32)
    up = 8 * (32 * 16 + 16 * 8) + 27 * (32 * 16 + 16 * 16 + 16 * 8 + 8 * 8) + 2 * 2 * (16 + 8)
    third = 27 * (8 * 8 + 16 * 16 + 32 * 32) + 2 * (8 + 16 + 32)

    def number(encoder: str, *, deep: bool) -> int:
        return sum(parameter.numel() for parameter in net(encoder, filters=8, deep=deep).parameters())

    assert number("plain", deep=False) == down + up + 9
    assert number("plain", deep=True) == down + up + 9 + 17
    assert number("residual", deep=False) == down + third + up + 9


def test_a_voxel_sees_the_voxels_counted_by_hand() -> None:
    """Depth 2, voxel 16: two convolutions see 14 to 18; on the level below, cells 7 to 9, from there 5 to 11, which
    are the voxels 10 to 23, and two convolutions before them 8 to 25. Normalisations, which see all, are left out."""
    model = net(depth=2).eval()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.GroupNorm):
                setattr(parent, name, nn.Identity())
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.01)
    with torch.no_grad():
        model.pixels.copy_(torch.tensor([-1.0, 1.0]))
    seen = torch.zeros(32, 32, 32)
    rising = torch.arange(32.0**3).reshape(1, 32, 32, 32)
    for image in (rising, rising.flip(1, 2, 3)):  # of each cell, pooling takes the last voxel, then the first
        image.requires_grad_()
        model({"image": image})["logits"][0, 16, 16, 16].backward()
        assert image.grad is not None
        seen += image.grad[0]
    assert seen.nonzero().amin(0).tolist() == [8, 8, 8]
    assert seen.nonzero().amax(0).tolist() == [25, 25, 25]


def test_images_are_scaled_by_the_statistics_that_travel_with_the_weights() -> None:
    model, image = net().eval(), windows()["image"]
    own = model({"image": image})["logits"]
    for other in (image.short(), image.float()):
        torch.testing.assert_close(model({"image": other})["logits"], own)
    scaled = UNet3d(4, 3, "plain", 0.0, False, torch.tensor([0.0, 1.0]))
    scaled.load_state_dict(model.state_dict())
    torch.testing.assert_close(scaled.eval()({"image": image})["logits"], own)


def test_a_window_is_judged_alike_whatever_stands_beside_it() -> None:
    """In training, too: nothing is normalised over a batch."""
    model, batch = net().train(), windows(4)
    alone = model({"image": batch["image"][2:3]})["logits"]
    torch.testing.assert_close(model(batch)["logits"][2:3], alone, rtol=1e-5, atol=1e-5)  # sums in another order


@pytest.mark.parametrize("filters", [1, 4, 6, 8, 18])
def test_every_number_of_filters_goes(filters: int) -> None:
    outputs = net("residual", filters=filters)(windows())
    assert outputs["logits"].isfinite().all()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_layer_has_its_channels_last_in_memory(encoder: str) -> None:
    """The image brings the layout: a training gives the weights the default one, which takes half as long again."""
    layouts: list[bool] = []
    model = net(encoder, deep=True)
    for layer in model.modules():
        if not list(layer.children()) and layer is not model.dropout:
            layer.register_forward_hook(
                lambda _, __, output: layouts.append(output.is_contiguous(memory_format=torch.channels_last_3d))
            )
    model(windows())
    assert layouts
    assert all(layouts)


# ---- its heads


@pytest.mark.parametrize(("depth", "coarse"), [(2, 0), (3, 1), (4, 2)])
def test_coarser_levels_answer_in_training_alone(depth: int, coarse: int) -> None:
    model, batch = net(depth=depth, deep=True), windows(2, 8, 16, 24)
    outputs = model.train()(batch)
    shapes = {name: tuple(value.shape) for name, value in outputs.items()}
    assert shapes == {"logits": (2, 8, 16, 24)} | ({"deep": (2, coarse, 8, 16, 24)} if coarse else {})
    assert set(model.eval()(batch)) == {"logits"}
    assert set(net(depth=depth).train()(batch)) == {"logits"}


def test_deep_answers_are_the_levels_finest_first_upsampled_trilinearly() -> None:
    model, said = randomised(net(depth=4, deep=True), 1), dict[int, Tensor]()
    for level, head in enumerate(model.heads):
        head.register_forward_hook(lambda _, __, output, level=level: said.update({level: output}))
    deep = model(windows(1, 8, 16, 16))["deep"]
    for level in (1, 2):
        coarse = said[level][0, 0].detach().numpy()
        expected = torch.from_numpy(zoom(coarse, 2**level, order=1, mode="nearest", grid_mode=True))
        torch.testing.assert_close(deep[0, level - 1], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("deep", [False, True])
def test_gradient_reaches_every_parameter(encoder: str, deep: bool) -> None:
    model = net(encoder, dropout=0.2, deep=deep).train()
    torch.stack([value.square().mean() for value in model(windows()).values()]).sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


# ---- lanes


@pytest.mark.parametrize("encoder", ENCODERS)
def test_lanes_with_rates_of_their_own_equal_separate_nets(encoder: str) -> None:
    """Logits and gradients of three nets at once in float64, dropout drawn alike: sums in another order alone."""
    rates = (0.0, 0.3, 0.6)
    models = [randomised(net(encoder, dropout=rate, deep=True), seed).train() for seed, rate in enumerate(rates)]
    batch = windows()

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        outputs = functional_call(models[0], (parameters, buffers), (batch,))
        return outputs["logits"].square().mean() + outputs["deep"].square().mean(), outputs["logits"]

    torch.manual_seed(7)
    stacked, logits = vmap(grad(loss, has_aux=True), randomness="same")(*stack_module_state(models))
    for lane, model in enumerate(models):
        torch.manual_seed(7)
        outputs = model(batch)
        torch.testing.assert_close(logits[lane], outputs["logits"], rtol=1e-9, atol=1e-9)
        (outputs["logits"].square().mean() + outputs["deep"].square().mean()).backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(stacked[name][lane], parameter.grad, rtol=1e-9, atol=1e-9)


def test_rows_one_by_one_under_vmap_equal_a_batch() -> None:
    model, batch = randomised(net(deep=True), 1).train(), windows(3)
    outputs = model(batch)
    rows = vmap(lambda image: model({"image": image[None]}), randomness="different")(batch["image"])
    for name, value in outputs.items():
        torch.testing.assert_close(rows[name][:, 0], value, rtol=1e-9, atol=1e-9)


# ---- mistakes


@pytest.mark.parametrize(("depth", "multiple"), [(2, 2), (3, 4), (5, 16)])
def test_a_window_that_cannot_be_halved_is_refused(depth: int, multiple: int) -> None:
    assert factor(depth) == multiple
    with pytest.raises(ValueError, match=rf"multiples of {multiple} at model\.depth {depth}, got 32 x 33 x 32: change"):
        net(depth=depth)(windows(1, 32, 33, 32))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.encoder is one of plain, residual, got 'resnet'"):
        net("resnet")
    with pytest.raises(ValueError, match=r"model\.depth is at least 2 .*, got 1"):
        net(depth=1)
    with pytest.raises(ValueError, match=r"model\.filters is at least 1, got 0"):
        net(filters=0)
