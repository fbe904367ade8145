#!/usr/bin/env bash
# Stops the models that start-llm.sh and start-llm-docker.sh started: both, or `heavy` or `light` alone.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/gateway.sh
. "$here/gateway.sh"
[ $# -gt 0 ] || set -- heavy light
base=${ROLECAST_HOME:-}
for part in "$@"; do
  case $part in heavy | light) ;; *) fail "'$part' is none of them; use heavy, light, or nothing for both." ;; esac
  if [ -n "$base" ]; then export ROLECAST_HOME=$base; else unset ROLECAST_HOME; fi
  use_gateway "llm-$part"
  stop_gateway "The $part model"
done
