"""Faces of mice drawn from what they show, for `objectives.grimace.synthetic`. A cartoon, not anatomy.

Lengths are in head units: the origin lies between the eyes, x to the right of the picture, y down, z out of it; the
head is about 1.2 wide, and 1.4 high without its ears. What moves follows the Mouse Grimace Scale (Langford et al.
2010, figure 1), from memory and exaggerated: ears turn outwards and flatten, eyes narrow, nose and cheeks bulge. Each
is a number from 0 (at rest) to 1 (as strong as it gets).

Shapes are drawn on a canvas of at least twice the picture's side, which is then reduced: edges are smooth, and pictures
of different sides show the same face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from PIL import Image, ImageDraw

CANVAS = 224  #: pixels, at least
HEAD = 0.45  #: canvas widths per head unit
GRAIN = 56  #: cells of the bedding's noise along a side, whatever the side
SIDES = (-1, 1)  #: of a face
DARK, LIGHT = (14, 10, 12), (250, 250, 250)
#: Where the parts of the right side lie, `x, y, z`.
EAR, EYE, CHEEK, NOSE = (0.50, -0.50, -0.15), (0.29, -0.06, 0.30), (0.32, 0.22, 0.2), (0.0, 0.60, 0.55)
EYE_FACES = 0.7  #: radians to the side into which an eye looks
TURN = np.linspace(0, 2 * np.pi, 25)[:-1]
CIRCLE = np.stack([np.cos(TURN), np.sin(TURN)], axis=1)
#: Outline of the head: wide at the eyes, narrow at the snout.
OUTLINE = np.array(
    [(0.0, -0.58), (0.25, -0.55), (0.45, -0.40), (0.57, -0.15), (0.56, 0.10), (0.44, 0.34), (0.28, 0.52), (0.16, 0.68)]
)

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Mouse:
    """What stays the same between the clips of one animal; the defaults make a plain one."""

    fur: Colour = (122, 98, 78)
    skin: Colour = (244, 186, 178)  #: of ears, nose and paws
    ear_size: float = 1.0  #: factor
    ear_angle: float = 0.45  #: radians by which ears lean outwards at rest
    eye_size: float = 1.0  #: factor


@dataclass(frozen=True, kw_only=True)
class Camera:
    """What stays the same between the frames of one clip: where the camera stands, and how it sees."""

    shift: tuple[float, float] = (0.0, 0.0)  #: canvas widths
    scale: float = 1.0
    tilt: float = 0.0  #: radians
    turn: float = 0.0  #: radians to the side
    floor: Colour = (178, 170, 158)
    wall: Colour = (120, 124, 130)
    brightness: float = 1.0  #: factor
    contrast: float = 1.0  #: factor on the distance from middle grey
    hue: float = 0.0  #: of the light, radians on the colour circle: 0 is red, 2 green, 4 blue
    colour: float = 0.0  #: how much that light colours what it falls on, as a share
    slope: float = 0.0  #: how much brighter the right edge is than the middle, as a share
    noise: float = 0.0  #: standard deviation, grey levels
    cage: int = 0  #: which cage: its bedding and its bars


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One frame: what the face does and how the head is held."""

    ears: float = 0.0
    eyes: float = 0.0
    nose: float = 0.0
    cheeks: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)  #: of the head, head units
    tilt: float = 0.0  #: radians
    turn: float = 0.0  #: radians to the side
    paws: float = 0.0  #: how far they are lifted to the face: at 1 they wash it
    wash: float = 0.0  #: where they are in their circle, radians


@final
class Scene:
    """A mouse before a camera, at one side in pixels. Draws `Shown` after `Shown`; the cage is drawn once."""

    def __init__(self, mouse: Mouse, camera: Camera, side: int) -> None:
        self._mouse, self._camera, self._side = mouse, camera, side
        self._factor = max(2, -(-CANVAS // side))
        self._cage = _cage(camera, side * self._factor)
        level = np.arange(256)
        tint = 1 + camera.colour * np.cos(camera.hue - np.arange(3) * 2 * np.pi / 3)
        levels = [((level - 128) * camera.contrast + 128) * camera.brightness * factor for factor in tint]
        self._levels = np.clip(np.concatenate(levels) + 0.5, 0, 255).astype(int).tolist()
        across = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
        self._slope = (1 + camera.slope * across)[:, None]

    def draw(self, shown: Shown, generator: np.random.Generator) -> np.ndarray:
        """One frame, uint8 `[3, side, side]`, RGB; `generator` makes the noise."""
        image = self._cage.copy()
        sheet = _Sheet(image, self._camera, shown)
        _body(sheet, self._mouse)
        for side in SIDES:
            _ear(sheet, self._mouse, side, shown.ears)
        _head(sheet, self._mouse, shown)
        for side in SIDES:
            _eye(sheet, self._mouse, side, shown.eyes)
        _snout(sheet, self._mouse, shown.nose)
        if shown.paws > 0:
            for side in SIDES:
                _paw(sheet, self._mouse, side, shown)
        small = image.point(self._levels).reduce(self._factor)
        lit = np.asarray(small, dtype=np.float32) * self._slope
        grain = generator.standard_normal((self._side, self._side, 1), dtype=np.float32)
        noisy = lit + self._camera.noise * grain
        return np.clip(noisy + 0.5, 0, 255).astype(np.uint8).transpose(2, 0, 1)


@final
class _Sheet:
    """A canvas that takes points in head units."""

    def __init__(self, image: Image.Image, camera: Camera, shown: Shown) -> None:
        self._draw = ImageDraw.Draw(image)
        self._unit = image.width * HEAD * camera.scale
        angle = camera.tilt + shown.tilt
        cos, sin = np.cos(angle), np.sin(angle)
        self._turned = self._unit * np.array([[cos, sin], [-sin, cos]])
        middle = np.array([0.5, 0.54]) + camera.shift
        self._origin = image.width * middle + self._unit * np.array(shown.shift)
        self.turn = camera.turn + shown.turn

    def place(self, x: float, y: float, z: float) -> np.ndarray:
        """Where a point of the head is seen once the head is turned to the side, `[2]`."""
        return np.array([x * np.cos(self.turn) + z * np.sin(self.turn), y])

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        """A polygon, `[points, 2]`."""
        self._draw.polygon((points @ self._turned + self._origin).ravel().tolist(), fill=colour)

    def line(self, start: np.ndarray, end: np.ndarray, width: float, colour: Colour) -> None:
        """A straight line."""
        pixels = np.stack([start, end]) @ self._turned + self._origin
        self._draw.line(pixels.ravel().tolist(), fill=colour, width=max(1, round(width * self._unit)))


def _cage(camera: Camera, canvas: int) -> Image.Image:
    """Wall with bars above, bedding below."""
    generator = np.random.default_rng(camera.cage)
    bedding = generator.normal(0, 16, (GRAIN, GRAIN, 1))
    down = np.linspace(0, 1, GRAIN)[:, None, None]
    floor = down > generator.uniform(0.36, 0.46)
    bars = (np.arange(GRAIN)[None, :, None] + generator.integers(9)) % 9 == 0
    wall = np.array(camera.wall) * np.where(bars, 0.72, 1.0)
    cells = np.where(floor, np.array(camera.floor) + bedding, wall + 0.25 * bedding)
    return Image.fromarray(np.clip(cells, 0, 255).astype(np.uint8)).resize((canvas, canvas), Image.Resampling.BILINEAR)


def _body(sheet: _Sheet, mouse: Mouse) -> None:
    sheet.fill(_ellipse((-0.5 * np.sin(sheet.turn), 0.95), 0.82, 0.85), _shade(mouse.fur, 0.72))


def _ear(sheet: _Sheet, mouse: Mouse, side: int, pain: float) -> None:
    """At rest round and upright; in pain flat, narrow, and turned outwards and down."""
    x, y, z = EAR
    middle = sheet.place(side * (x + 0.12 * pain), y + 0.20 * pain, z)
    wide = mouse.ear_size * (0.36 - 0.22 * pain) * (0.55 + 0.45 * np.cos(sheet.turn))
    long = mouse.ear_size * (0.42 - 0.08 * pain)
    angle = side * (mouse.ear_angle + 0.95 * pain)
    sheet.fill(_ellipse(middle, wide, long, angle), _shade(mouse.fur, 0.86))
    sheet.fill(_ellipse(middle, 0.74 * wide, 0.78 * long, angle), mouse.skin)


def _head(sheet: _Sheet, mouse: Mouse, shown: Shown) -> None:
    right = OUTLINE * [np.cos(sheet.turn) * 0.35 + 0.65, 1]
    outline = np.concatenate([right, right[::-1] * (-1, 1)])
    outline[:, 0] += np.sin(sheet.turn) * np.interp(outline[:, 1], [-0.6, 0.0, 0.7], [-0.05, 0.1, 0.5])
    sheet.fill(outline, mouse.fur)
    for side in SIDES:
        x, y, z = CHEEK
        size = 0.15 + 0.10 * shown.cheeks
        middle = sheet.place(side * (x + 0.06 * shown.cheeks), y, z)
        sheet.fill(_ellipse(middle, size, size), _shade(mouse.fur, 1.08 + 0.1 * shown.cheeks))


def _eye(sheet: _Sheet, mouse: Mouse, side: int, pain: float) -> None:
    """Round and bulging at rest; a slit in pain."""
    x, y, z = EYE
    seen = max(0.0, float(np.cos(sheet.turn - side * EYE_FACES))) / np.cos(EYE_FACES)
    if seen < 0.1:
        return
    middle = sheet.place(side * x, y + 0.03 * pain, z)
    wide = 0.20 * mouse.eye_size * min(seen, 1.15)
    high = 0.21 * mouse.eye_size * (1 - 0.88 * pain)
    slant = side * 0.25
    sheet.fill(_ellipse(middle, wide + 0.045, 0.21 * mouse.eye_size + 0.035, slant), _shade(mouse.fur, 1.45))
    sheet.fill(_ellipse(middle, wide + 0.012, high + 0.012, slant), _shade(mouse.fur, 0.5))
    sheet.fill(_ellipse(middle, wide, high, slant), DARK)
    glint = min(0.038, 0.5 * high)
    sheet.fill(_ellipse(middle + np.array([0.03, -0.4 * high]), glint, glint), LIGHT)


def _snout(sheet: _Sheet, mouse: Mouse, bulge: float) -> None:
    bridge = sheet.place(0, 0.22, 0.45)
    sheet.fill(_ellipse(bridge, 0.09 + 0.06 * bulge, 0.24), _shade(mouse.fur, 1.12 + 0.08 * bulge))
    tip = sheet.place(*NOSE)
    for side in SIDES:
        for slope in (-0.1, 0.03, 0.16):
            start = tip + np.array([side * 0.08, -0.06 + 0.3 * slope])
            sheet.line(start, start + np.array([side * 0.5, slope]), 0.008, _shade(mouse.fur, 1.6))
    sheet.fill(_ellipse(tip, 0.085, 0.06), mouse.skin)


def _paw(sheet: _Sheet, mouse: Mouse, side: int, shown: Shown) -> None:
    """Washes the face between nose and eye once it is lifted."""
    lifted = np.array([side * (0.24 + 0.08 * np.cos(shown.wash)), 0.12 + 0.2 * np.sin(shown.wash)])
    down = np.array([side * 0.4, 1.3])
    paw = down + shown.paws * (lifted + sheet.place(0, 0, 0.3) - down)
    elbow = np.array([side * 0.62, 1.1])
    sheet.line(elbow, paw, 0.2, _shade(mouse.fur, 0.95))
    sheet.fill(_ellipse(paw, 0.16, 0.19), mouse.skin)


def _ellipse(middle: np.ndarray | tuple[float, float], wide: float, high: float, angle: float = 0.0) -> np.ndarray:
    """Turned clockwise by `angle`, radians, `[points, 2]`; `wide` and `high` are half of it."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(middle + CIRCLE * (wide, high) @ np.array([[cos, sin], [-sin, cos]]))


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(channel * factor)) for channel in colour)
    return red, green, blue
