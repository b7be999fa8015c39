#!/bin/sh
# What can be said about the tree without running the product, cheapest first. `npm run check` is this script.
# Needs no network; `npm ci` once before it, for the formatter of JavaScript. `.ci/run` is everything, tests included.
set -eu
cd "$(dirname "$0")/.."

step() {
  printf '\n== %s\n' "$*"
  "$@"
}

step cargo fmt --all --check
if [ -f biome.json ] && [ -x node_modules/.bin/biome ]; then
  step node_modules/.bin/biome check .
else
  printf '\n== biome: not installed or not configured, skipped\n'
fi
step cargo test --quiet --test tidy
step cargo clippy --quiet --workspace --all-targets -- -D warnings
printf '\nin order\n'
