#!/usr/bin/env bash
# Gradescope runs this once, as root, when it makes the container for this autograder.
set -eu
umask 022
source=$(cd "$(dirname "$0")" && pwd)
environment=${STEERLAB_ENVIRONMENT:-/opt/steerlab}
export DEBIAN_FRONTEND=noninteractive

stop() { printf 'setup: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || stop "this needs root, as Gradescope's containers give it."

# The hidden tests are here: nobody but root may look, whatever the archive's modes became.
chmod -R go= "$source"

# A Python of at least 3.11, with what it needs to make an environment.
python=
for name in python3 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null 2>&1 &&
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$name
        break
    fi
done
packages=
find /usr/lib /lib -name 'libseccomp.so.2*' 2>/dev/null | grep -q . || packages="libseccomp2"
if [ -z "$python" ]; then
    python=python3.11
    packages="$packages python3.11 python3.11-venv"
elif ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    packages="$packages $python-venv"
fi
if [ -n "$packages" ]; then
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of names
    apt-get install -y -qq $packages >/dev/null
fi

# The environment is students' to read; the packages that grade stay where only root looks.
"$python" -m venv "$environment"
if [ -f "$source/pip.conf" ]; then
    export PIP_CONFIG_FILE="$source/pip.conf"
fi
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir \
    --constraint "$source/constraints.txt" --requirement "$source/requirements.txt"
chmod -R go+rX "$environment"

AUTOGRADER_ROOT=$(dirname "$source") "$source/run_autograder" --check ||
    printf 'setup: the line above says why submissions would stay ungraded if they ran here.\n'
