#!/usr/bin/env bash
# All services of PAS in one gateway: those of the preset `pas`, and the smaller ones that it leaves closed.
#   scripts/start_all_pas_services.sh [--stand-in [MODEL]]
# Returns when all are healthy, else with 1. It is the gateway of start_phase5_llm_services.sh: start one or the other.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PAS_ALL=$(
  # shellcheck source=scripts/gateway.sh
  . "$here/gateway.sh"
  use_gateway phase5
  mkdir -p "$ROLECAST_HOME" || fail "Set ROLECAST_HOME to a folder that can be written."
  "$rolecast" init - --preset pas | sed 's/^\( *\)# - {port: /\1- {port: /' >"$ROLECAST_HOME/all.yaml"
  say "$ROLECAST_HOME/all.yaml"
)
export PAS_ALL
exec "$here/start_phase5_llm_services.sh" "$@"
