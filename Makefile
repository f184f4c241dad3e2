# Two commands do all the set-up: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3.11
BIN := .venv/bin
RUN_TESTS := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile
SOAK := OMP_NUM_THREADS=1 $(BIN)/python tests/faults/soak.py

.PHONY: demo test soak check lock install debian-packages viewer clean

demo: install ## the main job on this machine: a simulated scanner, the node, a small PACS
	$(BIN)/dicom-node demo

test: install debian-packages viewer check ## everything CI runs
	$(RUN_TESTS)

soak: install debian-packages ## some hundred deaths by kill -9 and an hour of load (docs/faults.md); an hour and a half
	$(SOAK) points --database sqlite
	$(SOAK) points --database postgresql
	$(SOAK) points --database sqlite --everything
	$(SOAK) load --database sqlite --minutes 20 --kills 60
	$(SOAK) load --database postgresql --minutes 20 --kills 60
	$(SOAK) load --minutes 20

check: install ## formatting, lint, security lint, types and the import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive dicom_node
	$(BIN)/mypy
	$(BIN)/lint-imports

install: .venv/installed

# uv comes by pip into the environment; the lock holds a hash of every file and no address. Bytecode is compiled now,
# because the account that runs the node may not be allowed to write it later.
.venv/installed: requirements.lock pyproject.toml
	@sh deploy/debian-packages.sh build $(PYTHON)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --compile-bytecode --require-hashes --requirement requirements.lock
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --no-deps --editable .
	touch $@

lock: ## write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra train --extra dev --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --output-file requirements.lock

# DCMTK and Orthanc are the peers of the tests, dicom3tools, PixelMed and jing the validators, PostgreSQL the second database,
# Chromium and nginx show the viewer.
debian-packages:
	@sh deploy/debian-packages.sh test

# OHIF, 59 MB of other people's work that the repository does not hold.
viewer: install debian-packages
	@sh deploy/viewer.sh .venv/ohif

clean:
	rm -rf .venv var demo runs
