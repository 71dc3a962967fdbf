# make            builds beadm
# sudo make test      everything that runs on this machine; installs what it needs
# sudo make demo      one patch cycle with failback, shown and checked
# sudo make test-vm   real ZFS, real boot loaders, real reboots, in QEMU
# sudo make test-long the same, the long faults, more power cuts, and ZFS cut at every place
# sudo make bench     what users wait for, beside a baseline, as JSON
# make fuzz       every fuzz target, a minute each (FUZZTIME=10s)
SHELL := /bin/sh
# A Go that go.mod accepts, fetched if there is none: testdata/go.sh.
go = GO="$$(GO='$(GO)' sh testdata/go.sh)" &&
PREFIX ?= /usr
DESTDIR ?=
BIN := .build/beadm

.PHONY: all build demo test test-vm test-long bench fuzz install vet clean

all: build

build:
	@mkdir -p .build
	$(go) CGO_ENABLED=0 "$$GO" build -trimpath -o $(BIN) ./cmd/beadm

vet:
	$(go) "$$GO" vet ./... && GOOS=freebsd "$$GO" vet ./... && GOOS=illumos "$$GO" vet ./...

demo: build
	sh testdata/install-tools.sh demo
	bash testdata/demo/run.sh

test: build
	sh testdata/install-tools.sh native
	$(go) GO="$$GO" sh testdata/suite.sh native

test-vm: build
	sh testdata/install-tools.sh vm
	$(go) GO="$$GO" sh testdata/suite.sh vm

test-long: build
	sh testdata/install-tools.sh vm
	$(go) BEADM_LONG=1 GO="$$GO" sh testdata/suite.sh vm

bench: build
	@sh testdata/install-tools.sh native >&2
	@[ "$${BEADM_BENCH_VM-}" = 0 ] || sh testdata/install-tools.sh vm >&2
	@$(go) GO="$$GO" sh testdata/bench.sh

fuzz:
	@$(go) GO="$$GO" sh testdata/fuzz.sh

install: build
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/lib/beadm/init
	install -d $(DESTDIR)$(PREFIX)/sbin
	ln -sf ../lib/beadm/init $(DESTDIR)$(PREFIX)/sbin/beadm
	install -D -m 0644 man/beadm.8 $(DESTDIR)$(PREFIX)/share/man/man8/beadm.8
	install -D -m 0644 man/beadm.conf.5 $(DESTDIR)$(PREFIX)/share/man/man5/beadm.conf.5
	install -D -m 0644 man/synclist.5 $(DESTDIR)$(PREFIX)/share/man/man5/synclist.5
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(BIN) completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/beadm
	$(BIN) completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_beadm
	$(BIN) completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/beadm.fish

clean:
	rm -rf .build
