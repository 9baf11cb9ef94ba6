"""A genuine llama.cpp HTTP server in this process, until SIGTERM: run by `llama.real_llama`.

usage: python llama_child.py MODEL.gguf PORT ALIAS N_CTX N_PARALLEL EMBEDDINGS(0|1) SLEEP_SECONDS
"""

from __future__ import annotations

import signal
import sys

import xllamacpp


def main(arguments: list[str]) -> None:
    """Serve with one thread, on the CPU, with metrics and slots; `n_ctx` is shared by all slots."""
    path, port, alias, n_ctx, n_parallel, embeddings, sleep = arguments
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.model_alias = {alias}
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.n_ctx = int(n_ctx)
    params.n_parallel = int(n_parallel)
    params.endpoint_metrics = params.endpoint_slots = params.endpoint_props = True
    params.n_gpu_layers = 0
    params.sleep_idle_seconds = int(sleep)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    if embeddings == "1":
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    # The server lives as long as this object does.
    server = xllamacpp.Server(params)
    print("READY", server.listening_address, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main(sys.argv[1:])
