"""The graph of one traced pass: along which ways gradients go from scores back to images."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property


class Graph:
    """Tensors of a pass and what each was computed from, as far as gradients flow.

    :param sources: of each tensor those that it was computed from. There is no circle.
    :param images: the tensor of the images.
    :param scores: the tensor of the scores.
    """

    def __init__(self, sources: Mapping[int, Sequence[int]], images: int, scores: int) -> None:
        self._sources, self._images, self._scores = sources, images, scores

    @cached_property
    def reached(self) -> set[int]:
        """The tensors that hang on the images."""
        reached = {self._images}
        for tensor in _in_order(self._sources, self._sources):
            if any(source in reached for source in self._sources[tensor]):
                reached.add(tensor)
        return reached

    @cached_property
    def position(self) -> dict[int, int]:
        """The tensors on a way from the images to the scores; each comes after its sources."""
        order = _in_order(self._sources, [self._scores])
        return {tensor: i for i, tensor in enumerate(t for t in order if t in self.reached)}

    @property
    def connects(self) -> bool:
        """Whether any way leads from the images to the scores."""
        return self._images in self.position and self._scores in self.position

    @cached_property
    def unavoidable(self) -> list[int]:
        """The tensors that are on every way from the images to the scores, in their order.

        A tensor is one of them if no step on any way leads from before it to behind it: from the
        tensors before it in the order, no step leads further than to itself.
        """
        furthest = dict.fromkeys(self.position, 0)
        for tensor, place in self.position.items():
            for source in self._on_way(tensor):
                furthest[source] = max(furthest[source], place)
        found, so_far = [], 0
        for tensor, place in self.position.items():
            if so_far <= place:
                found.append(tensor)
            so_far = max(so_far, furthest[tensor])
        return found

    def reached_without(self, avoided: Collection[int]) -> set[int]:
        """Return the tensors on a way that can be reached from the images past the `avoided`."""
        found = {self._images}
        for tensor in self.position:
            if tensor not in avoided and any(s in found for s in self._on_way(tensor)):
                found.add(tensor)
        return found

    def leading_without(self, avoided: Collection[int]) -> set[int]:
        """Return the tensors from which a way leads to the scores past the `avoided` behind it."""
        found = {self._scores}
        for tensor in reversed(self.position):
            if tensor in found and tensor not in avoided:
                found.update(self._on_way(tensor))
        return found

    def _on_way(self, tensor: int) -> list[int]:
        return [source for source in self._sources[tensor] if source in self.position]


def _in_order(sources: Mapping[int, Sequence[int]], ends: Collection[int]) -> list[int]:
    """Return the ends and all that they hang on, each after its sources."""
    order: dict[int, None] = {}
    entered: set[int] = set()
    for end in ends:
        stack = [end]
        while stack:
            tensor = stack[-1]
            if tensor in entered:
                stack.pop()
                order.setdefault(tensor)
                continue
            entered.add(tensor)
            stack += [source for source in sources[tensor] if source not in entered]
    return list(order)
