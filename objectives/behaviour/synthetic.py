"""Made-up sessions of mice on a test of paw pain, for tests and first steps without recordings. Not for science.

Eight mice, two sessions each, filmed from below at 30 frames per second; a session was cut into 24 clips of 360
frames. The six points are those that DeepLabCut tracks in the recordings of the note behind `studies/behaviour.yaml`,
the six actions those of the note. `objectives.behaviour.motion` says how an action moves the points.

- Actions are short and rare: rest takes about 80 % of the frames, the withdrawal of a paw, which the test is about,
  about 1.5 %, in bouts of 6 to 15 frames. Every session has every action.
- Half of the clips of every session, at random, have an annotation of 345 rows: of the last 345 frames, for the
  annotating model saw 15 frames before it said anything. Their column Frame begins with 0 all the same. Lined up at
  the start of the clip, rows of half of the clips are half a second early.
- The annotator begins and ends a bout up to two frames off.
- Mice differ in size, shape, vigour, tempo, tremor and in the paw that hurts, cameras in place, angle and distance.
- Tracking is as good as the day: its noise and the share of lost points differ among sessions by factors of up to 10
  and 4, and every point is off by an amount of its own all through a session. An eighth of the coordinates is lost in
  stretches, left and right paws are swapped, single points jump.

A random forest on postures and speeds in windows that has seen four mice names the actions of the other four with a
macro F1 of 0.76 (of the withdrawal 0.47); lined up at the start of the clip, with 0.62 (0.22).

Labels are made of whole numbers alone, so that they are the same on every machine; coordinates may differ in the last
digits with the machine's mathematics.
"""

from __future__ import annotations

import numpy as np

from objectives.behaviour.data import Annotation, Session, Sessions
from objectives.behaviour.motion import FPS, HIND, POINTS, Animal, Bout, moved

CLASSES = ("rest", "paw_withdraw", "paw_lick", "paw_shake", "walk", "active")
ANIMALS, DAYS, CLIPS, CLIP_FRAMES = 8, 2, 24, 360
SIZE = (640, 480)
LEAD = 15  #: frames before the annotating model's first row
JITTER = 2  #: frames that an annotator is off, at most
#: Fewest and most bouts in a session, shortest and longest bout in frames.
BOUTS = {
    "paw_withdraw": ((10, 16), (6, 15)),
    "paw_lick": ((8, 12), (20, 60)),
    "paw_shake": ((12, 20), (10, 30)),
    "walk": ((6, 10), (30, 90)),
    "active": ((6, 10), (30, 90)),
}
#: Share of the frames in which a point is lost: fore paws are hidden under the head.
LOST = np.array([0.09, 0.19, 0.19, 0.1, 0.1, 0.07])
NOISE_PX = (0.7, 8.0)  #: standard deviation of tracking, of the best session and of the worst
#: Standard deviation of how far off a point is all through a session: trackers see each camera's view in their way.
OFFSET_PX = 12.0
LOST_FRAMES = 20  #: mean length of a stretch
SWAPS, JUMPS = 12, 80  #: mean number in a session
#: Streams of random numbers: the plan's holds whole numbers alone.
PLAN, ANIMAL, MOTION, TRACKING = range(4)


def generate(seed: int = 0) -> Sessions:
    """The sessions; the same on every call with the same seed."""
    animals = [_animal(number, np.random.default_rng([seed, ANIMAL, number])) for number in range(ANIMALS)]
    sessions = tuple(
        _session(animal, f"mouse{number + 1}", day, [number, day], seed)
        for number, animal in enumerate(animals)
        for day in range(DAYS)
    )
    return Sessions(sessions=sessions, points=POINTS, animal=np.zeros(len(POINTS), np.int64), classes=CLASSES)


def _session(animal: Animal, group: str, day: int, key: list[int], seed: int) -> Session:
    plan, motion, tracking = (np.random.default_rng([seed, part, *key]) for part in (PLAN, MOTION, TRACKING))
    name = f"{group}_day{day + 1}"
    bouts = _planned(plan)
    annotations = _annotated(name, bouts, plan)
    shown = [_shifted(bout, plan) for bout in bouts]
    places = moved(shown, CLIPS * CLIP_FRAMES, animal, motion)
    points, likelihood = _tracked(_filmed(places, animal, motion), tracking)
    return Session(
        name=name,
        group=group,
        points=points,
        likelihood=likelihood,
        annotations=annotations,
        clips=CLIPS,
        fps=float(FPS),
        size=SIZE,
    )


def _planned(plan: np.random.Generator) -> list[Bout]:
    """All bouts of a session in order, as the annotator sees them; the other frames fall between them at random."""
    names = [name for name, (bouts, _) in BOUTS.items() for _ in range(plan.integers(*bouts, endpoint=True))]
    names = [names[number] for number in plan.permutation(len(names))]
    lengths = [int(plan.integers(*BOUTS[name][1], endpoint=True)) for name in names]
    before = np.sort(plan.integers(JITTER, CLIPS * CLIP_FRAMES - sum(lengths) - JITTER, len(names)))
    starts = before + np.cumsum([0, *lengths[:-1]])
    return [
        Bout(action=name, start=int(start), stop=int(start) + length)
        for name, start, length in zip(names, starts, lengths, strict=True)
    ]


def _annotated(name: str, bouts: list[Bout], plan: np.random.Generator) -> tuple[Annotation, ...]:
    """A file per clip; those of a random half lack the first frames."""
    action = np.zeros(CLIPS * CLIP_FRAMES, np.int64)
    for bout in bouts:
        action[bout.start : bout.stop] = CLASSES.index(bout.action)
    leads = LEAD * (plan.permutation(CLIPS) % 2)
    return tuple(
        Annotation(file=f"{name}_{clip + 1}.csv", clip=clip, action=rows[lead:])
        for clip, (rows, lead) in enumerate(zip(action.reshape(CLIPS, CLIP_FRAMES), leads, strict=True))
    )


def _shifted(bout: Bout, plan: np.random.Generator) -> Bout:
    """When it really was."""
    start, stop = plan.integers(-JITTER, JITTER, 2, endpoint=True)
    return Bout(action=bout.action, start=bout.start + int(start), stop=bout.stop + int(stop))


def _animal(number: int, generator: np.random.Generator) -> Animal:
    return Animal(
        shape=generator.normal(0, 0.025, (len(POINTS), 2)),
        sore=HIND[number % 2],
        vigour=float(generator.uniform(0.6, 1.4)),
        tempo=float(generator.uniform(0.8, 1.2)),
        tremor=float(generator.uniform(0.003, 0.012)),
        length=float(generator.uniform(190, 240)),
    )


def _filmed(places: np.ndarray, animal: Animal, generator: np.random.Generator) -> np.ndarray:
    """Body lengths to pixels, `[frame, point, 2]`: distance, angle and place of the camera differ among sessions."""
    roll = generator.normal(0, 0.15)
    cosine, sine = np.cos(roll), np.sin(roll)
    slant = np.array([1.0, generator.uniform(0.8, 1.0)])  # the camera does not look straight up
    middle = 0.5 * np.array(SIZE) + generator.uniform(-25, 25, 2)
    turned = places @ np.array([[cosine, sine], [-sine, cosine]])
    return np.asarray(middle + animal.length * generator.uniform(0.92, 1.08) * slant * turned)


def _tracked(places: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What a tracker makes of it: points float32 `[frame, point, 2]` and likelihood float32 `[frame, point]`."""
    frames = len(places)
    noise_px = np.exp(generator.uniform(*np.log(NOISE_PX))) * generator.uniform(0.7, 1.4, len(POINTS))
    offset = generator.normal(0, OFFSET_PX, places.shape[1:])
    points = places + offset + noise_px[:, None] * generator.normal(0, 1, places.shape)
    likelihood = 1 - 0.05 * generator.random((frames, len(POINTS))) ** 3
    for begin in generator.integers(0, frames, generator.poisson(SWAPS)):
        taken = slice(begin, begin + int(generator.integers(3, 15)))
        pair = generator.choice([[1, 2], [3, 4]])
        points[taken, pair] = points[taken, pair[::-1]]
        likelihood[taken, pair] *= 0.9
    for begin in generator.integers(0, frames, generator.poisson(JUMPS)):
        taken, one = slice(begin, begin + int(generator.integers(1, 4))), generator.integers(len(POINTS))
        points[taken, one] += generator.normal(0, 60, 2)
        likelihood[taken, one] = generator.uniform(0.05, 0.7)
    points = np.clip(points, 0, np.array(SIZE) - 1)
    for point, share in enumerate(LOST * generator.uniform(0.4, 1.6)):
        for begin in generator.integers(0, frames, generator.poisson(-np.log(1 - share) * frames / LOST_FRAMES)):
            taken = slice(begin, begin + int(generator.geometric(1 / LOST_FRAMES)))
            points[taken, point], likelihood[taken, point] = np.nan, 0
    return points.astype(np.float32), likelihood.astype(np.float32)
