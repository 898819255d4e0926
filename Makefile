# Two commands are all that a newcomer needs: `make run` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help run test check setup data browser bench bench-serving bench-training bench-catalogue bench-fetching exploration experiments tensorboard clean docs lock format

help: ## Lists the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

run: setup data ## Runs the whole pipeline; ARGS="--profile quick" and the like go to `fashion run`
	@$(BIN)/fashion run $(ARGS)

test: setup data browser ## Runs the tests, a file to a core; ARGS="-n 0 tests/pipeline -x" and the like go to pytest
	@$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

check: setup ## Checks format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(VENV)/.installed ## Creates .venv with the locked set

$(VENV)/.installed: requirements.lock setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "Python 3.11 is needed; received: $$($(PYTHON) --version). Next: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "Python cannot make a virtual environment. Next: sudo apt-get install python3.11-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[^ ]*' requirements.lock)"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes --no-deps -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

data: setup ## Gets Fashion-MNIST where it is not there yet
	@PATH="$(abspath $(BIN)):$$PATH" bash scripts/get_data.sh

browser: setup ## Gets a Chromium for the tests where there is none yet
	@PATH="$(abspath $(BIN)):$$PATH" bash scripts/get_chromium.sh

bench: setup data ## Measures the figures that the README states; prints a table and JSON
	@$(BIN)/python -m scripts.bench $(ARGS)

bench-serving: setup ## Measures the served model beside the bare SavedModel; ARGS="--soak 600" adds ten minutes of load
	@$(BIN)/python -m scripts.bench_serving $(ARGS)

bench-training: setup data ## Measures the seconds to an accuracy beside the tutorials', and the trainer's throughput
	@$(BIN)/python -m scripts.bench_training $(ARGS)

bench-catalogue: setup ## Measures query, extraction and fetching on a million products; ARGS="--products 1000 --images 100" for fewer
	@$(BIN)/python -m scripts.bench_catalogue $(ARGS)

bench-fetching: setup ## Measures fetching alone: 10,000 images from a slow local server, and what limits it
	@$(BIN)/python -m scripts.bench_fetching $(ARGS)

exploration: setup data browser ## Writes docs/exploration.md and executes the notebook, from what `fashion explore` finds
	@$(BIN)/python -m scripts.exploration_document $(ARGS)

experiments: setup browser ## Writes docs/experiments.md from the declared experiments and their results
	@$(BIN)/python -m scripts.experiments_document $(ARGS)

tensorboard: setup ## Opens TensorBoard on the logs of the tuner and the trainer
	@$(BIN)/fashion tensorboard $(ARGS)

clean: setup ## Removes what the latest run did not use; ARGS=--all removes more
	@$(BIN)/fashion clean $(ARGS)

docs: setup ## Writes the generated documents (CLI, parameters, picture, catalogue query) anew
	@$(BIN)/python -m scripts.generate_docs
	@$(BIN)/python -m tests.sql.documentation

lock: ## Resolves the dependencies of setup.py anew into requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --python-version 3.11 \
		--extra develop --custom-compile-command "make lock" --output-file requirements.lock setup.py

format: setup ## Formats the code and mends what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: fuzz
fuzz: setup ## Sends the embedded server 100,000 requests of chance; ARGS="--requests 1000" sends fewer
	@$(BIN)/python -m tests.serving.embedded.fuzzing $(ARGS)

.PHONY: conformance
conformance: setup ## Asks a server what TensorFlow Serving is known to do; URL=, GRPC=, ENGINE= choose which
	@$(BIN)/python -m pytest tests/conformance \
		$(if $(URL),--url $(URL)) $(if $(GRPC),--grpc $(GRPC)) $(if $(ENGINE),--engine $(ENGINE)) $(ARGS)
