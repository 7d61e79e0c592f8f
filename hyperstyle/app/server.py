"""Starts the page: its options, what it refuses, and where its files are."""

from __future__ import annotations

import importlib.util
import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperstyle.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from hyperstyle.inverter import HyperStyleInverter

LOCAL = "127.0.0.1"
FIRST_PORT = 7860
_PORTS = 100  # how many are tried where none is named


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """How the page is served.

    Attributes:
        host: address to listen at; only this machine reaches the default.
        port: None is the first free one from `FIRST_PORT` on.
        share: whether a public address is asked for from Gradio's servers.
        auth: (user, password) that visitors are asked for.
        browser: whether a browser is opened.
        upload_mb: size of the largest file, in megabytes.
        megapixels: of the largest photo.
        sessions: how many visitors' photos are held.
        memory_mb: how much memory they may hold together, in megabytes.
        queue: how many requests may wait.
    """

    host: str = LOCAL
    port: int | None = None
    share: bool = False
    auth: tuple[str, str] | None = None
    browser: bool = False
    upload_mb: float = 50.0
    megapixels: float = 50.0
    sessions: int = 32
    memory_mb: float = 2048.0
    queue: int = 64


def check_installed() -> None:
    """Raises MissingDependencyError where Gradio, the extra "app", is not installed."""
    if importlib.util.find_spec("gradio") is None:
        raise MissingDependencyError(
            'the page needs Gradio, which is not installed. Run: pip install "hyperstyle-inversion[app]".'
        )


def free_port(host: str, port: int | None) -> int:
    """`port`, or the first free one from `FIRST_PORT` on. Raises ConfigError where it cannot be listened at."""
    reason = ""
    for candidate in range(FIRST_PORT, FIRST_PORT + _PORTS) if port is None else (port,):
        try:
            for address in (host, LOCAL):  # Gradio looks at both
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                socket.create_server((address, candidate), family=family).close()
            return candidate
        except OSError as error:
            reason = error.strerror or str(error)
    if port is None:
        raise ConfigError(
            f"no port of {host} from {FIRST_PORT} to {FIRST_PORT + _PORTS - 1} can be used: {reason}. Check the host, "
            "or name a port."
        )
    raise ConfigError(f"port {port} of {host} cannot be used: {reason}. Name another port, or stop what uses it.")


async def _refuse_download(url: str, cache_dir: str) -> str:
    """In place of Gradio's function: else a caller could name an address, and this machine would fetch it."""
    raise ConfigError(f"this page fetches nothing from elsewhere, such as {url!r}: upload the file.")


def launch(inverter: HyperStyleInverter, options: ServerOptions, folder: Path) -> tuple[Any, str]:
    """Starts to serve in threads of this process.

    Args:
        inverter: the model.
        options: see there.
        folder: an empty one for uploads and downloads; nothing outside of it is served. The caller removes it.

    Returns:
        The running `gr.Blocks`, to be closed, and its address.

    Raises:
        MissingDependencyError: Gradio is not installed. ConfigError: the port or host cannot be used.
    """
    check_installed()
    port = free_port(options.host, options.port)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)  # read when the page is built
    os.environ.pop("GRADIO_ALLOWED_PATHS", None)  # Gradio would take it in place of an empty list of folders to serve
    from gradio import processing_utils

    from hyperstyle.app import page
    from hyperstyle.app.actions import Limits
    from hyperstyle.app.sessions import Sessions

    processing_utils.async_ssrf_protected_download = _refuse_download
    sessions = Sessions(options.sessions, int(options.memory_mb * 1e6))
    blocks = page.build(inverter, folder, sessions=sessions, limits=Limits(megapixels=options.megapixels))
    blocks.queue(max_size=options.queue, api_open=False)
    # What Gradio would else take from variables of the environment is said here.
    _, local, shared = blocks.launch(
        server_name=f"[{options.host}]" if ":" in options.host else options.host,  # as in an address
        server_port=port,
        share=options.share,
        auth=options.auth,
        inbrowser=options.browser,
        max_file_size=int(options.upload_mb * 1e6),
        allowed_paths=[],
        state_session_capacity=options.sessions,
        footer_links=[],
        show_error=False,
        quiet=True,
        prevent_thread_lock=True,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        theme=page.theme(),
        head=page.head(),
    )
    return blocks, shared or local


def serve(inverter: HyperStyleInverter, options: ServerOptions, announce: Any) -> None:
    """Serves until it is interrupted; `announce` is called with the address. Uploads are removed at the end.

    Raises what `launch` raises.
    """
    with tempfile.TemporaryDirectory(prefix="hyperstyle-app-", ignore_cleanup_errors=True) as name:
        blocks, address = launch(inverter, options, Path(name))
        try:
            announce(address)
            blocks.block_thread()
        finally:
            blocks.close(verbose=False)
