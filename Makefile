# Each target is one line of `## text`, which `make help` prints. The work is in deploy/dev/.
.DEFAULT_GOAL := help
.PHONY: help run test proofs check fmt lint doc e2e browser-test page-test oidc-test contract jwks-test security deploy-check deny bench bench-data migrate check-ledger recount doctor clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

run: ## PostgreSQL, Redis, api and worker; Ctrl-C stops them (API_PROCESSES=2, WORKER_PROCESSES=2, ...)
	@deploy/dev/run

test: ## every test, on services of its own (T=name for some)
	@deploy/dev/test $(T)

check: ## all that has to hold before a change lands: layers, format, lints, docs, tests
	@deploy/dev/layers
	cargo fmt --all --check
	$(MAKE) --no-print-directory lint doc test

fmt: ## format the code
	cargo fmt --all

lint: ## clippy, also of the worker's fail points for tests, and the api without its optional parts
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --workspace --bin worker --features worker/failpoints --locked -- -D warnings
	cargo check -p api --no-default-features --locked

doc: ## the API documentation of the crates, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

proofs: ## the proofs of the referral engine: killed workers, races, random histories, deletion, a ledger that is damaged
	@deploy/dev/test --test e2e --test it -- q1_ f7_ f8_ f9_ l1_ v2_

e2e: ## the end-to-end tests only: several real processes, killed and cut off (T=name for some)
	@deploy/dev/test --test e2e $(T)

browser-test: ## the pages in a real browser: the main job, several tabs, a sibling origin (needs Node 20 and Chromium)
	@deploy/dev/browser-test $(T)

page-test: ## the public page in a real browser, in every theme (needs Node 20 and Chromium)
	@deploy/dev/page-test

oidc-test: ## signing in with an independent OpenID Provider (needs Node 20; npm brings the provider)
	@deploy/dev/oidc-test

contract: ## a running api against its OpenAPI document (needs schemathesis, from PyPI)
	@deploy/dev/contract $(T)

jwks-test: ## somebody else's library verifies our tokens (needs Python 3; PyJWT comes from PyPI into .dev/)
	@deploy/dev/jwks-test

security: ## hydra, sqlmap, wapiti and slowhttptest against a stack of its own, on loopback (T="guess drip" for some)
	@deploy/dev/security $(T)

deploy-check: ## the files in deploy/, by what checks such files without running them (from PyPI and Debian, in .dev/)
	@deploy/dev/deploy-check

deny: ## licences, sources and copies of the dependencies (cargo-deny, built into .dev/ the first time)
	@deploy/dev/deny

bench: ## the benchmark, on release binaries (needs wrk)
	@deploy/dev/bench $(T)

bench-data: ## a big database and the time that its audit takes (T="--users 100000 --entries 500000")
	@deploy/dev/bench-data $(T)

migrate: ## bring the database of `make run` up to date
	@deploy/dev/command api migrate

check-ledger: ## prove that the books of `make run` balance
	@deploy/dev/command worker check-ledger

recount: ## count referrals and grants of `make run` again, and mend counters that are off
	@deploy/dev/command worker recount $(T)

doctor: ## what is found, what runs, what is missing
	@deploy/dev/services doctor

clean: ## stop the services of this checkout and wipe their data (.dev/)
	@deploy/dev/services wipe
