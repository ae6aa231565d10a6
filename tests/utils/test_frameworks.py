"""Which framework something is of, asked of everything that a user may hand over."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from art.estimators.classification.scikitlearn import ScikitlearnLogisticRegression
from sklearn.linear_model import LogisticRegression

from art_nip.utils import frameworks
from art_nip.utils.frameworks import Framework, code_of, framework_of, model_framework
from tests.helpers import FRAMEWORKS

THINGS = {
    "array": (np.zeros(2), Framework.NUMPY),
    "number of NumPy": (np.float32(1), Framework.NUMPY),
    "tensor of PyTorch": (torch.zeros(2), Framework.PYTORCH),
    "parameter": (torch.nn.Parameter(torch.zeros(2)), Framework.PYTORCH),
    "module": (torch.nn.Linear(2, 2), Framework.PYTORCH),
    "number": (1.0, None),
    "text": ("pytorch", None),
    "nothing": (None, None),
    "class": (torch.nn.Linear, None),
    "estimator of scikit-learn": (ScikitlearnLogisticRegression(LogisticRegression()), None),
}

OF_TENSORFLOW = {
    "tensor": lambda tf: tf.zeros(2),
    "variable": lambda tf: tf.Variable(0.0),
    "variable of Keras": lambda tf: tf.keras.Variable(0.0).value,
    "layer": lambda tf: tf.keras.layers.Dense(2),
    "Keras model": lambda tf: tf.keras.Sequential(),
    "module": lambda tf: tf.Module(),
}


@pytest.mark.parametrize("kind", THINGS)
def test_things_are_of_their_framework(kind):
    thing, framework = THINGS[kind]
    assert framework_of(thing) is framework


@pytest.mark.parametrize("kind", OF_TENSORFLOW)
def test_things_are_of_tensorflow(kind):
    import tensorflow as tf

    assert framework_of(OF_TENSORFLOW[kind](tf)) is Framework.TENSORFLOW


def test_classifiers_are_of_their_framework(framework, classifier):
    assert framework_of(classifier) is Framework(framework)
    assert model_framework(classifier.model) is Framework(framework)


def test_symbolic_tensors_are_of_tensorflow():
    import tensorflow as tf

    seen = []

    @tf.function
    def trace(x):
        seen.append(framework_of(x))
        return x

    trace(tf.zeros(2))
    assert seen == [Framework.TENSORFLOW]


@pytest.mark.parametrize("thing", [np.zeros(2), torch.zeros(2), "lenet5", None])
def test_what_is_no_model(thing):
    with pytest.raises(TypeError, match=rf"keras\.Model, but got {type(thing).__name__}"):
        model_framework(thing)


def test_a_module_of_tensorflow_is_no_model():
    import tensorflow as tf

    test_what_is_no_model(tf.Module())


def test_an_estimator_is_no_model(classifier):
    with pytest.raises(TypeError, match="Of an ART estimator, give its `model`"):
        model_framework(classifier)


def test_a_framework_is_its_name():
    assert [f"{framework}" for framework in Framework] == ["numpy", "pytorch", "tensorflow"]
    assert [framework.label for framework in Framework] == ["NumPy", "PyTorch", "TensorFlow"]
    assert Framework("pytorch") == "pytorch"


@pytest.mark.parametrize("package", ["art_nip.zoo", "art_nip.utils", "art_nip.testing"])
@pytest.mark.parametrize("framework", [Framework.PYTORCH, "tensorflow"])
def test_the_code_of_a_framework_is_found(package, framework):
    assert code_of(package, framework).__name__ == f"{package}.{framework}"


@pytest.mark.parametrize("framework", [Framework.NUMPY, "keras", "PyTorch", None])
def test_code_that_there_is_not(framework):
    with pytest.raises(ValueError, match=rf"framework={framework}; give pytorch or tensorflow"):
        code_of("art_nip.zoo", framework)


def test_what_is_installed_can_be_loaded():
    expected = [code_of("art_nip.utils", framework) for framework in FRAMEWORKS]
    assert all(map(frameworks.is_loaded, FRAMEWORKS))
    assert frameworks.loaded_code_of("art_nip.utils") == expected


def test_asking_imports_no_framework():
    program = (
        "import sys\n"
        "from art_nip.utils import frameworks, seeds\n"
        "from art_nip.utils.frameworks import framework_of\n"
        "assert framework_of('a') is None\n"
        "assert not frameworks.is_loaded('pytorch') and not frameworks.is_loaded('tensorflow')\n"
        "assert frameworks.loaded_code_of('art_nip.utils') == []\n"
        "with seeds.seeded(1): pass\n"
        "assert not {'torch', 'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
