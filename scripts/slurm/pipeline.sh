#!/usr/bin/env bash
# Run the pipeline on a SLURM cluster: DVC stays on this host, and an array of jobs runs the stages.
#   scripts/slurm/pipeline.sh 8 [STAGE ...]
# starts 8 jobs. Partition, account and so on: sbatch's own variables, such as SBATCH_PARTITION=gpu.
set -euo pipefail
n_jobs=${1:?say how many jobs, such as: scripts/slurm/pipeline.sh 8}
shift
cd "$(dirname "$0")/../.."
source .venv/bin/activate
mkdir -p logs
folder=$(mktemp -d "$PWD/logs/slurm.XXXXXX")
job=
dask scheduler --port 0 --no-dashboard --scheduler-file "$folder/scheduler.json" 2>"$folder/scheduler.log" &
scheduler=$!
end() {
    if [ -n "$job" ]; then scancel "$job"; fi
    kill "$scheduler"
    wait "$scheduler" || true
}
trap end EXIT
for _ in $(seq 60); do
    [ -s "$folder/scheduler.json" ] && break
    kill -0 "$scheduler" 2>/dev/null || { echo "error: no Dask scheduler could be started; see $folder/scheduler.log (is it installed? pip install -c constraints.txt '.[dask]')" >&2; trap - EXIT; exit 1; }
    sleep 1
done
job=$(sbatch --parsable --array="1-$n_jobs" --output="$folder/worker.%a.log" scripts/slurm/worker.sbatch "$folder/scheduler.json")
echo "SLURM job $job, logs in $folder"
fmri2img repro --scheduler "$folder/scheduler.json" --jobs "$n_jobs" "$@"
