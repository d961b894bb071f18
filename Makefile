# `make help` says what there is. Each target makes the virtual environment it needs, or uses the one that is there.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help app test test-all book site train
.DELETE_ON_ERROR:

PORT ?= 8866
PHOTOS ?= ../shared/birds
BUNDLE ?= runs/bundle
EXECUTE ?=
SITE ?= _build/site
SAMPLES ?=
JOBS ?= logical

# The book shows photographs of this folder alone, each with its credit; those in PHOTOS belong to those who took them
SHOWABLE ?= $(wildcard ../shared/showable)

# What a person names may hold blanks and quotation marks: the shell takes it from the environment, as it is
export PHOTOS SHOWABLE BUNDLE SAMPLES

# Pretrained weights lie here; where this is empty, in a cache that is filled from the internet
export BIRDCLF_WEIGHTS ?= $(realpath ../shared/weights)

# The first Python that really runs: a name on the PATH may be an empty promise, and another one of that name behind it
PYTHON ?= $(shell type -aP python3.11 python3.12 python3.13 python3 | while IFS= read -r candidate; do \
	"$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' </dev/null >/dev/null 2>&1 \
	&& echo "$$candidate" && break; done)

help:
	@echo 'make app                the page on http://localhost:$(PORT): drop a photo, read the name (PORT=...)'
	@echo 'make test               the tests that a person waits for, some five minutes on two processors (JOBS=N: in N processes)'
	@echo 'make test-all           all the tests: also trainings, long sweeps, other Pythons, and chapters that have not changed'
	@echo 'make book               the book, in _build/html (EXECUTE=1 runs the chapters once more, in a copy;'
	@echo '                        SHOWABLE=DIR: with photographs, if each has its row in credits.csv)'
	@echo 'make site               the book and the page for a static host, in SITE=DIR (now: $(SITE)); SAMPLES=DIR: with photographs to try'
	@echo 'make train PHOTOS=DIR   a new model from your photographs (now: $(PHOTOS)), in BUNDLE=DIR (now: $(BUNDLE))'

app: .venv-app/ready
	@exec .venv-app/bin/birdclf app --port $(PORT)

# One process for each processor, four at most: each may hold a network and a browser
test: QUICK = --quick
test test-all: .venv/ready
	@mkdir -p _build
	@.venv/bin/python -m pytest tests $(QUICK) -n $(JOBS) --maxprocesses 4 --junit-xml=_build/junit.xml

book: .venv/ready
	@rm -rf _build/{book,html,.doctrees,jupyter_execute}
	@mkdir -p _build/book
	@cp -r _config.yml _toc.yml nbs _build/book/
	@if [ -n '$(EXECUTE)' ]; then sed -i.off 's/execute_notebooks: "off"/execute_notebooks: force/' _build/book/_config.yml; fi
	@status=0; \
	case "$$SHOWABLE" in ''|/*) ;; *) SHOWABLE="$$PWD/$$SHOWABLE";; esac; \
	PHOTOS=$$(CDPATH= cd -- "$$PHOTOS" 2>/dev/null && pwd -P) || PHOTOS=; \
	BIRDCLF_PHOTOS="$$PHOTOS" BIRDCLF_SHOWABLE="$$SHOWABLE" .venv/bin/jupyter-book build _build/book --path-output . -W -n --keep-going -q 2>&1 \
		| { grep -v IPKernelApp || true; } || status=1; \
	.venv/bin/python -m birdclf.book check _build/html || status=1; \
	exit $$status
	@echo 'The book is in _build/html/index.html'

site: book
	@.venv/bin/python -m birdclf.site '$(SITE)' --book _build/html $${SAMPLES:+--samples "$$SAMPLES"}

train: .venv/ready
	@.venv/bin/birdclf train --photos "$$PHOTOS" --bundle "$$BUNDLE"

# An environment is made again when what it is made of has changed
.venv-app/ready: EXTRAS = serve,gather
.venv-app/ready: SIZE = 420 MB
.venv/ready: EXTRAS = serve,gather,clean,train,dev
.venv/ready: SIZE = 6.8 GB, most of it torch and CUDA,
.venv-app/ready .venv/ready: settings.ini setup.py pyproject.toml requirements.lock
	@if ! $(@D)/bin/python -c '' 2>/dev/null; then \
		if [ -z '$(PYTHON)' ]; then \
			echo 'birdclf needs Python 3.11, 3.12 or 3.13 with its venv module, and none of python3.11, python3.12, python3.13, python3 is that.' >&2; \
			echo 'Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name yours: make PYTHON=/path/to/python ...' >&2; \
			exit 1; \
		fi; \
		rm -rf $(@D); '$(PYTHON)' -m venv $(@D); \
	fi
	@$(@D)/bin/python .ci/install.py '$(EXTRAS)' '$(SIZE)'
	@touch $@
