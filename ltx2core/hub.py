"""Files of the Hugging Face hub: the cache on this machine first; a download only when a person allowed it."""

from __future__ import annotations

from pathlib import Path

from .errors import LTX2Error
from .protocols import Reporter


def split_name(name: str) -> tuple[str, str]:
    """``repo_id:file.safetensors`` -> (repo_id, file).

    Raises:
        LTX2Error: not of that form, or not a safetensors file (other formats can run code when they are opened).
    """
    repo, colon, file = name.strip().partition(":")
    if not colon or "/" not in repo or not file:
        raise LTX2Error(f"{name!r} is no hub name; write repo_id:file, for example Lightricks/LTX-2:ltx-2-19b-dev.safetensors.")
    if not file.endswith(".safetensors"):
        raise LTX2Error(f"{file} is not a .safetensors file; only that format is opened, because others can run code.")
    return repo, file


def find_file(name: str, *, allow_download: bool = False, reporter: Reporter | None = None) -> Path:
    """Path of ``repo_id:file``, from the local cache, else downloaded when ``allow_download``.

    Raises:
        LTX2Error: not in the cache and not allowed, or the download failed; says what to do.
    """
    from huggingface_hub import try_to_load_from_cache

    repo, file = split_name(name)
    found = try_to_load_from_cache(repo, file)
    if isinstance(found, str):
        return Path(found)
    if not allow_download:
        raise LTX2Error(f"{repo}:{file} is not in the Hugging Face cache of this machine; put the file into the models folder, or switch on allow_download.")
    return _download(repo, file, reporter)


def _download(repo: str, file: str, reporter: Reporter | None) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    try:
        size = get_hf_file_metadata(hf_hub_url(repo, file)).size or 0
        if reporter:
            reporter.message(f"Downloading {file} from {repo}: {size / 2**30:.2f} GiB. A broken download goes on where it stopped.")
        return Path(hf_hub_download(repo, file))
    except Exception as error:  # the hub raises many kinds; each ends as one sentence with the cause kept
        raise LTX2Error(f"{repo}:{file} could not be downloaded ({error}); check the name and the network, then queue again.") from error
