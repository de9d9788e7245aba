#!/usr/bin/env bash
# All figures of a GPU in under 8 minutes, on a machine with PyTorch and Wardround's requirements, from any checkout:
#
#   scenarios/benchmark/on_gpu.sh [FOLDER] [--paper]
#
# FOLDER (gpu-figures) then holds machine.txt, bench.txt and bench.json. --paper also makes the paper's 290 subjects and
# runs its scenario, which takes as many minutes again. Each figure is written as soon as it is known.
set -euo pipefail
folder=$(realpath -m "${1:-gpu-figures}")
shift || true
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mkdir -p "$folder"
python=${PYTHON:-python3}
limit=470
for option in "$@"; do [ "$option" = --paper ] && limit=1500; done

{
    date -u
    nvidia-smi --query-gpu=name,memory.total,driver_version,clocks.sm,utilization.gpu --format=csv || true
    nproc
    "$python" - <<'END'
import platform
from importlib.metadata import PackageNotFoundError, version

print("python", platform.python_version())
for name in ("torch", "triton", "numpy", "scipy", "monai", "flwr", "ray"):
    try:
        print(name, version(name))
    except PackageNotFoundError:
        print(name, "is not installed")
import torch

print("CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version() if torch.cuda.is_available() else None)
END
} 2>&1 | tee "$folder/machine.txt"

# Asked to end, not killed: a run that it started then ends, too.
timeout "$limit" "$python" -P -m scenarios.cli bench --device "${DEVICE:-cuda}" --json "$folder/bench.json" "$@" 2>&1 |
    tee "$folder/bench.txt"
