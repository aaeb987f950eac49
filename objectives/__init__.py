"""The scientific questions the service ships with; this file imports no torch, so that listing them stays fast."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: Name -> (`module:Class`, one line on what it asks).
BUILT_IN: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "digits": ("objectives.digits:Digits", "Which digit does an 8 x 8 scan show? Imbalanced; bundled, no download"),
        "abr": (
            "objectives.abr.objective:Abr",
            "Is there a brainstem response in a waveform, how far above threshold, and where is its wave V?",
        ),
        "expression": (
            "objectives.expression.objective:Expression",
            "Which emotion does a face show, and which of its action units move?",
        ),
        "behaviour": (
            "objectives.behaviour.objective:Behaviour",
            "Which action does an animal perform in every frame, by tracked points and video?",
        ),
        "grimace": (
            "objectives.grimace.objective:Grimace",
            "How much pain does an animal's face show in a video, and which of its features move?",
        ),
        "surface": (
            "objectives.surface.objective:Surface",
            "Which voxels of a volume belong to a thin surface, such as the sheets of a scroll or walls of cells?",
        ),
    }
)
