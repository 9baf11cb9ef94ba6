"""The child process that is, or becomes, one llama.cpp server.

Run by file path with ``python -P llama_child.py --parent PID --model FILE ...``. It ties its life
to the daemon's (the kernel kills it when the daemon dies, even by SIGKILL) and then either executes
a ``llama-server`` binary in its place (``--binary``) or serves in this process through the package
``xllamacpp``. Imports nothing of the daemon, so that it starts fast and stays small.

Exit codes: 2 for bad arguments, 3 when the daemon was gone before the tie was made, otherwise the
server's own.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
ORPHANED = 3
OOM_SCORE = 500
"""Added to the kernel's out-of-memory score: a model is the better victim than the daemon."""


def arguments() -> argparse.ArgumentParser:
    """Return the parser; what it does not know belongs to the binary."""
    parser = argparse.ArgumentParser(prog="llama_child", allow_abbrev=False)
    parser.add_argument("--parent", type=int, required=True, help="process id of the daemon")
    parser.add_argument("--binary", help="llama-server to execute; without it, xllamacpp")
    parser.add_argument("--model", required=True, help="GGUF file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--alias", required=True, help="model name in the API")
    parser.add_argument("--context", type=int, default=4096, help="tokens in each slot")
    parser.add_argument("--parallel", type=int, default=1, help="slots")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--embeddings", action="store_true")
    return parser


def extra_arguments() -> argparse.ArgumentParser:
    """Return the parser of the extra arguments that xllamacpp can honour too."""
    parser = argparse.ArgumentParser(
        prog="xllamacpp", usage=argparse.SUPPRESS, add_help=False, allow_abbrev=False
    )
    parser.add_argument("-ngl", "--gpu-layers", "--n-gpu-layers", dest="gpu_layers", type=int)
    parser.add_argument("--pooling", choices=("none", "mean", "cls", "last", "rank"))
    return parser


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends; exit 3 if it already has.

    The tie holds through ``execv``. The parent can end between the fork and the ``prctl``: then
    this process already has another parent, and the signal would never come.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"prctl(PR_SET_PDEATHSIG): {os.strerror(code)}")
    if os.getppid() != parent:
        raise SystemExit(ORPHANED)


def offer_to_oom_killer() -> None:
    """Make this process the first choice when memory runs out, where the kernel lets us say so."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(OOM_SCORE))
    except OSError as error:
        print(f"oom_score_adj not set: {error}", file=sys.stderr)


def server_command(options: argparse.Namespace, extra: Sequence[str]) -> list[str]:
    """Return the argument vector of the ``llama-server`` binary.

    llama.cpp divides ``-c`` among its slots, so it is given the context of all slots together.
    """
    command = [options.binary, "-m", options.model, "--host", options.host]
    command += ["--port", str(options.port), "-a", options.alias]
    command += ["-c", str(options.context * options.parallel), "-np", str(options.parallel)]
    command += ["-t", str(options.threads), "--metrics", "--slots", "--props", "--no-webui"]
    if options.embeddings:
        command.append("--embeddings")
    return [*command, *extra]


def server_params(xllamacpp: Any, options: argparse.Namespace, extra: argparse.Namespace) -> Any:
    """Return ``xllamacpp.CommonParams`` that say the same as `server_command`."""
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_ctx = options.context * options.parallel
    params.n_parallel = options.parallel
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.endpoint_metrics = params.endpoint_slots = params.endpoint_props = True
    params.ui = False
    params.embedding = options.embeddings
    if extra.gpu_layers is not None:
        params.n_gpu_layers = extra.gpu_layers
    if extra.pooling is not None:
        name = f"LLAMA_POOLING_TYPE_{extra.pooling.upper()}"
        params.pooling_type = getattr(xllamacpp.llama_pooling_type, name)
    return params


def main(argv: Sequence[str] | None = None) -> None:
    """Become the server that the arguments describe; returns only by an exit or a signal."""
    options, rest = arguments().parse_known_args(argv)
    die_with(options.parent)
    offer_to_oom_killer()
    if options.binary is not None:
        os.execv(options.binary, server_command(options, rest))
    extra = extra_arguments().parse_args(rest)
    xllamacpp: Any = importlib.import_module("xllamacpp")
    server = xllamacpp.Server(server_params(xllamacpp, options, extra))
    print(f"listening on {server.listening_address}", flush=True)
    threading.Event().wait()  # its threads serve; SIGTERM, left at its default, ends them all


if __name__ == "__main__":
    main()
