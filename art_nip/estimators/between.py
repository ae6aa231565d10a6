"""Which layer "auto" means: the one between the convolutional and the dense part of a model.

The paper (section III-C) takes the neurons between these parts. Inverse perturbations need neurons
that every image reaches, and influence needs neurons through which every score passes: else part of
what the model says goes past them. So the layer is looked for in the graph of one traced pass, and
not by the order of calls, in which the gates of squeeze-and-excitation, the queries of class
attention or the projections of other heads come before the classifying part.
"""

from collections.abc import Callable, Sequence

from art_nip.estimators.graph import Graph
from art_nip.estimators.layers import Call, Layer, called_once, listed, name_another

PURPOSE = 'layer="auto" looks for the layer between the convolutional and the dense part'


def layer_before_dense(calls: Sequence[Call], graph: Graph, compiled: Sequence[str] = ()) -> Layer:
    """Return the layer between the convolutional and the dense part of a model.

    Of the tensors of a pass it is the last for which all of this holds:

    1. Every way from the images to the scores goes through it.
    2. No convolution is behind it.
    3. Every way from it to the scores goes through a dense layer.
    4. Some way from the images to it goes past all dense layers behind the convolutions.

    The third says that the dense part is still to come, the fourth that it has not begun: gates and
    other side branches, which a way goes past, are no part of it.

    Dense layers are those that take one vector for each image. If there is no such tensor, those
    count too that are written as convolutions: with a kernel as large as the map.

    :param calls: the layers in the order in which the pass called them.
    :param graph: of the same pass.
    :param compiled: names of parts that torch.jit compiled, for the error.
    :raises ValueError: if there is none; the message lists the layers that could be meant.
    """
    if not graph.connects:
        return _first_dense(calls, graph, compiled)
    for is_convolution, is_dense in (
        (_any_convolution, lambda call: call.kind == "dense"),
        (_true_convolution, lambda call: call.kind == "dense" or not _true_convolution(call)),
    ):
        found = _between(calls, graph, is_convolution, is_dense)
        if found is not None:
            return found
    hint = layers_that_could_be_meant(calls, graph)
    raise ValueError(f"{PURPOSE}, but {_cause(calls, graph, compiled)}. {hint}")


def layers_that_could_be_meant(calls: Sequence[Call], graph: Graph) -> str:
    """Return the advice to name one of the layers that every way to the scores goes through.

    If there is none, as in an ensemble, those count that some way goes through.
    """
    passed, once = set(graph.unavoidable), called_once(calls)
    return name_another(
        [call for call in once if call.outputs.place in passed]
        or [call for call in once if call.outputs.place in graph.position]
    )


def _first_dense(calls: Sequence[Call], graph: Graph, compiled: Sequence[str]) -> Layer:
    """Return what goes into the first dense layer after the last convolution.

    Of models whose scores have no gradient to the images there is no graph to look in.
    """
    names = [call.name for call in called_once(calls) if not call.inputs.problem]
    last = max((i for i, call in enumerate(calls) if _any_convolution(call)), default=len(calls))
    for call in calls[last + 1 :]:
        if call.kind == "dense" and call.name in names:
            return Layer(call.name, "input")
    raise ValueError(
        f"{PURPOSE}, but {_cause(calls, graph, compiled)}. {name_another(called_once(calls))}"
    )


def _any_convolution(call: Call) -> bool:
    return call.kind in ("convolution", "one pixel")


def _true_convolution(call: Call) -> bool:
    return call.kind == "convolution" and not call.covers_map


def _between(
    calls: Sequence[Call],
    graph: Graph,
    is_convolution: Callable[[Call], bool],
    is_dense: Callable[[Call], bool],
) -> Layer | None:
    position = graph.position
    on_way = [call for call in calls if call.outputs.place in position]
    convolutions = [position[_place(call)] for call in on_way if is_convolution(call)]
    if not convolutions:
        return None
    last = max(convolutions)
    dense = {_place(call) for call in on_way if _is_behind(call, is_dense, position, last)}
    before, past = graph.reached_without(dense), graph.leading_without(dense)
    for tensor in reversed(graph.unavoidable):
        if position[tensor] < last:
            return None
        if tensor in before and tensor not in past:
            named = _name(tensor, called_once(calls), dense)
            if named is not None:
                return named
    return None


def _is_behind(
    call: Call, is_dense: Callable[[Call], bool], position: dict[int, int], last: int
) -> bool:
    is_layer = call.kind != "other"
    return is_layer and is_dense(call) and position[_place(call)] > last


def _place(call: Call) -> int:
    place = call.outputs.place
    assert place is not None
    return place


def _name(tensor: int, calls: Sequence[Call], dense: set[int]) -> Layer | None:
    """Return the name of a tensor; as what goes into a dense layer, if it does."""
    goes_in = [call for call in calls if call.inputs.place == tensor and not call.inputs.problem]
    comes_out = [
        call for call in calls if call.outputs.place == tensor and not call.outputs.problem
    ]
    into_dense = [call for call in goes_in if call.kind != "other" and call.outputs.place in dense]
    if into_dense:
        return Layer(into_dense[0].name, "input")
    if comes_out:
        return Layer(comes_out[0].name)
    return Layer(goes_in[0].name, "input") if goes_in else None


def _cause(calls: Sequence[Call], graph: Graph, compiled: Sequence[str]) -> str:
    if compiled:
        return f"torch.jit compiled parts into which NIP cannot see: {listed(compiled)}"
    if not any(_any_convolution(call) for call in calls):
        return "no convolution was called where NIP sees it (not within a tf.function)"
    position = graph.position
    on_way = [call for call in calls if call.outputs.place in position]
    convolutions = [position[_place(call)] for call in on_way if _any_convolution(call)]
    if not convolutions and all(
        call.outputs.place is None for call in calls if _any_convolution(call)
    ):
        return (
            "gradients go past the convolutions unseen (as within torch.utils.checkpoint with "
            "use_reentrant=True, or a tf.function of the model's own)"
        )
    if not convolutions:
        return "the scores hang on no convolution that the images reach"
    last = max(convolutions)
    if not any(_is_behind(call, lambda c: c.kind == "dense", position, last) for call in on_way):
        return (
            "no dense layer that takes one vector for each image was called after the last "
            "convolution"
        )
    return (
        "no layer between them is one that every image reaches and every score passes through, "
        "with a name that says which is meant"
    )
