# make             builds martlet, optimised: .build/release/martlet
# make quickstart  a cluster on this machine pulls a real model
# make test        everything the continuous integration runs
# make test-rxe    RDMA tests in small guests that have the real rdma_rxe driver; part of make test
# make test-rdma   the same tests on this machine's own RDMA devices
# make bench-swarm real processes behind slow links, against BitTorrent; needs root, 20 minutes
# make check       what takes seconds: format, lint, tidiness
SHELL := /bin/bash
.DEFAULT_GOAL := build
.PHONY: setup build debug test unit process test-rxe test-rxe-qemu test-rdma fuzz sanitize quickstart bench bench-swarm count fmt lint tidy check proto clean

# Ours to format: what generators write is left as it is.
SWIFT_FILES = $(shell find Package.swift Sources Tests Bench -name '*.swift' -not -path '*/Generated/*')

setup:
	@Tools/setup

build: setup
	swift build -c release --product martlet

debug: setup
	swift build --build-tests

test: setup lint debug unit process build test-rxe

# Every Swift test: the machines as scripts, the contract of all transports, the tree itself. They run side by side in one
# process, on as many threads as there are cores.
# Calls with deadlines have a run of their own: elsewhere tests hold the few threads of small machines for long.
ASYNC_TESTS = ^(RPCTests|ServicesTests|IdentityTests)\.
unit: debug
	swift test --skip-build --filter "$(ASYNC_TESTS)"
	swift test --skip-build --skip "$(ASYNC_TESTS)"

# Real processes, with the executable that was just built.
process: debug
	MARTLET_EXECUTABLE=$(CURDIR)/.build/debug/martlet \
		python3 -m unittest discover --start-directory Tests/process --pattern 'test_*.py' --verbose

# Guests with RDMA devices, on a machine that needs none; their kernel is built once.
test-rxe: debug
	@MARTLET_EXECUTABLE=$(CURDIR)/.build/debug/martlet Tests/rxe/lane uml

# A part of it with Debian's unmodified kernel under QEMU: slower, and nothing in it is ours.
test-rxe-qemu: debug
	@MARTLET_EXECUTABLE=$(CURDIR)/.build/debug/martlet Tests/rxe/lane qemu test_rdma.py

# On the devices of this machine. Tests that break the network run only on those of Tests/rxe/setup-pair.
test-rdma: debug
	@Tools/setup-rxe
	swift test --skip-build --filter 'TransportTests|TransportVerbsTests|VerbsTests'
	MARTLET_EXECUTABLE=$(CURDIR)/.build/debug/martlet python3 Tests/rdma

# The long run of every parser; a crash leaves its input in fuzz-crash (Tests/Fuzz/README.md).
fuzz: setup
	swift build -c release --product martlet-fuzz
	nice -n 19 .build/release/martlet-fuzz all --runs 10000000 --corpus Tests/Fuzz/corpus

# Every parser under the address sanitizer, which wants more memory than the fuzzer otherwise allows.
sanitize: setup
	swift build --product martlet-fuzz --sanitize=address --scratch-path .build/sanitize/address
	.build/sanitize/address/debug/martlet-fuzz all --runs 20000 --memory-mib 0 --corpus Tests/Fuzz/corpus

quickstart: build
	MARTLET_EXECUTABLE=$(CURDIR)/.build/release/martlet python3 Tests/process/quickstart.py

# A rail allocates nothing per piece: counted, so it may fail a build. Optimised, since unoptimised Swift allocates where it
# pleases.
count: setup
	swift build -c release --product bench-rdma
	.build/release/bench-rdma count

bench: setup
	swift build -c release
	swift run -c release --skip-build bench-digests
	swift run -c release --skip-build bench-transport

# Needs root: namespaces. Results in .build/swarm/.
bench-swarm: build
	@Tools/setup-bench
	Bench/swarm/run --output .build/swarm

fmt:
	@swift format format --in-place --parallel $(SWIFT_FILES)

lint:
	@swift format lint --strict --parallel $(SWIFT_FILES)

tidy: setup
	swift test --filter TidyTests

check: lint tidy

proto:
	Tools/generate-proto.sh

clean:
	rm -rf .build
