# Shared by the scripts of tools/. Plain bash 3.2, which is what macOS has.
# shellcheck shell=bash

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
tools=$root/.tools

say() { printf '%s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# "1.26.8" "1.26" -> true when the first is at least the second; a leading v or go and what follows the numbers do not count.
version_at_least() {
  local have=${1#v} want=${2#v} h w
  have=${have#go}
  want=${want#go}
  for _ in 1 2 3; do
    h=${have%%.*} w=${want%%.*}
    h=${h%%[!0-9]*} w=${w%%[!0-9]*}
    [ "${h:-0}" -gt "${w:-0}" ] && return 0
    [ "${h:-0}" -lt "${w:-0}" ] && return 1
    case $have in *[0-9].[0-9]*) have=${have#*.} ;; *) have=0 ;; esac
    case $want in *[0-9].[0-9]*) want=${want#*.} ;; *) want=0 ;; esac
  done
  return 0
}

# One hash of files and words together: hash_of FILE... -- WORD...
hash_of() {
  local files=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    files+=("$1")
    shift
  done
  [ $# -gt 0 ] && shift
  { cat -- "${files[@]}" && printf '%s\n' "$@"; } | if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1
}

# The PATH without this project's own folders: what the machine itself offers.
machine_path() {
  local part out=
  local IFS=:
  for part in $PATH; do
    case $part in "$tools"/* | "$root"/node_modules/*) continue ;; esac
    out=${out:+$out:}$part
  done
  printf '%s' "$out"
}

clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }
