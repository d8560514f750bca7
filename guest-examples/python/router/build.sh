#!/bin/sh
# Makes app.wasm. What joins WSGI to wasi:http, and the interfaces of that, are those of the starter next door.
set -eu
cd "$(dirname "$0")"
[ -x .venv/bin/pip ] || python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
# componentize-py looks for packages in there, too.
export VIRTUAL_ENV=.venv
.venv/bin/componentize-py -d ../starter/wit -w handler componentize app -p . -p ../starter -o app.wasm
