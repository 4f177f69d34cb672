"""ComfyUI's folders as a path resolver."""

from __future__ import annotations

from pathlib import Path

import folder_paths

from ...ltx2core.errors import LTX2Error
from ...ltx2core.safe_paths import inside


class HostPaths:
    def checkpoint(self, name: str) -> Path:
        return self._find("checkpoints", name)

    def lora(self, name: str) -> Path:
        return self._find("loras", name)

    def latent_upscaler(self, name: str) -> Path:
        return self._find("latent_upscale_models", name)

    def text_encoder(self, name: str) -> Path:
        """A file, or a folder that holds a Hugging Face model."""
        for root in map(Path, folder_paths.get_folder_paths("text_encoders")):
            if (root / name).exists():
                return root / name
        return self._find("text_encoders", name)

    def loras_dir(self) -> Path:
        """The first folder of loras: loaders list what is written there."""
        return self._made(Path(folder_paths.get_folder_paths("loras")[0]))

    def output_dir(self) -> Path:
        return self._made(Path(folder_paths.get_output_directory()))

    def cache_dir(self) -> Path:
        """Beside the outputs, since users know where those lie and have room there."""
        return self._made(self.output_dir() / "ltx2_cache")

    def runs_dir(self) -> Path:
        """Where training runs keep their states."""
        return self._made(self.output_dir() / "ltx2_runs")

    def input_folder(self, name: str) -> Path:
        """A full path, or a folder inside ComfyUI's input folder."""
        path = Path(name).expanduser()
        return path if path.is_absolute() else Path(folder_paths.get_input_directory()) / path

    def output_folder(self, name: str) -> Path:
        """A full path, or a folder inside ComfyUI's output folder; for reading."""
        path = Path(name.strip()).expanduser()
        return path if path.is_absolute() else self.output_dir() / path

    def writable(self, name: str) -> Path:
        """A folder that a graph may write to: inside the output folder (where a relative name begins) or a folder of models.

        Raises:
            LTX2Error: it leads elsewhere, by dots or links too.
        """
        models = [Path(p) for paths, _ in folder_paths.folder_names_and_paths.values() for p in paths]
        custom_nodes = [Path(p).resolve() for p in folder_paths.get_folder_paths("custom_nodes")]
        # Code lies in the list of model folders too, and must not be written to.
        roots = [self.output_dir(), Path(folder_paths.models_dir), *(m for m in models if m.resolve() not in custom_nodes)]
        return inside(name, roots[0], roots)

    def _find(self, kind: str, name: str) -> Path:
        found = folder_paths.get_full_path(kind, name)
        if found is None:
            raise LTX2Error(f"There is no {name} in models/{kind}; put the file there and press R to refresh the lists.")
        return Path(found)

    @staticmethod
    def _made(path: Path) -> Path:
        path.mkdir(parents=True, exist_ok=True)
        return path
