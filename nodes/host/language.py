"""The language that a person has chosen in the host's settings, for what no page of ours shows: errors, and texts on wires."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import folder_paths
from comfy.cli_args import args

from ...ltx2core.errors import LTX2Error
from ..messages import catalogue, in_languages
from .reporter import HostReporter

_SETTING = "Comfy.Locale"


def _users() -> list[Path]:
    """Folders of the people whose settings count."""
    folder = Path(folder_paths.get_user_directory())
    return sorted(p for p in folder.iterdir() if p.is_dir()) if getattr(args, "multi_user", False) and folder.is_dir() else [folder / "default"]


def chosen() -> str:
    """Such as "ja"; "en" where nothing is chosen, and where several people of one host have chosen differently: a node isn't told whose it is."""
    found = set()
    for user in _users():
        try:
            settings = json.loads((user / "comfy.settings.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # none are saved yet, or they are being written
        if isinstance(settings, dict) and isinstance(settings.get(_SETTING), str):
            found.add(settings[_SETTING])
    return found.pop() if len(found) == 1 else "en"


def told(text: str) -> str:
    """``text`` of the core in the chosen language."""
    return catalogue(chosen()).say(text)


@contextmanager
def errors_told() -> Iterator[None]:
    """Inside, an error that is meant for people says its sentence in the chosen language; it stays the same error.

    Pages are sent it in every language before: one whose host has no language chosen shows its browser's.
    """
    try:
        yield
    except LTX2Error as error:
        if len(error.args) == 1 and isinstance(error.args[0], str):
            english = error.args[0]
            error.args = (told(english),)
            HostReporter().send("ltx2.error", in_languages({"text": english, "shown": error.args[0]}, "text"))
        raise


def speaking(node: type) -> type:
    """``node``, with the errors of its work told as above."""
    work = node.execute.__func__

    @functools.wraps(work)
    def execute(cls, *arguments, **named):
        with errors_told():
            return work(cls, *arguments, **named)

    node.execute = classmethod(execute)
    return node
