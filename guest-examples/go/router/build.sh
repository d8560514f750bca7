#!/bin/sh
# Makes app.wasm. The world of the component is that of the package wasihttp.
set -eu
cd "$(dirname "$0")"
GOARCH=wasm GOOS=wasip1 go build -trimpath -buildmode=c-shared -ldflags='-s -w' -o core.wasm .
wasmcluster componentize core.wasm --wit ../starter/wasihttp/wit -o app.wasm
