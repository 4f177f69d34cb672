"""The graphs that are shipped, by theme. ``tests/host/build_workflows.py`` writes their files."""

from . import comparing, sampling, training

GRAPHS = (*training.GRAPHS, *sampling.GRAPHS, *comparing.GRAPHS)
BLUEPRINTS = training.BLUEPRINTS
