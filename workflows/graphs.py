"""The graphs that are shipped. ``tests/host/build_workflows.py`` writes their files."""

from __future__ import annotations

from .graph import Graph, Node, Out

CHECKPOINT, TEXT_ENCODER, CLIPS = "ltx-2-19b-dev.safetensors", "gemma_3_12B_it.safetensors", "ltx2_clips"
LORA = "my_first_lora"
PROMPT = "A red circle moves right over a dark background, with a low tone."
_HUB = "https://huggingface.co"
_CHECKPOINT_MODEL = {"name": CHECKPOINT, "url": f"{_HUB}/Lightricks/LTX-2/resolve/main/{CHECKPOINT}", "directory": "checkpoints"}
_GEMMA_MODEL = {
    "name": TEXT_ENCODER, "url": f"{_HUB}/Comfy-Org/ltx-2/resolve/main/split_files/text_encoders/{TEXT_ENCODER}", "directory": "text_encoders",
}  # fmt: skip

UPSCALER = "ltx-2-spatial-upscaler-x2-1.0.safetensors"
_UPSCALER_MODEL = {"name": UPSCALER, "url": f"{_HUB}/Lightricks/LTX-2/resolve/main/{UPSCALER}", "directory": "latent_upscale_models"}


def _published(name: str) -> dict[str, str]:
    """The model entry of an adapter that Lightricks published."""
    file = f"{name.lower()}.safetensors"
    return {"name": file, "url": f"{_HUB}/Lightricks/{name}/resolve/main/{file}", "directory": "loras"}


def _loaders(graph: Graph) -> tuple[Node, Node]:
    return (
        graph.add("LTX2LoadCheckpoint", checkpoint=CHECKPOINT, models=(_CHECKPOINT_MODEL,)),
        graph.add("LTX2LoadTextEncoder", text_encoder=TEXT_ENCODER, models=(_GEMMA_MODEL,)),
    )


def _show(graph: Graph, checkpoint: Out, latents: Out, name: str) -> None:
    decoded = graph.add("LTX2Decode", checkpoint=checkpoint, latents=latents)
    graph.add("SaveVideo", video=decoded.out(2), filename_prefix=f"ltx2/{name}", format="auto", codec="auto")


def _prompts(graph: Graph, checkpoint: Out, text_encoder: Out) -> dict[str, Out]:
    encode = {"checkpoint": checkpoint, "text_encoder": text_encoder}
    positive = graph.add("LTX2EncodePrompt", prompt=PROMPT, title="Prompt", **encode)
    negative = graph.add("LTX2EncodePrompt", prompt="", title="Negative prompt", **encode)
    return {"positive": positive.out(), "negative": negative.out()}


def first_lora() -> Graph:
    graph = Graph(
        "first_lora",
        "## Your first LTX-2 LoRA\n1. Put 10 to 30 clips of 2 to 5 seconds into `input/ltx2_clips`, with a caption beside each (`clip.txt`).\n"
        "2. Press Run. Captions and clips are encoded once, then the LoRA trains, then a video is made with it.\n"
        "3. The LoRA lies in `models/loras`. Cancel at any time: the state is saved, and Run goes on from it.",
    )
    checkpoint, gemma = _loaders(graph)
    dataset = graph.add("LTX2VideoDataset", folder=CLIPS, width=768, height=512, frames=49)
    cache = graph.add("LTX2CacheDataset", dataset=dataset.out(), checkpoint=checkpoint.out(), text_encoder=gemma.out())
    lora = graph.add("LTX2LoRASettings")
    settings = graph.add("LTX2TrainSettings", steps=2000)
    trained = graph.add(
        "LTX2TrainLoRA", checkpoint=checkpoint.out(), cache=cache.out(), lora=lora.out(), settings=settings.out(), name=LORA
    )  # fmt: skip
    graph.add("SaveImage", images=trained.out(2), filename_prefix="ltx2/loss")
    prompts = _prompts(graph, checkpoint.out(), gemma.out())
    applied = graph.add("LTX2ApplyAdapters", checkpoint=checkpoint.out(), adapter_1=trained.out())
    latents = graph.add("LTX2SampleT2V", checkpoint=applied.out(), **prompts, width=768, height=512, frames=49)
    _show(graph, applied.out(), latents.out(), "first_lora")
    return graph


def _sampling(name: str, note: str, kind: str, **own) -> Graph:
    graph = Graph(name, note)
    checkpoint, gemma = _loaders(graph)
    sources = {k: graph.add(*v[0], **v[1]).out() for k, v in own.items()}
    adapter = graph.add("LTX2LoadAdapter", adapter=f"{LORA}.safetensors")
    applied = graph.add("LTX2ApplyAdapters", checkpoint=checkpoint.out(), adapter_1=adapter.out())
    prompts = _prompts(graph, checkpoint.out(), gemma.out())
    latents = graph.add(kind, checkpoint=applied.out(), **prompts, **sources, width=768, height=512, frames=121)
    _show(graph, applied.out(), latents.out(), name)
    return graph


def text_to_video() -> Graph:
    return _sampling("text_to_video", "## Text to video with your LoRA\nChoose the LoRA at *Load LTX-2 Adapter*, write the prompt, press Run.", "LTX2SampleT2V")


def image_to_video() -> Graph:
    note = "## Image to video with your LoRA\nThe picture becomes the first frame. LoRAs trained with a first-frame probability above 0 follow it best."
    return _sampling("image_to_video", note, "LTX2SampleI2V", image=(("LoadImage",), {"image": "example.png"}))


def sound_to_video() -> Graph:
    note = "## Sound to video with your LoRA\nThe sound stays as it is and is heard in the result; the picture is made for it."
    return _sampling("sound_to_video", note, "LTX2SampleS2V", audio=(("LoadAudio",), {"audio": "example.wav"}))


def two_stages() -> Graph:
    graph = Graph(
        "two_stages",
        "## Two stages with your LoRA\nThe clip is made at half the size with your LoRA, its latents are enlarged, and a short second denoise with the distilled\n"
        "adapter brings back fine detail. Choose the size of the result at *Sample Settings*: multiples of 64.",
    )
    checkpoint, gemma = _loaders(graph)
    settings = graph.add("LTX2SampleSettings", width=1280, height=704, frames=121)
    half = graph.add("LTX2HalfSize", settings=settings.out())
    mine = graph.add("LTX2LoadAdapter", adapter=f"{LORA}.safetensors", title="Your LoRA")
    distilled = graph.add("LTX2LoadAdapter", published="Distilled", models=(_published("LTX-2-19b-distilled-lora-384"),), title="Distilled adapter")
    upscaler = graph.add("LTX2LoadUpscaler", upscaler=UPSCALER, models=(_UPSCALER_MODEL,))
    first = graph.add("LTX2ApplyAdapters", checkpoint=checkpoint.out(), adapter_1=mine.out(), title="First stage")
    second = graph.add("LTX2ApplyAdapters", checkpoint=first.out(), adapter_1=distilled.out(), strength_1=0.8, title="Second stage")
    prompts = _prompts(graph, checkpoint.out(), gemma.out())
    small = graph.add("LTX2Sample", checkpoint=first.out(), settings=half.out(), **prompts)
    large = graph.add("LTX2UpscaleLatents", checkpoint=checkpoint.out(), upscaler=upscaler.out(), latents=small.out())
    fine = graph.add("LTX2RefineLatents", checkpoint=second.out(), latents=large.out(), positive=prompts["positive"])
    _show(graph, checkpoint.out(), fine.out(), "two_stages")
    return graph


def reference_video() -> Graph:
    graph = Graph(
        "reference_video",
        "## A video that follows another one\nEdges of your video steer the new one (IC-LoRA). The prompt says what is to be seen. Your video must have at least as many\n"
        "frames as *Sample Settings* ask for. For depth or poses choose another adapter and wire frames of that kind.",
    )
    checkpoint, gemma = _loaders(graph)
    settings = graph.add("LTX2SampleSettings", width=768, height=512, frames=121)
    control = graph.add("LTX2LoadAdapter", published="IC-LoRA Canny Control", models=(_published("LTX-2-19b-IC-LoRA-Canny-Control"),))
    applied = graph.add("LTX2ApplyAdapters", checkpoint=checkpoint.out(), adapter_1=control.out(), settings=settings.out())
    video = graph.add("LoadVideo", file="example.mp4")
    parts = graph.add("GetVideoComponents", video=video.out())
    edges = graph.add("Canny", image=parts.out(), low_threshold=0.2, high_threshold=0.5)
    prompts = _prompts(graph, checkpoint.out(), gemma.out())
    latents = graph.add("LTX2SampleReference", checkpoint=applied.out(), settings=applied.out(1), **prompts, reference=edges.out())
    _show(graph, checkpoint.out(), latents.out(), "reference_video")
    return graph


def validation() -> Graph:
    graph = Graph(
        "validation",
        "## Is the LoRA good?\nEvery prompt with your LoRA and without it, side by side in one labelled video, and as single files in `output/ltx2_validation`.\n"
        "Drop one of the files on the canvas to get this graph back. Cancel at any time: Run goes on at the first clip that is missing.",
    )
    checkpoint, gemma = _loaders(graph)
    settings = graph.add("LTX2SampleSettings", width=768, height=512, frames=97)
    prompts = graph.add("LTX2PromptLibrary", checkpoint=checkpoint.out(), text_encoder=gemma.out(), source="built-in", only="motion, face, speech, music")
    adapter = graph.add("LTX2LoadAdapter", adapter=f"{LORA}.safetensors")
    graph.add(
        "LTX2Validate", checkpoint=checkpoint.out(), settings=settings.out(), prompts=prompts.out(), adapter_1=adapter.out(), name=LORA, seeds="1, 2",
        strengths="0.7, 1", scores=True,
    )  # fmt: skip
    return graph


def native_sampling() -> Graph:
    graph = Graph(
        "native_sampling",
        "## ComfyUI's own sampler with your LoRA\nPrompts and LoRA come from this pack, the model and the sampler are ComfyUI's own, and the latents come back to be decoded here.\n"
        "Every node of ComfyUI that takes MODEL, CONDITIONING or LATENT can stand between; *To Native Latent* takes latents the other way.",
    )
    checkpoint, gemma = _loaders(graph)
    native = graph.add("CheckpointLoaderSimple", ckpt_name=CHECKPOINT, models=(_CHECKPOINT_MODEL,))
    sounds = graph.add("LTXVAudioVAELoader", ckpt_name=CHECKPOINT)
    adapter = graph.add("LTX2LoadAdapter", adapter=f"{LORA}.safetensors", title="Your LoRA")
    model = graph.add("LTX2AdapterToNativeModel", model=native.out(), adapter=adapter.out())
    prompts = {k: graph.add("LTX2ToNativeConditioning", conditioning=v).out() for k, v in _prompts(graph, checkpoint.out(), gemma.out()).items()}
    frames = graph.add("PrimitiveInt", value=121, title="Frames, 8k+1")
    video = graph.add("EmptyLTXVLatentVideo", width=768, height=512, length=frames.out())
    sound = graph.add("LTXVEmptyLatentAudio", frames_number=frames.out(), frame_rate=25, audio_vae=sounds.out())
    latent = graph.add("LTXVConcatAVLatent", video_latent=video.out(), audio_latent=sound.out())
    guider = graph.add("CFGGuider", model=model.out(), **prompts, cfg=5.0)
    sigmas = graph.add("LTXVScheduler", steps=30, latent=latent.out())
    noise, sampler = graph.add("RandomNoise", noise_seed=0), graph.add("KSamplerSelect", sampler_name="euler")
    sampled = graph.add("SamplerCustomAdvanced", noise=noise.out(), guider=guider.out(), sampler=sampler.out(), sigmas=sigmas.out(), latent_image=latent.out())
    latents = graph.add("LTX2FromNativeLatent", latent=sampled.out())
    _show(graph, checkpoint.out(), latents.out(), "native_sampling")
    return graph


GRAPHS = (first_lora, text_to_video, image_to_video, sound_to_video, two_stages, reference_video, validation, native_sampling)
