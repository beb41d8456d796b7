# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
#
# The front door. Every target is a script or one command that can be run by itself.

ENV ?= dev
SEEDS ?= 100000
SWEEPS ?= 20
STACK ?= calminer
RELEASE ?= previous
export STACKS VOLUMES CONFIRM PYTHON
.DEFAULT_GOAL := help
.PHONY: help up down status verify rollback backup test test-tools lint unit simulate molecule mutants faults lakehouse-kills lakehouse-day-two bad-days integration e2e bench load stack-test docs changelog build clean

help: ## List what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  STACKS=a,b restricts up, down and status; ENV=staging chooses another inventory (dev)."

up: ## Bring this machine from bare to its stacks running and healthy
	@scripts/up $(ENV)

down: ## Take the stacks down; asks, keeps volumes (VOLUMES=delete removes them; CONFIRM=yes does not ask)
	@scripts/down $(ENV)

status: ## Show services, health and URLs
	@scripts/bootstrap run
	@.venv/bin/ansible-playbook playbooks/status.yml -i inventories/$(ENV) $(if $(STACKS),-e stacks=$(STACKS))

verify: ## Ask the checks of every stack that declares some, or of STACKS=shop (ENV=prod)
	@scripts/bootstrap run
	@.venv/bin/ansible-playbook playbooks/verify.yml -i inventories/$(ENV) $(if $(STACKS),-e stack=$(STACKS))

rollback: ## Return to a kept release (STACK=calminer RELEASE=previous|ID ENV=prod); asks
	@scripts/bootstrap run
	@.venv/bin/ansible-playbook playbooks/rollback.yml -i inventories/$(ENV) -e stack=$(STACK) -e release=$(RELEASE)

backup: ## Make a set of every stack that declares one, or of STACKS=shop (ENV=prod)
	@scripts/bootstrap run
	@.venv/bin/ansible-playbook playbooks/backup.yml -i inventories/$(ENV) $(if $(STACKS),-e stack=$(STACKS))

test: ## Install what tests need, then lint + unit + simulate + molecule + integration + e2e
	@scripts/test

test-tools: ## Install what tests need into .venv
	@scripts/bootstrap test

lint: ## ansible-test sanity, ansible-lint (production), ruff, mypy --strict, yamllint, README tables
	@scripts/test lint

unit: ## Unit tests; they need no engine
	@scripts/test unit

simulate: ## Simulated rollouts with faults (SEEDS=100000), and every fault at every event of some (SWEEPS=20)
	@scripts/bootstrap test
	@.venv/bin/python -m tests.simulation.rollouts --seeds $(SEEDS) --sweeps $(SWEEPS)

mutants: ## Mistakes on purpose: the simulation has to find each of them
	@scripts/bootstrap test
	@.venv/bin/python -m tests.simulation.mutants

faults: ## Every command of a rollout x every fault, on a real engine of its own (an hour; FAULTS="kill before,kill after")
	@scripts/bootstrap test
	@.venv/bin/python -m tests.faults $(if $(FAULTS),--columns "$(FAULTS)")

molecule: ## Every role on test hosts (SCENARIO=docker for one)
	@SCENARIO="$(SCENARIO)" scripts/test molecule molecule-late

lakehouse-kills: ## Each container of a real lakehouse killed once, in the middle of a daily run (25 minutes); a table
	@scripts/bootstrap test
	@.venv/bin/python -m tests.lakehouse.kills $(SERVICES)

lakehouse-day-two: ## Backups, restores, bad releases, workers, trips fetched, rolls and refusals of a real lakehouse (35 minutes; STEPS="backup rolls")
	@scripts/bootstrap test
	@.venv/bin/python -m tests.lakehouse.day_two $(STEPS)

bad-days: ## Everything that can happen to a backup, a drill or a restore, on a real engine (a quarter of an hour); says what survived
	@scripts/test bad-days

integration: ## The engine's parts on a real Docker engine (MORE=yes: behind Debian's own HAProxy too)
	@scripts/test integration

e2e: ## make up in a fresh clone, releases under load, hosts over SSH (MORE=yes: one of them lost on the way)
	@scripts/test e2e

bench: ## Measure against Docker Compose; results in build/bench/*.json
	@scripts/bench

load: ## Rollouts good and bad under load, and what users do today beside them (DRIVER=haproxy); build/bench/load.json
	@scripts/bootstrap test
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python -m tests.load.proof $(if $(DRIVER),--driver $(DRIVER))

stack-test: ## A stack's own test profile, which leaves nothing behind (STACK=calminer)
	@scripts/stack-test $(STACK)

docs: ## Write the tables of the roles' READMEs and of docs/compose.md
	@scripts/bootstrap test
	@.venv/bin/python scripts/readme_tables.py
	@.venv/bin/python scripts/compose_page.py

changelog: ## Check the changelog fragments
	@scripts/bootstrap test
	@.venv/bin/antsibull-changelog lint

build: ## Build the collection: build/quaylock-stacks-VERSION.tar.gz
	@scripts/bootstrap run
	@.venv/bin/ansible-galaxy collection build --force --output-path build

clean: ## Remove what can be made again (never data)
	@rm -rf .venv .ansible .cache build
