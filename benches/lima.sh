#!/usr/bin/env bash
# Prints what mvm's commands take through the Lima VM `mvm`, beside their bounds: benches/lima.sh [RUNS]. The VM runs, and in it
# the machine `default` (`mvm --host lima start -d`). The bounds are made of the times of the connection itself.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-11}
# shellcheck source=benches/lib.sh
. benches/lib.sh
export MVM_HOST=lima
config=${LIMA_HOME:-$HOME/.lima}/mvm/ssh.config

measure 'ssh -F ssh.config lima-mvm true (the open connection)' timed ssh -F "$config" lima-mvm true
muxed=$TIME
measure 'limactl list mvm' timed limactl list --format '{{.Status}}' mvm
list=$TIME
measure 'limactl shell mvm true' timed limactl shell --workdir / mvm true
measure 'mvm status' timed "$mvm" status
printf '   %-58s %s\n' '  bound: 2 x ssh + limactl list' "$(ms $((2 * muxed + list)))"
measure 'mvm ssh -- true' timed "$mvm" ssh -- true
printf '   %-58s %s\n' '  bound: 1.5 x 2 x ssh' "$(ms $((3 * muxed)))"
