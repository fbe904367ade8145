# shellcheck shell=bash
# What the start and stop scripts share: which rolecast runs, the data folder of each, start, stop, and what went wrong.
# Sourced, not run; bash 3.2 (macOS) is enough. Every script has a gateway of its own in a data folder of its own, so
# each is started and stopped alone, and what it stops is only what it started. Weights are shared.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*"; }

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# use_gateway NAME: the commands below are about this one.
use_gateway() {
  local base=${ROLECAST_HOME:-${XDG_DATA_HOME:-${HOME:?"is not set, so there is no place for data; set ROLECAST_HOME"}/.local/share}/rolecast}
  base=$(absolute "$base")
  export ROLECAST_STORAGE__MODELS=${ROLECAST_STORAGE__MODELS:-$base/models}
  export ROLECAST_HOME=$base/scripts/$1
  unset ROLECAST_CONFIG
  gateway_log=$ROLECAST_HOME/logs/gateway.log
  rolecast=${ROLECAST:-$root/.venv/bin/rolecast}
  [ -x "$rolecast" ] || rolecast=$(command -v rolecast) ||
    fail "Rolecast is not installed. Run 'make install' in $root, or set ROLECAST to the command."
}

# A fraction of a second of Python is saved where no gateway has ever run.
is_running() { [ -f "$ROLECAST_HOME/run/gateway.json" ] && "$rolecast" status >/dev/null 2>&1; }

# begin_start WHAT: one start at a time, or the one that fails would end what the other has started. Sets `ran_before`.
begin_start() {
  local turn=$ROLECAST_HOME/starting other
  mkdir -p "$ROLECAST_HOME" || fail "Set ROLECAST_HOME to a folder that can be written."
  if ! mkdir "$turn" 2>/dev/null; then
    other=$(cat "$turn/pid" 2>/dev/null || true)
    if [ -z "$other" ] || kill -0 "$other" 2>/dev/null; then
      fail "$1 is being started already (pid ${other:-not known}). Wait for that; if there is no such start, remove $turn."
    fi
  fi
  printf '%s' $$ >"$turn/pid"
  trap 'rm -rf "$ROLECAST_HOME/starting"' EXIT
  if is_running; then ran_before=yes; else ran_before=; fi
}

# start_gateway OPTIONS...: returns when it answers and its pinned models are loaded; else the code of `rolecast up`.
start_gateway() {
  local line
  if [ "${ROLECAST_STAND_IN:-}" = fake ]; then set -- "$@" --no-pull; fi
  COLUMNS=1000 "$rolecast" up --detach "$@" 2>&1 >/dev/null | while IFS= read -r line; do
    case $line in
      "Starting the gateway"* | "Warning: The weights of "*) ;; # the scripts say that themselves
      *) say "$line" >&2 ;;
    esac
  done
}

# absent_models: those that have a port and nobody who could answer on it, one in a line. Leaves status.json behind.
absent_models() {
  local id
  "$rolecast" status --json >"$ROLECAST_HOME/status.json" || return 0
  tr -d '\n' <"$ROLECAST_HOME/status.json" | sed 's/"id": /\
&/g' | sed -n 's/^"id": "\([^"]*\)", *"state": "absent".*/\1/p' | while read -r id || [ -n "$id" ]; do
    if grep -qF "\"model\":\"$id\"" "$ROLECAST_HOME/run/gateway.json"; then say "$id"; fi
  done
}

# require_models WHAT SCRIPT CONFIG ADVICE: fails when nobody could answer on one of its ports, and ends what was started.
require_models() {
  local absent what="$1 was stopped again, because"
  absent=$(absent_models | tr '\n' ' ')
  [ -n "$absent" ] || return 0
  if [ -n "$ran_before" ]; then what="$1 runs on as before, but"; else stop_gateway "$1" >/dev/null; fi
  fail "$what there are no weights for: $absent
Bring them with: $rolecast pull --config $(quoted "$3") $absent
or $4,
or let a small model answer for them: $2 --stand-in"
}

# stop_gateway WHAT: ends the one that was started, and checks that its ports are free.
stop_gateway() {
  local ports port
  if ! is_running; then
    say "$1 is not running."
    return 0
  fi
  ports=$(tr ',' '\n' <"$ROLECAST_HOME/run/gateway.json" | sed -n 's/.*"url":"http:[^"]*:\([0-9]*\)".*/\1/p' | sort -un)
  "$rolecast" down >/dev/null || return 1
  for port in $ports; do
    if is_open "$port"; then
      say "$1 has stopped, but somebody listens on port $port again." >&2
      return 1
    fi
  done
  say "$1 has stopped; free again: $(printf '%s' "$ports" | tr '\n' ' ')"
}

is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# link_log FILE LINK: the documented name of a log. What somebody else has put there stays.
link_log() {
  if [ -e "$2" ] && [ ! -L "$2" ]; then
    say "The log is $1; $2 is not touched, since it is no link."
    return 0
  fi
  if ! { mkdir -p "$(dirname "$2")" && ln -sfn "$1" "$2"; } 2>/dev/null; then say "The log is $1."; fi
}

# log_of MODEL: what its engine printed, or what the gateway did.
log_of() {
  local file=$ROLECAST_HOME/logs/workers/$1.log
  if [ -f "$file" ]; then say "$file"; else say "$gateway_log"; fi
}

# quoted TEXT: as a YAML scalar.
quoted() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/''/g")"; }

# absolute PATH
absolute() { case $1 in /*) say "$1" ;; \~/*) say "$HOME${1#\~}" ;; *) say "$PWD/$1" ;; esac; }

# stand_in_of OPTION...: sets ROLECAST_STAND_IN of --stand-in [MODEL], and `rest` to whatever else is there.
stand_in_of() {
  rest=
  while [ $# -gt 0 ]; do
    case $1 in
      --stand-in)
        export ROLECAST_STAND_IN=smollm2-135m
        case ${2:-} in "" | -*) ;; *) ROLECAST_STAND_IN=$2 && shift ;; esac
        ;;
      --stand-in=?*) export ROLECAST_STAND_IN=${1#*=} ;;
      *) rest="$rest$1 " ;;
    esac
    shift
  done
}
