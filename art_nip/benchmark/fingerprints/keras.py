"""What determines what a layer, a model or a loss of Keras computes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from art_nip.benchmark.fingerprints.code import is_users, mentioned

NOT_COMPUTED = {
    *("built", "compiled", "history", "input_spec", "loss", "name", "optimizer"),
    *(
        "predict_function",
        "stop_evaluating",
        "stop_predicting",
        "stop_training",
        "test_function",
        "train_function",
        "autocast",
    ),
    *("steps_per_execution", "jit_compile", "compiled_metrics", "compiled_loss"),
}
"""Attributes that training or first use sets, and that change no prediction."""


def is_of_keras(value: Any) -> bool:
    """Return whether something is a layer, a model or an operation of Keras."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(value, keras.Operation)


def parts(value: Any) -> list[Any]:
    """Return what a layer, a model or an operation consists of, in simpler terms."""
    import keras

    if not isinstance(value, keras.layers.Layer):
        return [_attributes(value, everything=True)]
    if isinstance(value, keras.Model):
        wired = hasattr(value, "operations") and not isinstance(value, keras.Sequential)
        inner = list(value.operations if wired else value.layers)
        wiring = list(_wiring(value)) if wired else []
        return [_attributes(value), inner, wiring, _weights(value)]
    config = configuration(value)
    inner = list(value._flatten_layers(include_self=False, recursive=False))
    return [config, _attributes(value, everything=config is None), inner, _weights(value)]


def configuration(value: Any) -> Any:
    """Return what Keras tells of a layer or a loss, or None if it does not."""
    try:
        config = value.get_config()
    except Exception:  # whatever the user's own raises
        return None
    return _nameless({name: each for name, each in config.items() if name != "name"})


def functions(value: Any) -> dict[str, Any]:
    """Return the functions that something keeps; in configurations only their names are."""
    return {name: each for name, each in vars(value).items() if _is_function(each)}


def _nameless(config: Any) -> Any:
    """Leave out names of layers, which Keras counts up within a process, and code as bytes."""
    if isinstance(config, dict):
        if config.get("class_name") == "__lambda__":
            return "function"
        named = "trainable" in config
        return {
            name: _nameless(each)
            for name, each in config.items()
            if not (named and name == "name") and name != "build_config"
        }
    return [_nameless(each) for each in config] if isinstance(config, (list, tuple)) else config


def _weights(layer: Any) -> list[Any]:
    """Return the weights that a layer has itself, not within another layer."""
    import keras

    variables = [*layer._trainable_variables, *layer._non_trainable_variables]
    return [keras.ops.convert_to_numpy(each) for each in variables]


def _attributes(value: Any, everything: bool = False) -> dict[str, Any]:
    """Return the settings that something keeps, beside its weights and its layers.

    :param everything: whether all public ones count; else only functions, and those of users'
        classes.
    """
    kind = type(value)
    users = is_users(kind.__module__)
    spoken_of = mentioned(kind) if users else set()
    return {
        name: each
        for name, each in vars(value).items()
        if name not in NOT_COMPUTED
        and not _is_kept_by_keras(each)
        and (
            name in spoken_of if name.startswith("_") else users or everything or _is_function(each)
        )
    }


def _is_function(value: Any) -> bool:
    return hasattr(value, "__code__") or hasattr(value, "__func__")


def _is_kept_by_keras(value: Any) -> bool:
    """Return whether something is counted otherwise: layers, weights, symbolic tensors."""
    import keras

    if isinstance(value, (list, tuple)) and len(value):
        return all(map(_is_kept_by_keras, value))
    kinds = (keras.layers.Layer, keras.Variable, keras.KerasTensor)
    return isinstance(value, kinds)


def _wiring(model: Any) -> Iterator[Any]:
    """Yield what each operation of a functional model is called with, and what comes out."""
    import keras

    places = {id(operation): place for place, operation in enumerate(model.operations)}
    own = {id(node) for nodes in model._nodes_by_depth.values() for node in nodes}

    def source(tensor: Any) -> Any:
        """Return where a symbolic tensor comes from."""
        if not isinstance(tensor, keras.KerasTensor):
            return tensor
        history = tensor._keras_history
        nodes = history.operation._inbound_nodes
        calls = [id(node) for node in nodes if id(node) in own]
        call = calls.index(id(nodes[history.node_index]))
        return ("from", places[id(history.operation)], call, history.tensor_index)

    for operation in model.operations:
        for node in operation._inbound_nodes:
            if id(node) in own:
                arguments = (node.arguments.args, node.arguments.kwargs)
                yield [places[id(operation)], _mapped(source, arguments)]
    yield _mapped(source, (model._inputs_struct, model._outputs_struct))


def _mapped(function: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _mapped(function, each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mapped(function, each) for each in value]
    return function(value)
