# Every target depends on what it needs; what is missing is installed, or named when only
# root could install it. Variables: UNIT, THREADS, QUIET for tcl; PORT for demo; ARGS for bench.

TARGET := $(or $(CARGO_TARGET_DIR),target)
FAST := $(TARGET)/fast
LOCKED := $(if $(CI),--locked)
CARGO_FAST := --workspace --profile fast $(LOCKED)

# What `make test` runs, in this order, each a target of its own. The Tcl suite stands last:
# it takes longest to read.
SECTIONS := fmt clippy programs tidy unit loom asan tcl-skips tcl

.PHONY: all demo test bench deps build-deps clean $(SECTIONS)

# The release build, under the names that scripts written for the original look for.
all: build-deps
	cargo build --release $(LOCKED) -p server --bin codis-server
	@mkdir -p bin
	install -m 755 $(TARGET)/release/codis-server bin/codis-server
	ln -sf codis-server bin/redis-check-aof
	ln -sf codis-server bin/redis-check-rdb

# A server to try, on a free port of this machine, until Ctrl-C.
demo: all
	@ci/demo $(PORT)

# All that CI runs.
test: deps
	@ci/sections $(SECTIONS)

# Side by side with real Redis servers.
bench: deps
	cargo xtask bench $(ARGS)

# Everything that any target needs. The sections of one `make test` need not look again.
deps:
	@[ -n "$(DEPS_CHECKED)" ] || ci/deps build test

build-deps:
	@[ -n "$(DEPS_CHECKED)" ] || ci/deps build

clean:
	cargo clean
	rm -rf bin tcl-compat/cache

fmt: build-deps
	cargo fmt --all -- --check

clippy: build-deps
	cargo clippy $(CARGO_FAST) --all-targets -- -D warnings

# Every program in the profile that the tests use: optimised, with debug assertions.
programs: build-deps
	cargo build $(CARGO_FAST)

# What the compiler does not check: headers, the place of unsafe code, arrows between crates.
tidy: programs
	$(FAST)/xtask tidy

# Unit tests, property tests and tests of the whole program.
unit: programs deps
	cargo test $(CARGO_FAST) --no-fail-fast

# Every interleaving of the lock-free parts, as far as the models bound them.
loom: programs
	JEMALLOC_OVERRIDE="$$(ci/jemalloc $(CARGO_FAST))" RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=$(TARGET)/loom \
		cargo test $(LOCKED) -p engine --profile fast --lib loom_

# The engine's tests under AddressSanitizer. jemalloc must not replace malloc here, hence without the
# default feature; the engine's tests then allocate through the sanitizer, and jemalloc is only called by name.
# The sanitizer is an unstable option of a stable compiler: RUSTC_BOOTSTRAP allows it, for this run alone.
asan: build-deps
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=$(TARGET)/asan \
		cargo test $(LOCKED) -p engine --no-default-features --profile fast --lib --target x86_64-unknown-linux-gnu

# Redis 3.2's own tests: all units with 1 and 4 threads, or what UNIT and THREADS say.
tcl: programs deps
	$(FAST)/tcl-compat $(if $(UNIT),--unit $(UNIT)) $(if $(THREADS),--threads $(THREADS)) $(if $(CI)$(QUIET),--quiet)

# Whether each test in skip.txt still fails.
tcl-skips: programs deps
	$(FAST)/tcl-compat --try-skipped --threads 1 --quiet
