#!/usr/bin/env bash
# Everything that wants a GPU, each thing checked before it is timed, in at most 8 minutes:
#
#   bash bench/cuda/device.sh [OUT]
#
# Needs what a CUDA image usually has: Python with CuPy (13 or 14, for CUDA 12 or 13), numba, h5py,
# torch, torchvision and pytest with hypothesis; PYTHON names another interpreter. Writes report.json,
# report.md and the output of every step into OUT (bench/cuda/out). Without a GPU the same steps run
# small, on the CPU and through the host shim: a rehearsal, which says so and measures nothing.
set -euo pipefail
out=$(realpath -m "${1:-$(dirname "$0")/out}")
cd "$(dirname "$0")/../.."
# What is compiled goes beside the results, so that nothing outside is touched.
export NPREP_CACHE="${NPREP_CACHE:-$out/cache}" PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -m bench.cuda.device "$out"
