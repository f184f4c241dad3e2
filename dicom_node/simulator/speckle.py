"""B-mode rendering: a map of echogenicity becomes a grey picture with fully developed speckle.

The chain is a scanner's: echoes of many scatterers per resolution cell add up to a circular complex Gaussian
field whose amplitude follows the local echogenicity; the point-spread function, short along the beam and wide
across it, correlates the field; the envelope is Rayleigh distributed (Wagner et al., IEEE Trans. Sonics
Ultrason. 30:156, 1983); log compression and gain map it to grey; scan conversion bends the beams into a sector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from numpy.random import Generator

FloatArray = npt.NDArray[np.float32]
GreyImage = npt.NDArray[np.uint8]

SHADOW_LIMIT_DB = 20.0  #: beside-beam echoes and slice thickness fill a shadow deeper than this
FLUID_DB = -48.0  #: echogenicity of clear fluid, relative to soft tissue at 0 dB


@dataclass(frozen=True, slots=True)
class Sector:
    """A convex probe's field of view in image coordinates; the centre beam points down before `tilt_deg`."""

    apex_x_px: float
    apex_y_px: float  #: usually above the frame: scanners show a magnified part of the sector
    near_px: float  #: radius of the transducer face
    far_px: float
    half_angle_deg: float
    tilt_deg: float = 0.0

    def polar(self, x_px: FloatArray, y_px: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Range (px) and angle from the centre beam (rad, positive to the right) of image points."""
        dx, dy = x_px - np.float32(self.apex_x_px), y_px - np.float32(self.apex_y_px)
        angle = np.arctan2(dx, dy) - np.float32(np.deg2rad(self.tilt_deg))
        return np.hypot(dx, dy).astype(np.float32), angle.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Scene:
    """What the beam meets, as three maps of shape (H, W) in image space.

    `echo_db` is diffuse backscatter relative to soft tissue, `specular` the amplitude of smooth interfaces
    (linear, 1 = soft tissue), `loss_db` the extra two-way attenuation per pixel of path (bone, gas).
    """

    echo_db: FloatArray
    specular: FloatArray
    loss_db: FloatArray


@dataclass(frozen=True, slots=True)
class Scanner:
    """Machine settings that shape the picture; lengths are pixels of the finished image."""

    axial_sigma_px: float = 1.3  #: pulse length along the beam
    lateral_sigma_px: float = 2.6  #: beam width at the focus
    defocus: float = 2.0  #: beam width far from the focus, as a multiple of that at the focus
    focus: float = 0.5  #: focal depth as a fraction of the visible depth
    dynamic_range_db: float = 54.0
    gain_db: float = 0.0
    tgc_db: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)  #: residual time-gain curve, evenly spaced in depth
    beams_db: tuple[float, ...] = (0.0, 0.0, 0.0)  #: contact of the probe, evenly spaced over its width
    noise_db: float = -36.0  #: electronics noise at full depth
    haze_db: float = -26.0  #: clutter from the neighbourhood of each point
    smoothing_px: float = 0.7  #: the machine's speckle reduction
    looks: int = 1  #: compounded frames, each with independent speckle


def correlated_noise(shape: tuple[int, int], axial_sigma: float, lateral_sigma: float, rng: Generator) -> FloatArray:
    """Circular complex Gaussian speckle of unit mean power, shape (depth, beams, 2) as real and imaginary part."""
    return _point_spread(rng.standard_normal((*shape, 2), dtype=np.float32), axial_sigma, lateral_sigma)


def envelope(echo_db: FloatArray, specular: FloatArray, scanner: Scanner, rng: Generator) -> FloatArray:
    """Envelope (linear, 1 = soft tissue) of diffuse and specular echoes in beam space, shape (depth, beams)."""
    depth, beams = echo_db.shape
    sharp, wide = scanner.lateral_sigma_px, scanner.lateral_sigma_px * scanner.defocus
    out_of_focus = np.abs(np.linspace(0.0, 1.0, depth, dtype=np.float32) - scanner.focus)
    weight = np.clip(out_of_focus / max(scanner.focus, 1.0 - scanner.focus), 0.0, 1.0)[:, None]
    amplitude = _blurred_amplitude(np.power(10.0, echo_db / 20.0, dtype=np.float32), scanner)
    # Both fields come from the same scatterers, so their sum's power holds their correlation.
    likeness = np.sqrt(2.0 * sharp * wide / (sharp**2 + wide**2))
    power = (1.0 - weight) ** 2 + weight**2 + 2.0 * weight * (1.0 - weight) * likeness
    near_share, far_share = (amplitude * (w / np.sqrt(power)) for w in (1.0 - weight, weight))
    # Lines are thinner than the beam: doubling keeps the height that blurring takes from them.
    mirror = 2.0 * _beam_blur(specular, sharp, wide, scanner.axial_sigma_px, weight)
    noise = _electronics(depth, beams, scanner.noise_db, rng)  # one draw for all looks: compounding leaves it
    total = np.zeros_like(echo_db)
    for _ in range(scanner.looks):
        scatterers = rng.standard_normal((depth, beams, 2), dtype=np.float32)
        field = _point_spread(scatterers, scanner.axial_sigma_px, sharp) * near_share[..., None]
        field += _point_spread(scatterers, scanner.axial_sigma_px, wide) * far_share[..., None]
        field += noise
        total += (field[..., 0] + mirror) ** 2 + field[..., 1] ** 2
    return np.asarray(np.sqrt(total / scanner.looks), dtype=np.float32)


def log_compress(amplitude: FloatArray, scanner: Scanner) -> FloatArray:
    """Grey 0..255 of an envelope: soft tissue lies at 47 % of the dynamic range before gain."""
    depth = amplitude.shape[0]
    stops = np.linspace(0.0, depth - 1.0, len(scanner.tgc_db))
    tgc = np.interp(np.arange(depth), stops, scanner.tgc_db).astype(np.float32)[:, None]
    places = np.linspace(0.0, amplitude.shape[1] - 1.0, len(scanner.beams_db))
    contact = np.interp(np.arange(amplitude.shape[1]), places, scanner.beams_db).astype(np.float32)[None, :]
    level = 20.0 * np.log10(np.maximum(amplitude, 1e-5)) + tgc + contact + scanner.gain_db
    return np.asarray(np.clip((level / scanner.dynamic_range_db + 0.47) * 255.0, 0.0, 255.0), dtype=np.float32)


def render(scene: Scene, sector: Sector, scanner: Scanner, rng: Generator) -> GreyImage:
    """Image the scene through the sector: uint8, the scene's shape, black outside the field of view."""
    height, width = scene.echo_db.shape
    grid_y, grid_x = np.mgrid[0:height, 0:width].astype(np.float32)
    ranges, angles = sector.polar(grid_x, grid_y)
    edge = np.float32(np.deg2rad(sector.half_angle_deg))
    inside = (ranges >= sector.near_px) & (ranges <= sector.far_px) & (np.abs(angles) <= edge)
    near, far = float(ranges[inside].min()), float(ranges[inside].max())
    left, right = float(angles[inside].min()), float(angles[inside].max())
    beams = max(int((right - left) * (near + far) / 2.0), 16)
    range_axis = np.linspace(near, far, max(int(far - near), 16), dtype=np.float32)[:, None]
    angle_axis = np.linspace(left, right, beams, dtype=np.float32)[None, :] + np.float32(np.deg2rad(sector.tilt_deg))
    x_px = np.float32(sector.apex_x_px) + range_axis * np.sin(angle_axis)
    y_px = np.float32(sector.apex_y_px) + range_axis * np.cos(angle_axis)

    def to_beams(image: FloatArray) -> FloatArray:
        return np.asarray(cv2.remap(image, x_px, y_px, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))

    penumbra = cv2.GaussianBlur(to_beams(scene.loss_db), (0, 0), sigmaX=2.0 * scanner.lateral_sigma_px, sigmaY=0.5)
    shadow = np.cumsum(penumbra, axis=0, dtype=np.float32)
    shadow = SHADOW_LIMIT_DB * (1.0 - np.exp(-shadow / SHADOW_LIMIT_DB))
    shadow = np.vstack([np.zeros_like(shadow[:1]), shadow[:-1]])
    shade = np.power(10.0, -shadow / 20.0, dtype=np.float32)
    signal = envelope(to_beams(scene.echo_db) - shadow, to_beams(scene.specular) * shade, scanner, rng)
    grey = log_compress(signal, scanner)
    rows = (ranges - near) * ((len(range_axis) - 1) / (far - near))
    columns = (angles - left) * ((beams - 1) / (right - left))
    picture = cv2.remap(grey, rows_columns(columns), rows_columns(rows), cv2.INTER_LINEAR)
    if scanner.smoothing_px > 0.0:
        picture = cv2.GaussianBlur(picture, (0, 0), scanner.smoothing_px)
    picture[~inside] = 0.0
    return np.asarray(np.clip(picture, 0.0, 255.0), dtype=np.uint8)


def rows_columns(coordinates: FloatArray) -> FloatArray:
    """Coordinates in the contiguous float32 layout that OpenCV's remap wants."""
    return np.ascontiguousarray(coordinates, dtype=np.float32)


def _blurred_amplitude(amplitude: FloatArray, scanner: Scanner) -> FloatArray:
    """Amplitude with clutter added: side lobes carry power from wide around into the dark places."""
    small = cv2.resize(amplitude * amplitude, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)
    around = cv2.GaussianBlur(small, (0, 0), sigmaX=6.0, sigmaY=3.0)
    clutter = cv2.resize(around, amplitude.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.sqrt(amplitude**2 + clutter * np.float32(10.0 ** (scanner.haze_db / 10.0))), dtype=np.float32)


def _point_spread(scatterers: FloatArray, axial_sigma: float, lateral_sigma: float) -> FloatArray:
    """Blur white complex noise (depth, beams, 2) by the point-spread function, keeping unit mean power."""
    field = cv2.GaussianBlur(
        scatterers, (0, 0), sigmaX=lateral_sigma, sigmaY=axial_sigma, borderType=cv2.BORDER_REFLECT
    )
    # A Gaussian of width s keeps 1 / (2 sqrt(pi) s) of the power of white noise, in each direction; two parts add.
    kept = 2.0 / (4.0 * np.pi * axial_sigma * lateral_sigma)
    return np.asarray(field / np.float32(np.sqrt(kept)), dtype=np.float32)


def _beam_blur(image: FloatArray, sharp: float, wide: float, axial: float, weight: FloatArray) -> FloatArray:
    near, far = (cv2.GaussianBlur(image, (0, 0), sigmaX=s, sigmaY=axial) for s in (sharp, wide))
    return np.asarray((1.0 - weight) * near + weight * far, dtype=np.float32)


def _electronics(depth: int, beams: int, noise_db: float, rng: Generator) -> FloatArray:
    """Uncorrelated receiver noise, growing with depth because the time-gain curve amplifies it too."""
    level = np.power(10.0, np.linspace(noise_db - 10.0, noise_db, depth, dtype=np.float32) / 20.0) / np.sqrt(2.0)
    return np.asarray(rng.standard_normal((depth, beams, 2), dtype=np.float32) * level[:, None, None], dtype=np.float32)
