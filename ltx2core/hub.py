"""Files by name: on this machine first, then the Hugging Face cache; a download only when a person allowed it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from .download import BrokenDownload, Remote, fetch
from .errors import LTX2Error
from .files import is_disk_full
from .protocols import Interrupted, Reporter, StopSignal

_ENDING = ".safetensors"
_MODEL_FILES = ("config.json", "model.safetensors")  # the large one last
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w\-]*/[\w.\-]+")
_SHA256 = 64  # digits; large files have it for an ETag, small ones a git digest


def _check_ending(name: str) -> None:
    if not name.endswith(_ENDING):
        raise LTX2Error(f"{name} is not a {_ENDING} file; only that format is opened, because others can run code.")


def is_hub_name(name: str) -> bool:
    """Whether ``name`` has the form owner/name of a repository."""
    return _REPOSITORY.fullmatch(name) is not None


def split_name(name: str) -> tuple[str, str]:
    """``repo_id:file.safetensors`` -> (repo_id, file).

    Raises:
        LTX2Error: not of that form, or not a safetensors file (other formats can run code when they are opened).
    """
    repo, colon, file = name.strip().partition(":")
    if not colon or "/" not in repo or not file:
        raise LTX2Error(f"{name!r} is no hub name; write repo_id:file, for example Lightricks/LTX-2:ltx-2-19b-dev.safetensors.")
    _check_ending(file)
    return repo, file


def find_file(
    name: str, *, allow_download: bool = False, reporter: Reporter | None = None, stop: StopSignal | None = None,
    endpoint: str | None = None, cache_dir: Path | None = None,
) -> Path:  # fmt: skip
    """Path of a local file, or of ``repo_id:file``: from the Hugging Face cache, else downloaded when ``allow_download``.

    A download that was cut goes on where it stopped. ``endpoint`` and ``cache_dir`` are the hub library's own by default.

    Raises:
        LTX2Error: no such file, not in the cache and not allowed, or the download failed; says what to do.
        Interrupted: a person asked to stop; what has come is kept for the next time.
    """
    from huggingface_hub import try_to_load_from_cache

    local = Path(name.strip()).expanduser()
    if local.is_file():
        _check_ending(local.name)
        return local
    if local.is_absolute() or ":" not in name:
        raise LTX2Error(f"There is no file {local}; give the path of a {_ENDING} file, or repo_id:file of the Hugging Face hub.")
    repo, file = split_name(name)
    found = try_to_load_from_cache(repo, file, cache_dir=cache_dir)
    if isinstance(found, str):
        return Path(found)
    if not allow_download:
        raise LTX2Error(f"{repo}:{file} is not in the Hugging Face cache of this machine; put the file into the models folder, or switch on allow_download.")
    return _fetched(repo, file, reporter, stop, endpoint, cache_dir)


def find_model(
    repo: str, *, allow_download: bool = False, reporter: Reporter | None = None, stop: StopSignal | None = None, endpoint: str | None = None,
    cache_dir: Path | None = None,
) -> Path:  # fmt: skip
    """The folder with config.json and model.safetensors of the hub's repository ``repo`` (owner/name); see :func:`find_file`.

    Raises:
        LTX2Error, Interrupted: as :func:`find_file`.
    """
    from huggingface_hub import try_to_load_from_cache

    found = []
    for file in _MODEL_FILES:
        cached = try_to_load_from_cache(repo, file, cache_dir=cache_dir)
        if isinstance(cached, str):
            found.append(Path(cached))
            continue
        if not allow_download:
            raise LTX2Error(f"{repo}:{file} is not in the Hugging Face cache of this machine; give a folder that holds it, or switch on allow_download.")
        found.append(_fetched(repo, file, reporter, stop, endpoint, cache_dir))
    return found[-1].parent


def _fetched(repo: str, file: str, reporter: Reporter | None, stop: StopSignal | None, endpoint: str | None, cache_dir: Path | None) -> Path:
    """Downloaded. Raises LTX2Error with what went wrong, and Interrupted."""
    try:
        return _download(repo, file, reporter, stop, endpoint, cache_dir)
    except Interrupted:
        raise
    except Exception as error:  # the hub raises many kinds; each ends as one sentence with the cause kept
        raise LTX2Error(_sentence(repo, file, error)) from error


def _download(repo: str, file: str, reporter: Reporter | None, stop: StopSignal | None, endpoint: str | None, cache_dir: Path | None) -> Path:
    """Into the hub library's own cache, so that its other users find the file too."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repo, file, endpoint=endpoint)
    found = get_hf_file_metadata(url, endpoint=endpoint)
    headers = build_hf_headers()
    if urlsplit(found.location).netloc != urlsplit(url).netloc:
        headers.pop("authorization", None)  # the token is the hub's alone, not that of the host it sends us to
    if reporter:
        reporter.message(f"Downloading {file} from {repo}: {found.size / 2**30:.2f} GiB. A broken download goes on where it stopped.")
    sha256 = found.etag if len(found.etag) == _SHA256 else None
    blob = Path(cache_dir or constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model") / "blobs" / found.etag
    fetch(Remote(found.location, headers, found.size, sha256), blob, file, reporter, stop)
    return Path(hf_hub_download(repo, file, endpoint=endpoint, cache_dir=cache_dir))  # finds the blob and only names it


def _sentence(repo: str, file: str, error: Exception) -> str:
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    name = f"{repo}:{file}"
    if isinstance(error, GatedRepoError):
        return f"{name} may be downloaded only after its terms are accepted: do so at https://huggingface.co/{repo}, log in with hf auth login, and queue again."
    if isinstance(error, RepositoryNotFoundError):
        return f"The hub has no repository {repo} that you may see; check the name, or log in with hf auth login."
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return f"The repository {repo} has no file {file}; check the name."
    if isinstance(error, BrokenDownload):
        return f"The download of {name} broke off ({error}); queue again to go on."
    if is_disk_full(error):
        return f"The disk is full, {name} could not be kept; free some space and queue again."
    if isinstance(error, HfHubHTTPError):
        return f"The hub refused {name} ({error}); wait a little and queue again."
    return f"The hub could not be reached for {name} ({error}); check the network and queue again, or put the file into the models folder."
