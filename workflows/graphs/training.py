"""From a folder of clips to a LoRA, for several purposes and cards."""

from __future__ import annotations

from ..blueprint import Blueprint
from ..graph import Graph, Out
from .parts import CLIPS, LORA, loaders, prompts, show

SUBJECT, SMALL, STYLE, VOICE, I2V, IC = "my_subject", "my_small_lora", "my_style", "my_voice", "my_i2v_lora", "my_ic_lora"
_HELD = "Cancel at any time: the state is saved, and Run goes on from it."


def _cached(graph: Graph, checkpoint: Out, text_encoder: Out, dataset: Out) -> Out:
    return graph.add("LTX2CacheDataset", dataset=dataset, checkpoint=checkpoint, text_encoder=text_encoder).out()


def _preview(graph: Graph, texts: dict[str, Out], **own) -> Out:
    return graph.add("LTX2TrainingPreview", **texts, **own).out()


def _sample(graph: Graph, checkpoint: Out, trained: Out, texts: dict[str, Out], name: str, **size) -> None:
    """A clip with the LoRA, in the graph that trained it."""
    applied = graph.add("LTX2ApplyAdapters", checkpoint=checkpoint, adapter_1=trained)
    latents = graph.add("LTX2SampleT2V", checkpoint=applied.out(), **texts, **size)
    show(graph, applied.out(), latents.out(), name)


def first_lora() -> Graph:
    graph = Graph(
        "first_lora",
        "## Your first LTX-2 LoRA\n1. Put 10 to 30 clips of 2 to 5 seconds into `input/ltx2_clips`, with a caption beside each (`clip.txt`).\n"
        "2. Press Run. Captions and clips are encoded once, then the LoRA trains, with a film in the node every 100 steps.\n"
        f"3. The LoRA lies in `models/loras`. {_HELD}\n\n"
        "500 steps on small, short clips are meant for a first try of about ten minutes. To go on: 768 x 512, 49 frames, 2000 steps.",
    )
    checkpoint, gemma = loaders(graph)
    dataset = graph.add("LTX2VideoDataset", folder=CLIPS, width=512, height=320, frames=25)
    cache = _cached(graph, checkpoint, gemma, dataset.out())
    lora = graph.add("LTX2LoRASettings")
    settings = graph.add("LTX2TrainSettings", steps=500, checkpoint_every=100, validate_every=50)
    texts = prompts(graph, checkpoint, gemma)
    previews = _preview(graph, texts, every=100, frames=25)
    trained = graph.add("LTX2TrainLoRA", checkpoint=checkpoint, cache=cache, lora=lora.out(), settings=settings.out(), name=LORA, previews=previews)
    graph.add("SaveImage", images=trained.out(2), filename_prefix="ltx2/loss")
    _sample(graph, checkpoint, trained.out(), texts, "first_lora", width=768, height=512, frames=49)
    return graph


def subject_24gb() -> Graph:
    graph = Graph(
        "subject_24gb",
        "## A person, animal or thing, on a card of 24 GB\nClips go into `input/ltx2_clips`, each with a caption; `trigger` is the word by which the subject is called later.\n"
        "*Train Preset* holds values that others published, and says from where. *Memory Settings* chooses how the base lies on the card and shows the plan: on 24 GB\n"
        f"the base in int8 with half of its blocks in host memory (about 10 GiB of it). *Preflight* looks for what would go wrong before anything is loaded. {_HELD}",
    )
    checkpoint, gemma = loaders(graph)
    dataset = graph.add("LTX2VideoDataset", folder=CLIPS, width=768, height=448, frames=49, trigger="ohwx")
    preset, memory = graph.add("LTX2TrainPreset", preset="subject", optimizer="adamw_bf16"), graph.add("LTX2MemorySettings", mode="auto")
    chosen = {"lora": preset.out(0), "settings": preset.out(1), "memory": memory.out()}
    checked = graph.add("LTX2Preflight", dataset=dataset.out(), checkpoint=checkpoint, text_encoder=gemma, **chosen)
    cache = _cached(graph, checkpoint, gemma, checked.out())
    texts = prompts(graph, checkpoint, gemma, "ohwx, a red circle, moves right over a dark background, with a low tone.")
    previews = _preview(graph, texts)
    trained = graph.add("LTX2TrainLoRA", checkpoint=checkpoint, cache=cache, name=SUBJECT, previews=previews, **chosen)
    _sample(graph, checkpoint, trained.out(), texts, "subject", width=768, height=448, frames=49)
    return graph


def lowest_vram() -> Graph:
    graph = Graph(
        "lowest_vram",
        "## With as little of the card as can be\nThe base in int8, all 48 blocks in host memory, the blocks' inputs too, a small LoRA on the picture's attentions, an optimizer in bf16, clips of 480 x 320 and\n"
        "17 frames. Needs about 20 GiB of free host memory. A step waits for the bus, so a card with a slow one is slow here. Larger clips and ranks cost little more: raise them while it fits.\n"
        f"{_HELD}",
    )
    checkpoint, gemma = loaders(graph)
    dataset = graph.add("LTX2VideoDataset", folder=CLIPS, width=480, height=320, frames=17, audio=False)
    cache = _cached(graph, checkpoint, gemma, dataset.out())
    lora = graph.add("LTX2LoRASettings", rank=16, alpha=16.0, targets="video")
    settings = graph.add("LTX2TrainSettings", steps=2000, optimizer="adamw_bf16")
    memory = graph.add("LTX2MemorySettings", mode="manual", precision="int8", streamed_blocks=48, capture=False, in_host_memory="inputs")
    trained = graph.add("LTX2TrainLoRA", checkpoint=checkpoint, cache=cache, lora=lora.out(), settings=settings.out(), name=SMALL, memory=memory.out())
    _sample(graph, checkpoint, trained.out(), prompts(graph, checkpoint, gemma), "lowest_vram", width=480, height=320, frames=49)
    return graph


def style_with_sound() -> Graph:
    graph = Graph(
        "style_with_sound",
        "## A style that is seen and heard\n15 clips or more with their sound go into `input/ltx2_clips`; captions say what is seen and heard, and nothing of the style. The LoRA changes the attentions of\n"
        "picture and sound and those between them. Losses of both stand in the chart apart; the films in the node have their sound (press play on one). If one of the two learns faster, change `audio_weight`.\n"
        f"{_HELD}",
    )
    checkpoint, gemma = loaders(graph)
    dataset = graph.add("LTX2VideoDataset", folder=CLIPS, width=768, height=448, frames=89)
    cache = _cached(graph, checkpoint, gemma, dataset.out())
    lora = graph.add("LTX2LoRASettings", rank=16, alpha=16.0, targets="audio_video")
    settings = graph.add("LTX2TrainSettings", steps=2000, caption_dropout=0.1, audio_weight=1.0)
    texts = prompts(graph, checkpoint, gemma)
    previews = _preview(graph, texts)
    trained = graph.add("LTX2TrainLoRA", checkpoint=checkpoint, cache=cache, lora=lora.out(), settings=settings.out(), name=STYLE, previews=previews)
    _sample(graph, checkpoint, trained.out(), texts, "style_with_sound", width=768, height=448, frames=89)
    return graph


def voice() -> Graph:
    graph = Graph(
        "voice",
        "## A voice, from sound alone\n3 to 6 minutes of one voice as sound files of some seconds go into `input/ltx2_voice`, each with a caption that has the words that are spoken. The picture is not\n"
        "computed, so steps are much faster. `frames` / `frame_rate` is how much of each sound is taken: 121 frames are 4.8 seconds. Films do as well as sound files: set `dataset_type` to video.\n"
        f"{_HELD}",
    )
    checkpoint, gemma = loaders(graph)
    dataset = graph.add("LTX2VideoDataset", folder="ltx2_voice", frames=121, dataset_type="audio")
    cache = _cached(graph, checkpoint, gemma, dataset.out())
    preset = graph.add("LTX2TrainPreset", preset="voice")
    trained = graph.add("LTX2TrainLoRA", checkpoint=checkpoint, cache=cache, lora=preset.out(0), settings=preset.out(1), name=VOICE)
    applied = graph.add("LTX2ApplyAdapters", checkpoint=checkpoint, adapter_1=trained.out())
    settings = graph.add("LTX2SampleSettings", frames=121)
    sound = graph.add("LTX2SampleSound", checkpoint=applied.out(), settings=settings.out(), **prompts(graph, checkpoint, gemma, 'A woman says: "The first snow fell tonight."'))
    graph.add("SaveAudio", audio=sound.out(), filename_prefix="ltx2/voice")
    return graph


def image_to_video_lora() -> Graph:
    graph = Graph(
        "image_to_video_lora",
        "## A LoRA for image to video\nIn half of the steps the first frame is given, so that the LoRA learns what follows it and still works without a picture. Captions say what moves, and how.\n"
        f"The film in the node and the clip at the end begin with your picture at *Load Image*. {_HELD}",
    )
    checkpoint, gemma = loaders(graph)
    dataset = graph.add("LTX2VideoDataset", folder=CLIPS, width=768, height=512, frames=49)
    cache = _cached(graph, checkpoint, gemma, dataset.out())
    lora = graph.add("LTX2LoRASettings")
    settings = graph.add("LTX2TrainSettings", steps=2000, first_frame_probability=0.5)
    texts, picture = prompts(graph, checkpoint, gemma), graph.add("LoadImage", image="example.png").out()
    previews = _preview(graph, texts, image=picture)
    trained = graph.add("LTX2TrainLoRA", checkpoint=checkpoint, cache=cache, lora=lora.out(), settings=settings.out(), name=I2V, previews=previews)
    applied = graph.add("LTX2ApplyAdapters", checkpoint=checkpoint, adapter_1=trained.out())
    latents = graph.add("LTX2SampleI2V", checkpoint=applied.out(), **texts, image=picture, width=768, height=512, frames=49)
    show(graph, applied.out(), latents.out(), "image_to_video_lora")
    return graph


def ic_lora() -> Graph:
    graph = Graph(
        "ic_lora",
        "## A LoRA that follows a reference video (IC-LoRA), from pairs\n`input/ltx2_clips` holds what shall come out, with captions; `input/ltx2_references` what is shown to the model: edges, depth, poses, an older look. A pair has the same\n"
        f"name in both folders, the same length and frame rate. At the end the video at *Load Video* is the reference; it needs at least as many frames as *Sample Settings* ask for. {_HELD}",
    )
    checkpoint, gemma = loaders(graph)
    size = {"width": 768, "height": 512, "frames": 49, "audio": False}
    clips = graph.add("LTX2VideoDataset", folder=CLIPS, title="Clips", **size)
    shown = graph.add("LTX2VideoDataset", folder="ltx2_references", caption_strategy="filename", title="References", **size)
    cache, references = (_cached(graph, checkpoint, gemma, d.out()) for d in (clips, shown))
    lora = graph.add("LTX2LoRASettings", targets="ic")
    settings = graph.add("LTX2TrainSettings", steps=2000)
    trained = graph.add("LTX2TrainLoRA", checkpoint=checkpoint, cache=cache, lora=lora.out(), settings=settings.out(), name=IC, references=references)
    sampling = graph.add("LTX2SampleSettings", width=768, height=512, frames=49)
    applied = graph.add("LTX2ApplyAdapters", checkpoint=checkpoint, adapter_1=trained.out(), settings=sampling.out())
    parts = graph.add("GetVideoComponents", video=graph.add("LoadVideo", file="example.mp4").out())
    latents = graph.add("LTX2SampleReference", checkpoint=applied.out(), settings=applied.out(1), **prompts(graph, checkpoint, gemma), reference=parts.out())
    show(graph, checkpoint, latents.out(), "ic_lora")
    return graph


def continue_run() -> Graph:
    graph = Graph(
        "continue_run",
        "## Go on with a run\nTakes up the run of *first_lora* by its name, where it ended or was stopped, and trains it to 2000 steps in pieces of 250: each Run trains one piece and makes a clip with\n"
        "the LoRA as it is then. Queue it several times to see it grow. The clips, the LoRA's settings and the learning rate must be those with which the run began; only `steps` is higher.",
    )
    checkpoint, gemma = loaders(graph)
    dataset = graph.add("LTX2VideoDataset", folder=CLIPS, width=512, height=320, frames=25)
    cache = _cached(graph, checkpoint, gemma, dataset.out())
    lora = graph.add("LTX2LoRASettings")
    settings = graph.add("LTX2TrainSettings", steps=2000, checkpoint_every=100, validate_every=50)
    trained = graph.add("LTX2TrainSegment", checkpoint=checkpoint, cache=cache, lora=lora.out(), settings=settings.out(), name=LORA, segment_steps=250)
    graph.add("SaveImage", images=trained.out(2), filename_prefix="ltx2/loss")
    _sample(graph, checkpoint, trained.out(), prompts(graph, checkpoint, gemma), "continue_run", width=768, height=512, frames=49)
    return graph


def simpletuner_import() -> Graph:
    graph = Graph(
        "simpletuner_import",
        "## Coming from SimpleTuner\nPut `config.json` and the datasets' JSON into `input`, or give their full paths. *Preview as Text* says what was taken over, what means something else here, and\n"
        "what has no counterpart. Then it trains as those files say. With several datasets choose one at `which`. docs/simpletuner.md lists every option.",
    )
    checkpoint, gemma = loaders(graph)
    taken = graph.add("LTX2ImportSimpleTuner", config="config.json")
    graph.add("PreviewAny", source=taken.out(1))
    chosen = {"lora": taken.out(3), "settings": taken.out(4), "memory": taken.out(5)}
    checked = graph.add("LTX2Preflight", dataset=taken.out(2), checkpoint=checkpoint, text_encoder=gemma, **chosen)
    cache = _cached(graph, checkpoint, gemma, checked.out())
    trained = graph.add("LTX2TrainLoRA", checkpoint=checkpoint, cache=cache, name=taken.out(6), **chosen)
    graph.add("SaveImage", images=trained.out(2), filename_prefix="ltx2/loss")
    return graph


def train_and_preview() -> Blueprint:
    """One node between Cache Dataset and whatever uses the LoRA."""
    made = Blueprint(Graph("LTX-2 Train and Preview"))
    graph, port = made.graph, made.port
    checkpoint, gemma, cache, memory = (port(name) for name in ("checkpoint", "text_encoder", "cache", "memory"))
    texts = prompts(graph, checkpoint, gemma, port("prompt"))
    preset = graph.add("LTX2TrainPreset", preset=port("preset"), steps=port("steps"))
    previews = _preview(graph, texts, every=port("every"))
    trained = graph.add("LTX2TrainLoRA", checkpoint=checkpoint, cache=cache, lora=preset.out(0), settings=preset.out(1), name=port("name"), memory=memory, previews=previews)
    made.outputs |= {"adapter": trained.out(0), "lora_name": trained.out(1), "loss": trained.out(2)}
    made.panels = ((trained.id, "ltx2_chart"),)
    return made


BLUEPRINTS = (train_and_preview,)
GRAPHS = (first_lora, subject_24gb, lowest_vram, style_with_sound, voice, image_to_video_lora, ic_lora, continue_run, simpletuner_import)
