"""How the page is started: options, ports, the missing extra. Nothing here needs Gradio."""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest

from hyperstyle.app import server
from hyperstyle.cli import main
from hyperstyle.errors import ConfigError, MissingDependencyError


def test_reports_and_the_history_of_the_browser_are_off_before_gradio_can_be_imported(
    run_python: Callable[..., CompletedProcess[str]],
) -> None:
    code = (
        "import sys, os; os.environ['GRADIO_ANALYTICS_ENABLED'] = 'True'; import hyperstyle.app; "
        "print(*(os.environ[f'GRADIO_{n}'] for n in ('ANALYTICS_ENABLED', 'RUN_HISTORY')), 'gradio' in sys.modules)"
    )
    assert run_python("-c", code).stdout.split() == ["False", "False", "False"]
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_without_gradio_the_command_says_which_line_to_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec

    def find_spec(name: str, *package: Any) -> Any:
        return None if name == "gradio" else find(name, *package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(MissingDependencyError):
        server.check_installed()
    assert main(["app"]) == 2
    assert 'Run: pip install "hyperstyle-inversion[app]".' in capsys.readouterr().err


def test_a_port_in_use_is_refused_and_another_is_found() -> None:
    with socket.create_server((server.LOCAL, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 cannot be used: .*Name another port"):
            server.free_port(server.LOCAL, port)
        assert server.free_port(server.LOCAL, None) != port
    assert server.free_port(server.LOCAL, port) == port


def test_this_machine_has_an_address_of_ipv6_too() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with socket.create_server((server.LOCAL, 0)) as taken:  # Gradio refuses a port that is taken at either address
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of ::1 cannot be used"):
            server.free_port("::1", port)
    assert server.free_port("::1", port) == port


def test_a_host_that_is_not_this_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):  # for documentation: nobody has it
        server.free_port("192.0.2.1", None)


def test_it_is_served_to_this_machine_alone_and_nothing_is_shared_unless_asked_for() -> None:
    options = server.ServerOptions()
    assert (options.host, options.share, options.auth) == ("127.0.0.1", False, None)


@pytest.mark.parametrize("line", ["--auth me", "--auth :x", "--auth me:", "--port x"])
def test_what_cannot_be_parsed_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["app", *line.split()])
    assert ended.value.code == 2
    assert "--auth" in capsys.readouterr().err or "--port" in line
