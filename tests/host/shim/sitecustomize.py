"""Lets the host import torchvision and torchaudio beside a CPU build of torch; on PYTHONPATH of the host's process only.

The wheels of both are built for CUDA: torchvision's library cannot load, so the operators that it registers fakes for
must be declared; torchaudio loads its library when the file is there, so its loader is replaced by an empty module.
"""

import importlib.util
import sys
import types


def _declare_torchvision(torch):
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def _replace_torchaudio_loader():
    loader = types.ModuleType("torchaudio._extension")
    loader.__path__ = []
    loader._IS_TORCHAUDIO_EXT_AVAILABLE = loader._IS_ALIGN_AVAILABLE = False
    loader._check_cuda_version = lambda: None

    def fail_if_no_align(function):
        def missing(*args, **kwargs):
            raise RuntimeError(f"{function.__name__} needs torchaudio's library, which this build of torch cannot load")

        return missing

    loader.fail_if_no_align = fail_if_no_align
    sys.modules["torchaudio._extension"] = loader


if importlib.util.find_spec("torch") is not None:
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        KEEP = _declare_torchvision(torch)
        _replace_torchaudio_loader()
