#!/bin/sh
# Makes app.wasm, with the types checked before.
set -eu
cd "$(dirname "$0")"
# npm writes down in there what it has installed.
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund
npm run build
