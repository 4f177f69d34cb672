"""Settings for a purpose, each value with its source: ``preset("subject").config()``. One JSON file a preset beside this one."""

from .reading import NAMES, Advice, Preset, Value, preset

__all__ = ["NAMES", "Advice", "Preset", "Value", "preset"]
