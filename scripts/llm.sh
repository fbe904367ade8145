# shellcheck shell=bash disable=SC2034,SC2154
# The pair of BestBox, each a gateway of its own: what both start scripts do. Sourced; `set_model` comes first.
# What differs comes as: part (heavy, light), model, port, file of the weights, context per slot, layers, n_predict, log.

# start_llm OPTIONS...
start_llm() {
  local name code=0
  stand_in_of "$@"
  begin_start "The $part model"
  case $rest in
    "") [ -z "$ran_before" ] || fail "The $part model already runs on port $port; use --restart to start it anew." ;;
    "--restart ") [ -z "$ran_before" ] || stop_gateway "The $part model" ;;
    *) fail "Unknown option: $rest; there are --restart and --stand-in [MODEL]." ;;
  esac
  if [ ! -f "$file" ]; then
    [ -n "${ROLECAST_STAND_IN:-}" ] || fail "There is no $file. Set $path_variable to the weights, or try: $0 --stand-in"
    say "There is no $file: ${ROLECAST_STAND_IN} stands in."
  fi
  name=ROLECAST_MODELS__$(printf '%s' "$model" | tr 'a-z.-' 'A-Z__')
  [ -z "${LLM_CUDA_DEVICE:-}" ] || export CUDA_VISIBLE_DEVICES=$LLM_CUDA_DEVICE
  export "${name}__SOURCE=file:$file" "${name}__CONTEXT=$context" "${name}__GPU_LAYERS=$layers"
  if [ -n "${LLM_SERVER_BIN:-}" ]; then
    export "${name}__BINARY=$LLM_SERVER_BIN"
    [ -z "$n_predict" ] || export "${name}__ARGS=['--n-predict', $(quoted "$n_predict")]"
  elif [ -n "$n_predict" ]; then
    say "LLM_N_PREDICT is for LLM_SERVER_BIN; the built-in engine takes max_tokens of each request."
  fi
  export ROLECAST_SERVER__HOST=${LLM_HOST:-127.0.0.1} ROLECAST_SERVER__PORT=${LLM_STATUS_PORT:-0}
  export ROLECAST_ROLES__HEAVY="[$model]" ROLECAST_ROLES__LIGHT="[$model]"
  export ROLECAST_SERVER__LISTENERS="[{port: $port, name: $part, model: $model, surface: llama-server}]"
  # The name of this file is on the command line, so `pkill -f "llama-server.*8080"` finds the right gateway.
  "$rolecast" init "$ROLECAST_HOME/llama-server-$port.yaml" --preset bestbox --force >/dev/null
  say "Starting the $part model on port $port: $file"
  set -- --config "$ROLECAST_HOME/llama-server-$port.yaml"
  if [ -f "$file" ]; then set -- "$@" --no-pull; fi
  start_gateway "$@" || code=$?
  link_log "$(log_of "${ROLECAST_STAND_IN:-$model}")" "$log"
  if [ "$code" != 0 ]; then
    if is_running; then stop_gateway "The $part model" >/dev/null; fi
    if [ -f "$log" ]; then
      say "The end of $log:" >&2
      tail -n 20 "$log" >&2
    fi
    fail "The $part model did not start."
  fi
  say "Ready: http://localhost:$port/health (log: $log)"
}
