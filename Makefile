# SPDX-License-Identifier: Apache-2.0
# A thin face over meson and the scripts.  "make help" lists what there is.

BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
# What "make test" and "make sanitize" run: names or parts of names, all when empty.
T ?=

MESON_ARGS ?=
SAN_BUILD = $(BUILD)-asan

.PHONY: all help build deps test demo bench sanitize sim fuzz soak overload coverage fsx-soak guest-long fleet-long fresh install clean

all: build

help:
	@echo 'make build      pandod and pando under $(BUILD)/; installs nothing'
	@echo 'make deps       the Debian packages that building and testing need, by apt'
	@echo 'make test       deps, build, and the whole test suite (T=name for a part of it)'
	@echo 'make demo       deps, build, and a hundred virtual machines from one file'
	@echo 'make bench      deps, build, and the benchmark against XFS, Btrfs and NFS-Ganesha'
	@echo 'make sanitize   the test suite under AddressSanitizer and UBSan (T=name)'
	@echo 'make sim        SEEDS=N fresh worlds in simulation, on all cores (FIRST=seed to choose them)'
	@echo 'make fuzz       fuzzes the NFS server and pools for MINUTES=10 under the sanitizers (AFL=1: by AFL++; T=name)'
	@echo 'make soak       a real daemon killed at random under clients that verify, for HOURS=1'
	@echo 'make overload   a thousand rude connections, and the latencies of one that is served'
	@echo 'make coverage   which lines and branches of the store the tests execute'
	@echo 'make fsx-soak   random operations of a Linux client through restarts, for MINUTES=10'
	@echo 'make guest-long the tests with Linux clients, with more of everything (half an hour)'
	@echo 'make fleet-long whole Debians as golden images, and their machines (ten minutes)'
	@echo 'make fresh      "make test" and "make demo" in a minimal Debian made for the purpose (root)'
	@echo 'make install    into $$(DESTDIR)$$(PREFIX), that is $(DESTDIR)$(PREFIX)'
	@echo 'make clean      removes $(BUILD)/, $(SAN_BUILD)/, build-fuzz*/, build-afl/ and build-coverage/'

build: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@command -v meson >/dev/null && command -v ninja >/dev/null || \
	  { echo 'meson or ninja is missing: run "make deps" first' >&2; exit 1; }
	meson setup $(BUILD) --prefix=$(PREFIX) $(MESON_ARGS)

deps:
	@scripts/install-packages build test

test: deps
	@$(MAKE) --no-print-directory build
	@tests/run --build $(BUILD) $(T)

demo:
	@scripts/install-packages build demo
	@$(MAKE) --no-print-directory build
	@BUILD=$(BUILD) scripts/demo

bench:
	@scripts/install-packages build bench
	@$(MAKE) --no-print-directory build
	@BUILD=$(BUILD) tests/bench/run

# Leaks are looked for by the tests themselves where they matter: a fiber that is parked when
# the process ends owns memory, which the leak checker would report.
sanitize: deps
	@$(MAKE) --no-print-directory BUILD=$(SAN_BUILD) \
	  MESON_ARGS='-Db_sanitize=address,undefined -Db_lundef=false' build
	@ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=0 \
	 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	 tests/run --build $(SAN_BUILD) $(T)

# Worlds in simulation, on all cores: SEEDS fresh ones, or from FIRST on.
SEEDS ?= 200
FIRST ?=
sim: deps
	@$(MAKE) --no-print-directory build
	@BUILD=$(BUILD) tests/sim/run $(SEEDS) $(FIRST)

# How long in all, and with AFL=1 by AFL++ instead of libFuzzer;
# T=rpc, nfs4, image, verify or receive for one of them.
MINUTES ?= 10
AFL ?=
fuzz:
	@scripts/install-packages build fuzz $(if $(AFL),afl)
	@tests/fuzz/run --minutes $(MINUTES) $(if $(AFL),--afl) $(T)

HOURS ?= 1
soak: deps
	@$(MAKE) --no-print-directory build
	@BUILD=$(abspath $(BUILD)) tests/nfs/soak --hours $(HOURS)

overload: deps
	@$(MAKE) --no-print-directory build
	@BUILD=$(abspath $(BUILD)) tests/nfs/overload --seconds 60

coverage: deps
	@tests/coverage

fsx-soak: deps
	@$(MAKE) --no-print-directory build
	@BUILD=$(abspath $(BUILD)) tests/guest/fsx-soak --minutes $(MINUTES)

guest-long: deps
	@$(MAKE) --no-print-directory build
	@BUILD=$(abspath $(BUILD)) tests/guest/long

fleet-long:
	@scripts/install-packages build test demo
	@$(MAKE) --no-print-directory build
	@BUILD=$(abspath $(BUILD)) tests/fleet/debian
	@BUILD=$(abspath $(BUILD)) tests/fleet/debian plain

fresh:
	@scripts/install-packages fresh
	@tests/fresh

install: build
	@meson configure $(BUILD) -Dprefix=$(PREFIX)
	meson install -C $(BUILD) $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))

clean:
	rm -rf $(BUILD) $(SAN_BUILD) build-fuzz build-fuzz-disk build-afl build-coverage
