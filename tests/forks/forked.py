"""Processes without the seconds that each takes for its imports: they are forked from a server that has imported the libraries
and has done nothing else, so that they share no thread, no group and no model.

Several that share a run find each other as torchrun's processes do: by the same variables, in a store that outlives them.
"""

import functools
import multiprocessing
import os
import runpy
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

from torch.distributed import TCPStore

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIBRARIES = "forked_libraries"
FORKED = "forkserver" in multiprocessing.get_all_start_methods()


@functools.cache
def _server():
    """Starts it. It looks for what it imports in a path of its own."""
    context = multiprocessing.get_context("forkserver" if FORKED else "spawn")
    if FORKED:
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(ROOT)])
        context.set_forkserver_preload([LIBRARIES])
        forkserver.ensure_running()
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return context


def _live(environment, output, script, arguments):
    """A process's whole life: ``script``, or the pack's command line, with ``arguments``."""
    said = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(said, stream)
    if FORKED:
        assert sys.modules[LIBRARIES].THREADS == 1, "the server had threads, which a child lacks"
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.argv = [str(script), *arguments]
    if script:
        runpy.run_path(str(script), run_name="__main__")
    else:
        from ltx2core.cli import main

        sys.exit(main(list(arguments)))


class Forked:
    """``count`` processes that share a run, together like one of ``subprocess``; one alone is not told of any others.
    output: the file of what they print.
    """

    def __init__(self, output, count, *arguments, script=None):
        context, self._output = _server(), output
        Path(output).touch()
        # As under torchrun the store is nobody's of the processes, so that it outlives them.
        self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if count > 1 else None
        self._processes = []
        for rank in range(count):
            environment = {} if self._store is None else {
                "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self._store.port,
                "TORCHELASTIC_USE_AGENT_STORE": True,
            }  # fmt: skip
            values = {name: str(value) for name, value in environment.items()}
            self._processes.append(context.Process(target=_live, args=(values, output, script, tuple(map(str, arguments)))))
            self._processes[-1].start()

    def poll(self):
        """None while any of them runs; afterwards 0, or the code of one that failed."""
        codes = [process.exitcode for process in self._processes]
        return None if None in codes else next(filter(None, codes), 0)

    @property
    def returncode(self):
        return self.poll()

    def communicate(self, timeout):
        """(what they printed, None) when all are through. Raises TimeoutError."""
        until = time.monotonic() + timeout
        for process in self._processes:
            process.join(max(0, until - time.monotonic()))
        said = Path(self._output).read_text(encoding="utf-8", errors="replace")
        if self.poll() is None:
            raise TimeoutError(said[-3000:])
        return said, None

    def terminate(self):
        for process in self._processes:
            process.kill()
