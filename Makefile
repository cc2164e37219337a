# SPDX-License-Identifier: Apache-2.0
# Leasehold.  One file, no recursion, everything built lies under build/<flavour>/.
#
#   make            the agent (build/release/leasehold)
#   make demo       the main job in network namespaces, for real (root)
#   make test       everything (root); make check: the part that needs no root, under 20 s
#   make bench      failover table, memory and API load (root)
#   make chaos      random faults, and the proof that one node answers (root): SECONDS=600 SEED=n API=fake POLICY=fence
#   V=1 shows the commands, FLAVOUR=release|asan|debug picks the build, CC=clang the compiler.

.DEFAULT_GOAL := all
FLAVOUR ?= release
O := build/$(FLAVOUR)$(if $(filter-out cc gcc,$(CC)),-$(notdir $(CC)))
VERSION := $(shell cat VERSION 2>/dev/null)
GITREV := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
PYTHON := /usr/bin/python3

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' '$(1)' '$(2)')

# --- flags ------------------------------------------------------------------------------------------
PKGS := libbpf libmnl libnftnl libnetfilter_conntrack libnl-3.0 libcurl jansson yaml-0.1 libmicrohttpd
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null | sed 's/-I/-isystem /g')
WARN := -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wswitch-enum -Wstrict-prototypes \
	-Wmissing-prototypes -Wold-style-definition -Wcast-qual -Wcast-align -Wwrite-strings -Wundef -Wvla \
	-Wformat=2 -Wnull-dereference -Wimplicit-fallthrough
ifneq ($(findstring clang,$(CC)),)
WARN += -Wmissing-variable-declarations -Wcomma
else
WARN += -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wjump-misses-init
endif
WERROR_FLAG := $(if $(or $(CI),$(WERROR)),-Werror)
CPPFLAGS += -I. -D_GNU_SOURCE $(PKG_CFLAGS)
BASE_CFLAGS := -std=gnu11 -g -fno-common -pthread $(WARN) $(WERROR_FLAG)
CFLAGS.release := -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
LDFLAGS.release := -pie -Wl,-z,relro,-z,now
CFLAGS.debug := -O0
CFLAGS.asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS.asan := -fsanitize=address,undefined
CFLAGS.fuzz := $(CFLAGS.asan) -fsanitize=fuzzer-no-link
LDFLAGS.fuzz := $(LDFLAGS.asan)
ALL_CFLAGS = $(BASE_CFLAGS) $(CFLAGS.$(FLAVOUR)) $(CFLAGS)
ALL_LDFLAGS = -pthread $(LDFLAGS.$(FLAVOUR)) $(LDFLAGS)

# --- sources: a folder is a module ------------------------------------------------------------------
MODULES := base election core kube netlink
DIR.base := agent/base
DIR.election := election
DIR.core := agent/core
DIR.kube := agent/kube
DIR.netlink := netlink
LIBS.base := -lyaml
LIBS.election :=
LIBS.core :=
LIBS.kube := -lcurl -ljansson
LIBS.netlink := -lmnl -lnftnl -lnetfilter_conntrack -lnl-3 -lbpf
NEEDS.core := election
# The shell as its unit tests link it.
LIBS.agent := $(foreach m,$(MODULES),$(LIBS.$(m))) -lmicrohttpd
NEEDS.agent := kube netlink core election

srcs = $(wildcard $(DIR.$(1))/*.c)
objs = $(patsubst %.c,$(O)/%.o,$(call srcs,$(1)))
$(foreach m,$(MODULES),$(eval $(O)/lib$(m).a: $(call objs,$(m))))
SHELL_OBJS := $(patsubst %.c,$(O)/%.o,$(wildcard agent/*.c))
$(O)/libagent.a: $(filter-out $(O)/agent/main.o,$(SHELL_OBJS))
ARCHIVES := $(patsubst %,$(O)/lib%.a,kube netlink core election base)
# The unit tests of module M are tests/unit/M/test_*.c; they link M and what M may use, nothing else.
TEST_BINS := $(patsubst tests/unit/%.c,$(O)/unit/%,$(wildcard tests/unit/*/test_*.c))
SIM_OBJS := $(patsubst %.c,$(O)/%.o,$(wildcard tests/sim/*.c))

.PHONY: all
all: $(O)/leasehold

$(O)/leasehold: $(SHELL_OBJS) $(ARCHIVES)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(SHELL_OBJS) $(ARCHIVES) $(foreach m,$(MODULES),$(LIBS.$(m))) -lmicrohttpd

$(O)/lib%.a:
	$(call say,AR,$@)
	$(Q)mkdir -p $(@D) && rm -f $@ && $(AR) rcs $@ $^

$(O)/agent/version.o: CPPFLAGS += -DLEASEHOLD_VERSION='"$(VERSION)"' -DLEASEHOLD_REVISION='"$(GITREV)"'

# -MD names the headers of libraries, too: check-layers reads it.
$(O)/%.o: %.c Makefile
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MD -MP -c -o $@ $<

# The gate's program: clang alone compiles for BPF, whatever CC is.  Kernel headers that include <asm/...> need the folder of
# an architecture, which clang names for its own target only.
BPF_FLAGS := -target bpf -O2 -g -Wall -Wextra $(WERROR_FLAG) -I. -idirafter /usr/include/$(shell uname -m)-linux-gnu
$(O)/netlink/bpf/%.bpf.o: netlink/bpf/%.bpf.c Makefile
	$(call say,BPF,$<)
	$(Q)mkdir -p $(@D) && clang $(BPF_FLAGS) -MD -MP -c -o $@ $<

GATE_OBJECT := $(O)/netlink/bpf/gate.bpf.o
$(O)/netlink/gate_if.o: $(GATE_OBJECT)
$(O)/netlink/gate_if.o: CPPFLAGS += -DGATE_OBJECT='"$(GATE_OBJECT)"'

# tests/unit/<module>/test_x.c -> build/<flavour>/unit/<module>/test_x
module_of = $(word 1,$(subst /, ,$(patsubst $(O)/unit/%,%,$(1))))
test_archives = $(foreach m,$(call module_of,$(1)) $(NEEDS.$(call module_of,$(1))) base,$(O)/lib$(m).a)
define unit_rule
$(1): $(O)/tests/unit/$(patsubst $(O)/unit/%,%,$(1)).o $(call test_archives,$(1))
	$$(call say,LD,$$@)
	$$(Q)mkdir -p $$(@D) && $$(CC) $$(ALL_LDFLAGS) -o $$@ $$^ $(LIBS.$(call module_of,$(1))) $(LIBS.base) -lcmocka
endef
# live_*.c: drivers for tests that need a server, built the same way.
LIVE_BINS := $(patsubst tests/unit/%.c,$(O)/unit/%,$(wildcard tests/unit/*/live_*.c))
$(foreach t,$(TEST_BINS) $(LIVE_BINS),$(eval $(call unit_rule,$(t))))

# Drive netlink/ in namespaces for tests/netns: kernel_driver for test_kernel.py and so on.
NETNS_DRIVERS := $(patsubst tests/netns/%.c,$(O)/netns/%,$(wildcard tests/netns/*_driver.c))
$(NETNS_DRIVERS): $(O)/netns/%: $(O)/tests/netns/%.o $(O)/tests/netns/command.o $(O)/libnetlink.a $(O)/libbase.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS.netlink) $(LIBS.base)

# Runs frames through the gate's program in the kernel (root).
$(O)/tests/netns/gate_frames.o: CPPFLAGS += -DGATE_OBJECT='"$(GATE_OBJECT)"'
$(O)/netns/gate_frames: $(O)/tests/netns/gate_frames.o $(O)/libbase.a | $(GATE_OBJECT)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_LDFLAGS) -o $@ $^ -lbpf -lcmocka

# Preloaded by tests that let allocations or requests fail; without sanitizers, whose allocator they would stand before.
$(O)/e2e/%.so: tests/e2e/%.c Makefile
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(BASE_CFLAGS) -D_GNU_SOURCE -O2 -fPIC -shared -o $@ $<

# The traffic of tests/bench/dataplane.py and of tests that need thousands of connections; no sanitizers, they cost time.
$(O)/bench/load: tests/bench/load.c Makefile
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(BASE_CFLAGS) -D_GNU_SOURCE -O2 -o $@ $<

$(O)/sim: $(SIM_OBJS) $(O)/libelection.a $(O)/libbase.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^

$(O)/agent/manifest.o: agent/manifest/daemonset.yaml agent/manifest/static-pod.yaml

# --- tests ------------------------------------------------------------------------------------------
.PHONY: unit-programs unit
unit-programs: $(TEST_BINS) $(LIVE_BINS) $(NETNS_DRIVERS) $(O)/netns/gate_frames $(O)/e2e/starve.so $(O)/e2e/refuse.so $(O)/e2e/noip6.so $(O)/bench/load
unit: unit-programs
	$(Q)set -e; for t in $(TEST_BINS); do echo "== $$t"; $$t; done

SETUP := tests/setup.sh tests/packages.txt
LAB := tests/netns/packages.txt

# Unit, golden, short simulation, layers: no root, under 20 seconds once built.
.PHONY: check
check:
	$(Q)$(SETUP) && $(PYTHON) tests/run.py check

# Everything, on a real kernel and a real API server (root).
.PHONY: test
test:
	$(Q)$(SETUP) $(LAB) tests/kube/packages.txt
	$(Q)tests/kube/build.sh >/dev/null
	$(Q)$(PYTHON) tests/run.py test

# The fuzz targets (tests/fuzz/X/fuzz_X.c) under libFuzzer for FUZZ_SECONDS each, two at a time (clang).
FUZZ_SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%/,%,$(sort $(dir $(wildcard tests/fuzz/*/fuzz_*.c))))
FUZZ_BINS := $(patsubst %,$(O)/fuzz_%,$(FUZZERS))
define fuzz_rule
$(O)/fuzz_$(1): $(O)/tests/fuzz/$(1)/fuzz_$(1).o $(O)/lib$(if $(filter netlink rtnetlink,$(1)),netlink,kube).a $(O)/libbase.a
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(ALL_LDFLAGS) -fsanitize=fuzzer -o $$@ $$^ $(LIBS.$(if $(filter netlink rtnetlink,$(1)),netlink,kube)) $(LIBS.base)
endef
$(foreach f,$(FUZZERS),$(eval $(call fuzz_rule,$(f))))
.PHONY: fuzz fuzz-programs
fuzz-programs: $(FUZZ_BINS)
fuzz:
	$(Q)$(MAKE) --no-print-directory -j2 CC=clang FLAVOUR=fuzz O=build/fuzz fuzz-programs
	$(Q)$(PYTHON) tests/fuzz/run.py --build build/fuzz --seconds $(FUZZ_SECONDS) $(FUZZERS)

# The election under 100,000 seeds, and the table of planted bugs with the seed that finds each.
.PHONY: test-sim
test-sim: $(O)/sim
	$(Q)$(O)/sim --seeds 100000
	$(Q)$(O)/sim --mutants

.PHONY: check-layers
check-layers: $(ARCHIVES)
	$(Q)$(PYTHON) tests/layers/check_layers.py --cc $(CC) --build $(O) $(LAYERS_FLAGS)

# make demo: the in-memory API server; CLUSTER=real: three real nodes and helm install.
.PHONY: demo bench
demo bench:
	$(Q)$(SETUP) $(LAB) $(if $(filter real,$(CLUSTER))$(filter bench,$@),tests/kube/packages.txt)
	$(Q)$(MAKE) --no-print-directory -j2 all $(if $(filter bench,$@),$(O)/bench/load)
	$(Q)$(PYTHON) tests/$@/$@.py $(if $(CLUSTER),--cluster $(CLUSTER))

.PHONY: chaos
chaos:
	$(Q)$(SETUP) $(LAB) $(if $(filter kube,$(API)),tests/kube/packages.txt)
	$(Q)$(MAKE) --no-print-directory -j2 all
	$(Q)$(PYTHON) tests/chaos/chaos.py $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(API),--api $(API)) $(if $(POLICY),--policy $(POLICY)) $(if $(GROUPS),--groups $(GROUPS))

.PHONY: clean
clean:
	$(Q)rm -rf build

.SECONDARY:
-include $(shell find $(O) -name '*.d' 2>/dev/null)
