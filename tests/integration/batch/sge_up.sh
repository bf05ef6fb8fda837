#!/usr/bin/env bash
# Start Grid Engine, from Debian's gridengine-master, -exec and -client, as one machine with
# a queue all.q and a parallel environment smp. Needs root; sge_down.sh ends it.
set -euo pipefail
export SGE_ROOT=/var/lib/gridengine SGE_CELL=default
host=$(hostname)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Loopback's other name is this host too.
echo "$host localhost" > "$SGE_ROOT/$SGE_CELL/common/host_aliases"
echo "$host" > "$SGE_ROOT/$SGE_CELL/common/act_qmaster"

sge_qmaster
for _ in $(seq 300); do qconf -sh >/dev/null 2>&1 && break; sleep 0.1; done
as_sge() { su sgeadmin -s /bin/sh -c "SGE_ROOT=$SGE_ROOT $1" || true; }
as_sge "qconf -am root"
qconf -ah "$host" || true
qconf -as "$host" || true

qconf -sconf | sed -e 's/^min_uid .*/min_uid 0/; s/^min_gid .*/min_gid 0/' \
    -e 's/flush_time=[0-9:]*/flush_time=00:00:01/' > global
qconf -Mconf global
qconf -ssconf | sed -e 's/^schedule_interval .*/schedule_interval 0:0:1/' \
    -e 's/^flush_submit_sec .*/flush_submit_sec 1/' \
    -e 's/^flush_finish_sec .*/flush_finish_sec 1/' \
    -e 's/^job_load_adjustments .*/job_load_adjustments NONE/' > sched
qconf -Msconf sched
cat > smp <<'PE'
pe_name            smp
slots              999
user_lists         NONE
xuser_lists        NONE
start_proc_args    NONE
stop_proc_args     NONE
allocation_rule    $pe_slots
control_slaves     FALSE
job_is_first_task  TRUE
urgency_slots      min
accounting_summary FALSE
qsort_args         NONE
PE
qconf -sp smp >/dev/null 2>&1 || qconf -Ap smp
qconf -sq | sed -e 's/^qname .*/qname all.q/' -e "s/^hostlist .*/hostlist $host/" \
    -e 's/^slots .*/slots 4/' -e 's/^shell .*/shell \/bin\/bash/' \
    -e 's/^pe_list .*/pe_list smp/' -e 's/^load_thresholds .*/load_thresholds NONE/' > queue
qconf -sq all.q >/dev/null 2>&1 || qconf -Aq queue

sge_execd  # after the settings: it keeps those that it began with
for _ in $(seq 300); do qhost -h "$host" | grep -q "^$host .*lx" && break; sleep 0.1; done
qmod -c '*' >/dev/null || true
qstat -f
