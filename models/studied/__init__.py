"""What only experiments use: network families, recipes, augmentations, calibration maps and objectives.

This package imports from `models`; nothing in `models` imports from it.
"""

from __future__ import annotations

from collections.abc import Mapping

EXPERIMENT_OF_FAMILY: Mapping[str, str] = {
    "residual": "architecture",
    "separable": "architecture",
    "convnext": "architecture",
    "vit": "architecture",
    "mixer": "architecture",
}
"""The experiment that trains each studied family, for the error where a pipeline names one."""
