"""A process that trains, to be killed. Reads one JSON job a line; each is trained in a fork of its own, so that 100 kills
cost 100 runs and not 100 imports. Answers {"pid"} at the start and {"status"} at the end of each.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from ltx2core.cache.dataset import DatasetCache
from ltx2core.checkpoint.adapter import save_adapter
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.models.build import load_transformer
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.train.loop import train
from ltx2core.train.settings import RunConfig


def kill_at_file_event(directory: str, number: int) -> None:
    """SIGKILL this process just before it opens, renames or removes a file of the run for the ``number``-th time."""
    left = [number]

    def hook(event, arguments):
        if event in ("open", "os.rename", "os.remove") and str(arguments[0]).startswith(directory):
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def carry_out(job: dict, model: torch.nn.Module, cache: DatasetCache) -> None:
    torch.set_num_threads(1)  # torch makes its pool anew behind a fork, which two threads must not do at once
    if job.get("file_event"):
        kill_at_file_event(job["directory"], job["file_event"])
    surroundings = {"residency": PlainResidency(torch.device("cpu")), "reporter": ConsoleReporter(quiet=True), "stop": StopFlag()}
    result = train(RunConfig.from_dict(job["run"]), model, cache, directory=Path(job["directory"]), **surroundings)
    save_adapter(Path(job["directory"]) / "adapter.safetensors", result.adapter, torch.float32)


def main(checkpoint: str, manifest: str) -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print
    torch.set_num_threads(1)  # threads of a pool do not survive a fork
    model, cache = load_transformer(open_checkpoint(checkpoint), dtype=torch.float32), DatasetCache.load(Path(manifest))
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                carry_out(json.loads(line), model, cache)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        print(json.dumps({"pid": pid}), file=answers, flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": status}), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
