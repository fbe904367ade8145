#!/usr/bin/env bash
# BestBox's light model on port 8081; returns when it is loaded, with 1 and the end of its log when it could not be.
#   scripts/start-llm-docker.sh [--restart] [--stand-in [MODEL]]
# It needs no container: it runs like the heavy model, with the same engine, and `scripts/stop-llm.sh light` stops it.
# Environment: as of start-llm.sh, but LLM_LIGHT_MODEL_PATH, LLM_LIGHT_PORT, LLM_LIGHT_CONTEXT_SIZE, LLM_LIGHT_GPU_LAYERS,
# LLM_LIGHT_N_PREDICT and LLM_LIGHT_LOG_FILE are its own.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/gateway.sh
. "$here/gateway.sh"
# shellcheck source=scripts/llm.sh
. "$here/llm.sh"
use_gateway llm-light
part=light model=qwen2.5-7b-instruct path_variable=LLM_LIGHT_MODEL_PATH n_predict=${LLM_LIGHT_N_PREDICT:-}
port=${LLM_LIGHT_PORT:-8081} context=${LLM_LIGHT_CONTEXT_SIZE:-2048} layers=${LLM_LIGHT_GPU_LAYERS:-99}
file=$(absolute "${LLM_LIGHT_MODEL_PATH:-$HOME/models/7b/qwen2.5-7b-instruct-q5_k_m.gguf}")
log=$(absolute "${LLM_LIGHT_LOG_FILE:-$root/llama-server-light.log}")
export ROLECAST_MODELS__QWEN2_5_14B_INSTRUCT__ENABLED=false
say "No Docker is used; scripts/stop-llm.sh light stops this model."
start_llm "$@"
