"""python -m ltx2core train-cache JOB.json: trains on clips that are cached already, as the canvas hands them over."""

from __future__ import annotations

import argparse
from pathlib import Path


def run(arguments: argparse.Namespace) -> None:
    from ..distributed.job import carry_out, read_job
    from ..distributed.member import membership

    with membership(arguments.device, arguments.log, arguments.stop_file) as (reporter, services):
        job = read_job(Path(arguments.job))
        result = carry_out(job, reporter=reporter, **services)
        reporter.message(f"{job.adapter_path}: {result.steps} steps in {result.seconds:.0f} s.")


def add(commands) -> None:
    command = commands.add_parser("train-cache", help="train on cached clips, from a job file of the canvas")
    command.add_argument("job", help="the job file, JSON")
    command.add_argument("--device", help="cuda, cpu, mps; the best one by default")
    command.add_argument("--log", "--events", help="append every event as a line of JSON to this file")
    command.add_argument("--stop-file", help="save and stop once this file is there")
    command.set_defaults(do=run)
