#!/usr/bin/env bash
# Writes requirements.lock (run time) and requirements-dev.lock (run time and tools) from pyproject.toml.
#
#   tools/lock.sh                keep what is pinned, add and remove what pyproject.toml asks for
#   tools/lock.sh --upgrade      take the newest versions
#
# Resolved on the oldest supported Python, because what only that one needs must be pinned too. Resolved without
# anybody's pip configuration and without naming an index in the result: the lock says what, not where from.
# docs/decisions/0001-lock-format.md says why it is made this way.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly pip_tools=7.6.2
python=${PYTHON:-python3.11}
if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
  echo "lock: needs Python 3.11, the oldest supported one; '$python' is not. Remedy: PYTHON=/path/to/python3.11 make lock" >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL
export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1

"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "pip-tools==$pip_tools"

compile() { # OUTPUT ARGUMENT...
  local output=$1
  shift
  "$work/venv/bin/pip-compile" --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --annotation-style=line \
    --output-file "$output" "$@"
}

"$work/venv/bin/python" - pyproject.toml "$work" <<'PYTHON'
import pathlib, sys, tomllib

project = tomllib.loads(pathlib.Path(sys.argv[1]).read_text())
work = pathlib.Path(sys.argv[2])
groups = project["dependency-groups"]
(work / "run.in").write_text("\n".join(project["project"]["dependencies"] + groups["build"]) + "\n")
(work / "dev.in").write_text("\n".join(groups["dev"]) + "\n")
PYTHON

# Pins of the old locks are kept unless an option says otherwise.
for lock in requirements.lock requirements-dev.lock; do
  [ ! -f "$lock" ] || cp "$lock" "$work/$lock"
done
cd "$work"
compile requirements.lock run.in "$@"
compile requirements-dev.lock run.in dev.in --constraint requirements.lock "$@"
cd "$OLDPWD"

publish() { # LOCK LAW...
  local lock=$1
  shift
  { printf '# %s\n' "$@"; cat "$work/$lock"; } |
    sed -e '/considered to be unsafe/d' -e 's/-r run\.in/pyproject.toml/g' -e 's/-r dev\.in/pyproject.toml (dev)/g' -e 's/-c requirements\.lock, //' \
      >"$work/$lock.new"
  mv "$work/$lock.new" "$lock"
}
publish requirements.lock "What running hvcluster needs, and what installs it. Made by \`make lock\`; do not edit."
publish requirements-dev.lock "What running, testing and changing hvcluster needs. Made by \`make lock\`; do not edit."
