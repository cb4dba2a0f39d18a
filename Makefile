# make run shows what the project does; make test proves that it does it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test lint loom stress sanitize fuzz test-real soak dist-check bench counts peer-dpdk peer-vhost-user tables docs clean

help:            ## what there is to make
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/installed: pyproject.toml Cargo.toml Cargo.lock $(shell find src python -name '*.rs' -o -name '*.py' -o -name '*.pcapng')
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check .
	touch $@

$(VENV)/testing: pyproject.toml Cargo.toml Cargo.lock $(shell find src -name '*.rs')
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@
	touch -c $(VENV)/installed

run: $(VENV)/installed ## install into .venv and compare the two strategies on the shipped capture
	$(BIN)/vnet-rx compare

test: $(VENV)/testing ## the Rust and the Python tests
	cargo test --locked
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest --parallel-threads=4 $(addprefix tests/python/test_,wait.py open.py bad_input.py)

lint: $(VENV)/testing ## formatting, lints, types, stubs
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --features python -- -D warnings
	cargo clippy --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=python $(BIN)/python -m mypy.stubtest --allowlist tests/python/stubtest_allowlist.txt vnet_rx._core

loom:            ## model checks of the lock-free lists, under every interleaving
	RUSTFLAGS="--cfg loom" cargo test --locked --release --test loom --target-dir target/loom -- --show-output

stress:          ## twelve million handshakes on real threads, and traffic in every configuration
	STRESS=15 cargo test --locked --release --test stress -- --nocapture

# ThreadSanitizer sees data races, not lost wake-ups, and does not model fences. Memcheck sees uses of
# freed memory and leaks of private memory. Both need the names of their targets spelt out.
TARGET := $(shell rustc -vV | sed -n 's/host: //p')
sanitize:        ## the stress test under ThreadSanitizer, memory and packets under valgrind memcheck
	RUSTC_BOOTSTRAP=1 TSAN_OPTIONS="suppressions=$(CURDIR)/tests/tsan.supp" \
	RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg plain_copy" \
	cargo test --locked --target $(TARGET) --target-dir target/sanitize --test stress -- --test-threads 1
	CARGO_TARGET_$(shell echo $(TARGET) | tr a-z- A-Z_)_RUNNER="valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite --error-exitcode=1" \
	cargo test --locked --test rust -- --test-threads 1 memory:: pages:: section9:: a_full_ring

# What cargo-fuzz passes to rustc; see docs/fuzzing.md.
SECONDS ?= 60
FUZZ_FLAGS := --cfg plain_copy -Zsanitizer=address -Ccodegen-units=1 -Cpasses=sancov-module \
	-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
fuzz:            ## libFuzzer on scenarios for SECONDS=60, from tests/corpus; findings in target/fuzz/findings
	RUSTC_BOOTSTRAP=1 RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --locked --manifest-path fuzz/Cargo.toml \
		--release --target $(TARGET) --target-dir target/fuzz
	mkdir -p target/fuzz/corpus target/fuzz/findings
	target/fuzz/$(TARGET)/release/scenario -max_total_time=$(SECONDS) -max_len=16384 -timeout=10 \
		-print_final_stats=1 -artifact_prefix=target/fuzz/findings/ target/fuzz/corpus tests/corpus

test-real: $(VENV)/testing ## the tests against real devices, and a fresh recording; needs iproute2, tshark
	VNET_RX_REQUIRE_REAL=1 $(BIN)/python -m pytest -m real
	$(BIN)/python scripts/record_capture.py --output target/recorded.pcapng
	$(BIN)/vnet-rx compare target/recorded.pcapng
	$(BIN)/vnet-rx compare target/recorded.pcapng --dialect legacy

SOAK ?= 1800
soak: $(VENV)/testing ## real traffic for half an hour a kind (SOAK=seconds), everything accounted for
	$(BIN)/python scripts/soak.py --seconds $(SOAK)

peer-vhost-user: $(VENV)/installed ## packets per second from a DPDK device, beside DPDK's own driver; needs root
	cargo build --locked --release --example vhost_receive
	$(BIN)/python scripts/peer_vhost_user.py

dist-check: $(VENV)/testing ## build wheel and sdist, and run compare from each in an empty environment
	rm -rf dist target/dist-check
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'maturin>=1.9,<2'
	$(BIN)/maturin build --release --sdist --out dist --quiet
	for package in dist/*.whl dist/*.tar.gz; do \
		$(PYTHON) -m venv --clear target/dist-check && \
		target/dist-check/bin/python -m pip install --quiet --disable-pip-version-check $$package && \
		(cd target && dist-check/bin/vnet-rx compare --repeat 1 | tail -1) || exit 1; \
	done

counts:          ## instructions, memory accesses, allocations per packet; needs valgrind
	$(PYTHON) scripts/counts.py

bench:           ## Criterion, every question, both strategies: about 25 minutes
	cargo bench --locked

peer-dpdk:       ## two cores, beside DPDK's virtio pair; needs dpdk-dev and root
	$(PYTHON) scripts/peer_dpdk.py

tables:          ## the tables of docs/performance.md, from the raw results in docs/results
	$(PYTHON) scripts/performance_tables.py

docs:            ## the crate's documentation, in target/doc
	cargo doc --locked --no-deps

clean:           ## remove everything that was built
	rm -rf target $(VENV) dist
