#!/usr/bin/env bash
# SLM Server: reads config/models.yaml, starts a backend for each role and the router before them, and returns when they answer.
#   ./start.sh                      weights from Hugging Face's cache, LM Studio's, or `rolecast pull`
#   ./start.sh --stand-in [MODEL]   a small model answers for those that are not here ('fake' needs no weights at all)
# Again after an edit of config/models.yaml it takes the edit over. ROLECAST_SERVER__PORT is another port than 8000,
# SLM_CONFIG another file.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/gateway.sh
. "$here/scripts/gateway.sh"
use_gateway slm-server
stand_in_of "$@"
[ -z "$rest" ] || fail "Unknown option: $rest; there is --stand-in [MODEL]."
models=${SLM_CONFIG:-$here/config/models.yaml}
config=$ROLECAST_HOME/slm-server.yaml

say "🚀 Starting SLM Server"
begin_start "SLM Server"
"$rolecast" import "$models" --out "$config.new" --force 2>"$ROLECAST_HOME/import.log" >/dev/null ||
  fail "$(cat "$ROLECAST_HOME/import.log")"
grep '^note: ' "$ROLECAST_HOME/import.log" >&2 || true
mv "$config.new" "$config"

say "📦 Starting the backends of $models"
link_log "$gateway_log" "$here/logs/slm_server.log"
if [ -n "$ran_before" ]; then
  edit=$("$rolecast" reload 2>&1) || fail "$edit"
  case $edit in *" was refused"*) fail "$edit" ;; esac
fi
start_gateway --config "$config" || fail "SLM Server did not start; its log is $gateway_log"
require_models "SLM Server" "$0" "$config" "set model_path, or enabled: false, in $models"
say "✅ All backends are ready; each loads its model with the first request"

say "🔄 The router answers: $(grep -c '"surface": ' "$ROLECAST_HOME/status.json") ports"
url=$(sed -n 's/.*"url":"\([^"]*\)","listeners.*/\1/p' "$ROLECAST_HOME/run/gateway.json")
say "✅ SLM Server running on $(printf '%s' "$url" | sed 's/127\.0\.0\.1/localhost/')"
