"""The pictures of the course, one module for each assignment that brings some."""

from steerlab.plots.mean_diff import (
    bos_angle,
    both_ways,
    changed_tokens,
    control_histogram,
    dose_sweep,
)

__all__ = ["bos_angle", "both_ways", "changed_tokens", "control_histogram", "dose_sweep"]
