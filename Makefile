# `make demo` runs the main job, `make test` tests all of it; both set everything up first. `make help` lists the rest.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check fix unit integration e2e bench-optimize bench-edge bench-engine bench-fleet fuzz lock clean
SHELL := /bin/sh
PY := .venv/bin/python
LOCK := pyproject.toml --universal --python-version 3.10 --no-header --no-annotate --no-emit-index-url --no-emit-package mien
export PYTHON TORCH_INDEX

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv from the pinned requirements
	@sh devtools/setup.sh

demo: setup ## run the main job; ONCE=1 exits after the summary, ARGS="--http-port 8421" passes options on
	@$(PY) -m mien demo $(if $(ONCE),--once,) $(ARGS)

check: setup ## format, lint, types, import rules, unit tests
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(PY) -m pytest tests/unit -q

test: setup ## install what the tests need and run them all
	@sh devtools/debian_packages.sh /usr/sbin/mosquitto=mosquitto \
	  '/usr/lib/postgresql/*/bin/initdb=postgresql' systemd-analyze=systemd openssl=openssl gcc=gcc \
	  /usr/include/stdio.h=libc6-dev \
	  /usr/lib/python3/dist-packages/gi=python3-gi \
	  '/usr/lib/*/girepository-1.0/GstRtspServer-1.0.typelib=gir1.2-gst-rtsp-server-1.0' \
	  '/usr/lib/*/gstreamer-1.0/libgstvideotestsrc.so=gstreamer1.0-plugins-base' \
	  '/usr/lib/*/gstreamer-1.0/libgstrtpmanager.so=gstreamer1.0-plugins-good' \
	  '/usr/lib/*/gstreamer-1.0/libgstx264.so=gstreamer1.0-plugins-ugly' \
	  '/usr/lib/*/gstreamer-1.0/libgstx265.so=gstreamer1.0-plugins-bad'
	@sh devtools/browser.sh
	$(PY) -m pytest tests -q

unit: setup ## unit tests only
	$(PY) -m pytest tests/unit -q

integration: setup ## integration tests only
	$(PY) -m pytest tests/integration -q

e2e: setup ## the whole way once, small
	$(PY) -m pytest tests/e2e -q

bench-optimize: setup ## measure the optimizer's figures; the first run trains for a quarter of an hour
	@$(PY) bench/optimize.py $(ARGS)

bench-edge: setup ## measure the device runtime beside ultralytics; a quarter of an hour
	@$(PY) bench/runtime.py $(ARGS)

bench-engine: setup ## measure TensorRT engines on this GPU; GRAPHS="bundle/model.fp16.onnx …"
	@$(PY) bench/engine.py $(foreach graph,$(GRAPHS),--graph $(graph)) $(ARGS)

bench-fleet: setup ## measure the fleet with 10,000 simulated devices; twenty minutes
	@$(PY) bench/fleet.py $(ARGS)

fuzz: setup ## fuzz the decoder of messages, guided by coverage; SECONDS=600
	@$(PY) -c 'import atheris' 2>/dev/null || $(PY) -m pip install --disable-pip-version-check -q -c requirements/constraints.txt -e '.[fuzz]'
	@$(PY) devtools/fuzz.py --seconds $(or $(SECONDS),60)

fix: setup ## format and mend what ruff can mend
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

lock: ## resolve the pins again (needs uv)
	uv pip compile $(LOCK) --extra edge --extra train --extra optimize --extra fleet --extra dev -o requirements/constraints.txt
	uv pip compile $(LOCK) --extra edge --extra jetson -o requirements/device.txt

clean: ## remove what runs left behind (keeps .venv)
	rm -rf runs .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache
