"""The defences work with `pip install ".[pytorch]"` alone, and import no framework themselves."""

import subprocess
import sys
from pathlib import Path

import pytest

import art_nip
from art_nip import defences

BLOCKED = ("pandas", "pydantic", "yaml", "matplotlib", "tensorflow", "keras", "pyarrow")
"""What comes with other extras; joblib and cloudpickle come with scikit-learn."""

MINIMAL = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
import numpy as np
from art_nip import defences

loaded = set(sys.modules) & {{"torch", "tensorflow", "keras", "art", "pandas", "pydantic"}}
assert not loaded, loaded
import torch
from art.estimators.classification import PyTorchClassifier

torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 3, 2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(196, 2)
).eval()
x = np.random.default_rng(0).random((12, 3, 16, 16), dtype=np.float32)
classifier = PyTorchClassifier(
    model, torch.nn.CrossEntropyLoss(), (3, 16, 16), 2, clip_values=(0, 1), device_type="cpu"
)
with torch.no_grad():
    model[-1].bias -= torch.tensor(np.median(classifier.predict(x), axis=0))
quick = {{
    "sr": {{"features": 4, "blocks": 1, "steps": 2}},
    "stl": {{"n_crops": 16, "n_filters": 4, "iterations": 3}},
}}
for name in defences.NAMES:
    defence = defences.get(name).create(classifier, **quick.get(name, {{}}))
    if defences.get(name).learns:
        defence.fit(x, classifier.predict(x).argmax(axis=1))
    if hasattr(defence, "get_classifier"):
        assert defence.get_classifier().predict(x).shape == (12, 2)
    else:
        assert defence(x[:3])[0].shape == (3, 3, 16, 16)
    print(name)
"""


def test_every_name_works_with_pytorch_alone():
    run = subprocess.run(
        [sys.executable, "-c", MINIMAL], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert tuple(run.stdout.split()) == defences.NAMES


def test_every_public_class_can_be_had_and_no_other():
    for name in defences.__all__:
        assert getattr(defences, name) is not None
    for named in map(defences.get, defences.NAMES):
        if named.path.startswith("art_nip.defences."):
            assert named.family.__name__ in defences.__all__
            for kind in named.family.__subclasses__():
                if kind.__module__.startswith("art_nip"):
                    assert kind.__name__ in defences.__all__
    with pytest.raises(AttributeError, match="has no attribute 'JpegCompresion'"):
        defences.JpegCompresion  # noqa: B018


def test_without_pillow_jpeg_says_what_to_install(monkeypatch):
    for module in ("PIL", "PIL.Image"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match="to compress images as JPEG: pip install 'Pillow'"):
        defences.JpegCompression(clip_values=(0, 1))


def test_code_of_frameworks_stands_in_files_named_after_them():
    folder = Path(art_nip.__file__).parent / "defences"
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for package, stem in (("torch", "pytorch"), ("tensorflow", "tensorflow")):
            imports = f"import {package}" in text or f"from {package}" in text
            assert not imports or path.stem == stem, path
