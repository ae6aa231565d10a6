"""A workbench in another process works with the settings of the first."""

import pickle

import numpy as np
import pytest
from art.estimators.classification import BlackBoxClassifier

from art_nip.benchmark.execution.workbench import Workbench
from art_nip.utils.frameworks import code_of


def pytorch_settings(on: bool) -> None:
    import torch

    torch.backends.cudnn.allow_tf32 = on
    torch.backends.cudnn.benchmark = on
    torch.set_float32_matmul_precision("high" if on else "highest")
    torch.use_deterministic_algorithms(on)


def tensorflow_settings(on: bool) -> None:
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(on)


CHANGE = {"pytorch": pytorch_settings, "tensorflow": tensorflow_settings}


@pytest.mark.parametrize("on", [True, False])
def test_it_takes_over_the_settings_that_results_depend_on(framework, classifier, on):
    code = code_of("art_nip.utils", framework)
    before = code.numerics()
    try:
        CHANGE[framework](on)
        expected, packed = code.numerics(), pickle.dumps(Workbench(classifier, f"key {on}"))
        CHANGE[framework](not on)
        assert code.numerics() != expected
        assert pickle.loads(packed).classifier.nb_classes == 10
        assert code.numerics() == expected
    finally:
        code.set_numerics(before)
    assert code.numerics() == before


def test_it_takes_them_over_for_a_classifier_of_no_framework_and_once_more(framework):
    """What a black box runs may be of any, and a worker may have served another benchmark since."""
    code = code_of("art_nip.utils", framework)
    box = BlackBoxClassifier(zeros, (1, 2, 2), 3, clip_values=(0, 1))
    before = code.numerics()
    try:
        CHANGE[framework](True)
        expected, packed = code.numerics(), pickle.dumps(Workbench(box, "black box"))
        for _ in range(2):
            CHANGE[framework](False)
            assert pickle.loads(packed).classifier.nb_classes == 3
            assert code.numerics() == expected
    finally:
        code.set_numerics(before)


def zeros(x):
    return np.zeros((len(x), 3))
