#!/usr/bin/env bash
# Stops what start_phase5_llm_services.sh started, and nothing else; exits with 1 when a port is still taken.
set -euo pipefail
# shellcheck source=scripts/gateway.sh
. "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/gateway.sh"
use_gateway phase5
stop_gateway "PAS"
