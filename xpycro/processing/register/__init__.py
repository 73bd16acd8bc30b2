"""Registration: drift between frames to a fraction of a pixel, frames moved back, affine distortion.

May import numpy, xarray, scipy (inside functions), engine and the base floor; not its siblings.
"""

from xpycro.processing.register.distortion import affine, find_affine
from xpycro.processing.register.drifting import drift
from xpycro.processing.register.moving import rigid, shift

__all__ = ["affine", "drift", "find_affine", "rigid", "shift"]
