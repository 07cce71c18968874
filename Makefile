# The commands of the project. `make` alone lists them.
# Everything that a target needs is set up first; that costs nothing when it is there.

STACK ?= minitest
SHELL := bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The stack's environment, in every recipe that talks to Pulumi or to the program.
env = eval "$$(tools/env)" &&
wmtp = node cli/wmtp.ts
# Where the providers of AWS, Docker and so on come from; stops with a remedy where they cannot come.
plugins = plugins=$$(tools/plugins '$(STACK)' up) && eval "$$plugins" &&

.PHONY: help
help: ## list the commands
	@printf 'make TARGET [STACK=%s]\n\n' '$(STACK)'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r target text; do printf '  %-15s %s\n' "$$target" "$$text"; done

# A misspelled STACK would otherwise be created, empty, before anything is said.
.PHONY: stack-file
stack-file:
	@[ -f 'Pulumi.$(STACK).yaml' ] || { echo "error: there is no Pulumi.$(STACK).yaml; stacks: $$(ls Pulumi.*.yaml | cut -d. -f2 | tr '\n' ' ')" >&2; exit 2; }

.PHONY: up
up: stack-file prepare ## create the stack and train what is not trained yet; ends with the results
	@$(env) $(plugins) $(wmtp) recover --stack '$(STACK)' && pulumi stack select --create '$(STACK)' && { \
	  started=$$(date +%s); pulumi up --yes --stack '$(STACK)'; code=$$?; \
	  [ $$code = 0 ] && started=0; $(wmtp) outputs --stack '$(STACK)' --table --since $$started || true; \
	  exit $$code; }

.PHONY: preview
preview: stack-file $(if $(filter Linux,$(shell uname -s)),prepare,setup) ## say what `make up` would do
	@tools/preview '$(STACK)'

.PHONY: down
down: ## destroy the stack and stop its processes; results and checkpoints stay
	@tools/down '$(STACK)'

.PHONY: outputs
outputs: setup ## print tracker and runs as JSON
	@$(env) $(wmtp) outputs --stack '$(STACK)'

.PHONY: doctor
doctor: setup stack-file ## say whether login, names and secrets on the GPU cloud are right: make doctor STACK=prod
	@$(env) $(wmtp) doctor --stack '$(STACK)'

.PHONY: retry
retry: setup ## let a failed or cancelled run start again: make retry PIPELINE=critic
	@if [ -z '$(PIPELINE)' ]; then echo 'error: which pipeline? Say make retry PIPELINE=critic (or another one)' >&2; exit 2; fi
	@$(env) $(wmtp) retry '$(PIPELINE)' --stack '$(STACK)'

.PHONY: experiment
experiment: setup ## write the stack file of an experiment: make experiment NAME=lr-3e-5 FROM=prod SET="PATH=VALUE PATH=VALUE"
	@$(env) $(wmtp) experiment '$(NAME)' --from '$(or $(FROM),prod)' $(foreach set,$(SET),--set '$(set)')$(if $(PIPELINES), --pipelines '$(PIPELINES)')

.PHONY: sweep
sweep: setup ## write an experiment for each combination: make sweep NAME=lr FROM=prod GRID="PATH=V1,V2 PATH=V1,V2"
	@$(env) $(wmtp) sweep '$(NAME)' --from '$(or $(FROM),prod)' $(foreach grid,$(GRID),--grid '$(grid)') $(foreach set,$(SET),--set '$(set)')$(if $(PIPELINES), --pipelines '$(PIPELINES)')

.PHONY: experiments
experiments: setup ## list all stacks with a base: status, loss, hours, cost so far
	@$(env) $(wmtp) experiments$(if $(FROM), --from '$(FROM)')

.PHONY: env
env: ## print the environment for pulumi by hand: eval "$(make env)"
	@tools/env

.PHONY: test
test: ## run every test
	@tools/test

.PHONY: test-fast
test-fast: ## run the tests that need no engine and no long training
	@tools/test --fast

.PHONY: bench
bench: setup ## measure, a JSON line each: fifty clients on the tracker's host for a minute (Docker, root), bench-launcher, bench-preview
	@$(env) node tools/bench-tracker.ts && node tools/bench-launcher.ts && node tools/bench-preview.ts

.PHONY: bench-launcher
bench-launcher: setup ## measure the launcher: a hundred runs and ten thousand files on a stub of the GPU cloud
	@$(env) node tools/bench-launcher.ts

.PHONY: bench-preview
bench-preview: setup ## measure previews: prod with and without the policies, up to 500 runs in a stack, experiments on a base
	@$(env) node tools/bench-preview.ts

.PHONY: check
check: setup ## check types, style, Python, shell and workflows
	@tools/check

.PHONY: fix
fix: setup ## put right what `make check` finds, where a tool can
	@tools/check --fix

.PHONY: setup
setup: ## install everything the project needs into its own folders
	@tools/setup

.PHONY: prepare
prepare: setup ## make minitest's tiny models and data (kept until their recipe changes)
	@case '$(STACK)' in minitest*) tools/prepare ;; esac

.PHONY: schemas
schemas: setup ## write the JSON Schemas of the stack file and of the trainer's config, and the table of policies, anew
	@$(env) node tools/stack-schema.ts >components/config.schema.json && node tools/policy-table.ts >docs/policies.md && python=.tools/trainer/bin/python && $$python -m weighted_mtp schema --write trainer/schema.json

.PHONY: lock
lock: setup ## write the Python locks anew from their .in files
	@tools/lock

.PHONY: clean
clean: ## destroy the stack, then remove everything that was set up, prepared and trained
	@tools/clean '$(STACK)'
