"""Commands that ask the running daemon: explain, models, catalog."""

from __future__ import annotations

import http.client
import json
import os
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from llmrouterd.cli.offline import explain_offline
from llmrouterd.config import load_policy
from llmrouterd.errors import ConfigError
from llmrouterd.settings import read_settings

if TYPE_CHECKING:
    import argparse

EXIT_FAILED = 1
# The daemon is on this machine or network: a proxy of the environment is not for it.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def explain_command(options: argparse.Namespace) -> int:
    """Explain a stored decision or the request on stdin; with --offline by a catalog file instead
    of the daemon."""
    if options.offline:
        if not options.catalog or options.id:
            print("explain --offline needs --catalog FILE and a request on stdin", file=sys.stderr)
            return EXIT_FAILED
        described = explain_offline(sys.stdin.read(), options)
    else:
        query = f"?why_not={quote(options.why_not, safe='')}" if options.why_not else ""
        path = f"/admin/decisions/{quote(options.id, safe='')}" if options.id else "/admin/explain"
        described = ask_daemon(options, path + query, None if options.id else sys.stdin.read())
    if described is None:
        return EXIT_FAILED
    if options.json:
        print(json.dumps(described))
        return 0
    print(described["words"])
    if described.get("why_not"):
        print(described["why_not"]["words"])
    return 0


def models_command(options: argparse.Namespace) -> int:
    """List the models as a table, or as JSON."""
    answer = ask_daemon(options, "/admin/models")
    if answer is None:
        return EXIT_FAILED
    if options.json:
        print(json.dumps(answer["models"]))
        return 0
    print_table(
        _evidence_rows(answer["models"]) if options.evidence else _model_rows(answer["models"])
    )
    return 0


def _model_rows(models: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("MODEL", "SIZE", "CONTEXT", "QUANT", "CAPABILITIES", "TOK/S", "LOADED")
    ]
    for model in models:
        speed = model["profile"]["decode_tokens_per_second"]
        rows.append(
            (
                model["id"],
                f"{model['size_b']:.3g}B" if model["size_b"] else "?",
                str(model["context"] or "?"),
                model["quantization"] or "?",
                ",".join(model["capabilities"]) if model["capabilities"] is not None else "?",
                f"{speed:.0f}" if speed else "?",
                "yes" if model["resident"] else "",
            )
        )
    return rows


def _evidence_rows(models: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The chance of a good answer to a prompt of middling difficulty, with the 68 % interval."""
    rows: list[tuple[str, ...]] = [("MODEL", "CATEGORY", "GOOD", "RANGE", "SOURCES")]
    for model in models:
        for category, found in model["evidence"].items():
            low, good, high = found["quality"]
            rows.append(
                (
                    model["id"],
                    category,
                    f"{good:.0%}",
                    f"{low:.0%}..{high:.0%}",
                    "; ".join(source["source"] for source in found["sources"]),
                )
            )
    return rows


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as their longest cell; the first row is the header."""
    """Rows of cells in columns; the first row is the titles."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        )


def catalog_command(options: argparse.Namespace) -> int:
    """Print the catalog in the form that `decide --catalog` reads."""
    answer = ask_daemon(options, "/admin/catalog")
    if answer is None:
        return EXIT_FAILED
    print(json.dumps(answer, indent=1))
    return 0


def ask_daemon(
    options: argparse.Namespace, path: str, body: str | None = None, method: str | None = None
) -> Any:
    """The daemon's JSON answer; None after saying why there is none."""
    found = find_daemon(options)
    if found is None:
        return None
    url, headers = found
    content = None if body is None else body.encode()
    try:
        request = urllib.request.Request(
            url + path,
            data=content,
            headers={"Content-Type": "application/json", **headers},
            method=method,
        )
        with DIRECT.open(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        print(f"{url}: {error.status}: {_message(error.read())}", file=sys.stderr)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        print(f"{url}: no daemon answers there ({reason}); start it with serve", file=sys.stderr)
    except ValueError:
        print(f"{url}: the answer is not JSON; is this llmrouterd?", file=sys.stderr)
    return None


def find_daemon(options: argparse.Namespace) -> tuple[str, dict[str, str]] | None:
    """The daemon's address and the headers that let in; None after saying why it is not known."""
    settings = read_settings(os.environ, getattr(options, "policy", None))
    url = options.url
    if not url:
        try:
            server = load_policy(settings).server
        except ConfigError as error:
            print(f"{error}\ngive the daemon's address with --url", file=sys.stderr)
            return None
        host = "127.0.0.1" if server.host in ("0.0.0.0", "::") else server.host
        url = f"http://{host}:{server.port}"
    key = options.key or settings.environ.get("ROUTER_ADMIN_API_KEY", "")
    if "://" not in url:
        url = f"http://{url}"
    return url.rstrip("/"), {"Authorization": f"Bearer {key}"} if key else {}


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")
