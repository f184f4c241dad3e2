"""Where the nine structures of a first-trimester head lie and how large they are, before anything is drawn.

In units of the thalami's width, origin at the thalami's centre, the face looking to +x, the probe above.
Mean places and their spread are those of the nine structures on standard planes at 11 to 14 weeks.
"""

from __future__ import annotations

from numpy.random import Generator

from dicom_node.simulator.canvas import Points
from dicom_node.simulator.head_condition import HeadCondition

#: structure -> mean centre x, y and width, height, then the standard deviation of each (units of thalami width)
LAYOUT = {
    "thalami": ((0.0, 0.0, 1.0, 0.78), (0.0, 0.0, 0.0, 0.07)),
    "midbrain": ((-0.24, 0.88, 0.74, 0.95), (0.1, 0.06, 0.09, 0.09)),
    "fourth_ventricle": ((0.27, 1.19, 0.70, 0.33), (0.1, 0.05, 0.12, 0.05)),
    "cisterna_magna": ((0.36, 1.53, 1.07, 0.28), (0.14, 0.04, 0.22, 0.05)),
    "palate": ((1.50, -0.36, 1.13, 0.72), (0.12, 0.1, 0.14, 0.1)),
    "nasal_bone": ((1.32, -1.02, 0.43, 0.14), (0.08, 0.06, 0.08, 0.02)),
    "nasal_skin": ((1.37, -1.19, 0.30, 0.10), (0.06, 0.02, 0.06, 0.02)),
    "nasal_tip": ((1.66, -1.21, 0.32, 0.10), (0.06, 0.03, 0.07, 0.02)),
}
OPENING = 0.72  #: of a slit's box between its walls
WIDEST_CISTERNA = 0.42  #: of the usual layout; a wider one pushes the back of the head out


def draw_layout(rng: Generator) -> dict[str, Points]:
    """Draw centre and size of eight structures; the skin and the tip of the nose lie by its bone, not on their own."""
    draft = {name: rng.normal(mean, spread) for name, (mean, spread) in LAYOUT.items()}
    bone = draft["nasal_bone"][:2]
    draft["nasal_skin"][:2] = bone + rng.normal([0.05, -0.135], [0.06, 0.012])
    draft["nasal_tip"][:2] = bone + rng.normal([0.32, -0.19], [0.06, 0.04])
    return draft


def reshape(draft: dict[str, Points], condition: HeadCondition) -> None:
    """Give the drafted structures the sizes of a condition; what grows, grows away from its neighbour."""
    for name in ("thalami", "midbrain"):
        draft[name][3] = condition.units(name)
    for name in ("nasal_bone", "nasal_tip"):
        if not condition.lacks(name):
            draft[name][2] = condition.units(name) / 0.9  # the echo fills nine tenths of its box
    skin = draft["nasal_skin"]
    thicker = condition.units("nasal_skin") - skin[3]
    skin[1], skin[3] = skin[1] - thicker / 2.0, skin[3] + thicker
    draft["nasal_tip"][1] -= max(thicker, 0.0) / 2.0
    for name in ("fourth_ventricle", "cisterna_magna"):
        if not condition.lacks(name):
            draft[name][3] = condition.units(name) / OPENING
    draft["cisterna_magna"][1] += max(draft["cisterna_magna"][3] - LAYOUT["cisterna_magna"][0][3], 0.0) / 2.0


def bulge(draft: dict[str, Points]) -> float:
    """How far a wide cisterna magna pushes the back of the head out."""
    _, y, _, height = draft["cisterna_magna"]
    return max(float(y + height / 2.0) - 1.71, 0.0) if height > WIDEST_CISTERNA else 0.0
