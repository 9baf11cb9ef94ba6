"""serve and check."""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.error
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import uvloop

from llmrouterd.catalog_file import CatalogFileError, read_catalog
from llmrouterd.cli.ask import DIRECT
from llmrouterd.config import load_policy
from llmrouterd.config.files import fingerprint
from llmrouterd.errors import ConfigError
from llmrouterd.policy_tests import count_results, describe_result, problems_of, run_tests
from llmrouterd.problems import Problem
from llmrouterd.residency.needs import misfits
from llmrouterd.server import EXIT_REFUSED, serve
from llmrouterd.settings import read_settings

if TYPE_CHECKING:
    import argparse

    from llmrouterd.policy import Policy
    from llmrouterd.policy_tests import Result


def serve_command(options: argparse.Namespace) -> int:
    """Run the daemon; 2 if the policy is refused or the port is in use."""
    settings = read_settings(os.environ, options.policy)
    seen = fingerprint(settings)
    try:
        policy = load_policy(settings)
    except ConfigError as error:
        _print_problems(error.problems)
        return EXIT_REFUSED
    return uvloop.run(serve(policy, settings, seen))


def check_command(options: argparse.Namespace) -> int:
    """Check a policy; 1 and all problems if there are any."""
    settings = read_settings(os.environ, options.file)
    testing = options.tests or options.catalog is not None
    problems: tuple[Problem, ...] = ()
    results: tuple[Result, ...] = ()
    unfit: tuple[str, ...] = ()
    try:
        policy = load_policy(settings)
        if testing:
            results, unfit = _run_tests(policy, options.catalog)
    except ConfigError as error:
        problems = error.problems
    except CatalogFileError as error:
        print(error, file=sys.stderr)
        return 1
    else:
        problems = _port_problems(policy, str(settings.policy))
    failed = any(result.missed for result in results)
    if options.json:
        shown: dict[str, Any] = {"problems": [asdict(problem) for problem in problems]}
        if testing:
            shown["tests"] = [describe_result(result) for result in results]
            shown["misfits"] = unfit
        print(json.dumps({"ok": not problems and not failed, **shown}))
        return 1 if problems or failed else 0
    if problems:
        _print_problems(problems)
        return 1
    print(
        f"{settings.policy}: ok ({len(policy.rules)} rules, {len(policy.backends)} backends, "
        f"{len(policy.categories)} categories, digest {policy.digest})"
    )
    for message in unfit:
        print(f"never fits: {message}")
    if testing:
        _print_results(results)
    return 1 if failed else 0


def _run_tests(
    policy: Policy, catalog_file: str | None
) -> tuple[tuple[Result, ...], tuple[str, ...]]:
    """The policy's own tests, and by a catalog file those of models, and which of these can never
    be loaded. Raises CatalogFileError."""
    if catalog_file is None:
        return run_tests(policy), ()
    catalog, load = read_catalog(catalog_file, policy)
    return run_tests(policy, catalog, load), misfits(policy, catalog)


def _print_results(results: tuple[Result, ...]) -> None:
    for problem in problems_of(results):
        print(problem, file=sys.stderr)
    counted = ", ".join(f"{number} {word}" for word, number in count_results(results).items())
    print(f"{len(results)} {'test' if len(results) == 1 else 'tests'}: {counted}")
    if any(result.skipped for result in results):
        print("Tests of models were skipped: give a --catalog FILE (`llmrouterd catalog`).")


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
