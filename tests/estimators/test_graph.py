"""The graph of a pass against removing its tensors one by one."""

from hypothesis import given
from hypothesis import strategies as st

from art_nip.estimators.graph import Graph

N = 9


@st.composite
def graphs(draw):
    """Return what each of N tensors was computed from; the first is the images, the last scores."""
    return {
        tensor: draw(st.lists(st.integers(0, tensor - 1), max_size=3, unique=True))
        if tensor
        else []
        for tensor in range(N)
    }


def leads(sources, start, end, avoided=()):
    """Return whether a way leads from one tensor to another past those avoided between them."""
    if start == end:
        return True
    return any(
        leads(sources, start, source, avoided)
        for source in sources[end]
        if source == start or source not in avoided
    )


@given(graphs())
def test_unavoidable_tensors_are_those_without_which_no_way_is_left(sources):
    graph = Graph(sources, 0, N - 1)
    assert graph.connects == leads(sources, 0, N - 1)
    assert graph.reached == {t for t in sources if leads(sources, 0, t)}
    if not graph.connects:
        return
    on_way = {t for t in sources if leads(sources, 0, t) and leads(sources, t, N - 1)}
    assert set(graph.position) == on_way
    expected = {0, N - 1} | {t for t in range(1, N - 1) if not leads(sources, 0, N - 1, {t})}
    assert set(graph.unavoidable) == expected
    assert graph.unavoidable == sorted(graph.unavoidable, key=graph.position.get)


@given(graphs(), st.sets(st.integers(1, N - 1), max_size=3))
def test_ways_past_tensors(sources, avoided):
    graph = Graph(sources, 0, N - 1)
    if not graph.connects:
        return
    past, before = graph.leading_without(avoided), graph.reached_without(avoided)
    for tensor in graph.position:
        assert (tensor in before) == (tensor not in avoided and leads(sources, 0, tensor, avoided))
        open_end = tensor == N - 1 or N - 1 not in avoided
        assert (tensor in past) == (open_end and leads(sources, tensor, N - 1, avoided))
