# `make check` before every commit, `make test` before every merge; the rest by name. All of them work from the checkout.
PY = .venv/bin/python
TESTS ?= tests
KERNELS ?= linux-image-amd64
BY_BOTH ?= (init_ or life_ or tty_)
CACHES ?= cold warm stale corrupt hostile off
CACHED ?= tests/cli

.PHONY: help setup native demo demo-pip check test test-executors test-cache test-kernels test-systemd golden known completions bench lock sbom dist clean

help: ## These lines
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' Makefile | awk '{ name = $$1; $$1 = ""; printf "make %-15s%s\n", name, $$0 }'

setup: ## System packages (root or sudo), then .venv from the hash-locked requirements, with the native program
	@tools/setup.sh run

native: ## Compile the native program into .venv, with every warning an error and the compiler's static analysis
	tools/build_native.py --strict --editable

demo: setup ## Run a real program in a sandbox, and show what is allowed and what is refused
	@tools/demo.sh

demo-pip: setup ## Install a real package with the network to its index only (PRIVATE=CIDR if that is no public address)
	@PRIVATE="$(PRIVATE)" INDEX="$(INDEX)" PACKAGE="$(PACKAGE)" tools/demo-pip.sh

check: ## Format, lint, types, unit, golden and docs tests; under a minute, without setup
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest -q -n 2 tests/unit tests/golden tests/docs

test: ## Everything, as root and as an ordinary user where the caller is root
	@tools/setup.sh run test
	$(PY) -m pytest -q -n 3 $(TESTS)

test-executors: ## What executes a launch, by Python too
	SANDRUN_EXECUTOR=python $(PY) -m pytest -q -n 2 tests/escape tests/integration/test_tree_kill.py \
		tests/integration/test_signals.py -k "test_tree_kill or test_signals or (test_blocked and $(BY_BOTH))"

test-cache: ## The command line with the plan cache in each state (CACHES="warm ...", CACHED=PATH)
	@for state in $(CACHES); do \
		echo "plan cache: $$state"; SANDRUN_TEST_CACHE=$$state $(PY) -m pytest -q -n 2 $(CACHED) || exit; \
	done

test-kernels: ## The tests that depend on the kernel, under Debian's in a virtual machine (KERNELS="PACKAGE ...")
	@for package in $(KERNELS); do tools/test-kernel.sh $$package || exit; done

test-systemd: ## The tests of control groups where systemd makes them, in a virtual machine
	@tools/test-systemd.sh

golden: ## Write the golden files anew; review the difference
	SANDRUN_GOLDEN=write $(PY) -m pytest -q tests/golden

known: ## Write the built-in profiles' documents and filters anew, which no launch parses and compiles itself
	$(PY) tools/gen_known.py

completions: ## Write completions/ anew
	$(PY) tools/gen_completions.py

bench: ## Measure start-up, programs inside, syscalls, scale, rules, relay, observing, overlays beside others (BENCH="PART ...")
	@tools/setup.sh run bench
	$(PY) -m bench $(BENCH)
	$(PY) tools/gen_bench_tables.py

lock: ## Resolve requirements/*.txt anew (needs uv)
	tools/lock.sh

sbom: dist ## List what is shipped, as CycloneDX JSON, in dist/
	$(PY) tools/sbom.py

dist: setup ## Build the wheel and the source distribution into dist/
	rm -rf dist
	$(PY) -m build --no-isolation

clean: ## Remove what the other targets made, .venv too
	rm -rf sandrun/native/sandrun-exec .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
