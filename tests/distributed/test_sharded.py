"""FSDP2's store gives the steps that whole weights give, in every form of the base; what it cannot do is said."""

import json
from pathlib import Path

import pytest
from forked import Forked

from ltx2core.distributed.fsdp import check_shardable
from ltx2core.distributed.kinds import check_kind, choose_kind
from ltx2core.distributed.world import ALONE
from ltx2core.errors import LTX2Error
from ltx2core.memory.engine import MemorySettings
from ltx2core.train.rollout_settings import RolloutSettings
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings


@pytest.fixture(scope="module")
def found(folder):
    ranks = Forked(folder / "sharded.txt", 2, folder / "tiny.safetensors", folder / "sharded_found", script=Path(__file__).with_name("sharded_worker.py"))
    said = ranks.communicate(timeout=240)[0]
    assert ranks.returncode == 0, said[-3000:]
    return [json.loads((folder / f"sharded_found.{rank}").read_text(encoding="utf-8")) for rank in (0, 1)]


@pytest.mark.parametrize("precision", ["bf16", "int8", "fp8"])
@pytest.mark.parametrize("fused", [True, False])
def test_a_sharded_step_is_the_whole_one(found, precision, fused):
    for process in found:
        row = process[f"{precision} {fused}"]
        assert row["loss"] <= 1e-6 and row["gradients"] <= 1e-6 and row["moved"] > 1e-3


def test_each_process_keeps_half(found):
    assert all(process["share"] == pytest.approx(0.5, abs=0.02) for process in found)


@pytest.mark.parametrize(
    ("run", "memory", "said"),
    [
        (RunConfig(), MemorySettings(streamed=4), "choose one of the two"),
        (RunConfig(), MemorySettings(kept=4), "kept at 0"),
        (RunConfig(train=TrainSettings(gradient_checkpointing=False)), None, "leave gradient_checkpointing on"),
        (RunConfig(LoRASettings(kind="dora")), None, "choose kind lora"),
        (RunConfig(train=TrainSettings(rollout=RolloutSettings(max_step_offset=2))), None, "choose distributed ddp"),
        (RunConfig(train=TrainSettings(audio_only=True)), None, "sound alone needs little memory"),
    ],
)
def test_refused_with_the_reason(run, memory, said):
    with pytest.raises(LTX2Error, match=said):
        check_shardable(run, memory)


class Several:
    rank, size, local_size = 0, 2, 2


def fits(sharded):
    return None


def fits_sharded_alone(sharded):
    if not sharded:
        raise LTX2Error("This run needs more.")


def fits_nowhere(sharded):
    raise LTX2Error(f"This run needs more{' of each card' if sharded else ''}.")


def test_auto_shards_only_what_does_not_fit():
    assert not choose_kind("auto", Several(), RunConfig(), None, fits).sharded
    assert choose_kind("auto", Several(), RunConfig(), None, fits_sharded_alone).sharded
    assert choose_kind("fsdp2", Several(), RunConfig(), None, fits_sharded_alone).sharded
    with pytest.raises(LTX2Error, match="needs more"):
        choose_kind("ddp", Several(), RunConfig(), None, fits_sharded_alone)
    with pytest.raises(LTX2Error, match="needs more.*no way out either.*DoRA"):
        choose_kind("auto", Several(), RunConfig(LoRASettings(kind="dora")), None, fits_sharded_alone)
    with pytest.raises(LTX2Error, match="needs more.*no way out either.*of each card"):
        choose_kind("auto", Several(), RunConfig(), None, fits_nowhere)
    with pytest.raises(LTX2Error, match="of each card"):
        choose_kind("fsdp2", Several(), RunConfig(), None, fits_nowhere)
    # One process has nobody to share with.
    assert not choose_kind("fsdp2", ALONE, RunConfig(), None, fits).sharded


def test_unknown_kind():
    with pytest.raises(LTX2Error, match="choose one of auto, ddp, fsdp2"):
        check_kind("zero3")
