#!/usr/bin/env bash
# Makes .venv ready and says nothing when it already is: tools/setup.sh run | dev
#
#   run    what running hvcluster needs (requirements.lock), and hvcluster itself, editable
#   dev    the same and what testing and changing it needs (requirements-dev.lock)
#
# May be interrupted at any point and called again: what is finished is recorded last. Calls wait for each other.
# PYTHON=/path/to/python names the interpreter; otherwise the first one of 3.11 or newer is taken.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:-run}
case $kind in
  run) lock=requirements.lock ;;
  dev) lock=requirements-dev.lock ;;
  *) echo "usage: tools/setup.sh run|dev" >&2; exit 2 ;;
esac

fail() { # WHAT REMEDY...
  printf 'setup: %s\n' "$1" >&2
  shift
  printf '       Remedy: %s\n' "$@" >&2
  exit 1
}

# One set-up at a time: two `make` in one tree would otherwise install into the same folder at once.
if command -v flock >/dev/null; then
  exec 9>.venv.lock
  flock 9
fi

# The mark holds what the environment was made from. The tree's path is in it because an environment cannot be
# moved: its scripts and the editable install name the place where they were made.
want="$(cat "$lock" pyproject.toml | cksum) $PWD"
holds() { [ -f ".venv/.ready-$1" ] && [ "$(cat ".venv/.ready-$1")" = "$2" ]; }
if [ -x .venv/bin/python ] && holds "$kind" "$want"; then
  exit 0
fi

at_least_311='import sys; sys.exit(sys.version_info < (3, 11))'
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null && "$candidate" -c "$at_least_311" >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
    [ -z "${PYTHON:-}" ] || return 0 # an interpreter that was asked for by name is not silently replaced
  done
}

usable() { # an environment of this place, of a supported Python, with a pip that starts
  [ -x .venv/bin/python ] && .venv/bin/python -c "$at_least_311" 2>/dev/null &&
    .venv/bin/python -m pip --version >/dev/null 2>&1 &&
    { [ ! -f .venv/.place ] || [ "$(cat .venv/.place)" = "$PWD" ]; }
}

if ! usable; then
  python=$(find_python)
  if [ -z "$python" ]; then
    asked=${PYTHON:-python3}
    found="is not installed"
    if command -v "$asked" >/dev/null; then found="is $("$asked" --version 2>&1 | head -n 1 || true)"; fi
    fail "hvcluster needs Python 3.11 or newer; '$asked' $found" \
      "on Debian 12 or newer: apt-get install python3 python3-venv" \
      "or name another interpreter: PYTHON=/path/to/python3.12 make ..."
  fi
  if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    fail "'$python' cannot make virtual environments: its venv or ensurepip module is missing" \
      "on Debian: apt-get install python3-venv"
  fi
  echo "setup: making .venv with $("$python" --version)"
  "$python" -m venv --clear .venv
  printf '%s' "$PWD" >.venv/.place
fi

rm -f ".venv/.ready-$kind"
echo "setup: installing from $lock (about a minute the first time)"
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
pip install -qq --no-deps --require-hashes --requirement "$lock" ||
  fail "the packages of $lock could not be installed; pip says why above" \
    "check that pip reaches a package index (proxy, CA bundle, mirror: see pip's own configuration), then call again"
pip install -qq --no-deps --no-build-isolation --editable .
pip check >/dev/null || fail "the installed packages contradict each other; '.venv/bin/pip check' says how" "make clean, then call again"
# What runs also runs with the tools beside it.
if [ "$kind" = dev ]; then
  printf '%s' "$(cat requirements.lock pyproject.toml | cksum) $PWD" >.venv/.ready-run
fi
printf '%s' "$want" >".venv/.ready-$kind"
