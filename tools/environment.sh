#!/usr/bin/env bash
# Make the virtual environment named by the first argument, from requirements.lock.
set -euo pipefail
venv=$1
python=${PYTHON:-python3}

"$python" - <<'PY' || { echo "ziggy-dask needs Python 3.11 or newer; set PYTHON=python3.12, say" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
PY

if ! "$python" -c "import ensurepip, venv" 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y python3-venv >/dev/null
    else
        echo "Python's venv is missing; as root: apt-get install python3-venv" >&2
        exit 1
    fi
fi

echo "Making the environment in $venv ..."
"$python" -m venv --clear "$venv"
grep -A 30 '^uv==' requirements.lock | awk 'NR > 1 && /^[^ ]/ { exit } { print }' >"$venv/uv.txt"
"$venv/bin/python" -m pip install -qq --require-hashes -r "$venv/uv.txt"
VIRTUAL_ENV=$PWD/$venv "$venv/bin/uv" pip install -q --compile-bytecode --require-hashes -r requirements.lock
VIRTUAL_ENV=$PWD/$venv "$venv/bin/uv" pip install -q --no-deps --no-build-isolation -e .
