"""Training."""

from __future__ import annotations

from comfy_api.latest import io

from ..ltx2core.distributed.kinds import KINDS
from ..ltx2core.train.settings import ADAPTER_KINDS, INITS, OPTIMIZERS, SCHEDULES, TARGET_PRESETS, LoRASettings, TrainSettings
from .adapters import WeightedAdapter
from .base import ADVANCED, CATEGORY, AdapterWire, CacheWire, CheckpointWire, LoRASettingsWire, MemoryWire, PreviewsWire, TrainSettingsWire
from .train_methods import NODES as METHODS
from .training import is_name, train_run


class LTX2LoRASettings(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2LoRASettings",
            display_name="LTX-2 LoRA Settings",
            category=f"{CATEGORY}/train",
            description="What is trained: the LoRA's size and the layers that it changes.",
            inputs=[
                io.Int.Input("rank", default=32, min=1, max=512, tooltip="How much the LoRA can hold. 32 suits most subjects and styles; 16 for a simple one, 64 for many. Memory and file size grow in proportion."),
                io.Float.Input("alpha", default=32.0, min=0.01, max=1024.0, step=1.0, tooltip="The LoRA acts with alpha / rank. Leave it equal to the rank unless you copy settings from elsewhere."),
                io.Float.Input("dropout", default=0.0, min=0.0, max=0.9, step=0.01, extra_dict=ADVANCED, tooltip="Share of the LoRA's inputs left out at random while training. 0 is usual; 0.1 can help when very few clips are learned by heart."),
                io.Combo.Input("targets", options=list(TARGET_PRESETS), default="auto", tooltip="Which layers. auto takes all attention of picture and sound, or the picture's alone when no clip has sound. video and audio train one of them; _ff adds its feed-forward; all_linear is largest."),
                io.String.Input("patterns", default="", extra_dict=ADVANCED, tooltip="Instead of targets: full layer names with *, separated by commas, such as transformer_blocks.*.attn1.to_q. Leave empty to use targets."),
                io.Combo.Input("kind", options=list(ADAPTER_KINDS), default="lora", optional=True, tooltip="lora suits nearly all. dora also learns each row's size, slower. lokr and loha hold more in a small file; for them dropout must be 0."),
                io.Boolean.Input("rslora", default=False, optional=True, extra_dict=ADVANCED, tooltip="Act with alpha / sqrt(rank) instead of alpha / rank, so that high ranks learn as fast as low ones. Lower alpha or the learning rate with it."),
                io.Int.Input("factor", default=-1, min=-1, max=4096, optional=True, extra_dict=ADVANCED, tooltip="Of lokr: the size of its small factor. -1 is the most even split, the smallest file; 4 or 8 hold more."),
                io.Combo.Input("init", options=list(INITS), default="kaiming_uniform", optional=True, extra_dict=ADVANCED, tooltip="How the first matrix of a lora or dora begins. Either learns; the second begins at zero."),
            ],
            outputs=[LoRASettingsWire.Output("lora", tooltip="For Train LoRA.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, rank: int, alpha: float, dropout: float, targets: str, patterns: str = "", kind: str = "lora", rslora: bool = False, factor: int = -1,
                init: str = "kaiming_uniform") -> io.NodeOutput:  # fmt: skip
        listed = tuple(p.strip() for p in patterns.replace("\n", ",").split(",") if p.strip())
        return io.NodeOutput(LoRASettings(rank=rank, alpha=alpha, dropout=dropout, targets=listed or targets, init=init, kind=kind, rslora=rslora, factor=factor))


class LTX2TrainSettings(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2TrainSettings",
            display_name="LTX-2 Train Settings",
            category=f"{CATEGORY}/train",
            description="How it is trained: steps, learning rate and what to do on the way.",
            inputs=[
                io.Int.Input("steps", default=2000, min=1, max=1_000_000, tooltip="Optimizer steps. A subject of 20 clips needs 1000 to 3000. With the constant schedule, queueing again with more steps makes the run longer; with a falling one it needs a new name."),
                io.Float.Input("learning_rate", default=1e-4, min=0.0, max=1.0, step=1e-6, round=1e-9, tooltip="How far each step goes. 1e-4 is a good start; halve it when the loss jumps."),
                io.Int.Input("warmup", default=50, min=0, max=100_000, tooltip="Steps over which the learning rate rises from 0. 50 is enough for a LoRA."),
                io.Int.Input("batch_size", default=1, min=1, max=64, tooltip="Clips a pass. Memory grows with it; 2 gives a calmer loss."),
                io.Int.Input("seed", default=42, min=0, max=2**32 - 1, control_after_generate=False, tooltip="Order of clips, noise and noise levels. The same seed on the same machine gives the same LoRA."),
                io.Float.Input("first_frame_probability", default=0.0, min=0.0, max=1.0, step=0.05, tooltip="Share of samples whose first frame is given clean, so that the LoRA also serves image-to-video. 0.3 to 0.5 for that, 0 for text-to-video alone."),
                io.Float.Input("audio_weight", default=1.0, min=0.0, max=100.0, step=0.05, tooltip="Weight of the sound's loss. 0 trains the picture alone."),
                io.Float.Input("caption_dropout", default=0.0, min=0.0, max=1.0, step=0.05, tooltip="Share of samples trained with the empty prompt. 0.05 to 0.1 helps a style that shall always be there."),
                io.Combo.Input("optimizer", options=list(OPTIMIZERS), default="adamw", tooltip="adamw keeps float32 copies: exact, 12 bytes a trained weight more. adamw_bf16 keeps all in bf16 with stochastic rounding, for tight memory; adamw_8bit is between. prodigy finds the rate itself: set learning_rate to 1. lion wants a tenth of AdamW's rate. came needs pip install pytorch-optimizer."),
                io.Combo.Input("schedule", options=list(SCHEDULES), default="constant", tooltip="The learning rate after the warm-up: constant, or falling to 0 at the last step."),
                io.Float.Input("max_grad_norm", default=1.0, min=0.0, max=100.0, step=0.05, extra_dict=ADVANCED, tooltip="Longest gradient; longer ones are shortened. 0 switches this off."),
                io.Int.Input("accumulation", default=1, min=1, max=1024, extra_dict=ADVANCED, tooltip="Passes whose gradients are summed before a step: the effect of a larger batch without its memory, at its time."),
                io.Int.Input("checkpoint_every", default=250, min=0, max=1_000_000, extra_dict=ADVANCED, tooltip="Steps between saved states, from which an interrupted run goes on. 0 saves only at the end or when interrupted."),
                io.Int.Input("validate_every", default=250, min=0, max=1_000_000, extra_dict=ADVANCED, tooltip="Steps between validation losses: fixed clips, noise levels and noise, so that learning can be seen. 0 only at the start and the end."),
                io.Combo.Input("dtype", options=["bf16", "float32", "auto"], default="bf16", extra_dict=ADVANCED, tooltip="Type of the trained weights in the forward pass. bf16 is right for real models; float32 for tests on a processor."),
                io.Boolean.Input("gradient_checkpointing", default=True, extra_dict=ADVANCED, tooltip="Compute blocks again in the backward pass instead of keeping them: far less memory, about a third more time."),
                io.Int.Input("keep_checkpoints", default=3, min=1, max=1000, extra_dict=ADVANCED, tooltip="How many of the newest states are kept on disk."),
                io.Int.Input("validation_clips", default=4, min=0, max=1000, extra_dict=ADVANCED, tooltip="Clips in the validation loss; 0 switches it off. Held-out ones when a validation cache is wired, else the first of the training set."),
                io.Float.Input("weight_decay", default=0.01, min=0.0, max=1.0, step=0.001, extra_dict=ADVANCED, tooltip="Pulls trained weights towards 0. 0.01 is usual."),
                io.Int.Input("keep_every", default=0, min=0, max=1_000_000, optional=True, extra_dict=ADVANCED, tooltip="States at multiples of so many steps are kept for good, beside the newest ones. 0 for none."),
                io.String.Input("resume", default="auto", optional=True, extra_dict=ADVANCED, tooltip="auto goes on where the run of this name is. new begins again and sets the states there aside. A path of a state-....safetensors, or of a run's folder, begins from there."),
                io.Boolean.Input("decay_vectors", default=False, optional=True, extra_dict=ADVANCED, tooltip="Let weight_decay also pull on vectors, such as the sizes that a dora learns. Off is right."),
            ],
            outputs=[TrainSettingsWire.Output("settings", tooltip="For Train LoRA.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, **values) -> io.NodeOutput:
        return io.NodeOutput(TrainSettings(**values))


class LTX2TrainLoRA(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2TrainLoRA",
            display_name="LTX-2 Train LoRA",
            category=f"{CATEGORY}/train",
            description="Trains a LoRA on a cached dataset and writes it into models/loras. Cancel saves the state; queue again and it goes on.",
            is_output_node=True,
            inputs=[
                CheckpointWire.Input("checkpoint", tooltip="The base model. Its weights are not changed."),
                CacheWire.Input("cache", tooltip="The clips, from Cache Dataset."),
                LoRASettingsWire.Input("lora", tooltip="What is trained, from LoRA Settings."),
                TrainSettingsWire.Input("settings", tooltip="How it is trained, from Train Settings."),
                io.String.Input("name", default="ltx2_lora", tooltip="File name in models/loras, without .safetensors. A run of the same name with other settings or clips is refused until the name is changed."),
                CacheWire.Input("validation", optional=True, tooltip="Held-out clips for the validation loss. Without them the first training clips serve, which tells less."),
                AdapterWire.Input("adapter", optional=True, tooltip="A LoRA to begin with; its rank must be the settings'."),
                MemoryWire.Input("memory", optional=True, tooltip="Where the base model lies, from Memory Settings. Without it the fastest way that fits the card is chosen and said."),
                CacheWire.Input("references", optional=True, tooltip="Reference videos (IC-LoRA), cached from a folder whose files have the clips' names. The LoRA learns to make each clip from its reference."),
                CacheWire.Input("regularisation", optional=True, tooltip="Clips that the LoRA shall leave as the base makes them, so that it does not forget. Their own pixels only set the scene."),
                PreviewsWire.Input("previews", optional=True, tooltip="Films to make on the way, from Training Preview. They lie in the run's folder and change nothing in the training."),
                io.Int.Input("gpus", default=1, min=1, max=64, optional=True, extra_dict=ADVANCED, tooltip="NVIDIA cards of this machine that share the run, in processes of their own. Each adds batch_size times accumulation clips to a step. 1 trains here, where pause and save also work."),
                io.Combo.Input("distributed", options=list(KINDS), default="auto", optional=True, extra_dict=ADVANCED, tooltip="With gpus above 1. ddp: the whole base on every card, resident or streamed. fsdp2: its blocks shared out over the cards, which takes less memory on each. auto: ddp wherever the base fits a card, which is faster."),
            ],
            outputs=[
                AdapterWire.Output("adapter", tooltip="The trained LoRA, for Apply Adapters."),
                io.String.Output("lora_name", tooltip="Its file name under models/loras."),
                io.Image.Output("loss", tooltip="The losses as a picture."),
            ],
        )  # fmt: skip

    @classmethod
    def fingerprint_inputs(cls, name: str | None = None, **kwargs):
        """The step that was reached and the target of a run that was ended early: queueing it again goes on."""
        from .host.context import host
        from .host.partial import partial_mark

        return partial_mark(host().paths.runs_dir() / name) if name and is_name(name) else ""

    @classmethod
    def execute(
        cls, checkpoint, cache, lora, settings, name: str, validation=None, adapter=None, memory=None, references=None, regularisation=None, previews=None,
        gpus: int = 1, distributed: str = "auto",
    ) -> io.NodeOutput:  # fmt: skip
        from .host.context import host
        from .host.partial import mark_partial

        done = train_run(
            checkpoint, cache, lora, settings, name, adapter=adapter, memory=memory, previews=previews, gpus=gpus, distributed=distributed,
            validation=validation, references=references, regularisation=regularisation,
        )  # fmt: skip
        if done.result.steps < settings.steps:
            mark_partial(host().paths.runs_dir() / name, done.result.steps, settings.steps)
        return io.NodeOutput(WeightedAdapter(done.result.adapter), done.file, done.picture, ui=done.ui)


NODES = [LTX2LoRASettings, LTX2TrainSettings, *METHODS, LTX2TrainLoRA]
