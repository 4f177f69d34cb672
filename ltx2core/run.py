"""A run as one JSON file, for programs: ``read_run`` checks it, ``Runner`` carries it out, ``write_run_record`` writes one of a run that was."""

from .run_record import write_run_record
from .runfile import Runner
from .runspec import VERSION, CacheFiles, RunFile, SampleJob, read_run

__all__ = ["VERSION", "CacheFiles", "RunFile", "Runner", "SampleJob", "read_run", "write_run_record"]
