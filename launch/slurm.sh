#!/usr/bin/env bash
# Trains on several hosts under Slurm: one process a host, each with all of its GPUs.
#
#   sbatch --nodes=4 launch/slurm.sh --gin_file=gin/lcss_ffhq.gin --workdir=/shared/runs/lcss_ffhq
#
# Arguments go to bin/train.py. The workdir must lie on a file system that all hosts share, or at
# least on one that the first host keeps. A job that Slurm ends early (time limit, preemption) saves
# within seconds, is put back into the queue, and goes on where it was.
#SBATCH --job-name=lcss_tf
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
#SBATCH --output=lcss_tf_%j.log
set -uo pipefail

# sbatch runs a copy of this file, from the directory that it was called in.
cd "${SLURM_SUBMIT_DIR:-.}"

# The cluster is read from the variables that srun sets (lcss_tf/training/cluster.py).
srun --kill-on-bad-exit=0 .venv/bin/python bin/train.py \
  --strategy=multi_worker --max_restarts=10 "$@"
status=$?

# 143: stopped by SIGTERM, and saved. Anything else is done, or an error that would come again.
if [ "$status" = 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
