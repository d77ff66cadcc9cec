# What one does with execd. `make run` and `make test` are the two that matter; everything else supports them.

TARGET   := x86_64-unknown-linux-musl
OUT       = $(shell cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/$(TARGET)/release
VERSION  := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
REVISION  = $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)

.PHONY: help setup run dist test lint bench fuzz image clean

help:                ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1\t/p' Makefile

setup:               ## what the tests need beside Rust (Debian packages, as root)
	tests/setup

run: dist            ## the daemon on port 44772, with a shell as its main command where there is a terminal
	dist/execd serve

dist:                ## dist/execd: the stripped static binary that everything below uses
	cargo build --release --bin execd
	cargo build --release --package workload
	mkdir -p dist
	cp -f $(OUT)/execd dist/execd
	@ls -l dist/execd

test: setup dist           ## everything: units, the fault list here, in Docker and in a virtual machine
	EXECD_BIN=$(CURDIR)/dist/execd EXECD_WORKLOAD=$(OUT)/workload cargo test --workspace --no-fail-fast $(ARGS)

lint:                ## formatting and clippy, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --workspace

bench: dist          ## the figures of SPECIFICATION.md, each with its comparison, in one table
	EXECD_BIN=$(CURDIR)/dist/execd EXECD_WORKLOAD=$(OUT)/workload cargo bench --bench figures -- $(ARGS)

# libFuzzer needs unstable flags of the compiler, which the stable one takes when RUSTC_BOOTSTRAP says so. Safe Rust gains nothing by a
# sanitizer. New inputs are kept in fuzz/corpus, failures in fuzz/artifacts; neither is part of the sources, fuzz/seeds is.
fuzz:                ## every reader of foreign bytes, SECONDS=60 each or TARGETS='one two'; needs `cargo install cargo-fuzz` and g++
	@set -e; for target in $(or $(TARGETS),$$(cargo fuzz list)); do \
	    seeds=fuzz/seeds/$$target; test -d $$seeds || seeds=; mkdir -p fuzz/corpus/$$target; echo "== $$target"; \
	    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none --target x86_64-unknown-linux-gnu $$target fuzz/corpus/$$target $$seeds \
	        -- -dict=fuzz/words.dict -max_total_time=$(or $(SECONDS),60) -timeout=10 -print_final_stats=1; \
	done

image: dist          ## execd:VERSION (scratch) and execd:VERSION-shell (busybox); needs no registry
	cp -f $$(command -v busybox) dist/busybox
	docker build --target execd --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) -t execd:$(VERSION) -t execd:latest .
	docker build --target shell --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) -t execd:$(VERSION)-shell -t execd:shell .

clean:               ## what builds and tests left behind
	cargo clean
	rm -rf dist .worlds
