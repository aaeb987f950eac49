"""Faces drawn from what their muscles do, for `objectives.expression.synthetic`. A cartoon, not anatomy.

Lengths are in head units: the origin lies between nose bridge and nose tip, x to the right of the picture, y down,
the face about 1.4 wide and 2 high. An action unit is a number from 0 (at rest) to 1 (as strong as it gets). What it
moves and which folds it deepens follows the Facial Action Coding System (Ekman and Friesen 1978), from memory and
exaggerated. A still picture cannot tell 43 from 45: by convention 43 closes the eyes, and 45, a blink, is caught
halfway.

Every shape is a polygon on a canvas of CANVAS pixels, which is then reduced: edges are smooth, and pictures of
different sides show the same face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from PIL import Image, ImageDraw

#: Numbers of the action units that are drawn, in the order of the note behind `studies/expression.yaml`.
UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20, 23, 24, 25, 26, 43, 45)
CANVAS = 512  #: pixels; at least twice the largest side
HEAD = 0.47  #: canvas widths per head unit
SIDES = (-1, 1)  #: of a face
GRAIN = 128  #: cells of the noise along a side, whatever the side
STEP = np.linspace(0, 1, 13)
BEZIER = np.stack([(1 - STEP) ** 2, 2 * STEP * (1 - STEP), STEP**2], axis=1)  # weights of start, pull, end
DARK, WHITE, TEETH, THROAT = (40, 28, 26), (246, 244, 240), (240, 236, 226), (88, 26, 32)

Colour = tuple[int, int, int]
Units = dict[int, float]


@dataclass(frozen=True, kw_only=True)
class Person:
    """What stays the same between pictures of one person; the defaults make a plain face."""

    skin: Colour = (224, 182, 152)
    hair: Colour = (70, 48, 36)
    iris: Colour = (84, 96, 74)
    background: Colour = (150, 162, 172)
    fringe: float = 0.2  #: how far hair comes down the forehead, head units
    width: float = 0.74  #: half the face at the cheeks
    jaw: float = 0.62  #: half the jaw, as a share of `width`
    eye_distance: float = 0.36  #: from the middle to the middle of an eye
    eye_size: float = 1.0  #: factor
    brow_height: float = 0.0  #: added; down is positive
    brow_slant: float = 0.0  #: how much lower the inner ends lie at rest
    brow_thickness: float = 0.06
    nose: float = 1.0  #: factor on its width
    mouth_width: float = 0.28  #: half
    mouth_curve: float = 0.0  #: how much lower the corners lie at rest
    lips: float = 1.0  #: factor on their thickness
    lines: float = 0.0  #: depth of the folds at rest, 0 to 1
    light: tuple[float, float] = (0.0, 0.0)  #: how much brighter the right and the lower edge are, as a share
    noise: float = 0.0  #: standard deviation of the grain, grey levels; half of it is left at 64 pixels


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How the head is held in one picture."""

    shift: tuple[float, float] = (0.0, 0.0)  #: head units
    scale: float = 1.0
    tilt: float = 0.0  #: radians
    turn: float = 0.0  #: to the side: how far its parts move within the outline, head units


def draw_face(units: Units, person: Person, pose: Pose, side: int, generator: np.random.Generator) -> np.ndarray:
    """One picture.

    Args:
        units: strength of each of `UNITS`, 0 to 1; one that is missing is at rest.
        person: whose face.
        pose: how it is held.
        side: of the picture, pixels, up to CANVAS / 2.
        generator: of the grain.

    Returns:
        uint8 `[3, side, side]`, RGB.
    """
    active = {unit: units.get(unit, 0.0) for unit in UNITS}
    sheet = _Sheet(person, pose)
    _head(sheet, person, active)
    _nose(sheet, person, active)
    _eyes(sheet, person, active)
    _brows(sheet, person, active)
    _cheeks(sheet, person, active)
    _mouth(sheet, person, active)
    _chin(sheet, person, active)
    drawn = np.asarray(sheet.image.resize((side, side), Image.Resampling.BOX), dtype=np.float32)
    grain = Image.fromarray(generator.standard_normal((GRAIN, GRAIN), dtype=np.float32))
    noise = person.noise * np.asarray(grain.resize((side, side), Image.Resampling.BOX))
    across = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    light = 1 + person.light[0] * across + person.light[1] * across[:, None]
    lit = drawn * light[:, :, None] + noise[:, :, None]
    return np.asarray(np.clip(lit + 0.5, 0, 255).astype(np.uint8).transpose(2, 0, 1))


@final
class _Sheet:
    """A canvas that takes points in head units, `[points, 2]`; to parts of the face, add `turn` first."""

    def __init__(self, person: Person, pose: Pose) -> None:
        self.image = Image.new("RGB", (CANVAS, CANVAS), person.background)
        self._draw = ImageDraw.Draw(self.image, "RGBA")
        cos, sin = np.cos(pose.tilt), np.sin(pose.tilt)
        self._turned = CANVAS * HEAD * pose.scale * np.array([[cos, sin], [-sin, cos]])
        self._origin = CANVAS * (0.5 + HEAD * np.array(pose.shift))
        self.turn = np.array([pose.turn, 0.0])

    def fill(self, points: np.ndarray, colour: Colour, strength: float = 1.0) -> None:
        """A polygon; `strength` 0 to 1 is how much it covers."""
        if strength > 0:
            pixels = points @ self._turned + self._origin
            self._draw.polygon(pixels.ravel().tolist(), fill=(*colour, round(255 * min(strength, 1.0))))

    def stroke(self, points: np.ndarray, width: float, colour: Colour, strength: float = 1.0) -> None:
        """A line `width` wide in the middle that thins out towards its ends."""
        if strength <= 0:
            return
        along = np.concatenate([points[1:2] - points[:1], points[2:] - points[:-2], points[-1:] - points[-2:-1]])
        across = along[:, ::-1] * (-1, 1) / np.sqrt((along**2).sum(1, keepdims=True))
        thickness = width / 2 * np.sqrt(np.sin(np.linspace(0.15, np.pi - 0.15, len(points))))[:, None]
        self.fill(np.concatenate([points + across * thickness, (points - across * thickness)[::-1]]), colour, strength)


def _head(sheet: _Sheet, person: Person, active: Units) -> None:
    angle = np.linspace(0, 2 * np.pi, 60)
    hair = np.stack([(person.width + 0.1) * np.cos(angle), -0.12 + 1.02 * np.sin(angle)], axis=1)
    hair[:, 1] = np.minimum(hair[:, 1], 0.45)
    sheet.fill(hair, person.hair)
    neck = np.array([[-0.34, 0.6], [0.34, 0.6], [0.42, 1.6], [-0.42, 1.6]])
    sheet.fill(neck, _shade(person.skin, 0.8))
    for ear in SIDES:
        sheet.fill(_ellipse(ear * person.width, 0.02, 0.1, 0.18), _shade(person.skin, 0.88))
    sheet.fill(_outline(person, active), person.skin)
    down = np.linspace(-person.width, person.width, 24)
    fringe = np.stack([down, -0.95 + person.fringe * (1 - 0.35 * (down / person.width) ** 2)], axis=1)
    sheet.fill(np.concatenate([fringe, hair[(angle > np.pi) & (angle < 2 * np.pi)][::-1]]), person.hair)


def _outline(person: Person, active: Units) -> np.ndarray:
    """Forehead, cheeks, jaw, chin; the dropped jaw (26) makes it longer."""
    angle = np.linspace(0, 2 * np.pi, 80)
    height = np.sin(angle)
    narrow = 1 - (1 - person.jaw) * np.clip(height, 0, 1) ** 3
    length = np.where(height > 0, 0.98 + 0.14 * active[26], 0.98)
    return np.stack([person.width * narrow * np.cos(angle), length * height], axis=1)


def _nose(sheet: _Sheet, person: Person, active: Units) -> None:
    shade = _shade(person.skin, 0.62)
    wing = 0.13 * person.nose * (1 + 0.2 * active[9])
    tip = 0.25 - 0.04 * active[9]
    for side in SIDES:
        bridge = _curve((side * 0.06, -0.12), (side * 0.06, 0.1), (side * wing, tip)) + sheet.turn
        sheet.stroke(bridge, 0.022, shade, 0.55)
        sheet.fill(_ellipse(side * wing * 0.55, tip + 0.03, 0.035, 0.02) + sheet.turn, DARK, 0.75)
        for row in range(3):  # folds that run down and outwards from the bridge
            start, end = (side * 0.02, -0.1 + 0.07 * row), (side * 0.15, -0.05 + 0.07 * row)
            fold = _curve(start, (side * 0.08, -0.12 + 0.07 * row), end) + sheet.turn
            sheet.stroke(fold, 0.032, shade, active[9])
    sheet.stroke(_curve((-wing, tip), (0, tip + 0.1), (wing, tip)) + sheet.turn, 0.026, shade, 0.7)


def _eyes(sheet: _Sheet, person: Person, active: Units) -> None:
    half, shade = 0.18 * person.eye_size, _shade(person.skin, 0.62)
    shut = (1 - active[43]) * (1 - 0.6 * active[45])
    upper = (0.1 + 0.075 * active[5] - 0.03 * active[7]) * person.eye_size
    lower = (0.07 - 0.055 * active[7] - 0.03 * active[6] + 0.01 * active[5]) * person.eye_size
    upper_lid = lower - (upper + lower) * shut  # below `middle` once it is down; the lower one stays
    for side in SIDES:
        middle = np.array([side * person.eye_distance, -0.16]) + sheet.turn
        along = np.linspace(-1, 1, 17)
        arch = np.sqrt(np.clip(1 - along**2, 0, None))
        top = middle + np.stack([half * along, upper_lid * arch], axis=1)
        bottom = middle + np.stack([half * along, lower * arch], axis=1)
        ball = np.concatenate([top, bottom[::-1]])
        socket = middle + np.stack([half * 1.08 * along, -(upper + 0.06) * arch], axis=1)
        sheet.fill(np.concatenate([socket, bottom[::-1]]), _shade(person.skin, 0.86))
        sheet.fill(ball, WHITE)
        iris = middle + _ellipse(0, 0, 0.085 * person.eye_size, 0.085 * person.eye_size)
        for radius, colour in ((1.0, person.iris), (0.5, DARK)):
            disc = middle + (iris - middle) * radius
            inside = np.clip((disc[:, 0] - middle[0]) / half, -1, 1)
            room = np.sqrt(1 - inside**2)
            disc[:, 1] = np.clip(disc[:, 1], middle[1] + upper_lid * room, middle[1] + lower * room)
            sheet.fill(disc, colour)
        sheet.stroke(top, 0.035, DARK, 0.95)
        sheet.stroke(bottom, 0.016, shade, 0.8)
        sheet.stroke(bottom + np.array([0, 0.055]), 0.03, shade, 0.9 * active[7] + 0.3 * person.lines)
        for ray in (-0.5, 0.0, 0.5):  # crow's feet
            x, y = side * (half + 0.03), 0.01 + 0.05 * ray
            crow = middle + np.linspace([x, y], [x + side * 0.11, y + 0.1 * ray], 5)
            sheet.stroke(crow, 0.028, shade, active[6])


def _brows(sheet: _Sheet, person: Person, active: Units) -> None:
    shade = _shade(person.skin, 0.66)
    inner = -0.42 + person.brow_height + person.brow_slant - 0.14 * active[1] + 0.11 * active[4] + 0.02 * active[9]
    middle = -0.47 + person.brow_height - 0.04 * active[1] - 0.08 * active[2] + 0.07 * active[4]
    outer = -0.40 + person.brow_height - 0.15 * active[2] + 0.02 * active[4]
    for side in SIDES:
        start = side * (0.17 - 0.06 * active[4])
        centre = side * person.eye_distance
        pull = 2 * middle - (inner + outer) / 2  # so that the brow passes through `middle`
        brow = _curve((start, inner), (centre, pull), (centre + side * 0.24, outer))
        sheet.stroke(brow + sheet.turn, person.brow_thickness, person.hair, 0.95)
        furrow = _curve((side * 0.045, inner - 0.06), (side * 0.07, inner + 0.05), (side * 0.04, inner + 0.15))
        sheet.stroke(furrow + sheet.turn, 0.034, shade, active[4] + 0.25 * person.lines)
        for row in range(2):  # folds above the outer half
            high = outer - 0.09 - 0.06 * row
            fold = _curve((side * 0.3, high), (side * 0.46, high - 0.05), (side * 0.58, high + 0.02))
            sheet.stroke(fold + sheet.turn, 0.028, shade, active[2])
    for row in range(2):  # folds in the middle of the forehead
        high = -0.63 - 0.07 * row + person.brow_height
        fold = _curve((-0.24, high), (0, high + 0.05), (0.24, high)) + sheet.turn
        sheet.stroke(fold, 0.028, shade, active[1] + 0.25 * person.lines)


def _cheeks(sheet: _Sheet, person: Person, active: Units) -> None:
    shade, bright = _shade(person.skin, 0.64), _shade(person.skin, 1.12)
    for side in SIDES:
        cheek = _ellipse(side * (person.eye_distance + 0.06), 0.16 - 0.03 * active[6], 0.15, 0.1) + sheet.turn
        sheet.fill(cheek, bright, 0.7 * active[6])
        bag = _curve((side * 0.2, 0.05), (side * 0.36, 0.13), (side * 0.56, 0.03)) + sheet.turn
        sheet.stroke(bag, 0.03, shade, 0.9 * active[6])
        corner = person.mouth_width + 0.1
        fold = _curve((side * 0.17, 0.2), (side * (corner - 0.06), 0.28), (side * corner, 0.48)) + sheet.turn
        sheet.stroke(fold, 0.034, shade, 0.85 * active[10] + 0.35 * active[12] + 0.3 * person.lines)


def _mouth(sheet: _Sheet, person: Person, active: Units) -> None:
    shade, lip = _shade(person.skin, 0.64), _blend(person.skin, (176, 62, 70), 0.55)
    thin = (1 - 0.5 * active[23]) * (1 - 0.7 * active[24]) * person.lips
    half = person.mouth_width * (1 + 0.2 * active[12] + 0.38 * active[20] - 0.3 * active[23])
    height = 0.54 - 0.03 * active[17]
    gap = (0.09 * active[25] + 0.2 * active[26]) * (1 - 0.7 * active[24])
    corner = person.mouth_curve - 0.13 * active[12] + 0.12 * active[15] + 0.3 * gap
    along = np.linspace(-1, 1, 25)
    bow = 1 - along**2
    top = height + corner * along**2 - (0.25 * gap + 0.09 * active[10]) * bow
    bottom = height + corner * along**2 + (0.9 * gap - 0.05 * active[17]) * bow
    bottom = np.maximum(bottom, top)
    dip = 1 - 0.3 * np.exp(-((along / 0.15) ** 2))
    x = half * along
    upper_edge, lower_edge = top - 0.065 * thin * np.sqrt(bow) * dip, bottom + 0.085 * thin * np.sqrt(bow)
    sheet.fill(_between(x, upper_edge, lower_edge) + sheet.turn, lip)
    if gap > 0.02 or active[10] > 0.3:
        sheet.fill(_between(x, top, bottom) + sheet.turn, THROAT)
        sheet.fill(_between(x, top, np.minimum(bottom, top + 0.07 * bow)) + sheet.turn, TEETH)
    sheet.stroke(np.stack([x, top], axis=1) + sheet.turn, 0.022, DARK, 0.8)
    above, below = upper_edge.min(), lower_edge.max()
    for side in SIDES:
        end = side * (half + 0.04)
        stretch = np.linspace([end, height + corner - 0.07], [end, height + corner + 0.07], 7)
        sheet.stroke(stretch + sheet.turn, 0.03, shade, active[20])
        hook = _curve((side * (half + 0.01), height + corner), (side * (half + 0.06), height + corner + 0.07),
                      (side * (half + 0.03), height + corner + 0.15))  # fmt: skip
        sheet.stroke(hook + sheet.turn, 0.034, shade, active[15])
        for step in (0.25, 0.7):  # tightened lips pucker
            pucker = np.linspace([side * half * step, above - 0.09], [side * half * step, above - 0.01], 5)
            sheet.stroke(pucker + sheet.turn, 0.024, shade, active[23])
    for level, bend in ((above - 0.05, -0.03), (below + 0.05, 0.03)):  # pressed lips bulge
        bulge = _curve((-0.8 * half, level - bend), (0, level + bend), (0.8 * half, level - bend)) + sheet.turn
        sheet.stroke(bulge, 0.036, shade, active[24])


def _chin(sheet: _Sheet, person: Person, active: Units) -> None:
    shade = _shade(person.skin, 0.64)
    chin = 0.76 + 0.12 * active[26]
    boss = _curve((-0.17, chin + 0.07), (0, chin - 0.1), (0.17, chin + 0.07)) + sheet.turn
    sheet.stroke(boss, 0.036, shade, active[17] + 0.1)
    for x, y in ((-0.07, 0.05), (0.07, 0.05), (0.0, 0.09), (0.0, 0.02)):  # dimples
        sheet.fill(_ellipse(x, chin + y, 0.022, 0.018) + sheet.turn, shade, 0.8 * active[17])


def _curve(start: tuple[float, float], pull: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """A quadratic Bezier curve, `[13, 2]`."""
    return np.asarray(BEZIER @ np.array([start, pull, end]))


def _ellipse(x: float, y: float, half_width: float, half_height: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([x + half_width * np.cos(angle), y + half_height * np.sin(angle)], axis=1)


def _between(x: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """The area between two lines over the same x."""
    return np.concatenate([np.stack([x, upper], axis=1), np.stack([x, lower], axis=1)[::-1]])


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(channel * factor)) for channel in colour)
    return red, green, blue


def _blend(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round((1 - share) * a + share * b) for a, b in zip(colour, other, strict=True))
    return red, green, blue
