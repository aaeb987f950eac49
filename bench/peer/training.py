"""One training of the digits net as a PyTorch tutorial has it: Dataset, DataLoader, AdamW, a scheduler.

Used by every peer of `bench.peers`, as it is. The network and the loss are the service's own, so that all train the
same; data come from the file named in BENCH_DIGITS (arrays of one fold, written by `bench.peers`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from models.digits import DigitNet
from objectives.losses import focal_cross_entropy

EPOCHS, MIN_EPOCHS, REDUCTION = 12, 3, 3
BATCH, WIDTH = 64, 16
RARE_SHARE = 0.05

#: `configurations` of digits.yaml, tried first by every tool.
FIRST: list[dict[str, Any]] = [
    {
        "lr": 1e-3,
        "weight_decay": 1e-2,
        "rare_boost_cap": 1.0,
        "focal_gamma": 0.0,
        "label_smoothing": 0.0,
        "dropout": 0.1,
        "patience": 10,
    },
    {
        "lr": 3e-3,
        "weight_decay": 5e-2,
        "rare_boost_cap": 12.0,
        "focal_gamma": 2.5,
        "label_smoothing": 0.1,
        "dropout": 0.3,
        "patience": 10,
    },
]


class Digits(Dataset[tuple[Tensor, Tensor]]):
    """Images and their digits."""

    def __init__(self, images: np.ndarray, digits: np.ndarray) -> None:
        self.images, self.digits = torch.from_numpy(images), torch.from_numpy(digits)

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        return self.images[number], self.digits[number]


def train(config: Mapping[str, Any]) -> Iterator[float]:
    """Train one configuration; yields the macro F1 on the validation rows after each epoch."""
    torch.manual_seed(0)
    data = np.load(os.environ["BENCH_DIGITS"])
    training = Digits(data["train_image"], data["train_target"])
    validation = DataLoader(Digits(data["validation_image"], data["validation_target"]), batch_size=4 * BATCH)
    weights = _weights(data["train_target"], config["rare_boost_cap"])
    loader = DataLoader(training, batch_size=BATCH, sampler=WeightedRandomSampler(weights, len(training)))
    mean, std = (torch.tensor(float(value)) for value in (data["train_image"].mean(), data["train_image"].std()))
    model = DigitNet(10, WIDTH, float(config["dropout"]), mean, std)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=float(config["lr"]), weight_decay=float(config["weight_decay"])
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, _cosine(len(loader)))
    best, since = -math.inf, 0
    for epoch in range(1, EPOCHS + 1):
        model.train()
        for images, digits in loader:
            optimizer.zero_grad()
            logits = model({"image": images})["logits"]
            total, count = focal_cross_entropy(
                logits, digits, float(config["focal_gamma"]), float(config["label_smoothing"])
            )
            loss = total / count
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
        score = _score(model, validation)
        yield score
        if score > best:
            best, since = score, 0
        elif epoch > MIN_EPOCHS:
            since += 1
        if since >= config["patience"] and epoch > MIN_EPOCHS:
            return


def _score(model: torch.nn.Module, loader: DataLoader[tuple[Tensor, Tensor]]) -> float:
    model.eval()
    predicted, truth = [], []
    with torch.no_grad():
        for images, digits in loader:
            predicted.append(model({"image": images})["logits"].argmax(1))
            truth.append(digits)
    return float(f1_score(torch.cat(truth), torch.cat(predicted), average="macro"))


def _weights(digits: np.ndarray, cap: float) -> list[float]:
    """Rows of rare digits are drawn up to `cap` times as often."""
    counts = np.bincount(digits, minlength=10)
    boost = np.where(counts / counts.sum() < RARE_SHARE, np.minimum(cap, counts.max() / counts), 1.0)
    weights: list[float] = boost[digits].tolist()
    return weights


def _cosine(steps: int) -> Callable[[int], float]:
    """One epoch of linear warm-up, then half a cosine."""

    def factor(step: int) -> float:
        if step < steps:
            return (step + 1) / steps
        return (1 + math.cos(math.pi * (step - steps) / ((EPOCHS - 1) * steps))) / 2

    return factor
