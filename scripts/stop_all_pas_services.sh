#!/usr/bin/env bash
# Stops what start_all_pas_services.sh started, and nothing else; exits with 1 when a port is still taken.
set -euo pipefail
exec "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/stop_phase5_llm_services.sh"
