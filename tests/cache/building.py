"""Run as a process of its own: caches a folder. ``python building.py CLIPS CACHE CHECKPOINT TEXT_ENCODER GATE [STOP_AT]``

Waits until GATE is there, so that several begin at once. With STOP_AT it ends without a word when so many clips are done,
as a crash would, and makes GATE.first when the first is. Prints, as JSON, the names of the clips and the captions that it encoded itself, and the digest of the set.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ltx2core.cache.build import build_cache
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.data.scan import scan
from ltx2core.data.spec import DatasetSpec
from ltx2core.standalone import PlainResidency, StopFlag
from ltx2core.text.source import open_text_encoder


class Kept:
    def __init__(self, stop_at, first):
        self.made, self._stop_at, self._first = {"latents": [], "captions": []}, stop_at, first

    def message(self, text, level="info"):
        pass

    def progress(self, event):
        self.made[event.stage].append(event.text)
        if event.stage == "latents" and self._stop_at:
            self._first.touch()
        if event.stage == "latents" and event.done == self._stop_at:
            os._exit(9)


def main(clips, cache, checkpoint, text_encoder, gate, stop_at="0"):
    torch.set_num_threads(1)
    reporter = Kept(int(stop_at), Path(f"{gate}.first"))
    models, index = (open_checkpoint(checkpoint), open_text_encoder(text_encoder)), scan(DatasetSpec(clips, width=64, height=64, frames=9))
    Path(f"{gate}.{os.getpid()}").touch()
    while not Path(gate).exists():
        time.sleep(0.01)
    done = build_cache(index, *models, Path(cache), residency=PlainResidency(torch.device("cpu")), reporter=reporter, stop=StopFlag())
    print(json.dumps({**reporter.made, "digest": done.digest}))


if __name__ == "__main__":
    main(*sys.argv[1:])
