"""What a measurement ran on, for the record beside the figures."""

import platform
from pathlib import Path
from typing import Any

import torch


def cpu_model() -> str:
    """The CPU's name as the system tells it, its architecture where it tells none."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def computer() -> dict[str, Any]:
    """What a run records of the machine it begins on: `cpu, threads`, and `gpu` where one is visible."""
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {"cpu": cpu_model(), "threads": torch.get_num_threads(), **gpu}


def describe_machine(device: torch.device, precision: str = "fp32") -> dict[str, Any]:
    """`device, name, cpu, threads, torch, precision`; `name` is the GPU's, or the CPU's when that is the device."""
    cpu = cpu_model()
    return {
        "device": str(device),
        "name": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": precision,
    }
