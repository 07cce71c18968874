# What the machine itself must have. Each check adds to `missing` (a name and how to get it) and, where Debian has
# the thing, to `packages`.
# shellcheck shell=bash disable=SC2034 # what it finds is for those that source it

missing=()
packages=()

lacks() { # lacks "what" "how to get it" [debian package...]
  missing+=("$1 ($2)")
  shift 2
  packages+=("$@")
}

machine_has() { PATH=$(machine_path) command -v "$1" >/dev/null; }

# Sets $python to a Python 3.11 or 3.12 of the machine that can make virtual environments.
find_python() {
  local candidate found old=
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.12 python3.11; do
    found=$(PATH=$(machine_path) "$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2], sys.executable)' 2>/dev/null) || continue
    case $found in
    "3.11 "* | "3.12 "*)
      if ! "${found#* }" -c 'import ensurepip' 2>/dev/null; then
        lacks "python3-venv" "this Python has no ensurepip: install Debian's python3-venv" python3-venv
        return 1
      fi
      python=${found#* }
      return 0
      ;;
    esac
    old="${old:+$old, }${found%% *}"
  done
  lacks "Python 3.11 or 3.12" "${old:+found only $old; }Debian 12: python3 and python3-venv; else from python.org, or set PYTHON to one" python3 python3-venv
  return 1
}

# The engine of the machine, if it is new enough: sets $engine.
find_engine() {
  engine=$(PATH=$(machine_path) command -v pulumi) || return 1
  version_at_least "$("$engine" version 2>/dev/null)" 3.220 || return 1
}

check_prerequisites() {
  missing=() packages=() python='' engine=''
  machine_has make || lacks make "Debian: make; macOS: xcode-select --install" make
  find_python || true
  machine_has node || lacks "Node" "Debian: nodejs; any version that runs npm will do, Node 24 is then installed here" nodejs
  machine_has npm || lacks npm "Debian: npm" npm
  machine_has openssl || lacks openssl "Debian: openssl; it makes the certificates of a stack with stand-ins" openssl
  if [ "$(uname -s)" = Linux ]; then
    machine_has bwrap || lacks bubblewrap "Debian: bubblewrap; it isolates the solutions that are executed" bubblewrap
    machine_has setpriv || lacks setpriv "Debian: util-linux" util-linux
  fi
  if ! find_engine; then
    local go
    go=$(PATH=$(machine_path) GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || go=
    if ! version_at_least "${go:-0}" 1.26; then
      lacks "Go 1.26 or newer" "${go:+found $go; }it builds the Pulumi engine: install it from go.dev/dl, or put a pulumi 3.220 or newer on PATH"
    fi
  fi
  [ ${#missing[@]} = 0 ]
}

list_missing() {
  local one text=
  for one in "${missing[@]}"; do text=${text:+$text; }$one; done
  printf '%s' "$text"
}

can_install() { [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ] && command -v apt-get >/dev/null; }

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update
  apt-get install -y --no-install-recommends "$@"
}
