#!/usr/bin/env bash
# Prints what a shared folder takes beside other ways to share one, in one machine: benches/mount.sh [RUNS]. As root, on a host that was
# set up, and a quiet one. FILES (10000) small files and one of MEGABYTES (1024).
#   mvm      `mvm mount`: sshfs in the machine, mvm's own SFTP server here
#   openssh  the same with OpenSSH's sftp-server, which nothing confines
#            (SKIPPED where there is none; SFTP_SERVER names one)
#   nfs      NFSv4.2 by nfs-ganesha in the machine's cell, over TCP as it is; it needs root here (SKIPPED without it)
#   disk     the machine's own disk, for comparison
# 9p has no place here: neither Debian's cloud kernel nor others that machines start with have its client.
# The machine bench-mount is removed.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-1}
# shellcheck source=benches/lib.sh
. benches/lib.sh
files=${FILES:-10000} megabytes=${MEGABYTES:-1024}
home=${MVM_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/mvm}
work=$(mktemp -d)
machine=bench-mount children=()
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

forget() {
  "$mvm" destroy "$machine" --yes --quiet 2>/dev/null || true
  ((${#children[@]} == 0)) || kill "${children[@]}" 2>/dev/null || true
  rm -rf "$work"
}
trap forget EXIT

# there COMMAND…: in the machine.
there() { "$mvm" exec "$machine" -- "$@"; }
# line TEXT: for a shell in the machine, with what it leaves in its caches first dropped.
line() { there sh -c "echo 3 > /proc/sys/vm/drop_caches; cd $folder && $1"; }

# wait_for FOLDER: until something is mounted there.
wait_for() { until there grep -q " $1 " /proc/mounts; do sleep 0.2; done; }

share_mvm() { "$mvm" mount add "$work/mvm:/mvm" "$machine" --quiet; }

# As mvm does it, with another server: its far end is the same.
# shellcheck disable=SC2094 # a pipe: one reads what the other writes
share_openssh() {
  mkfifo "$work/fifo"
  (cd "$work/openssh" && exec "$sftp_server") <"$work/fifo" |
    "$mvm" exec -i "$machine" -- /run/mvm/share /openssh '' dcache_timeout=1,dcache_max_size=100000 >"$work/fifo" 2>/dev/null &
  children+=($!)
  wait_for /openssh
}

share_nfs() {
  local pid
  read -r pid _ <"$home/machines/$machine/run/vmm"
  nsenter -t "$pid" -U -n --preserve-credentials nft insert rule inet mvm input tcp dport 2049 accept
  cat >"$work/ganesha.conf" <<CONF
NFS_CORE_PARAM { Protocols = 4; NFS_Port = 2049; Enable_NLM = false; Enable_RQUOTA = false; }
NFSv4 { Graceless = true; RecoveryRoot = $work/recovery; Minor_Versions = 1, 2; }
EXPORT { Export_Id = 1; Path = $work/nfs; Pseudo = /share; Access_Type = RW; Squash = None; SecType = sys; FSAL { Name = VFS; } }
CONF
  mkdir -p "$work/recovery" /var/run/ganesha
  nsenter -t "$pid" -n ganesha.nfsd -F -f "$work/ganesha.conf" -L "$work/ganesha.log" -p "$work/ganesha.pid" &
  children+=($!)
  # shellcheck disable=SC2016 # for the shell in the machine
  there sh -c 'mkdir -p /nfs; modprobe nfsv4; N=0; until mount -i -t nfs4 -o vers=4.2,addr=172.16.0.1,clientaddr=172.16.0.2,soft 172.16.0.1:/share /nfs 2>/dev/null; do
    [ $((N += 1)) -lt 50 ] || exit 1; sleep 0.5; done'
}

share_disk() { there sh -c 'mkdir /disk && cp -a /mvm/. /disk/'; }

# A tree as projects have them: folders of a hundred files of a kilobyte.
mkdir -p "$work"/{mvm,openssh,nfs}
for ((number = 0; number < files; number++)); do
  folder=$work/mvm/tree/$((number / 100))
  ((number % 100)) || mkdir -p "$folder"
  printf "%01000d" 0 >"$folder/$number"
done
head -c "$((megabytes << 20))" /dev/urandom >"$work/mvm/large"
cp -a "$work/mvm/." "$work/openssh/"
cp -a "$work/mvm/." "$work/nfs/"

"$mvm" start "$machine" -d --image debian --quiet
kinds=(mvm)
sftp_server=${SFTP_SERVER:-/usr/lib/openssh/sftp-server}
if [[ -x $sftp_server ]]; then kinds+=(openssh); else echo "SKIPPED: openssh needs $sftp_server"; fi
if [[ $EUID == 0 ]] && command -v ganesha.nfsd >/dev/null; then
  kinds+=(nfs)
else
  echo 'SKIPPED: nfs needs root and nfs-ganesha'
fi
kinds+=(disk)
for kind in "${kinds[@]}"; do
  "share_$kind"
  folder=/$kind
  echo "$kind"
  measure "the tree listed, with attributes (ls -lR)" timed line "ls -lR tree"
  measure 'the tree read (tar)' timed line 'tar -cf - tree | cat'
  measure 'the tree written (tar)' timed line 'tar -cf /dev/shm/t tree && rm -rf new && mkdir new && tar -C new -xf /dev/shm/t && rm /dev/shm/t'
  measure "$megabytes MB read" timed line 'dd if=large of=/dev/null bs=1M'
  measure "$megabytes MB written, to the disk (fsync)" timed line "dd if=/dev/zero of=zeroes bs=1M count=$megabytes conv=fsync; rm zeroes"
done
