"""The multi-task net for waveforms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.waveform import Scaling, WaveformNet


def net(width: int = 8, latency: tuple[float, float] = (0.0, 1.0), class_heads: int = 1) -> WaveformNet:
    torch.manual_seed(0)
    statics = torch.stack([torch.zeros(4), torch.ones(4)])
    plain = torch.tensor([0.0, 1.0])
    scaling = Scaling(wave=plain, response=plain, statics=statics, latency=torch.tensor(latency), amplitude=plain)
    return WaveformNet(4, width, 0.0, scaling, samples=200, class_heads=class_heads)


def batch(rows: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "waveform": torch.randn(rows, 200, generator=generator),
        "statics": torch.randn(rows, 4, generator=generator),
    }


def test_shapes_are_what_the_docstring_says() -> None:
    shapes = {name: tuple(value.shape) for name, value in net()(batch(5)).items()}
    assert shapes == {
        "class": (5, 4), "presence": (5,), "latency_ms": (5,), "amplitude_uv": (5,), "signal": (5, 200)
    }  # fmt: skip


def test_every_row_is_answered_by_itself() -> None:
    model, rows = net().eval(), batch(5)
    together, alone = model(rows), model({name: value[2:3] for name, value in rows.items()})
    for name, value in alone.items():
        torch.testing.assert_close(value, together[name][2:3], rtol=1e-4, atol=1e-5)


def test_values_come_out_in_their_units() -> None:
    plain, scaled = net()(batch(5))["latency_ms"], net(latency=(6.5, 0.4))(batch(5))["latency_ms"]
    torch.testing.assert_close(scaled, 6.5 + 0.4 * plain)


def test_mixed_precision_does_not_round_values_in_their_units() -> None:
    """A latency of 6.5 ms in bfloat16 would be a multiple of 1/32 ms; autocast on the CPU rounds as on a GPU."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        outputs = net(latency=(6.5, 0.4)).eval()(batch(64))
    for name in ("latency_ms", "amplitude_uv", "signal"):
        assert outputs[name].dtype == torch.float32
    assert (outputs["latency_ms"] * 32 % 1 != 0).any()


def test_a_silent_waveform_gives_finite_answers_and_gradients() -> None:
    model, rows = net(), batch(2)
    rows["waveform"] = torch.zeros(2, 200)
    outputs = model(rows)
    torch.stack([value.sum() for value in outputs.values()]).sum().backward()
    assert all(torch.isfinite(value).all() for value in outputs.values())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("width", [0, 12])
def test_a_width_that_groups_do_not_divide_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match=f"model.width is a positive multiple of 8 .* got {width}"):
        net(width)


def test_no_head_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.class_heads is 1 or more, got 0"):
        net(class_heads=0)


def test_several_heads_answer_with_their_mean_probability() -> None:
    model, rows = net(class_heads=3).eval(), batch(5)
    alone: list[Tensor] = []
    for head in model.class_heads:
        head.register_forward_hook(lambda _module, _inputs, output: alone.append(output.softmax(-1)))
    together = model(rows)["class"].softmax(-1)
    assert len(alone) == 3 and not torch.allclose(alone[0], alone[1])
    torch.testing.assert_close(together, torch.stack(alone).mean(0))


def test_an_artefact_does_not_drown_the_response() -> None:
    """A thousand times the response at the start: the features of the rest change by the same order as themselves."""
    model, rows = net().eval(), batch(4)
    loud = {**rows, "waveform": rows["waveform"].clone()}
    loud["waveform"][:, :10] += 1000
    for name in ("class", "presence", "latency_ms", "amplitude_uv"):
        plain, drowned = model(rows)[name], model(loud)[name]
        assert torch.isfinite(drowned).all()
        assert (plain - drowned).abs().max() < 3
