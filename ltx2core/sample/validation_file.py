"""A validation as one JSON file: the same as the node, for the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..cache.build import build_cache
from ..cache.store import Store
from ..checkpoint.adapter import load_adapter
from ..checkpoint.combined import open_checkpoint
from ..data.scan import scan
from ..data.spec import PATHS, DatasetSpec
from ..errors import LTX2Error
from ..hub import find_file
from ..media.audio import decode_audio
from ..media.video import load_image
from ..models.handle import Models, weight_dtype
from ..protocols import Reporter, Residency, StopSignal
from ..strict import from_dict
from ..text.source import open_text_encoder
from .given import Given, Picture
from .plan import DATASET_MODES, Column, Plan, choose_cache, columns_of, dataset_negative, dataset_rows, library_rows
from .prompts import PromptLibrary, built_in, encode_library, parse_library, read_library
from .reference import read_reference
from .scores import load_picture_model
from .settings import SampleSettings, parse_seeds, preset
from .validate import ValidationResult, validate


@dataclass(frozen=True)
class AdapterEntry:
    """file: a path, or ``repo_id:file`` of the hub. label: adapters of one label act together, in one column."""

    file: str
    strength: float = 1.0
    label: str = ""


@dataclass(frozen=True)
class KeyframeEntry:
    """image: a path. frame: at which it is shown, -1 is the last. strength: 0..1."""

    image: str
    frame: int = 0
    strength: float = 1.0


@dataclass(frozen=True)
class ValidationFile:
    """checkpoint, text_encoder, image, sound, reference, output, cache_dir: paths, relative ones beside the file.

    prompts: ``built-in``, the path of a JSON file, or names and prompts. only: names to take. adapters: see
    :class:`AdapterEntry`. keyframes: pictures of every clip beside ``image``, its first frame. preset: of guidance. settings: those of :class:`SampleSettings`. validation_using_datasets: on
    cached clips of ``datasets``, of the one called eval_dataset_id where there are several; then prompts may be left out.
    references: a dataset of reference videos (IC-LoRA) for these clips, by the same names. cache_dir: where prompts and clips are
    kept, that of a run for example; empty is ``output/cache``.
    """

    checkpoint: str
    text_encoder: str
    output: str = "validation"
    weight_dtype: str = "auto"
    prompts: str | Mapping = ""
    only: tuple[str, ...] = ()
    negative: str = ""
    adapters: tuple[AdapterEntry, ...] = ()
    strengths: tuple[float, ...] = (1.0,)
    seeds: str = "0"
    preset: str = ""
    settings: Mapping = field(default_factory=dict)
    image: str = ""
    keyframes: tuple[KeyframeEntry, ...] = ()
    sound: str = ""
    sound_fit: str = "fit_sound"
    reference: str = ""
    validation_using_datasets: bool = False
    eval_dataset_id: str = ""
    datasets: tuple = ()
    dataset_mode: str = DATASET_MODES[0]
    clips: int = 4
    codec: str = "h264"
    scores: bool = False
    similarity_model: str = ""
    allow_download: bool = False
    references: Mapping = field(default_factory=dict)
    cache_dir: str = ""

    @property
    def sample_settings(self) -> SampleSettings:
        chosen = preset(self.preset) if self.preset else {}
        return SampleSettings.from_dict({**self.settings, **chosen})

    @property
    def specs(self) -> tuple[DatasetSpec, ...]:
        return tuple(from_dict(DatasetSpec, r, f"datasets[{i}]") for i, r in enumerate(self.datasets))


def read_validation(path: Path) -> ValidationFile:
    """Read and check a validation file; its relative paths are taken from its folder.

    Raises:
        LTX2Error: not JSON, an unknown key, a bad value, or neither prompts nor datasets; says which.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LTX2Error(f"The validation file {path} cannot be read ({error}); give the path of a JSON file.") from error
    if isinstance(raw, dict) and isinstance(raw.get("seeds"), (int, list)):
        raw["seeds"] = ", ".join(map(str, raw["seeds"])) if isinstance(raw["seeds"], list) else str(raw["seeds"])
    file = from_dict(ValidationFile, raw, "validation")

    def beside(name: str) -> str:
        # What is no text is left as it is, for the check of its type.
        return str(path.parent / Path(name).expanduser()) if name and isinstance(name, str) else name

    values: dict[str, object] = {name: beside(getattr(file, name)) for name in ("checkpoint", "text_encoder", "output", "image", "sound", "reference", "cache_dir")}
    if isinstance(file.prompts, str) and file.prompts not in ("", "built-in"):
        values["prompts"] = beside(file.prompts)
    placed = lambda d: {**d, **{k: beside(d[k]) for k in PATHS if d.get(k)}} if isinstance(d, Mapping) else d  # noqa: E731
    values["datasets"], values["references"] = tuple(map(placed, file.datasets)), placed(file.references)
    values["adapters"] = tuple(replace(a, file=beside(a.file) if _is_local(path.parent, a.file) else a.file) for a in file.adapters)
    values["keyframes"] = tuple(replace(k, image=beside(k.image)) for k in file.keyframes)
    file = replace(file, **values)
    _ = file.sample_settings, file.specs, parse_seeds(file.seeds)
    if not file.prompts and not file.validation_using_datasets:
        raise LTX2Error("The validation has neither prompts nor validation_using_datasets; give prompts, for example \"built-in\".")
    if file.validation_using_datasets and not file.datasets:
        raise LTX2Error("validation_using_datasets is on and datasets is empty; give the datasets, each with a folder.")
    return file


def _is_local(folder: Path, name: str) -> bool:
    """A path before a name of the hub, as everywhere in the pack."""
    return (folder / Path(name).expanduser()).exists() or "/" not in name.partition(":")[0] or ":" not in name


def _library(file: ValidationFile) -> PromptLibrary:
    if isinstance(file.prompts, Mapping):
        return parse_library(json.dumps(dict(file.prompts)), "prompts").only(file.only)
    return (built_in() if file.prompts == "built-in" else read_library(file.prompts)).only(file.only)


def _columns(file: ValidationFile, family: str, reporter: Reporter) -> tuple[Column, ...]:
    alone, together = [], {}
    for entry in file.adapters:
        adapter = load_adapter(find_file(entry.file, allow_download=file.allow_download, reporter=reporter), family)
        if entry.label:
            together.setdefault(entry.label, []).append((adapter, entry.strength))
        else:
            alone.append((adapter, entry.strength))
    return (*columns_of(alone, file.strengths), *(Column(label, tuple(pairs)) for label, pairs in together.items()))


def _given(file: ValidationFile) -> Given:
    sound = None
    if file.sound:
        sound = decode_audio(file.sound, rate=48000)
        if sound is None:
            raise LTX2Error(f"{Path(file.sound).name} has no sound; give a sound file, or a video with sound.")
    first = [KeyframeEntry(file.image)] if file.image else []
    pictures = tuple(Picture(load_image(k.image), k.frame, k.strength) for k in (*first, *file.keyframes))
    return Given(pictures, sound=sound, sound_fit=file.sound_fit)


def run_validation(file: ValidationFile, *, residency: Residency, reporter: Reporter, stop: StopSignal) -> ValidationResult:
    """Load, encode, make what is missing; see :func:`validate`."""
    services = {"residency": residency, "reporter": reporter, "stop": stop}
    models = Models(open_checkpoint(file.checkpoint), weight_dtype(file.weight_dtype, residency.device))
    source, folder = open_text_encoder(file.text_encoder), Path(file.output)
    cache_dir = Path(file.cache_dir) if file.cache_dir else folder / "cache"
    settings, messages = file.sample_settings.snapped()
    for text in messages:
        reporter.message(text, "warning")
    columns = _columns(file, models.checkpoint.family.name, reporter)
    picture_model = load_picture_model(file.similarity_model, residency.device) if file.scores and file.similarity_model else None
    rows, negative = (), None
    if file.prompts:
        prompts = encode_library(_library(file), file.negative, models.checkpoint, source, Store(cache_dir), **services)
        reference = read_reference(file.reference, settings) if file.reference else None
        rows, negative = library_rows(prompts, settings, _given(file), reference), prompts.negative
    if file.validation_using_datasets:
        encoded = lambda spec: build_cache(scan(spec, reporter), models.checkpoint, source, cache_dir, **services)  # noqa: E731
        cache = encoded(choose_cache({spec.name: spec for spec in file.specs}, file.eval_dataset_id))  # only the one that is chosen
        references = encoded(from_dict(DatasetSpec, file.references, "references")) if file.references else None
        rows += dataset_rows(cache, file.clips, file.dataset_mode, settings, references=references)
        negative = negative or dataset_negative(cache)
    plan = Plan(rows, columns, parse_seeds(file.seeds), negative, file.codec)
    return validate(models, plan, folder, picture_model=picture_model, scores=file.scores, **services)
