"""Counting what passes through a Keras model on TensorFlow."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from art_nip.estimators.keras import calling_through
from art_nip.estimators.pass_counting import Passes
from art_nip.estimators.values import Arguments, Keywords


@contextmanager
def counted_calls(model: Any, passes: Passes) -> Iterator[bool]:
    """Count the calls of a model in this thread; yield whether it is a Keras model."""
    if not isinstance(model, keras.Model):
        yield False
        return

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def watched(outputs: Any) -> Any:
        def backward(gradient: Any) -> Any:
            passes.backward += len(gradient)
            return gradient

        return tf.identity(outputs), backward

    def count(call: Callable[..., Any], arguments: Arguments, keywords: Keywords) -> Any:
        outputs = call(*arguments, **keywords)
        if not tf.executing_eagerly():
            return outputs
        passes.forward += len(outputs)
        return watched(outputs)

    # KerasClassifier predicts in a compiled function, where nothing is counted.
    with _eagerly(), calling_through(model, count):
        yield True


_lock = threading.RLock()
_users = 0
_before = False


@contextmanager
def _eagerly() -> Iterator[None]:
    """Run functions eagerly, as a setting of the process; the last thread to leave restores it."""
    global _users, _before
    entered = False
    try:
        with _lock:
            if not _users:
                _before = tf.config.functions_run_eagerly()
            _users += 1
            entered = True
            tf.config.run_functions_eagerly(True)
        yield
    finally:
        if entered:
            with _lock:
                _users -= 1
                if not _users:
                    tf.config.run_functions_eagerly(_before)
