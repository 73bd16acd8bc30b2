"""How colour-blind readers see colours: dichromacies after Machado, Oliveira and Fernandes, distances in CIELAB.

Reference: G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, "A Physiologically-based Model for Simulation of Color
Vision Deficiency", IEEE TVCG 15, 1291 (2009): the matrices of severity 1.0, for linear RGB.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MACHADO = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}

# linear sRGB to CIE XYZ, and the white of D65 (IEC 61966-2-1)
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = _XYZ.sum(axis=1)


def linear(colours: Sequence[str]) -> np.ndarray:
    """Linear RGB of hexadecimal colours, shape (colour, 3)."""
    encoded = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours])
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def lab(colours: Sequence[str], vision: str = "normal") -> np.ndarray:
    """CIELAB of hexadecimal colours as a kind of vision sees them, shape (colour, 3)."""
    seen = np.clip(linear(colours) @ MACHADO[vision].T, 0, 1)
    ratio = seen @ _XYZ.T / _WHITE
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def distances(colours: Sequence[str], vision: str = "normal") -> np.ndarray:
    """CIE76 distances of each colour to each."""
    at = lab(colours, vision)
    return np.linalg.norm(at[:, None] - at[None], axis=-1)
