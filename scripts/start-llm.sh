#!/usr/bin/env bash
# BestBox's heavy model on port 8080; returns when it is loaded, with 1 and the end of its log when it could not be.
#   scripts/start-llm.sh [--restart] [--stand-in [MODEL]]
# Environment: LLM_MODEL_PATH, LLM_PORT, LLM_HOST, LLM_CONTEXT_SIZE, LLM_GPU_LAYERS, LLM_LOG_FILE, LLM_CUDA_DEVICE,
# LLM_SERVER_BIN (a llama-server to run instead of the built-in engine) with LLM_N_PREDICT.
# Without a GPU the same engine computes on the processor.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/gateway.sh
. "$here/gateway.sh"
# shellcheck source=scripts/llm.sh
. "$here/llm.sh"
use_gateway llm-heavy
part=heavy model=qwen2.5-14b-instruct path_variable=LLM_MODEL_PATH
port=${LLM_PORT:-8080} context=${LLM_CONTEXT_SIZE:-8192} layers=${LLM_GPU_LAYERS:-999} n_predict=${LLM_N_PREDICT:-}
file=$(absolute "${LLM_MODEL_PATH:-$HOME/models/14b/Qwen2.5-14B-Instruct-Q4_K_M.gguf}")
log=$(absolute "${LLM_LOG_FILE:-$root/llama-server.log}")
export ROLECAST_MODELS__QWEN2_5_7B_INSTRUCT__ENABLED=false
start_llm "$@"
