"""`hyperstyle app`: the web page."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from hyperstyle.cli.arguments import ModelArguments, load_inverter
from hyperstyle.cli.checks import a_positive_number
from hyperstyle.cli.flags import command, flag, switch
from hyperstyle.errors import ConfigError

_LIMITS = "limits"
_MAX_PORT = 65535


def _user(text: str) -> tuple[str, str]:
    """Reads `USER:PASSWORD`; the password may contain ":".

    Raises:
        argparse.ArgumentTypeError: one of them is missing. The message does not repeat the password.
    """
    user, _, password = text.partition(":")
    if not user or not password:
        raise argparse.ArgumentTypeError("expected USER:PASSWORD")
    return user, password


def a_port(name: str, value: int) -> None:
    """For numbers of TCP ports."""
    if not 1 <= value <= _MAX_PORT:
        raise ConfigError(f"{name} {value}: expected 1 to {_MAX_PORT}.")


@dataclass(frozen=True, kw_only=True)
class AppArguments(ModelArguments):
    """Opens a web page: drop a portrait, see it rebuilt, change it with sliders, save it or put it back into the photo.
    Everything stays on this machine: the page asks no other host, and uploads are removed when it ends.
    """

    host: str = flag(
        default="127.0.0.1", help="address to listen at; 0.0.0.0 lets other machines in (default: 127.0.0.1, only this)"
    )
    port: int | None = flag(check=a_port, metavar="N", help="port (default: the first free one from 7860 on)")
    auth: tuple[str, str] | None = flag(type=_user, metavar="USER:PASSWORD", help="asked of every visitor")
    share: bool = switch("ask Gradio's servers for a public address; photos pass through them")
    no_browser: bool = switch("only print the address")
    max_upload: float = flag(
        default=50.0, check=a_positive_number, metavar="MB", group=_LIMITS, help="size of the largest file"
    )
    max_megapixels: float = flag(
        default=50.0, check=a_positive_number, metavar="MP", group=_LIMITS, help="of the largest photo"
    )
    max_sessions: int = flag(
        default=32, check=a_positive_number, group=_LIMITS, help="visitors whose photos are held at the same time"
    )
    max_memory: float = flag(
        default=2048.0, check=a_positive_number, metavar="MB", group=_LIMITS, help="memory that these hold together"
    )
    max_queue: int = flag(default=64, check=a_positive_number, group=_LIMITS, help="requests that may wait")


def run(args: AppArguments) -> int:
    """Serves the page until it is interrupted."""
    from hyperstyle.app.server import ServerOptions, check_installed, free_port, serve

    check_installed()
    port = free_port(args.host, args.port)  # before the model is loaded
    options = ServerOptions(
        host=args.host,
        port=port,
        share=args.share,
        auth=args.auth,
        browser=not args.no_browser,
        upload_mb=args.max_upload,
        megapixels=args.max_megapixels,
        sessions=args.max_sessions,
        memory_mb=args.max_memory,
        queue=args.max_queue,
    )
    serve(load_inverter(args), options, lambda address: print(f"{address}  (Ctrl+C ends it)", flush=True))
    return 0


add_parser = command(
    "app",
    AppArguments,
    run,
    help="a web page with a slider for every edit",
    epilog="See docs/app.md for what it is safe to serve to others, and for calls from programs.",
)
