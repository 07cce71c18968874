# Steps of the set-up: what is stamped is not done again; what is slow says so; what fails ends in one line.
# shellcheck shell=bash disable=SC2154 # tools is common.sh's

stamps=$tools/stamps
logs=$tools/logs
started=$SECONDS

# step NAME "what" "usual time" "remedy" STAMP COMMAND...
# Runs COMMAND with its output in a log, unless NAME's stamp says STAMP already. The stamp is written last, so that
# a step that was killed is done again.
step() {
  local name=$1 what=$2 usual=$3 remedy=$4 stamp=$5 log rc begin=$SECONDS
  shift 5
  done_already "$name" "$stamp" && return 0
  log=$logs/$name.log
  rm -f "$stamps/$name"
  say "[$(clock $((SECONDS - started)))] $what (usually $usual) ..."
  printf '%s\n' "$what, usually $usual" >"$logs/$name.now"
  # Not `( ... ) || rc=$?`: bash ignores `set -e` in whatever stands before a ||.
  set +e
  (
    set -e
    "$@"
  ) >"$log" 2>&1 </dev/null
  rc=$?
  set -e
  rm -f "$logs/$name.now"
  if [ "$rc" -ne 0 ]; then
    # Without network every lane fails; the first one says so, and that is enough.
    mkdir "$logs/failed" 2>/dev/null || exit 1
    die "$what failed: $(reason "$log"). $remedy, then run the same command again (it continues here; full log: ${log#"$root"/})"
  fi
  printf '%s\n' "$stamp" >"$stamps/$name.new" && mv "$stamps/$name.new" "$stamps/$name"
  say "[$(clock $((SECONDS - started)))] $what: done in $((SECONDS - begin)) s"
}

done_already() { [ -f "$stamps/$1" ] && [ "$(cat "$stamps/$1")" = "$2" ]; }

# The line of a log that most likely says why: the first that mentions an error, else the last one. Addresses are
# cut to their host, because they may carry credentials of a private mirror.
reason() {
  local line
  line=$(grep -vE '^[[:space:]]*$|^npm (warn|notice)|^npm error (code|errno|syscall|path|A complete log)|^npm error *$' "$1" |
    sed -E 's/^npm error //; s/^(error|ERROR): *//' |
    grep -iE 'error|cannot|can only|could not|failed|not found|no space|refused|timed? ?out|mismatch|denied|does not|ENOTFOUND|dial' | head -n 1) || true
  [ -n "$line" ] || line=$(grep -v '^[[:space:]]*$' "$1" | tail -n 1) || true
  [ -n "$line" ] || line="it said nothing"
  printf '%s' "$line" | sed -E 's#(https?://)([^/@ ]*@)?([^/ "]*)[^ "]*#\3#g; s/^[[:space:]]+//; s/[.[:space:]]+$//' | cut -c1-300
}

# lanes COMMAND... : runs the commands beside each other, each a sequence of steps; one that fails stops the others.
# Every fifteen seconds it says what is going on. Call it plainly: before a || its steps would lose their `set -e`.
lanes() {
  local command pid pids=() failed=0 alive ticks=0 now
  rm -rf "$logs/failed"
  set -m # each lane is a process group of its own, so that it can be stopped with everything it started
  for command in "$@"; do
    "$command" &
    pids+=($!)
  done
  set +m
  trap 'stop_lanes "${pids[@]}"; say "set-up stopped; the same command continues it"; exit 130' INT TERM HUP
  while :; do
    alive=0
    for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null && alive=1; done
    [ "$alive" = 1 ] || break
    for pid in "${pids[@]}"; do
      kill -0 "$pid" 2>/dev/null && continue
      wait "$pid" 2>/dev/null || failed=1
    done
    if [ "$failed" = 1 ]; then
      stop_lanes "${pids[@]}"
      break
    fi
    sleep 0.2
    ticks=$((ticks + 1))
    if [ $((ticks % 75)) = 0 ]; then
      # Between two steps there is no such file, and that is no reason to end the set-up.
      now=$({ cat "$logs"/*.now 2>/dev/null || true; } | paste -sd ';' - | sed 's/;/; /g')
      [ -z "$now" ] || say "[$(clock $((SECONDS - started)))] still at it: $now"
    fi
  done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || failed=1; done
  trap - INT TERM HUP
  return "$failed"
}

stop_lanes() {
  local pid
  for pid in "$@"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
}
