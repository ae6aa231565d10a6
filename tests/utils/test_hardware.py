"""GPUs: what the record says of them, and what nothing here does to them. They are made up."""

import os
import subprocess
import sys

import pytest
import torch

from art_nip.benchmark.execution.machine import machine
from art_nip.cli import main
from art_nip.utils import pytorch
from art_nip.utils.seeds import seeded


class CUDA:
    """Two GPUs that PyTorch is told of."""

    def __init__(self, monkeypatch, awake=True):
        self.read, self.seeds = [], []
        for name, value in {
            "is_available": lambda: True,
            "is_initialized": lambda: awake,
            "device_count": lambda: 2,
            "get_device_name": lambda place: f"H{place}00",
            "get_rng_state": lambda device: self.read.append(device) or torch.zeros(1),
            "set_rng_state": lambda state, device: None,
            "manual_seed_all": self.seeds.append,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)


def test_the_record_names_gpus_and_what_results_depend_on(monkeypatch):
    if not torch.cuda.is_available():
        assert "GPU" not in machine()
        assert "CUDA" not in machine()
    CUDA(monkeypatch)
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert machine().endswith(
        "CPU cores, H000, H100, CUDA 12.6, cuDNN 91002, TF32 on in convolutions of PyTorch, off in "
        "products"
    )


def test_the_record_names_gpus_of_tensorflow(monkeypatch):
    import tensorflow as tf

    from art_nip.utils import tensorflow

    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [gpu])
    of = {"device_name": "NVIDIA H100"}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: of)
    built = {"cuda_version": "12.5", "cudnn_version": "9"}
    monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: built)
    assert tensorflow.hardware() == [
        "NVIDIA H100", "CUDA 12.5", "cuDNN 9", "TF32 on in TensorFlow"
    ]  # fmt: skip


def test_seeding_wakes_no_gpu(monkeypatch):
    torch.manual_seed(3)
    gpus = CUDA(monkeypatch, awake=False)
    with seeded(7):
        pass
    assert gpus.read == []
    # What a GPU is seeded with when it wakes is what the user chose.
    assert gpus.seeds[-1] == 3


def test_gpus_that_are_awake_get_their_states_back(monkeypatch):
    gpus = CUDA(monkeypatch)
    with seeded(7):
        pass
    assert len(gpus.read) == 2
    assert gpus.seeds[-1] == 7


@pytest.mark.parametrize("users", [None, "false"])
def test_processes_share_a_gpu(users, monkeypatch, tmp_path):
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH", raising=False)
    if users:
        monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", users)
    assert main(["report", str(tmp_path)]) == 2  # there are no results
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == (users or "true")
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH")


@pytest.mark.parametrize(
    ("parameters", "buffers"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_the_device_of_a_model_without_parameters_is_that_of_its_buffers(parameters, buffers):
    module = torch.nn.Module()
    if parameters:
        module.weight = torch.nn.Parameter(torch.zeros(1, device="meta"))
    if buffers:
        module.register_buffer("scale", torch.zeros(1, device="meta"))
    expected = torch.device("meta") if parameters or buffers else None
    assert pytorch.device_of(module) == expected


def test_a_device_without_float64_is_known(monkeypatch):
    assert pytorch.has_float64(torch.device("cpu"))

    def refuse(*_, **__):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    monkeypatch.setattr(torch, "zeros", refuse)
    assert not pytorch.has_float64(torch.device("cpu"))


NEW_NAMES = """
import pickle, torch
from art_nip.utils import pytorch
torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 0
torch.backends.cudnn.version = lambda: 9
torch.backends.cudnn.conv.fp32_precision = "ieee"
torch.backends.cuda.matmul.fp32_precision = "tf32"
print(pytorch.hardware()[-1])
settings = pytorch.numerics()
torch.backends.cudnn.conv.fp32_precision = "tf32"
torch.backends.cuda.matmul.fp32_precision = "ieee"
pytorch.set_numerics(settings)
print(pytorch.hardware()[-1])
assert pytorch.numerics() == settings
"""


def test_tf32_may_be_set_by_the_names_of_pytorch_2_9():
    """Which refuses to tell what the older names say from then on."""
    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("needs PyTorch 2.9")
    run = subprocess.run(
        [sys.executable, "-c", NEW_NAMES], check=True, capture_output=True, text=True
    )
    assert run.stdout.splitlines() == ["TF32 off in convolutions of PyTorch, on in products"] * 2, (
        run.stdout
    )


TAKEN_OVER = """
import torch
from art_nip.utils import pytorch
{first}
settings = pytorch.numerics()
for undo in (
    'torch.set_default_dtype(torch.float32); torch.use_deterministic_algorithms(False)',
    'torch.backends.cudnn.allow_tf32 = True; torch.set_float32_matmul_precision("highest")',
    'torch.backends.cudnn.allow_tf32 = False; torch.set_float32_matmul_precision("medium")',
    'torch.backends.fp32_precision = "ieee"', 'torch.backends.fp32_precision = "tf32"',
    'torch.backends.cudnn.fp32_precision = "ieee"',
    'torch.backends.cudnn.conv.fp32_precision = "ieee"',
    'torch.backends.cuda.matmul.fp32_precision = "tf32"',
    'torch.backends.mkldnn.matmul.fp32_precision = "bf16"',
):
    exec(undo)
    pytorch.set_numerics(settings)
    found = pytorch.numerics()
    assert found.items() >= settings.items(), (undo, settings, found)
"""


@pytest.mark.parametrize(
    "first",
    [
        "",
        "torch.set_default_dtype(torch.float64); torch.use_deterministic_algorithms(True)",
        "torch.backends.cuda.matmul.allow_tf32 = True; torch.backends.cudnn.allow_tf32 = False",
        "torch.set_float32_matmul_precision('medium')",
        "torch.backends.cudnn.allow_tf32 = False; torch.backends.fp32_precision = 'tf32'",
        "torch.backends.cudnn.rnn.fp32_precision = 'ieee'",
        "torch.backends.mkldnn.conv.fp32_precision = 'bf16'",
    ],
)
def test_settings_are_taken_over_whatever_the_process_had_before(first):
    """By older names and newer ones, of which PyTorch refuses to tell some after the others."""
    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("needs PyTorch 2.9")
    run = subprocess.run(
        [sys.executable, "-c", TAKEN_OVER.format(first=first)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
