"""Making clips with what was trained, and with what others published."""

from __future__ import annotations

from ..graph import Graph
from .parts import CHECKPOINT, CHECKPOINT_MODEL, LORA, UPSCALER, UPSCALER_MODEL, adapter, loaders, prompts, published, show


def _sampling(name: str, note: str, kind: str, **own) -> Graph:
    graph = Graph(name, note)
    checkpoint, gemma = loaders(graph)
    sources = {k: graph.add(*v[0], **v[1]).out() for k, v in own.items()}
    applied = graph.add("LTX2ApplyAdapters", checkpoint=checkpoint, adapter_1=adapter(graph, LORA))
    texts = prompts(graph, checkpoint, gemma)
    latents = graph.add(kind, checkpoint=applied.out(), **texts, **sources, width=768, height=512, frames=121)
    show(graph, applied.out(), latents.out(), name)
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
    checkpoint, gemma = loaders(graph)
    settings = graph.add("LTX2SampleSettings", width=1280, height=704, frames=121)
    half = graph.add("LTX2HalfSize", settings=settings.out())
    mine = adapter(graph, LORA, "Your LoRA")
    distilled = graph.add("LTX2LoadAdapter", published="Distilled", models=(published("LTX-2-19b-distilled-lora-384"),), title="Distilled adapter")
    upscaler = graph.add("LTX2LoadUpscaler", upscaler=UPSCALER, models=(UPSCALER_MODEL,))
    first = graph.add("LTX2ApplyAdapters", checkpoint=checkpoint, adapter_1=mine, title="First stage")
    second = graph.add("LTX2ApplyAdapters", checkpoint=first.out(), adapter_1=distilled.out(), strength_1=0.8, title="Second stage")
    texts = prompts(graph, checkpoint, gemma)
    small = graph.add("LTX2Sample", checkpoint=first.out(), settings=half.out(), **texts)
    large = graph.add("LTX2UpscaleLatents", checkpoint=checkpoint, upscaler=upscaler.out(), latents=small.out())
    fine = graph.add("LTX2RefineLatents", checkpoint=second.out(), latents=large.out(), positive=texts["positive"])
    show(graph, checkpoint, fine.out(), "two_stages")
    return graph


def reference_video() -> Graph:
    graph = Graph(
        "reference_video",
        "## A video that follows another one\nEdges of your video steer the new one (IC-LoRA). The prompt says what is to be seen. Your video must have at least as many\n"
        "frames as *Sample Settings* ask for. For depth or poses choose another adapter and wire frames of that kind.",
    )
    checkpoint, gemma = loaders(graph)
    settings = graph.add("LTX2SampleSettings", width=768, height=512, frames=121)
    control = graph.add("LTX2LoadAdapter", published="IC-LoRA Canny Control", models=(published("LTX-2-19b-IC-LoRA-Canny-Control"),))
    applied = graph.add("LTX2ApplyAdapters", checkpoint=checkpoint, adapter_1=control.out(), settings=settings.out())
    video = graph.add("LoadVideo", file="example.mp4")
    parts = graph.add("GetVideoComponents", video=video.out())
    edges = graph.add("Canny", image=parts.out(), low_threshold=0.2, high_threshold=0.5)
    texts = prompts(graph, checkpoint, gemma)
    latents = graph.add("LTX2SampleReference", checkpoint=applied.out(), settings=applied.out(1), **texts, reference=edges.out())
    show(graph, checkpoint, latents.out(), "reference_video")
    return graph


def native_sampling() -> Graph:
    graph = Graph(
        "native_sampling",
        "## ComfyUI's own sampler with your LoRA\nPrompts and LoRA come from this pack, the model and the sampler are ComfyUI's own, and the latents come back to be decoded here.\n"
        "Every node of ComfyUI that takes MODEL, CONDITIONING or LATENT can stand between; *To Native Latent* takes latents the other way.",
    )
    checkpoint, gemma = loaders(graph)
    native = graph.add("CheckpointLoaderSimple", ckpt_name=CHECKPOINT, models=(CHECKPOINT_MODEL,))
    sounds = graph.add("LTXVAudioVAELoader", ckpt_name=CHECKPOINT)
    model = graph.add("LTX2AdapterToNativeModel", model=native.out(), adapter=adapter(graph, LORA, "Your LoRA"))
    texts = {k: graph.add("LTX2ToNativeConditioning", conditioning=v).out() for k, v in prompts(graph, checkpoint, gemma).items()}
    frames = graph.add("PrimitiveInt", value=121, title="Frames, 8k+1")
    video = graph.add("EmptyLTXVLatentVideo", width=768, height=512, length=frames.out())
    sound = graph.add("LTXVEmptyLatentAudio", frames_number=frames.out(), frame_rate=25, audio_vae=sounds.out())
    latent = graph.add("LTXVConcatAVLatent", video_latent=video.out(), audio_latent=sound.out())
    guider = graph.add("CFGGuider", model=model.out(), **texts, cfg=5.0)
    sigmas = graph.add("LTXVScheduler", steps=30, latent=latent.out())
    noise, sampler = graph.add("RandomNoise", noise_seed=0), graph.add("KSamplerSelect", sampler_name="euler")
    sampled = graph.add("SamplerCustomAdvanced", noise=noise.out(), guider=guider.out(), sampler=sampler.out(), sigmas=sigmas.out(), latent_image=latent.out())
    latents = graph.add("LTX2FromNativeLatent", latent=sampled.out())
    show(graph, checkpoint, latents.out(), "native_sampling")
    return graph


GRAPHS = (text_to_video, image_to_video, sound_to_video, two_stages, reference_video, native_sampling)
