"""How a made-up mouse moves, seen from below: key points in pixels for a list of bouts.

A pose is six points in body lengths, forwards and to the left of the middle of the body; every bout adds what its
action does to them:

- `paw_withdraw`: the sore hind paw is lifted in two to three frames and comes back slowly;
- `paw_lick`: the mouth bows to the paw, the paw to the mouth, and both swing at about 6 Hz;
- `paw_shake`: the paw is held up and swings at about 12 Hz, near what 30 frames per second can show;
- `walk`: the middle of the body goes somewhere else, the body turns there, paws swing in diagonal pairs;
- `active`: the body stays, head and fore paws move: rearing (slow, wide) or grooming (quick, narrow).

Between bouts, and under them, the animal breathes, trembles, sways, turns its head, puts a paw elsewhere and twitches.
Twitches and steps of a hind paw look like small withdrawals, turns of the head like the start of a lick or of a rear.
Amplitudes differ from bout to bout by a factor of about 1.3 and from animal to animal by `vigour`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

FPS = 30
POINTS = ("mouth", "L_frontpaw", "R_frontpaw", "L_hindpaw", "R_hindpaw", "tail_base")
MOUTH, FRONT, HIND = 0, (1, 2), (3, 4)
#: The pose at rest, forwards and to the left, in body lengths.
REST = np.array([[0.5, 0], [0.28, 0.12], [0.28, -0.12], [-0.2, 0.2], [-0.2, -0.2], [-0.45, 0]])
#: How far the middle of the body goes from the middle of the cage, in body lengths: all points stay in the picture.
CAGE = np.array([0.65, 0.3])
#: Phases of the paws in a walk, in cycles: diagonal pairs swing together.
GAIT = {1: 0.0, 2: 0.5, 3: 0.5, 4: 0.0}
TWITCHES_PER_S, STEPS_PER_S = 0.2, 0.4


@dataclass(frozen=True, kw_only=True)
class Bout:
    """One action from a frame to before another."""

    action: str
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Animal:
    """What differs among animals apart from how they are filmed."""

    shape: np.ndarray  #: float `[point, 2]`, added to `REST`
    sore: int  #: the hind paw that hurts
    vigour: float  #: factor of all amplitudes
    tempo: float  #: factor of all frequencies
    tremor: float  #: standard deviation in body lengths
    length: float  #: of the body in pixels


@dataclass(frozen=True)
class _Body:
    """What bouts change, frame by frame."""

    pose: np.ndarray  # float `[frame, point, 2]`, body lengths from the middle of the body
    path: np.ndarray  # float `[frame, 2]`, the middle of the body, body lengths from the middle of the cage
    heading: np.ndarray  # float `[frame]`, radians


def moved(bouts: list[Bout], frames: int, animal: Animal, generator: np.random.Generator) -> np.ndarray:
    """Positions of the points, float `[frame, point, 2]` in body lengths from the middle of the cage."""
    start, heading = generator.uniform(-CAGE, CAGE), generator.uniform(0, 2 * np.pi)
    body = _Body(
        np.tile(REST + animal.shape, (frames, 1, 1)),
        np.tile(start, (frames, 1)),
        np.full(frames, heading) + 0.08 * _wander(frames, 60, generator),
    )
    _stay(body, animal, generator)
    for bout in bouts:
        ACTIONS[bout.action](body, bout, animal, generator)
    cosine, sine = np.cos(body.heading), np.sin(body.heading)
    turn = np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)
    return np.asarray(body.path[:, None] + np.einsum("fij,fpj->fpi", turn, body.pose))


def _stay(body: _Body, animal: Animal, generator: np.random.Generator) -> None:
    """Breathing, trembling, swaying; steps and turns of the head that last; twitches of the hind paws."""
    frames = len(body.pose)
    seconds = np.arange(frames) / FPS
    breath = 0.006 * np.sin(2 * np.pi * 3.0 * animal.tempo * seconds)
    body.pose[:] += breath[:, None, None] * np.sign(REST + animal.shape)
    for point in range(len(POINTS)):
        for axis in range(2):
            body.pose[:, point, axis] += animal.tremor * _wander(frames, 1.5, generator)
            body.pose[:, point, axis] += 0.02 * _wander(frames, 45, generator)
    for point, reach in ((MOUTH, 0.1), (1, 0.05), (2, 0.05), (3, 0.045), (4, 0.045)):
        steps = generator.poisson(STEPS_PER_S * frames / FPS / 5)
        begins = np.sort(generator.integers(0, frames, steps))
        places = np.vstack([np.zeros((1, 2)), generator.normal(0, reach, (steps, 2))])
        place = places[np.searchsorted(begins, np.arange(frames), side="right")]
        body.pose[:, point] += gaussian_filter1d(place, 4.0 if point == MOUTH else 1.5, axis=0)
    for begin in generator.integers(0, frames - 8, generator.poisson(TWITCHES_PER_S * frames / FPS)):
        length = int(generator.integers(3, 8))
        lift = generator.uniform(0.04, 0.14) * animal.vigour * np.sin(np.pi * np.arange(1, length + 1) / (length + 1))
        body.pose[begin : begin + length, generator.choice(HIND)] += lift[:, None] * _direction(0.0, 1.2, generator)


def _withdraw(body: _Body, bout: Bout, animal: Animal, generator: np.random.Generator) -> None:
    paw = _paw(animal, generator)
    length = bout.stop - bout.start
    rise = int(generator.integers(2, 4))
    held = np.minimum(np.arange(1, length + 1) / rise, 1.0)
    back = 1 - 0.8 * _smooth((np.arange(length) - 0.4 * length) / (0.6 * length))
    size = 0.22 * animal.vigour * _spread(generator)
    lift = size * held * back
    tail = lift[-1] * np.linspace(1, 0, 7)[1:]  # the paw is put down after what an annotator calls a withdrawal
    lift = np.concatenate([lift, tail])[: len(body.pose) - bout.start]
    inwards = np.array([1.0, -np.sign(REST[paw, 1]) * 0.6])
    body.pose[bout.start : bout.start + len(lift), paw] += lift[:, None] * (inwards + generator.normal(0, 0.3, 2))


def _lick(body: _Body, bout: Bout, animal: Animal, generator: np.random.Generator) -> None:
    frames, here = slice(bout.start, bout.stop), _envelope(bout, 6)
    paw = _paw(animal, generator)
    swing = np.sin(2 * np.pi * 6 * animal.tempo * _seconds(bout) + generator.uniform(0, 2 * np.pi))
    middle = 0.5 * (REST[MOUTH] + REST[paw]) + np.array([0, 0.5 * REST[paw, 1]]) + generator.normal(0, 0.04, 2)
    size = 0.03 * animal.vigour * _spread(generator)
    gap = np.array([0.05, 0.0]) * generator.uniform(0.5, 2.5)
    for point, side in ((MOUTH, 1), (paw, -1)):
        goal = (
            middle + side * gap + (0.6 if point == paw else 1.0) * side * size * swing[:, None] * np.array([1.0, 0.5])
        )
        share = 0.8 if point == MOUTH else 0.5
        body.pose[frames, point] += share * here[:, None] * (goal - body.pose[frames, point])
    for point in FRONT:
        body.pose[frames, point] += here[:, None] * np.array([-0.08, 0.3 * REST[paw, 1]])


def _shake(body: _Body, bout: Bout, animal: Animal, generator: np.random.Generator) -> None:
    frames, here = slice(bout.start, bout.stop), _envelope(bout, 3)
    paw = _paw(animal, generator)
    hertz = np.minimum(12 * animal.tempo * generator.uniform(0.9, 1.1), 14)
    swing = np.sin(2 * np.pi * hertz * _seconds(bout) + generator.uniform(0, 2 * np.pi))
    size = animal.vigour * _spread(generator)
    held = 0.1 * size * np.array([0.6, np.sign(REST[paw, 1])])
    shaken = 0.1 * size * swing[:, None] * _direction(np.pi / 2, 0.6, generator)
    body.pose[frames, paw] += here[:, None] * (held + shaken)


def _walk(body: _Body, bout: Bout, animal: Animal, generator: np.random.Generator) -> None:
    frames, here = slice(bout.start, bout.stop), _envelope(bout, 8)
    start = body.path[bout.start].copy()
    speed = 0.018 * animal.vigour * _spread(generator)  # body lengths per frame
    far = np.clip(speed * (bout.stop - bout.start), 0.25, 1.4)
    options = start + far * np.stack([_direction(0, np.pi, generator) for _ in range(16)])
    goal = options[np.argmin(np.maximum(np.abs(options) - CAGE, 0).sum(-1))]
    goal = np.clip(goal, -CAGE, CAGE)
    way = _smooth(np.linspace(0, 1, bout.stop - bout.start))
    body.path[frames] = start + way[:, None] * (goal - start)
    body.path[bout.stop :] = goal
    angle = np.arctan2(*(goal - start)[::-1]) - body.heading[bout.start]
    angle = 0.8 * ((angle + np.pi) % (2 * np.pi) - np.pi)  # the shorter way round, and not quite to the end
    body.heading[frames] += angle * _smooth(np.linspace(0, 1.6, bout.stop - bout.start))
    body.heading[bout.stop :] += angle
    cycles = 3 * animal.tempo * generator.uniform(0.8, 1.2) * _seconds(bout)
    stride = 0.07 * animal.vigour * _spread(generator)
    for paw, phase in GAIT.items():
        body.pose[frames, paw, 0] += stride * here * np.sin(2 * np.pi * (cycles + phase))


def _active(body: _Body, bout: Bout, animal: Animal, generator: np.random.Generator) -> None:
    frames, here = slice(bout.start, bout.stop), _envelope(bout, 6)
    size = animal.vigour * _spread(generator)
    rears = generator.random() < 0.5
    hertz, head, paws, back = (1.2, 0.12, 0.08, 0.1) if rears else (3.5, 0.05, 0.08, 0.15)
    cycles = hertz * animal.tempo * generator.uniform(0.8, 1.2) * _seconds(bout)
    for point, reach in ((MOUTH, head), (1, paws), (2, paws)):
        phase = generator.uniform(0, 1, 2)
        swing = np.sin(2 * np.pi * (cycles[:, None] + phase)) + 0.4 * np.sin(
            2 * np.pi * (1.7 * cycles[:, None] - phase)
        )
        body.pose[frames, point] += here[:, None] * size * (reach * swing - np.array([back * (point == MOUTH), 0]))


#: Every action but rest, which is what lies between.
ACTIONS: dict[str, Callable[[_Body, Bout, Animal, np.random.Generator], None]] = {
    "paw_withdraw": _withdraw,
    "paw_lick": _lick,
    "paw_shake": _shake,
    "walk": _walk,
    "active": _active,
}


def _paw(animal: Animal, generator: np.random.Generator) -> int:
    """Mostly the one that hurts."""
    return animal.sore if generator.random() < 0.8 else HIND[animal.sore == HIND[0]]


def _seconds(bout: Bout) -> np.ndarray:
    return np.arange(bout.stop - bout.start) / FPS


def _smooth(share: np.ndarray) -> np.ndarray:
    """From 0 to 1, level at both ends."""
    share = np.clip(share, 0, 1)
    return np.asarray(share**2 * (3 - 2 * share))


def _envelope(bout: Bout, frames: int) -> np.ndarray:
    """Sets in and ends within some frames, float `[frame]`."""
    number = np.arange(bout.stop - bout.start)
    return _smooth((number + 1) / frames) * _smooth((bout.stop - bout.start - number) / frames)


def _spread(generator: np.random.Generator) -> float:
    """How much larger a bout is than others of the animal."""
    return float(generator.lognormal(0, 0.25))


def _direction(middle: float, spread: float, generator: np.random.Generator) -> np.ndarray:
    angle = middle + generator.uniform(-spread, spread)
    return np.array([np.cos(angle), np.sin(angle)])


def _wander(frames: int, smoothing: float, generator: np.random.Generator) -> np.ndarray:
    """Smooth noise with standard deviation 1, float `[frame]`; a Gaussian window leaves 1 / (2 sqrt(pi) s) of it."""
    white = generator.normal(0, 1, frames)
    return np.asarray(gaussian_filter1d(white, smoothing) * np.sqrt(2 * np.sqrt(np.pi) * smoothing))
