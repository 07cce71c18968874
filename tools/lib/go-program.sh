# A program that is built, once, from a Go module of ours: tools/NAME pins it in go.mod and go.sum.
# shellcheck shell=bash disable=SC2154 # root and tools are common.sh's

# go_program NAME PACKAGE "what it is" "usual time": prints the program's path.
go_program() {
  local name=$1 package=$2 what=$3 usual=$4
  local source=$root/tools/$name program=$tools/$name/${2##*/} stamp=$tools/stamps/$name log=$tools/logs/$name.log
  local want have draft begin=$SECONDS
  want=$(hash_of "$source/go.mod" "$source/go.sum")
  if [ ! -x "$program" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
    have=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || have=
    version_at_least "${have:-0}" 1.26 ||
      die "$what is built with Go 1.26 or newer${have:+, found $have}: install it from go.dev/dl"
    mkdir -p "$tools/$name" "$tools/logs" "$tools/stamps"
    draft=$(mktemp "$tools/$name/build.XXXXXX")
    say "building $what, once (usually $usual) ..."
    if ! (
      cd "$source"
      export GOTOOLCHAIN=local GOFLAGS="-mod=readonly -trimpath -buildvcs=false" CGO_ENABLED=0
      go build -ldflags "-s -w" -o "$draft" "$package"
    ) >"$log" 2>&1; then
      rm -f "$draft"
      die "$what could not be built, see ${log#"$root"/}: $(tail -n 1 "$log")"
    fi
    mv "$draft" "$program"
    printf '%s\n' "$want" >"$stamp"
    say "built $what in $((SECONDS - begin)) s"
  fi
  printf '%s\n' "$program"
}
