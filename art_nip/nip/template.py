"""The neuron template T [2], the distribution of middle neurons among benign images."""

import numpy as np
import numpy.typing as npt


class NeuronTemplate:
    """The general distribution of middle neurons among benign images, T [2].

    T is the mean over images of the influence restricted to each image's middle neurons. With a
    quorum, T is this mean on the neurons that are middle in at least this share of the images, and
    zero elsewhere; a quorum of 1 is the paper's intersection, empty on every real model tried.

    :param n_neurons: number of neurons, n.
    """

    def __init__(self, n_neurons: int) -> None:
        self._sum = np.zeros(n_neurons)
        self._times_middle = np.zeros(n_neurons, np.int64)
        self._images = 0

    def add(self, middle: npt.NDArray[np.float32], is_middle: npt.NDArray[np.bool_]) -> None:
        """Add the middle influence of some images, shape (N, n)."""
        self._sum += middle.sum(axis=0, dtype=np.float64)
        self._times_middle += is_middle.sum(axis=0)
        self._images += len(middle)

    def mean(self) -> npt.NDArray[np.float32]:
        """Return T, shape (n,)."""
        return (self._sum / self._images).astype(np.float32)

    def of_quorum(self, quorum: float) -> npt.NDArray[np.float32]:
        """Return T on the neurons of the quorum.

        :param quorum: share of the images, above 0, at most 1.
        :raises ValueError: if no neuron reaches it.
        """
        share = self._times_middle / self._images
        if share.max() < quorum:
            raise ValueError(
                "The neuron template is empty: no neuron is a middle neuron of a share of "
                f"{quorum:g} of the images. The largest quorum that is not empty here is "
                f'{share.max():.6g}; template="mean" is never empty.'
            )
        return np.where(share >= quorum, self.mean(), np.float32(0))
