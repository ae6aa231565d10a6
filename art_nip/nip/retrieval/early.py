"""Early layers of a model, which come before the part of the model that decides on the class."""

from collections.abc import Sequence

from art_nip.estimators.layers import Call, listed


def layers_that_could_be_meant(calls: Sequence[Call]) -> str:
    """Return the names of layers that see the image early, as a text for an error.

    They are the convolutions, dense and other named layers in the first half of the forward pass,
    without those that others are part of. The choice is the user's: in models without
    convolutions it is not known which of them tells images apart.

    :param calls: the layers in the order in which a forward pass called them.
    """
    names = list(dict.fromkeys(call.name for call in calls))
    parts = [name for name in names if not any(other.startswith(f"{name}.") for other in names)]
    return listed(parts[: max(1, (len(parts) + 1) // 2)])
