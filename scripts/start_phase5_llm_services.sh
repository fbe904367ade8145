#!/usr/bin/env bash
# The three LLM services of PAS on ports 8050-8052, with its registry (6121), heartbeat monitor (6109), provider router
# (6103) and gateway (6120); returns when all are healthy, else with 1.
#   scripts/start_phase5_llm_services.sh [--stand-in [MODEL]]
# A model that a running Ollama has (OLLAMA_HOST, else 11434; TinyLlama also 11435) is asked there; any other is run here.
# Another configuration than the preset `pas`: PAS_CONFIG. ROLECAST_SERVER__PORT is the port of the status page.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/gateway.sh
. "$here/gateway.sh"
use_gateway phase5
stand_in_of "$@"
[ -z "$rest" ] || fail "Unknown option: $rest; there is --stand-in [MODEL]."
begin_start PAS
export ROLECAST_SERVER__PORT=${ROLECAST_SERVER__PORT:-0}

# ask_ollama MODEL VARIABLE URL...: let the first of these that has the model answer for it.
ask_ollama() {
  local wanted=$1 variable=ROLECAST_MODELS__$2 url
  shift 2
  for url in "$@"; do
    case $url in http://* | https://*) ;; *) url=http://$url ;; esac
    if curl -fsS --max-time 3 "$url/api/tags" 2>/dev/null | grep -qF "\"name\":\"$wanted\""; then
      say "$wanted: Ollama at $url"
      export "${variable}__BACKEND=openai" "${variable}__URL=$url/v1" "${variable}__SOURCE="
      return
    fi
  done
  say "$wanted: run here (no Ollama at $* has it)"
}

if [ -z "${PAS_CONFIG:-}$ran_before" ]; then
  main=${OLLAMA_HOST:-${OLLAMA_URL:-127.0.0.1:11434}}
  ask_ollama llama3.1:8b LLAMA3_1_8B "$main"
  ask_ollama tinyllama:1.1b TINYLLAMA_1_1B 127.0.0.1:11435 "$main"
fi
config=${PAS_CONFIG:-${PAS_ALL:-}}
if [ -n "$config" ]; then set -- --config "$config"; else set -- --preset pas; fi
start_gateway "$@" || fail "The services did not start; their log is $gateway_log"
config=$(sed -n 's/.*"config":"\([^"]*\)".*/\1/p' "$ROLECAST_HOME/run/gateway.json")
require_models PAS "$0" "$config" "start an Ollama that has them"
code=0
while read -r name url surface; do
  case $surface in
    pas) well='"status":"healthy"' ;;
    registry | heartbeat | providers | gateway | events | agents | tokens | resources) well='"status":"ok"' ;;
    *) continue ;;
  esac
  if [ "$surface" != pas ]; then
    if curl -fsS --max-time 10 "$url/health" | grep -q "$well"; then
      say "✅ $name: $url is healthy"
    else
      say "❌ $name: $url is not healthy" >&2
      code=1
    fi
    continue
  fi
  case $name in
    llm_tinyllama_1b) log=${LLM_LOG_DIR:-/tmp}/llm_tinyllama.log ;;
    tlc_domain_classifier) log=${LLM_LOG_DIR:-/tmp}/llm_tlc_classifier.log ;;
    *) log=${LLM_LOG_DIR:-/tmp}/$name.log ;;
  esac
  link_log "$gateway_log" "$log"
  if curl -fsS --max-time 10 "$url/health" | grep -q "$well"; then
    say "✅ $name: $url is healthy (log: $log)"
  else
    say "❌ $name: $url is not healthy" >&2
    code=1
  fi
done <<END
$(tr '{' '\n' <"$ROLECAST_HOME/run/gateway.json" | sed -n 's/"name":"\([^"]*\)","url":"\([^"]*\)".*"surface":"\([a-z]*\)".*/\1 \2 \3/p')
END
front=$(sed -n 's/^{[^[]*"url":"\([^"]*\)".*/\1/p' "$ROLECAST_HOME/run/gateway.json")
say "Status page: $front/ui"
say "Its models and figures: ROLECAST_HOME=$ROLECAST_HOME rolecast status (or services, usage, budget)"
exit $code
