"""Fingerprints of layers, models and losses of Keras."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from art_nip.benchmark.fingerprints.code import mentioned
from art_nip.benchmark.fingerprints.installed import is_users

IGNORED_ATTRIBUTES = {
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
"""Attributes that training or first use sets; they change no prediction."""


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
    """Return the configuration of a layer or a loss, or None if it gives none."""
    try:
        config = value.get_config()
    except Exception:  # whatever the user's own raises
        return None
    return _nameless({key: entry for key, entry in config.items() if key != "name"})


def functions(value: Any) -> dict[str, Any]:
    """Return the functions that an object keeps; its configuration holds only their names."""
    return {name: attribute for name, attribute in vars(value).items() if _is_function(attribute)}


def _nameless(config: Any) -> Any:
    """Leave out the names of layers, which Keras numbers within a process, and code as bytes."""
    if isinstance(config, dict):
        if config.get("class_name") == "__lambda__":
            return "function"
        named = "trainable" in config
        return {
            key: _nameless(value)
            for key, value in config.items()
            if not (named and key == "name") and key != "build_config"
        }
    return [_nameless(item) for item in config] if isinstance(config, (list, tuple)) else config


def _weights(layer: Any) -> list[Any]:
    """Return the weights of a layer itself, without those of its inner layers."""
    import keras

    variables = [*layer._trainable_variables, *layer._non_trainable_variables]
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def _attributes(value: Any, everything: bool = False) -> dict[str, Any]:
    """Return the settings of an object: its attributes other than weights and layers.

    :param everything: whether all public attributes count; else only functions, and the attributes
        of the user's classes.
    """
    kind = type(value)
    users = is_users(kind.__module__)
    used = mentioned(kind) if users else set()
    return {
        name: attribute
        for name, attribute in vars(value).items()
        if name not in IGNORED_ATTRIBUTES
        and not _is_counted_otherwise(attribute)
        and (
            name in used if name.startswith("_") else users or everything or _is_function(attribute)
        )
    }


def _is_function(value: Any) -> bool:
    return hasattr(value, "__code__") or hasattr(value, "__func__")


def _is_counted_otherwise(value: Any) -> bool:
    """Return whether a value is counted elsewhere: layers, weights, symbolic tensors."""
    import keras

    if isinstance(value, (list, tuple)) and len(value):
        return all(map(_is_counted_otherwise, value))
    kinds = (keras.layers.Layer, keras.Variable, keras.KerasTensor)
    return isinstance(value, kinds)


def _wiring(model: Any) -> Iterator[Any]:
    """Yield the arguments of each operation of a functional model, and its outputs."""
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
        return {name: _mapped(function, item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mapped(function, item) for item in value]
    return function(value)
