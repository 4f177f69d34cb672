"""HTTP routes of the pack, all under one prefix: a run's losses and previews to read, and its buttons."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from aiohttp import web
from server import PromptServer

from ...ltx2core.errors import LTX2Error
from ..messages import in_languages
from .controls import ACTIONS, LIVE
from .paths import HostPaths
from .run_files import PREVIEW_TYPES, metrics_file, preview_file, previews, read_points

PREFIX = "/ltx2"
_AT_ONCE = asyncio.Semaphore(4)  # long files are read beside the server's loop, a few at a time
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def same_origin(request: web.Request) -> bool:
    """Whether a page of this server asks, or a program that is no browser: browsers always say where a POST comes from."""
    if site := request.headers.get("Sec-Fetch-Site"):
        return site == "same-origin"
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc.lower() == request.host.lower()


def _read(name: str) -> dict:
    runs = HostPaths().runs_dir()
    path = metrics_file(runs, name)
    points = {"steps": [], "validation": []} if path is None else read_points(path)
    return {**points, "previews": previews(runs, name)}


def _refused(text: str, status: int) -> web.Response:
    return web.json_response(in_languages({"error": text}, "error"), status=status, headers=_HEADERS)


async def _metrics(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    async with _AT_ONCE:
        found = await asyncio.to_thread(_read, name)
    live = LIVE.find(name)
    return web.json_response({**found, "live": None if live is None else live.snapshot()}, headers=_HEADERS)


async def _preview(request: web.Request) -> web.StreamResponse:
    path = preview_file(HostPaths().runs_dir(), request.match_info["name"], request.match_info["file"])
    if path is None:
        return _refused("There is no such preview.", 404)
    return web.FileResponse(path, headers={**_HEADERS, "Content-Type": PREVIEW_TYPES[path.suffix.lower()]})


async def _act(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if not same_origin(request):
        return _refused("Only ComfyUI's own page may do this.", 403)
    live = LIVE.find(name)
    if live is None:
        return _refused(f"No run named {name} is training.", 404)
    try:
        return web.json_response({"state": live.request(request.match_info["action"])}, headers=_HEADERS)
    except LTX2Error as error:
        return _refused(str(error), 409)


def register() -> None:
    """Once, when the pack is loaded."""
    server = getattr(PromptServer, "instance", None)  # absent when the pack is imported without a server
    if server is None:
        return
    server.routes.get(PREFIX + "/runs/{name:.+}/metrics")(_metrics)
    server.routes.get(PREFIX + "/runs/{name:.+}/previews/{file:[^/]+}")(_preview)
    server.routes.post(PREFIX + f"/runs/{{name:.+}}/{{action:{'|'.join(ACTIONS)}}}")(_act)
