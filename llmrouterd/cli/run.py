"""serve and check."""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.error
from dataclasses import asdict
from typing import TYPE_CHECKING

import uvloop

from llmrouterd.cli.ask import DIRECT
from llmrouterd.config import load_policy
from llmrouterd.errors import ConfigError
from llmrouterd.problems import Problem
from llmrouterd.server import EXIT_REFUSED, serve
from llmrouterd.settings import read_settings

if TYPE_CHECKING:
    import argparse

    from llmrouterd.policy import Policy


def serve_command(options: argparse.Namespace) -> int:
    """Run the daemon; 2 if the policy is refused or the port is in use."""
    settings = read_settings(os.environ, options.policy)
    try:
        policy = load_policy(settings)
    except ConfigError as error:
        _print_problems(error.problems)
        return EXIT_REFUSED
    return uvloop.run(serve(policy, settings))


def check_command(options: argparse.Namespace) -> int:
    """Check a policy; 1 and all problems if there are any."""
    settings = read_settings(os.environ, options.file)
    problems: tuple[Problem, ...] = ()
    try:
        policy = load_policy(settings)
    except ConfigError as error:
        problems = error.problems
    else:
        problems = _port_problems(policy, str(settings.policy))
    if options.json:
        print(json.dumps({"ok": not problems, "problems": [asdict(p) for p in problems]}))
    elif problems:
        _print_problems(problems)
    else:
        print(
            f"{settings.policy}: ok ({len(policy.rules)} rules, {len(policy.backends)} backends, "
            f"{len(policy.categories)} categories, digest {policy.digest})"
        )
    return 1 if problems else 0


def _print_problems(problems: tuple[Problem, ...]) -> None:
    for problem in problems:
        print(problem, file=sys.stderr)
    noun = "problem" if len(problems) == 1 else "problems"
    print(f"{len(problems)} {noun}; the policy is refused as a whole.", file=sys.stderr)


def _port_problems(policy: Policy, file: str) -> tuple[Problem, ...]:
    """A port that something else than our own running daemon uses."""
    server = policy.server
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((server.host, server.port))
        except OSError as error:
            if is_ours(server.host, server.port):
                return ()
            message = f"{server.host}:{server.port} cannot be used: {error.strerror}; set another"
            return (Problem(file=file, line=1, column=1, path="$.server.port", message=message),)
    return ()


def is_ours(host: str, port: int) -> bool:
    """Whether a daemon of this program answers there."""
    address = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}/health"
    try:
        with DIRECT.open(address, timeout=2) as answer:
            return bool(json.load(answer).get("name") == "llmrouterd")
    except (urllib.error.URLError, OSError, ValueError, AttributeError):
        return False
