# What a person types. Every target makes what it needs first; nothing is installed outside .venv but OS packages.
SHELL := /bin/bash
CLOUD ?= examples/first-cloud/cloud.yaml
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made
DEV := $(VENV)/.made-dev

LAB_PACKAGES := catatonit conntrack containerd containernetworking-plugins e2fsprogs iproute2 iptables nftables runc
LAB_TOOLS := kubectl kubeadm kubelet kube-apiserver kube-controller-manager kube-scheduler kube-proxy etcd coredns \
  local-path-provisioner helm pod-security
# Each a load for the whole of two cores: nothing runs beside it, or the gates find what that does to it.
FLEET := tests/cluster/test_cells_lab.py
UNDER_LOAD := tests/cluster/test_shift.py::test_two_services_move_to_pods_and_back_and_no_request_is_lost

.PHONY: help setup up down verify test test-core test-charts test-local test-cluster test-lab test-cells lab-tools check soak refresh golden bench clean

help:            ## show these targets
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## / - /' | sort

setup: $(STAMP)  ## make .venv and see that the OS packages are there
	@scripts/os-packages haproxy

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "error: $(PYTHON) cannot make a virtual environment; hint: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --editable .
	@# compiled once, also where the surroundings tell Python not to keep what it compiles
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c 'import openstack.connection, planeshift.app.api, planeshift.cli.change'
	@touch $@

$(DEV): $(STAMP)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --editable . --group dev
	@touch $@

up: setup        ## bring up the first cloud, and prove it
	@$(BIN)/planeshift up --yes -f $(CLOUD)
	@$(BIN)/planeshift verify -f $(CLOUD)

verify: setup    ## prove it by real round trips
	@$(BIN)/planeshift verify -f $(CLOUD)

down: setup      ## stop it; its data stays
	@$(BIN)/planeshift down --yes -f $(CLOUD)

check: $(DEV)  ## types, style and layers
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache

test: setup check test-core test-charts test-local  ## everything: unit, golden, contract, transcripts, then the real services

test-core: $(DEV)  ## what needs no real service; with stock sops, age, Helm 3 and 4 (built by Go, once)
	@$(BIN)/planeshift tools build sops age helm helm4 kubectl || echo "the tests that need one of them are skipped" >&2
	@$(BIN)/pytest -n 2 --dist loadgroup --ignore tests/local --ignore tests/cluster --ignore tests/charts tests

test-charts: $(DEV)  ## the chart server and tools, with real Helm, a real S3 server (built by Go, once) and a real browser
	@$(BIN)/planeshift tools build helm versitygw helm-cm-push || echo "the tests that need one of them are skipped" >&2
	@$(BIN)/pytest -n 2 --dist loadgroup tests/charts

test-local: $(DEV)  ## real services: started, verified, broken, mended, removed
	@$(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder tests/local

lab-tools: $(DEV)
	@scripts/os-packages $(LAB_PACKAGES) || true
	@test "$$(id -u)" != 0 || $(BIN)/planeshift tools build $(LAB_TOOLS)

test-cluster: test-lab test-cells  ## a real Kubernetes of namespaces on this machine: made, used, broken, mended, removed; root

test-lab: setup lab-tools  ## test-cluster, but for its fleet
	@$(BIN)/pytest -n 2 --dist loadgroup -rs tests/cluster --ignore $(FLEET) --deselect $(UNDER_LOAD)
	@$(BIN)/pytest -rs $(UNDER_LOAD)

test-cells: setup lab-tools  ## the fleet of test-cluster: three cells of Nova on nine hosts of a lab, moved under a boot loop
	@$(BIN)/pytest -rs $(FLEET)

soak: export PYTEST_ADDOPTS = --timeout 0  # a test may take hours
soak: setup $(DEV)      ## the full kill matrix on real services, a million requests over a hundred shifts; takes hours
	@PLANESHIFT_SOAK=1 $(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder tests/local tests/charts tests/secrets
	@PLANESHIFT_SOAK=1 $(BIN)/pytest -s tests/cluster/test_nova_pods.py
	@PLANESHIFT_SOAK=1 $(BIN)/pytest -s tests/cluster/test_shift_broken.py
	@PLANESHIFT_SOAK=1 $(BIN)/pytest -s $(UNDER_LOAD)

refresh: $(DEV)  ## lock each service's releases anew: requirements, options, schema heads
	@$(BIN)/python scripts/refresh.py

golden: $(DEV)  ## rewrite the golden files; review them with git diff
	@PLANESHIFT_GOLDEN=write $(BIN)/pytest -q tests/golden tests/transcripts

bench: setup $(DEV)     ## measure what benchmarks/README.md records
	@for part in run images charts sealing lab pods cern scheduling; do $(BIN)/python benchmarks/$$part.py || exit 1; done

clean:           ## remove the environment
	rm -rf $(VENV)
