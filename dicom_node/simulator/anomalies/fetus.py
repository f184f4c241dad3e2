"""Who is examined: one fetus, with the traits that all its images share."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import Generator

from dicom_node.simulator.surroundings import chance

NORMAL = "normal"
ANENCEPHALY = "anencephaly"
ENCEPHALOCELE = "encephalocele"
HOLOPROSENCEPHALY = "holoprosencephaly"
RACHISCHISIS = "rachischisis"
SHARES = {NORMAL: 0.28, ANENCEPHALY: 0.18, ENCEPHALOCELE: 0.18, HOLOPROSENCEPHALY: 0.18, RACHISCHISIS: 0.18}

EARLIEST_WEEKS, SECOND_TRIMESTER_WEEKS, LATEST_WEEKS = 11.5, 14.0, 27.0


@dataclass(frozen=True, slots=True)
class Fetus:
    """One fetus; traits of anomalies that it does not have are drawn all the same and not used.

    Lengths are shares of the head's longer semi-axis (sac, remnant) or of the spine's half length (cleft).
    """

    label: str
    weeks: float
    flatness: float  #: biparietal over occipito-frontal diameter
    sac_deg: float  #: where the skull's defect is, clockwise from the forehead in an axial plane
    sac_radius: float
    sac_holds_brain: bool  #: encephalocele; else meningocele, a sac of clear fluid
    alobar: bool  #: holoprosencephaly without any division; else semilobar, halves apart at the back
    remnant: float  #: how far tissue rises over an anencephalic skull base
    occipital: bool  #: where the sac is, roughly
    cleft_from: float  #: of an open spine, from -1 (neck) to 1 (sacrum)
    cleft_to: float
    splay: float  #: how far the posterior ossification centres stand apart
    kinked: bool  #: kyphosis at the cleft
    lemon: bool  #: the head shares in an open spine: scalloped frontal bones, banana-shaped cerebellum

    @property
    def first_trimester(self) -> bool:
        """Before 14 weeks: the choroid plexuses fill the head and little bone is laid down."""
        return self.weeks < SECOND_TRIMESTER_WEEKS


def draw_fetus(rng: Generator) -> Fetus:
    """Draw a fetus of one of the five classes; its age does not depend on the class."""
    first = chance(rng, 0.3)
    weeks = rng.uniform(
        *((EARLIEST_WEEKS, SECOND_TRIMESTER_WEEKS) if first else (SECOND_TRIMESTER_WEEKS, LATEST_WEEKS))
    )
    occipital = chance(rng, 0.75)  # the usual place
    side = 1.0 if chance(rng, 0.5) else -1.0
    cleft = rng.uniform(0.8, 1.7)
    start = rng.uniform(-0.85, 0.85 - cleft)
    return Fetus(
        label=str(rng.choice(list(SHARES), p=list(SHARES.values()))),
        weeks=float(weeks),
        flatness=float(min(max(rng.normal(0.79, 0.035), 0.7), 0.88)),
        sac_deg=float(180.0 + (rng.normal(0.0, 8.0) if occipital else side * rng.uniform(60.0, 150.0))),
        sac_radius=float(rng.uniform(0.2, 0.45)),
        sac_holds_brain=chance(rng, 0.55),
        alobar=chance(rng, 0.55),
        remnant=float(rng.uniform(0.15, 0.5)),
        occipital=occipital,
        cleft_from=float(start),
        cleft_to=float(start + cleft),
        splay=float(rng.uniform(1.6, 2.6)),
        kinked=chance(rng, 0.35),
        lemon=chance(rng, 0.75),
    )
