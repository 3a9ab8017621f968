#!/bin/sh
# Makes .venv with everything that development needs, from the locked requirements. Called by `make setup`.
# Safe to run again: it goes on where it was. Set PYTHON to choose the interpreter.
set -eu
cd "$(dirname "$0")/.."

say() { echo "==> $*"; }
fail() { echo "setup: $*" >&2; exit 1; }
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

choose_python() {
    for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if new_enough "$python"; then
            echo "$python"
            return
        fi
    done
    fail "no Python 3.11 or newer found${PYTHON:+ as $PYTHON}. Install one (Debian 12+: apt-get install python3 python3-venv)" \
        "or name one: make setup PYTHON=/path/to/python3.12"
}

# Debian and Ubuntu keep the module that fills a virtual environment in a package of its own.
install_venv_module() {
    package="python$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
        fail "$1 cannot make virtual environments. Run: sudo apt-get install $package"
    say "Installing $package (apt-get)"
    apt-get update -qq && apt-get install -qq --no-install-recommends "$package" >/dev/null ||
        fail "apt-get could not install $package; install it and run this again"
}

if ! { [ -x .venv/bin/python ] && new_enough .venv/bin/python; }; then
    python=$(choose_python)
    can_make_venv "$python" || install_venv_module "$python"
    say "Making the virtual environment .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi

# Progress bars for a person, silence for a log.
if [ -t 1 ]; then quiet=; else quiet=--quiet; fi
count=$(grep -c '==' requirements/dev.txt)
say "Installing $count locked packages into .venv (about a minute the first time)"
.venv/bin/python -m pip install $quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt ||
    fail "pip could not install the packages: its message is above. Run this again; it goes on where it was."
say "Installing flagschedule itself, editable"
.venv/bin/python -m pip install $quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
touch .venv/.ready
say "Ready: .venv/bin/flagschedule $(.venv/bin/flagschedule version)"
