# Three commands for a newcomer. Each makes the environment it needs (.cache/nox for nox, .venv for the rest) and calls nox.
# Another Python: make demo PYTHON=python3.11

PYTHON ?= $(shell for p in python3.12 $(wildcard $(HOME)/.pyenv/versions/3.12.*/bin/python3.12) python3.11 python3; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
NOX := .cache/nox/bin/nox

.PHONY: demo demo-tao test
demo: $(NOX)
	@$(NOX) -s demo

demo-tao: $(NOX)
	@$(NOX) -s demo-tao

# The tritonserver's environment is a download of its own: it is made beside .venv. Whoever needs it waits for it.
test: $(NOX)
	@PYTHONPATH=. NGCRUN_CACHE=$(CURDIR)/.cache .cache/nox/bin/python -m runtime.triton.serve_env >/dev/null 2>&1 & \
	$(NOX) -s lint types tests specs images docs e2e azureml

$(NOX):
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or 3.12 here; install one, or name it: make demo PYTHON=..." >&2; exit 2; }
	@$(PYTHON) .ci/preflight.py
	@echo "making the environment for nox with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .cache/nox && .cache/nox/bin/python -m pip install -qq --disable-pip-version-check nox==2026.10.20 || { rm -rf .cache/nox; exit 1; }
