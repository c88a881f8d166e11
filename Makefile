# `make run` starts a node; `make test` is what must be green before anything is merged. The recipes work with stdin closed.
.PHONY: run cluster chaos chaos-short test lint format clippy nextest doctest bench tools

run:
	cargo run --locked

# Three nodes and what they need, from nothing, on this machine; says how to use them. Ctrl-C ends it.
# `make cluster ARGS='--nodes 5 --base-port 9000'`.
cluster:
	cargo build --locked -p hallway-gateway -p loadtest
	exec target/debug/loadtest cluster $(ARGS)

# Every fault of docs/reliability.md, each as long as the promise says, judged by what is promised: about 15 minutes. For a machine
# that does nothing else. `make chaos ARGS='--seed 7 --faults redis-kill'`.
chaos:
	cargo build --release --locked -p hallway-gateway -p loadtest
	target/release/loadtest chaos --long $(ARGS)

# Every fault once, short, and late only when it is beyond doubt: for CI.
chaos-short:
	cargo build --locked --workspace
	target/debug/loadtest chaos --lenient $(ARGS)

# Everything, in the order that fails fastest. `.ci/run` calls it and prints the minutes of each step.
test: tools
	@bash .ci/step "format" $(MAKE) --no-print-directory format
	@bash .ci/step "clippy" $(MAKE) --no-print-directory clippy
	@bash .ci/step "tests" $(MAKE) --no-print-directory nextest
	@bash .ci/step "doc tests" $(MAKE) --no-print-directory doctest

# What takes longer: thousands of seeds of the simulation, and nodes that are broken on purpose (one more build). `.ci/run` calls it
# after `make test`.
test-long: tools
	@bash .ci/step "simulation" cargo nextest run --package hallway-gateway --lib --locked --run-ignored only heavy_simulation
	@bash .ci/step "sabotage" cargo nextest run --package hallway-gateway --features sabotage --test sabotage --locked
	@bash .ci/step "chaos" $(MAKE) --no-print-directory chaos-short

lint: format clippy

format:
	cargo fmt --all --check

# The second line looks at what only the nodes that are broken on purpose have: one crate again.
clippy:
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --package hallway-gateway --all-targets --features sabotage --locked -- -D warnings

nextest:
	PATH="$(CURDIR)/target/venv/bin:$$PATH" cargo nextest run --workspace --locked

doctest:
	cargo test --workspace --doc --locked

# What Hallway adds to what the kernel asks, and instructions per operation; writes the tables of docs/performance.md. Figures of
# a whole node come from `loadtest`.
bench:
	@bash gateway/benches/run

# What the tests need beyond Rust and a C compiler: installed when CI=true, else one line says how.
tools:
	@bash .ci/install
