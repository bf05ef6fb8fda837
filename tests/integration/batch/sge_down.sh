#!/usr/bin/env bash
# End what sge_up.sh started, by the process ids that it left.
set -uo pipefail
export SGE_ROOT=/var/lib/gridengine SGE_CELL=default
qdel -f -u '*' >/dev/null 2>&1
for file in /var/spool/gridengine/execd/*/execd.pid /var/spool/gridengine/qmaster/qmaster.pid; do
    [ -f "$file" ] && kill "$(cat "$file")" 2>/dev/null && rm -f "$file"
done
exit 0
