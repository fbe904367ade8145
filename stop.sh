#!/usr/bin/env bash
# Stops what start.sh started, and nothing else; requests that run may finish. Checks that the ports are free.
set -euo pipefail
# shellcheck source=scripts/gateway.sh
. "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/scripts/gateway.sh"
use_gateway slm-server
stop_gateway "SLM Server"
