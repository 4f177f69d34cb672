"""A whole run through the fast engine equals one through the plain engine, and leaves no trace."""

import copy
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.compare import relative_error
from ltx2core.cache.dataset import CachedClip, DatasetCache, Sample
from ltx2core.cache.store import Store
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.checkpoint.shapes import transformer_shapes
from ltx2core.errors import LTX2Error
from ltx2core.fused.runner import FusedRunner
from ltx2core.memory.engine import FastEngine, MemorySettings, fast_engine
from ltx2core.memory import training
from ltx2core.memory.load import load_of
from ltx2core.memory.plan import Plan
from ltx2core.memory.residency import WithoutBlocks
from ltx2core.memory.training import make_plan, train_lora
from ltx2core.models.forward import denoise, run_block
from ltx2core.models.handle import Models
from ltx2core.run_record import write_run_record
from ltx2core.runspec import read_run
from ltx2core.standalone import ConsoleReporter, PlainResidency, StopFlag
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.train.batch import prepare
from ltx2core.train.controls import RunControls
from ltx2core.train.lora import injected
from ltx2core.train.loop import TrainResult, train
from ltx2core.train.objective import Objective
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.targets import choose


@pytest.fixture
def models(tmp_path):
    return Models(open_checkpoint(write_tiny_checkpoint(tmp_path / "tiny.safetensors")), torch.float32)


@pytest.fixture
def cache(tmp_path):
    store = Store(tmp_path / "cache")
    clips = []
    for i in range(3):
        generator = torch.Generator().manual_seed(i)
        make = lambda *s: torch.randn(*s, generator=generator).bfloat16()  # noqa: E731, B023
        store.write("latents", f"{i:064x}", {"video": make(128, 2, 2, 3), "audio": make(8, 9, 16)}, {})
        store.write("text", f"{i:064x}", {"video": make(16, 64), "audio": make(16, 64)}, {})
        clips.append(CachedClip(f"{i}.mp4", f"{i:064x}", f"{i:064x}", 96, 64, 9, 25.0, True))
    return DatasetCache(tmp_path / "cache", "2.0", tuple(clips), "0" * 64)


RUN = RunConfig(train=TrainSettings(steps=3, dtype="float32", validate_every=0))


@pytest.fixture
def services():
    return {"residency": PlainResidency(torch.device("cpu")), "reporter": ConsoleReporter(quiet=True), "stop": StopFlag()}


def test_fast_run_equals_plain_run(models, cache, services, tmp_path):
    plain = train_lora(models, RUN, cache, directory=tmp_path / "plain", name="a", **services)
    engine = fast_engine(MemorySettings(compiled=False))
    fast = train(RUN, models.component("transformer"), cache, directory=tmp_path / "fast", engine=engine, **services)
    for ours, theirs in zip(fast.history.steps, plain.history.steps, strict=True):
        assert abs(ours.loss - theirs.loss) <= 1e-5 * theirs.loss
    for name, (down, up) in plain.adapter.layers.items():
        assert relative_error(fast.adapter.layers[name][0], down) <= 1e-5
        # Adam divides a gradient by its own size, which magnifies rounding where it is nearly 0; the gradients themselves are compared in test_engine.py.
        assert relative_error(fast.adapter.layers[name][1], up) <= 5e-3


def test_blocks_are_left_to_the_engine(models, cache, services, tmp_path):
    seen = []

    class Watching(PlainResidency):
        def use(self, module, working_bytes=0):
            seen.append((sum(p.numel() for p in module.parameters()), working_bytes))
            return super().use(module, working_bytes)

    model = models.component("transformer")
    blocks = sum(p.numel() for p in model.transformer_blocks.parameters())
    everything = sum(p.numel() for p in model.parameters())
    services["residency"] = WithoutBlocks(Watching(torch.device("cpu")), block_bytes=7)
    before = copy.deepcopy(model.state_dict())
    train(RUN, model, cache, directory=tmp_path / "run", engine=fast_engine(MemorySettings(compiled=False)), working_bytes=5, **services)
    assert seen == [(everything - blocks, 12)]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_dropped_components_are_read_again(models):
    first = models.component("transformer")
    other = models.with_adapters()
    assert other.component("transformer") is first
    models.drop("transformer")
    assert other.component("transformer") is not first


def test_streaming_on_a_processor_is_refused(models, cache, services):
    with pytest.raises(LTX2Error, match="needs a graphics card"):
        make_plan(RUN, transformer_shapes(models.checkpoint), cache, MemorySettings(streamed=2), services["residency"])
    assert make_plan(RUN, transformer_shapes(models.checkpoint), cache, None, services["residency"]) is None


def test_how_the_base_lay_is_part_of_the_result(models, cache, services, tmp_path, monkeypatch):
    """What a plan chose stands in the run file, so that a repetition has the same base; a processor has no plan."""
    settings = MemorySettings("int8", compiled=False)
    assert train_lora(models, RUN, cache, directory=tmp_path / "plain", name="a", **services).memory is None
    monkeypatch.setattr(training, "make_plan", lambda *a: Plan(settings, 0, 0, 0, 0))
    monkeypatch.setattr(training, "free_device_bytes", lambda device: 0)
    result = train_lora(models, RUN, cache, directory=tmp_path / "planned", name="a", **services)
    path = write_run_record(tmp_path / "a.json", models, RUN, cache, name="a", directory=tmp_path / "planned", memory=result.memory)
    assert read_run(path).memory_settings == result.memory == settings


@pytest.mark.parametrize("memory", [None, MemorySettings("int8", streamed=2)], ids=["chosen", "given"])
def test_where_steps_cannot_be_captured_the_plan_has_room_for_it_and_it_is_said(memory, models, cache, services, monkeypatch):
    """CUDA's own allocator, a host's usual choice. A repetition elsewhere is not told to do without."""
    card, said = PlainResidency(torch.device("cuda")), []
    shapes, free = transformer_shapes(models.checkpoint), lambda device: 2**40
    monkeypatch.setattr(training, "free_device_bytes", free)
    monkeypatch.setattr(training, "_resident", lambda *a: TrainResult(None, None, 0, None, 0.0, 0, ()))
    monkeypatch.setattr(training, "_blocks_in_file", lambda *a: nullcontext(SimpleNamespace(model=None, bring=None)))
    monkeypatch.setattr(training, "train", lambda *a, **k: TrainResult(None, None, 0, None, 0.0, 0, ()))
    monkeypatch.setattr(services["reporter"], "message", lambda text, level="info": said.append(text))
    plans = {}
    for able in (True, False):
        monkeypatch.setattr(training, "can_capture", lambda device, able=able: able)
        plans[able] = make_plan(RUN, shapes, cache, memory, card)
        said.clear()
        result = train_lora(models, RUN, cache, directory=Path("none"), name="a", memory=memory, **{**services, "residency": card})
        assert any("--disable-cuda-malloc" in text for text in said) is not able
        assert plans[able].settings.captured is able and result.memory == plans[True].settings
    assert plans[False].total >= plans[True].total and (memory is None or plans[False].total > plans[True].total)


def test_a_run_that_goes_on_with_another_base_says_so_once(models, cache, services, tmp_path, monkeypatch):
    """Plain weights until step 1 (a large card's plan), int8 until 2 and 3: one sentence, at the change, and no step is lost."""

    class Told(ConsoleReporter):
        def message(self, text, level="info"):
            if "base's weights" in text:
                said.append((level, text))

    def until(step, precision):
        said.clear()
        monkeypatch.setattr(training, "make_plan", lambda *a: Plan(MemorySettings(precision, compiled=False), 0, 0, 0, 0))
        done = train_lora(models, RUN, cache, directory=tmp_path / "run", name="a", until=step, **{**services, "reporter": Told()})
        assert [r.step for r in done.history.steps] == list(range(1, step + 1))
        return list(said)

    said: list[tuple[str, str]] = []
    monkeypatch.setattr(training, "free_device_bytes", lambda device: 0)
    assert until(1, "bf16") == []
    [(level, text)] = until(2, "int8")
    assert level == "warning" and "were float32 up to step 1 and are int8 from here on" in text
    assert until(3, "int8") == []


class PausedOnce(ConsoleReporter):
    """Asks for a pause at step 1, and to go on when the run says that it is paused."""

    def __init__(self, controls):
        super().__init__(quiet=True)
        self.controls, self.asked = controls, False
        controls.listen(lambda state: controls.request("resume") if state == "paused" else None)

    def progress(self, event):
        if event.stage == "train" and not self.asked:
            self.asked = True
            self.controls.request("pause")


class Watched(PlainResidency):
    def __init__(self):
        super().__init__(torch.device("cpu"))
        self.released = []

    def release(self, module):
        self.released.append(module)
        super().release(module)


def test_a_pause_releases_the_base_and_the_run_goes_on_to_the_bit(models, cache, services, tmp_path):
    controls, watched = RunControls(), Watched()
    run = RunConfig(train=replace(RUN.train, resume="new"))
    paused = train_lora(models, run, cache, directory=tmp_path / "a", name="a", controls=controls, **{**services, "reporter": PausedOnce(controls), "residency": watched})
    assert models.component("transformer") in watched.released and controls.state == "running"
    whole = train_lora(models, RUN, cache, directory=tmp_path / "b", name="a", **services)
    assert [r.loss for r in paused.history.steps] == [r.loss for r in whole.history.steps] and paused.steps == 3


@pytest.mark.parametrize("settings", [MemorySettings(compiled=False), MemorySettings("int8", compiled=False), MemorySettings(streamed=2, compiled=False, captured=False)])
def test_blocks_can_be_called_plainly_while_they_lie_elsewhere(models, settings):
    model, train_settings = models.component("transformer"), TrainSettings()
    blocks = len(model.transformer_blocks)
    with injected(model, LoRASettings(rank=4), choose("audio_video", blocks, True).modules, 0, torch.float32) as lora:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in lora.parameters.values():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        engine = FastEngine(model, Objective.of(train_settings), torch.device("cpu"), settings)
        make = lambda *s: torch.randn(*s, generator=generator).bfloat16()  # noqa: E731
        sample = Sample("0", make(128, 2, 2, 3), make(8, 9, 16), make(16, 64), make(16, 64), 25.0, "b")
        inputs, own = prepare([sample], 0, train_settings, torch.float32), model.transformer_blocks
        expected = engine.predict(inputs)
        with engine.plain_blocks(), torch.no_grad():
            found = denoise(model, inputs.video.modality(), inputs.audio.modality(), runner=run_block)
        assert model.transformer_blocks is own
        for ours, theirs in zip(found, expected, strict=True):
            assert relative_error(ours, theirs) <= 1e-5


def test_the_plan_goes_by_the_largest_batch_of_any_dataset(models):
    """Large pictures one at a time against small ones in eights, tokens counted by hand: 17 frames are 3 latent ones and 0.68 s of sound."""
    sizes = [(17, 512, 768, 25.0, 1), (17, 128, 128, 25.0, 8), (17, 64, 64, 25.0, 0)]
    tokens = {1: 3 * 16 * 24 + 17, 8: 8 * (3 * 4 * 4 + 17), 2: 2 * (3 * 2 * 2 + 17)}
    run, shapes = RunConfig(LoRASettings(), TrainSettings(batch_size=2)), transformer_shapes(models.checkpoint)
    load = load_of(run, shapes, sizes, True)
    assert (load.tokens, load.samples) == (max(tokens.values()), 8)
    shared = load_of(RunConfig(LoRASettings(), TrainSettings(batch_size=2, global_batch=8)), shapes, sizes, True)
    assert (shared.tokens, shared.samples) == (2 * tokens[1], 2)


@pytest.mark.parametrize(
    ("lora", "written_out"),
    [({}, True), ({"targets": ("*.attn1.to_q", "proj_out")}, True), ({"targets": ("*.attn1.to_q", "patchify_proj")}, False), ({"kind": "loha"}, False),
     ({"dropout": 0.1}, True)], ids=str,
)  # fmt: skip
def test_the_plan_knows_whether_the_written_out_blocks_serve(lora, written_out, models):
    """As the engine decides it, which has the adapters themselves."""
    settings, shapes = LoRASettings(rank=2, **lora), transformer_shapes(models.checkpoint)
    load = load_of(RunConfig(settings), shapes, [(9, 64, 64, 25.0, 0)], True)
    assert load.written_out is written_out
    assert load.possible(MemorySettings(kept=1)) == MemorySettings(kept=1, fused=written_out)  # compiled and captured in any case
    model = models.component("transformer")
    with injected(model, settings, choose(settings.targets, 2, True).modules, 0, torch.float32):
        engine = FastEngine(model, Objective.of(TrainSettings()), torch.device("cpu"), MemorySettings(captured=False, compiled=False))
        assert isinstance(engine._form.runner, FusedRunner) is written_out


def test_the_plan_knows_what_each_kind_trains(models):
    """A LoKr is taken for a LoRA of its rank, unless its factors are whole and larger."""
    shapes, trained = transformer_shapes(models.checkpoint), {}
    for name, settings in {"lora": {}, "dora": {"kind": "dora"}, "loha": {"kind": "loha"}, "lokr": {"kind": "lokr"}, "whole": {"kind": "lokr", "factor": 2, "rank": 100}}.items():
        trained[name] = load_of(RunConfig(LoRASettings(**{"rank": 2, **settings})), shapes, [(9, 64, 64, 25.0, 0)], True).trained
    assert trained["loha"] == 2 * trained["lora"] and trained["lokr"] == trained["lora"] < trained["dora"] < trained["loha"]
    assert trained["whole"] >= 50 * trained["lora"]
