#!/usr/bin/env bash
# Installs what building and testing need: missing Debian packages, and Python packages into .venv in the tree.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

install_debian_packages() {
  command -v apt-get >/dev/null || { echo "setup: no apt-get here; install the packages of scripts/apt-packages.txt by hand."; return; }
  local name version wanted=()
  while read -r name version; do
    case "$name" in ''|'#'*) continue ;; esac
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null || true)" = installed ] || wanted+=("$name $version")
  done < scripts/apt-packages.txt
  [ ${#wanted[@]} -gt 0 ] || return 0
  echo "setup: installing ${#wanted[@]} Debian packages"
  as_root apt-get update -q
  local selected=() entry
  for entry in "${wanted[@]}"; do
    read -r name version <<< "$entry"
    if apt-cache show "$name=$version" >/dev/null 2>&1; then
      selected+=("$name=$version")
    else
      echo "setup: the archive no longer has $name $version; taking the release's own version"
      selected+=("$name")
    fi
  done
  # An exact version can conflict with newer packages already installed beside it: then the release's own do.
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${selected[@]}" ||
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${selected[@]%%=*}"
}

install_python_packages() {
  local requirements=("$@") stamp file
  stamp="$VENV/.installed-$(cat "${requirements[@]}" requirements/constraints.txt | sha256sum | cut -c1-16)"
  [ -e "$stamp" ] && return 0
  [ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
  local arguments=()
  for file in "${requirements[@]}"; do arguments+=(-r "$file"); done
  "$VENV/bin/python" -m pip install -q --disable-pip-version-check "${arguments[@]}"
  touch "$stamp"
}

# The CUDA compiler comes from PyPI where none is installed.
development=(requirements/dev.txt)
[ -x "$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)" ] || development+=(requirements/cuda.txt)

case "${1:-dev}" in
  dev) install_debian_packages; install_python_packages "${development[@]}" ;;
  bench) install_python_packages "${development[@]}" bench/requirements.txt ;;
  *) echo "usage: scripts/setup.sh [dev|bench]" >&2; exit 2 ;;
esac
