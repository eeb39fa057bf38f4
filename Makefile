# `make test` passes all tests; `make check` is everything CI runs; `make dist` builds the static binary.
# INSTALL=1 (or being root) lets a target install the system packages it lacks.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
FUZZ_SECONDS ?= 10
MUSL := x86_64-unknown-linux-musl

.PHONY: test schemathesis akeyless clients check lint deny msrv fuzz bench side-by-side dist clean compiler packages

test: packages
	$(CARGO) test --locked
	scripts/clients target/debug/portcullis
	scripts/schemathesis target/debug/portcullis
	scripts/akeyless target/debug/portcullis

# Everything that CI runs, in the order of how fast it fails.
check: lint deny test msrv fuzz

# The API against its own description, by a tool of PyPI.
schemathesis: packages
	$(CARGO) build --locked
	scripts/schemathesis target/debug/portcullis

# Akeyless's protocol, by its published Python client (PyPI).
akeyless: packages
	$(CARGO) build --locked
	scripts/akeyless target/debug/portcullis

# Clients that prove a key by a challenge, with the third system's SDK from PyPI.
clients: packages
	$(CARGO) build --locked
	scripts/clients target/debug/portcullis

lint: compiler
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

# Licences and banned crates of the lock file, offline; advisories need a network that CI may lack.
deny: compiler
	scripts/deny

# The oldest toolchain we promise (rust-version in Cargo.toml), where it is installed.
msrv: compiler
	scripts/msrv

fuzz:
	scripts/packages cc:gcc c++:g++
	fuzz/run $(FUZZ_SECONDS)

bench: compiler
	$(CARGO) bench --locked

side-by-side:
	benches/side-by-side

# A static binary without Docker: what the Dockerfile does. Laid out by what it does at work, so that it is built twice.
dist:
	scripts/packages musl-gcc:musl-tools file:file
	rustup target list --installed | grep -qx $(MUSL) || rustup target add $(MUSL)
	CC_x86_64_unknown_linux_musl=musl-gcc scripts/profiled $(MUSL)
	mkdir -p dist
	cp target/profiled/$(MUSL)/release/portcullis dist/portcullis
	strip dist/portcullis
	file dist/portcullis
	@file dist/portcullis | grep -Eq 'static(-pie|ally) linked' || { echo "dist/portcullis is not static"; exit 1; }
	@! ldd dist/portcullis 2>/dev/null | grep -q '=>' || { echo "dist/portcullis needs shared libraries"; exit 1; }

# Without its headers a compiler links nothing; Debian only recommends them.
compiler:
	scripts/packages cc:gcc cc:libc6-dev

packages: compiler
	scripts/packages openssl:openssl curl:curl unzip:unzip setsid:util-linux prlimit:util-linux nginx:nginx haproxy:haproxy setpriv:util-linux mkfifo:coreutils kill:procps ssh-keygen:openssh-client keytool:default-jre-headless pk12util:libnss3-tools python3/ensurepip:python3-venv node:nodejs

clean:
	$(CARGO) clean
	rm -rf dist fuzz/target fuzz/artifacts
