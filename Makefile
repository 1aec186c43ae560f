# Entry points; each installs what it needs first. Builds go to build/, Python packages to .venv.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: help setup package demo test bench fuzz fuzz-ops format clean

help:
	@echo "make setup      install what building and testing need"
	@echo "make demo       optimize a ResNet-50 and print reports and latencies"
	@echo "make test       build and run every test"
	@echo "make package    install the Python package into .venv"
	@echo "make bench      race ResNet-50 against TensorFlow, ONNX Runtime and OpenVINO"
	@echo "make fuzz       feed hostile bytes to whatever reads them; fuzz-ops: drawn graphs against TensorFlow"
	@echo "make format     format the sources; clean: remove what was built"

setup:
	scripts/setup.sh dev

# --no-build-isolation: the build uses the pinned tools of .venv and fetches nothing.
package: setup
	$(PY) -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps .

demo: package
	$(PY) examples/resnet50/make_model.py --out build/demo
	$(PY) examples/resnet50/demo.py --folder build/demo

test: setup
	$(PY) scripts/run_tests.py

bench: package
	scripts/setup.sh bench
	cmake --preset release && cmake --build --preset release --target limits
	$(PY) bench/peers.py --models resnet50
	$(PY) bench/picture.py build/bench/peers.json --out build/bench/peers.svg

# Clang's libFuzzer; FUZZ_SECONDS a fuzzer. docs/fuzzing.md.
FUZZ_SECONDS ?= 60
fuzz: setup
	cmake --preset fuzz && cmake --build --preset fuzz
	for name in graph_def pbtxt import engine_file; do \
	  mkdir -p build/fuzz/corpus/$$name && build/fuzz/fuzz/$${name}_fuzzer build/fuzz/corpus/$$name \
	    -dict=fuzz/graph_def.dict -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=4096 -max_len=65536 || exit 1; \
	done

# Drawn graphs against TensorFlow: CASES an op, from SEED; OPS names some (comma-separated). docs/fuzzing.md.
SEED ?= 1
CASES ?= 1000
OPS ?=
fuzz-ops: package
	cd tests/python && ../../$(PY) -m op_fuzz --seed $(SEED) --cases $(CASES) --ops "$(OPS)"

format: setup
	$(PY) scripts/run_tests.py --fix-format

clean:
	rm -rf build dist
