"""What users edit between two runs of a script changes the fingerprint; importing again does not.

Each case is a script that leaves something in `made`, and what is edited in it.
"""

import os
import subprocess
import sys
import threading
import warnings
from importlib import import_module, invalidate_caches

import pytest

from art_nip.benchmark.fingerprints import fingerprint
from tests.helpers import FRAMEWORKS

ATTACK = """
import numpy as np
from functools import cached_property, lru_cache, partial
from art.attacks.attack import EvasionAttack
SIZE = 0.1
def moved(x, by=0.2):
    return x + by
@lru_cache
def factor():
    return 3
def doubled(function):
    def wrapper(*arguments):
        return 2 * function(*arguments)
    return wrapper
class Base(EvasionAttack):
    _estimator_requirements = ()
    steps = 5
    table = {"a": [1, 2]}
    def start(self, x):
        return x * 0.5
    @property
    def half(self):
        return 0.25
    @cached_property
    def third(self):
        return 0.33
    @staticmethod
    def fixed(x):
        return x - 7
    @classmethod
    def of_class(cls, x):
        return x - 8
class Mine(Base):
    def __init__(self):
        pass
    @doubled
    def turned(self, x):
        return -x
    def generate(self, x, y=None):
        inner = lambda v: v + 11
        def nested(v, w=12):
            return [v + 13 for _ in range(w)]
        return moved(x) * SIZE + factor() + np.sign(x)
made = Mine()
"""
MODULE = """
import torch
from torch import nn
class Ste(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()
    @staticmethod
    def backward(ctx, g):
        return g * 1.0
class Part(nn.Module):
    def forward(self, x):
        return x * 2
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = Part()
        self.function = torch.relu
        self._hidden = lambda x: x + 3
        self.many = [torch.sin, {"a": lambda x: x - 4}]
        self.unregistered = [nn.ReLU()]
        self.lookup = {"scale": 5.0}
    def forward(self, x):
        return Ste.apply(self.part(x)) + 6
made = Model()
made.part.register_forward_hook(lambda module, x, out: out * 7)
"""
KERAS = """
import keras
from keras import layers, ops
def squeezed(x):
    return x * 0.5
@keras.saving.register_keras_serializable("tests")
class Own(layers.Layer):
    def __init__(self, **keywords):
        super().__init__(**keywords)
        self.scale = 2.0
        self.inner = layers.ReLU()
    def call(self, x):
        return self.inner(x) * self.scale + 3
def model():
    given = keras.Input((4,))
    first = layers.Dense(4, activation=squeezed, kernel_initializer="ones", name="first")
    second = layers.Dense(4, kernel_initializer="ones", name="second")
    a, b = first(given), second(given)
    a = layers.Lambda(lambda x: x - 4)(a)
    a = Own()(a) * 8.0
    out = layers.Subtract()([a, b])
    return keras.Model(given, ops.multiply(layers.Concatenate()([out, second(a)]), 9.0))
made = model()
"""
SUBCLASSED = """
import keras
class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [keras.layers.Dense(3, kernel_initializer="ones"), keras.layers.ReLU()]
        self.function = lambda x: x + 1
        self._hidden = 5
        self.shift = 2.0
    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.function(x) + self._hidden
made = Net()
made(keras.ops.ones((1, 4)))
"""
CLASSIFIER = """
import torch
from art.estimators.classification import PyTorchClassifier
class Loss(torch.nn.Module):
    def forward(self, scores, y):
        return torch.nn.functional.cross_entropy(scores, y) * 2
class Cooled(PyTorchClassifier):
    def __init__(self, *arguments, temperature=3.0, **keywords):
        super().__init__(*arguments, **keywords)
        self._temperature = temperature
    def predict(self, x, **keywords):
        return super().predict(x, **keywords) / self._temperature + 4
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
for parameter in net.parameters():
    torch.nn.init.ones_(parameter)
made = Cooled(net, Loss(), (1, 2, 2), 2, clip_values=(0, 1), device_type="cpu")
"""
EDITS = [
    (ATTACK, "moved(x) * SIZE", "moved(x) / SIZE"), (ATTACK, "by=0.2", "by=0.3"),
    (ATTACK, "x + by", "x - by"), (ATTACK, "SIZE = 0.1", "SIZE = 0.2"),
    (ATTACK, "return 3", "return 4"), (ATTACK, "2 * function", "3 * function"),
    (ATTACK, "steps = 5", "steps = 6"), (ATTACK, "[1, 2]", "[1, 3]"),
    (ATTACK, "x * 0.5", "x * 0.6"), (ATTACK, "0.25", "0.26"), (ATTACK, "0.33", "0.34"),
    (ATTACK, "x - 7", "x - 6"), (ATTACK, "x - 8", "x - 9"), (ATTACK, "-x", "+x"),
    (ATTACK, "v + 11", "v + 10"), (ATTACK, "w=12", "w=10"), (ATTACK, "v + 13", "v + 10"),
    (ATTACK, "np.sign", "np.abs"),
    (MODULE, "+ 6", "+ 5"), (MODULE, "x.round()", "x.floor()"), (MODULE, "g * 1.0", "g * 2.0"),
    (MODULE, "x * 2", "x * 3"), (MODULE, "torch.relu", "torch.tanh"), (MODULE, "x + 3", "x + 4"),
    (MODULE, "torch.sin", "torch.cos"), (MODULE, "x - 4", "x - 5"),
    (MODULE, "[nn.ReLU()]", "[nn.ELU()]"), (MODULE, "5.0", "5.5"), (MODULE, "out * 7", "out * 8"),
    (KERAS, "x * 0.5", "x * 0.6"), (KERAS, "scale = 2.0", "scale = 2.5"), (KERAS, "+ 3", "+ 2"),
    (KERAS, "x - 4", "x - 5"), (KERAS, "8.0", "8.5"), (KERAS, "[a, b]", "[b, a]"),
    (KERAS, "second(a)", "first(a)"), (KERAS, "9.0", "9.5"), (KERAS, "layers.ReLU", "layers.ELU"),
    (KERAS, "Subtract", "Multiply"), (KERAS, "[out, second(a)]", "[second(a), out]"),
    (SUBCLASSED, "x + 1", "x + 2"), (SUBCLASSED, "= 5", "= 6"), (SUBCLASSED, "2.0", "2.5"),
    (SUBCLASSED, "self.function(x) +", "self.function(x) -"),
    (SUBCLASSED, "layers.ReLU", "layers.ELU"),
    (CLASSIFIER, "* 2", "* 3"), (CLASSIFIER, "=3.0", "=4.0"), (CLASSIFIER, "+ 4", "+ 5"),
]  # fmt: skip


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Return what runs a script anew, with files beside it, and gives what it made."""
    monkeypatch.syspath_prepend(tmp_path)
    # Python would take a file of the same second and size for the one that it has compiled.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def run(text, **beside):
        for name, content in {"users_script": text, **beside}.items():
            (tmp_path / f"{name}.py").write_text(content)
            sys.modules.pop(name, None)
        invalidate_caches()
        return import_module("users_script").made

    yield run
    for name in ("users_script", "users_helper"):
        sys.modules.pop(name, None)


@pytest.fixture(autouse=True)
def _nothing_is_unseen():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="What .* does cannot be read")
        yield


@pytest.mark.parametrize(("text", "old", "new"), EDITS)
def test_an_edit_counts_and_importing_again_does_not(script, text, old, new):
    assert text.count(old) == 1
    first = fingerprint(script(text))
    assert fingerprint(script(f"# Lines move.\n\n{text}")) == first
    assert fingerprint(script(text.replace(old, new))) != first


def test_code_in_files_beside_the_script_counts(script):
    text = "import users_helper\nfrom users_helper import f\nmade = lambda x: {}\n"
    helper = "SIZE = 1\ndef f(x):\n    return x + SIZE\n"
    for call in ("f(x)", "users_helper.f(x)"):
        values = [
            fingerprint(script(text.format(call), users_helper=helper.replace("1", each)))
            for each in ("1", "1", "2")
        ]
        assert values[0] == values[1] != values[2]


def test_use_changes_no_fingerprint(script):
    import numpy as np

    for text, x in ((MODULE, None), (KERAS, np.ones((2, 4))), (SUBCLASSED, np.ones((2, 4)))):
        made = script(text)
        before = fingerprint(made)
        if x is None:
            import torch

            made(torch.ones(2))
        else:
            made.predict(x, verbose=0)
        assert fingerprint(made) == before


def test_what_pytorch_has_compiled_from_a_script_counts(script):
    text = "import torch\n{}\ndef f(x):\n    return x * 2\nmade = {}"
    scripted = "class M(torch.nn.Module):\n    def forward(self, x):\n        return x * 3"
    for made in ("torch.jit.trace(f, torch.ones(2))", "torch.jit.script(M())", "torch.compile(M())",
                 "torch.fx.symbolic_trace(M())"):  # fmt: skip
        whole = text.format(scripted, made)
        edited = whole.replace("* 2", "* 5").replace("* 3", "* 6")
        first, again, other = (fingerprint(script(each)) for each in (whole, whole, edited))
        assert first == again != other


def test_a_tf_function_counts_by_its_code(script):
    text = "import tensorflow as tf\n@tf.function\ndef made(x):\n    return x * 2\n"
    first, again, other = (
        fingerprint(script(each)) for each in (text, text, text.replace("2", "3"))
    )
    assert first == again != other


@pytest.mark.parametrize("unseen", [threading.Lock(), (each for each in "ab"), sys.stdout])
def test_what_cannot_be_seen_is_another_each_time_and_said(unseen):
    with pytest.warns(UserWarning, match=r"computed anew each time"):
        first = fingerprint([unseen])
    with pytest.warns(UserWarning, match=type(unseen).__name__):
        assert fingerprint([unseen]) != first


def test_other_processes_find_the_same_code(script, tmp_path):
    texts = {"attack": ATTACK, "module": MODULE}
    if "tensorflow" in FRAMEWORKS:
        texts |= {"keras": KERAS, "subclassed": SUBCLASSED}
    here = []
    for name, text in texts.items():
        here.append(fingerprint(script(text)))
        (tmp_path / f"{name}_text.py").write_text(text)
    code = (
        "import sys, shutil, importlib; from art_nip.benchmark.fingerprints import fingerprint\n"
        f"sys.path.insert(0, {str(tmp_path)!r}); sys.dont_write_bytecode = True\n"
        f"for name in {list(texts)!r}:\n"
        f"    shutil.copy(f'{tmp_path}/{{name}}_text.py', '{tmp_path}/users_script.py')\n"
        "    sys.modules.pop('users_script', None); importlib.invalidate_caches()\n"
        "    print(fingerprint(importlib.import_module('users_script').made))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "3", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert run.stdout.split() == here
