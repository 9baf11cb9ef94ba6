"""The command line: one subcommand for each thing a person does; see COMMANDS."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from llmrouterd import __version__
from llmrouterd.cli import ask, match, offline, profile, replay, run, sync, teach, top

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMANDS: tuple[tuple[str, str, Callable[[argparse.Namespace], int]], ...] = (
    ("serve", "run the daemon", run.serve_command),
    ("check", "check a policy and report all its problems", run.check_command),
    (
        "explain",
        "say which model a chat request (JSON on stdin) or a stored decision goes to, and why",
        ask.explain_command,
    ),
    (
        "replay",
        "decide recorded requests again under another policy, and show what changes",
        replay.replay_command,
    ),
    ("models", "list the running daemon's models", ask.models_command),
    ("top", "watch what the running daemon is doing", top.top_command),
    ("catalog", "print the running daemon's catalog as JSON", ask.catalog_command),
    ("profile", "measure models again, and show how far it is", profile.profile_command),
    ("teach", "correct a category or name a better model", teach.teach_command),
    ("sync", "fetch published benchmark figures now", sync.sync_command),
    (
        "classify",
        "JSON Lines of prompts on stdin -> their category and complexity",
        offline.classify_command,
    ),
    (
        "decide",
        "JSON Lines of chat requests on stdin -> decisions, without a daemon",
        offline.decide_command,
    ),
    (
        "match",
        "JSON Lines of local model names on stdin -> the published models that they are",
        match.match_command,
    ),
)


def build_parser() -> argparse.ArgumentParser:
    """All commands and options."""
    parser = argparse.ArgumentParser(
        prog="llmrouterd",
        description="One OpenAI-compatible model name in front of every model a box really has.",
    )
    parser.add_argument("--version", action="version", version=f"llmrouterd {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    found = {}
    for name, text, work in COMMANDS:
        command = found[name] = commands.add_parser(name, help=text, description=text)
        command.set_defaults(work=work)
    policy_text = "the policy file (default: ROUTER_CONFIG, ./config/router.yaml, /etc/llmrouterd)"
    found["serve"].add_argument("--policy", help=policy_text)
    found["check"].add_argument("file", nargs="?", help=policy_text)
    found["check"].add_argument("--tests", action="store_true", help="run the policy's own tests")
    found["check"].add_argument("--catalog", help="a catalog file, with --tests")
    for name in (
        "classify",
        "decide",
        "explain",
        "match",
        "profile",
        "replay",
        "sync",
        "teach",
        "top",
    ):
        found[name].add_argument("--policy", help=policy_text)
    found["decide"].add_argument("--catalog", required=True, help="a catalog file, see docs/cli.md")
    found["explain"].add_argument(
        "id", nargs="?", metavar="ID", help="a decision: x-router-decision"
    )
    found["explain"].add_argument("--why-not", metavar="MODEL", help="why not this model")
    _add_replay(found["replay"])
    found["explain"].add_argument("--offline", action="store_true", help="do not ask the daemon")
    found["explain"].add_argument("--catalog", help="a catalog file, with --offline")
    found["match"].add_argument(
        "--names", help="the names to match against: SOURCE<tab>MODEL lines"
    )
    found["sync"].add_argument("--from", dest="folder", help="read the sources' files from there")
    found["sync"].add_argument(
        "--source", action="append", default=[], help="one source; may be given several times"
    )
    _add_teach(found["teach"])
    found["profile"].add_argument("models", nargs="*", metavar="MODEL", help="ids, names or globs")
    found["profile"].add_argument("--speed-only", action="store_true", help="no probes of ability")
    found["top"].add_argument("--once", action="store_true", help="print one frame and end")
    for name in ("explain", "models", "catalog", "profile", "sync", "teach", "top"):
        found[name].add_argument("--url", help="the daemon's address (default: from the policy)")
        found[name].add_argument("--key", help="the admin key (default: ROUTER_ADMIN_API_KEY)")
    found["models"].add_argument(
        "--evidence", action="store_true", help="what each model is worth by category, and why"
    )
    for name in ("check", "explain", "models", "profile", "replay", "sync", "teach"):
        found[name].add_argument("--json", action="store_true", help="JSON instead of text")
    return parser


def _add_replay(replaying: argparse.ArgumentParser) -> None:
    replaying.add_argument(
        "--since", default="7d", metavar="SPAN", help="how far back: 30m, 12h, 7d, 2w (default 7d)"
    )
    replaying.add_argument(
        "--limit", type=int, default=10_000, help="at most so many, the newest (default 10000)"
    )
    replaying.add_argument("--database", help="the database (default: from the policy)")


def _add_teach(teaching: argparse.ArgumentParser) -> None:
    teaching.add_argument("id", nargs="?", metavar="ID", help="a decision: x-router-decision")
    teaching.add_argument("--prompt", help="a prompt, instead of a decision")
    teaching.add_argument("--category", help="the category that it should have had")
    teaching.add_argument("--model", help="the model that should have answered")
    teaching.add_argument("--accept", action="store_true", help="write the lexicon line")
    teaching.add_argument("--list", action="store_true", help="list what was taught")
    teaching.add_argument("--forget", type=int, metavar="EXAMPLE", help="forget an example")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    options = build_parser().parse_args(arguments)
    work: Callable[[argparse.Namespace], int] = options.work
    try:
        return work(options)
    except BrokenPipeError:  # `llmrouterd ... | head`
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
