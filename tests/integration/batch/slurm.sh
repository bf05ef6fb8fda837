#!/usr/bin/env bash
# A real SLURM on this machine alone, for tests: `slurm.sh up` and `slurm.sh down`, as root.
#
# Nodes are slurmd processes: small-1 and small-2 with 2 cores and 2 GB each, large-1 with
# 4 cores and 8 GB; declared sizes, not those of the machine. Everything listens on loopback.
set -euo pipefail

conf=/etc/slurm/slurm.conf
run=/run/slurm
mark='# Written by the tests of ziggy-dask'
nodes=(small-1 small-2 large-1)

alive() {  # PIDFILE COMMAND: print the pid of a process of ours that lives
    local pid
    pid=$(cat "$1" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] && echo "$pid"
}

stop() {  # PIDFILE COMMAND
    local pid
    if pid=$(alive "$1" "$2"); then
        kill "$pid"
        for _ in $(seq 100); do alive "$1" "$2" >/dev/null || break; sleep 0.1; done
    fi
    rm -f "$1"
}

down() {
    scancel --quiet --user root 2>/dev/null || true
    for node in "${nodes[@]}"; do stop "$run/slurmd.$node.pid" slurmd; done
    stop "$run/slurmctld.pid" slurmctld
    stop /run/munge/munged.pid munged
}

configuration() {
    cat <<CONF
$mark
ClusterName=tests
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=slurm
AuthType=auth/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
EnforcePartLimits=ALL
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=2
KillWait=2
CompleteWait=0
MinJobAge=300
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmdSpoolDir=/var/spool/slurm-tests/%n
SlurmctldPidFile=$run/slurmctld.pid
SlurmdPidFile=$run/slurmd.%n.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.%n.log
NodeName=small-[1-2] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[6818-6819] CPUs=2 RealMemory=2048 Feature=small
NodeName=large-1 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=6820 CPUs=4 RealMemory=8192 Feature=large
PartitionName=normal Nodes=small-[1-2],large-1 Default=YES MaxTime=60
PartitionName=closed Nodes=small-1 State=DOWN AllowGroups=nogroup
CONF
}

up() {
    [ ! -e "$conf" ] || grep -qF "$mark" "$conf" || grep -qF 'Written by slurm-up.sh' "$conf" || {
        echo "$conf is not of these tests, and stays as it is" >&2
        exit 1
    }
    down
    mkdir -p "$(dirname "$conf")" && configuration >"$conf"
    install -d -o slurm -g slurm "$run" /var/log/slurm /var/lib/slurm/slurmctld
    install -d /var/spool/slurm-tests
    install -d -o munge -g munge -m 755 /run/munge
    install -d -o munge -g munge -m 700 /var/log/munge /var/lib/munge /etc/munge
    if [ ! -s /etc/munge/munge.key ]; then
        head -c 128 /dev/urandom >/etc/munge/munge.key
        chown munge: /etc/munge/munge.key && chmod 400 /etc/munge/munge.key
    fi
    rm -f /run/munge/munge.socket.2*
    runuser -u munge -- /usr/sbin/munged </dev/null
    /usr/sbin/slurmctld -c </dev/null
    for node in "${nodes[@]}"; do /usr/sbin/slurmd -N "$node" </dev/null; done
    for _ in $(seq 150); do
        [ "$(sinfo -h -N -p normal -t idle -o %N 2>/dev/null | wc -l)" = ${#nodes[@]} ] && return
        sleep 0.2
    done
    sinfo -Nl >&2
    exit 1
}

"$1"
