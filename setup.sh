#!/bin/sh
# Makes .venv and installs both packages into it; called by `make demo` and `make test`.
# Does nothing when nothing that it depends on has changed. `./setup.sh test` also installs, with
# root rights, the system packages that some tests need; without them those tests are skipped.
set -eu
cd "$(dirname "$0")"

say() { printf '%s\n' "$*"; }
stop() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# A Python of at least 3.11, from the plain name or a versioned one.
python=
for name in python3 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null 2>&1 &&
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$name
        break
    fi
done

# System packages: what the sandbox is made of, and what Debian splits off from Python.
packages=
command -v bwrap >/dev/null 2>&1 || packages="$packages bubblewrap"
ls /usr/lib*/libseccomp.so.2 /usr/lib/*/libseccomp.so.2 /lib/*/libseccomp.so.2 2>/dev/null |
    grep -q . || packages="$packages libseccomp2"
[ -n "$python" ] || packages="$packages python3"
if [ -z "$python" ] || ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    packages="$packages python3-venv"
fi
if [ -n "$packages" ]; then
    command -v apt-get >/dev/null 2>&1 ||
        stop "install these with your system's package manager, then try again:$packages"
    [ "$(id -u)" = 0 ] ||
        stop "system packages are missing. Type: sudo apt-get install -y$packages"
    say "setup: installing$packages"
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $packages >/dev/null
    python=${python:-python3}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        stop "$("$python" --version) is too old; Python 3.11 or newer is needed."
fi

if [ "${1:-}" = test ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    wanted_by_tests=
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || wanted_by_tests="$wanted_by_tests postgresql"
    command -v chromium >/dev/null 2>&1 || wanted_by_tests="$wanted_by_tests chromium"
    if [ -n "$wanted_by_tests" ]; then
        say "setup: installing$wanted_by_tests (for tests)"
        apt-get update -qq
        # shellcheck disable=SC2086  # a list of names
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $wanted_by_tests >/dev/null
    fi
fi

# The stamp holds what the installation was made from.
stamp=.venv/.installed
wanted=$(cat setup.sh constraints.txt lib/pyproject.toml autograder/pyproject.toml | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

[ -x .venv/bin/python ] || "$python" -m venv .venv
say "setup: installing the packages into .venv (some minutes the first time)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --constraint constraints.txt --editable 'lib[pretrained,explore]' --editable 'autograder[test]'
# pip compiles what it installs, but not what stays where it is.
.venv/bin/python -m compileall -q lib/steerlab autograder/autograder
printf '%s' "$wanted" >"$stamp"
