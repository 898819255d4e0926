# A newcomer needs two commands: `make run` and `make test`.
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help run test test-fast test-long check setup data browser alerts bench bench-serving bench-memory bench-training \
	bench-catalogue bench-fetching tensorboard clean documents site lock format fuzz conformance

PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

run: setup data ## Run the whole pipeline; ARGS="--profile quick" is passed to `fashion run`
	@$(BIN)/fashion run $(ARGS)

test: setup data browser ## Run the tests, one file per core; ARGS="-n 0 tests/pipeline -x" is passed to pytest
	@$(PYTEST) -m "not long" $(ARGS)

test-fast: setup data ## Run the tests that need neither minutes nor a browser nor PostgreSQL
	@$(PYTEST) -m "not (long or slow or browser or postgres)" $(ARGS)

test-long: setup data browser ## Run the tests that take minutes and that `make test` leaves out
	@$(PYTEST) -m long $(ARGS)

check: setup ## Check format, lint, types, import contracts and documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.documents.style

setup: $(VENV)/.installed ## Create .venv with the locked dependencies; PYTHON=python3.12 chooses another Python than the newest

# `make PYTHON=python3.12 setup` chooses the Python. An environment of another version is created anew, and so is one
# whose Python is gone, as after an upgrade of the system.
version = $(shell $(1) -c 'import sys; print(*sys.version_info[:2])' 2>/dev/null)
stale := $(shell test -x "$(BIN)/python" || echo yes)
ifdef PYTHON
ifneq ($(call version,$(PYTHON)),$(call version,$(BIN)/python))
stale := yes
endif
endif
ifeq ($(stale),yes)
.PHONY: $(VENV)/.installed
endif

$(VENV)/.installed: requirements.lock setup.py
	@bash scripts/get_python.sh "$(VENV)" "$(PYTHON)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[^ ]*' requirements.lock)"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes --no-deps -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

data: setup ## Get Fashion-MNIST if it is missing
	@PATH="$(abspath $(BIN)):$$PATH" bash scripts/get_data.sh

browser: setup ## Get a Chromium for the tests if there is none
	@PATH="$(abspath $(BIN)):$$PATH" bash scripts/get_chromium.sh

bench: setup data ## Measure the figures of the README; print a table and JSON
	@$(BIN)/python -m scripts.bench $(ARGS)

bench-serving: setup ## Compare the served model with the bare SavedModel
	@$(BIN)/python -m scripts.bench_serving $(ARGS)

bench-memory: setup ## Measure the memory of the embedded server over an hour and more of load, with and without new versions
	@$(BIN)/python -m scripts.bench_memory $(ARGS)

alerts: ## Test the alert rules in deploy/prometheus with promtool
	@promtool="$$(sh scripts/get_promtool.sh)" && cd deploy/prometheus && \
		"$$promtool" check rules rules.yaml && "$$promtool" test rules rules_test.yaml rules_days_test.yaml

bench-training: setup data ## Measure the time to an accuracy, compared with the tutorials, and the throughput of training
	@$(BIN)/python -m scripts.bench_training $(ARGS)

bench-catalogue: setup ## Measure query, extraction and fetching with a million products; ARGS="--products 1000 --images 100" for fewer
	@$(BIN)/python -m scripts.bench_catalogue $(ARGS)

bench-fetching: setup ## Measure fetching alone: 10,000 images from a slow local server, and the limiting part
	@$(BIN)/python -m scripts.bench_fetching $(ARGS)

tensorboard: setup ## Start TensorBoard on the logs of the Tuner and the Trainer
	@$(BIN)/fashion tensorboard $(ARGS)

clean: setup ## Remove what the latest run did not use; ARGS=--all removes more
	@$(BIN)/fashion clean $(ARGS)

documents: setup data browser ## Regenerate all generated documents; ARGS=--list lists the steps, ARGS="--only STEP" runs one
	@$(BIN)/python -m scripts.documents $(ARGS)

site: setup ## Build the documentation site in build/site/html; ARGS=--serve serves it on loopback
	@$(BIN)/python -m scripts.documents.site $(ARGS)

lock: ## Resolve the dependencies of setup.py into requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url \
		--python-version 3.11 --extra develop --custom-compile-command "make lock" --output-file requirements.lock setup.py

format: setup ## Format the code and apply the linter's fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

fuzz: setup ## Send the embedded server 100,000 random requests; ARGS="--requests 1000" sends fewer
	@$(BIN)/python -m tests.serving.embedded.fuzzing $(ARGS)

conformance: setup ## Check a server against the known behaviour of TensorFlow Serving; URL=, GRPC=, ENGINE= choose it
	@$(BIN)/python -m pytest tests/conformance \
		$(if $(URL),--url $(URL)) $(if $(GRPC),--grpc $(GRPC)) $(if $(ENGINE),--engine $(ENGINE)) $(ARGS)
