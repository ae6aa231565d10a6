"""The simulated device: real values, refused meetings, and what is counted."""

import numpy as np
import pytest
import torch

from tests.device.counting import DOWNLOAD, UPLOAD, WAIT, counted
from tests.device.helpers import DEVICE
from tests.helpers import SIMULATED

pytestmark = pytest.mark.skipif(not SIMULATED, reason="This is about the simulated device itself.")


def test_it_computes_and_has_gradients():
    host = torch.linspace(-1, 1, 5, requires_grad=True)
    x = host.detach().to(DEVICE).requires_grad_()
    for each in (host, x):
        (each.relu() * each.exp()).sum().backward()
    assert str(x.grad.device) == DEVICE
    assert torch.equal(x.grad.cpu(), host.grad)


@pytest.mark.parametrize(
    "meet",
    [
        lambda x, host: x + host,
        lambda x, host: host @ x,
        lambda x, host: torch.where(x > 0, x, host),
        lambda x, host: torch.cat([x, host]),
        lambda x, host: host[x.long()],
        lambda x, host: x.gather(0, host.long()),
        lambda x, host: x.requires_grad_().sum().backward(host.sum()),
        lambda x, host: torch.autograd.grad(2 * x.requires_grad_(), x, host),
    ],
)
def test_tensors_of_the_host_are_refused(meet):
    host = torch.ones(3)
    with pytest.raises(RuntimeError, match="device"):
        meet(host.to(DEVICE), host)


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x.reshape(3, 1).detach()[1:].add_(1),
        lambda x: torch.nn.functional.linear(x, x.new_ones(2, 3)),
        lambda x: (x + 1).to(torch.float64).cpu(),
    ],
)
def test_it_computes_in_inference_mode(compute):
    found = []
    for device in (DEVICE, "cpu"):
        x = torch.arange(3.0).to(device)
        with torch.inference_mode():
            found.append(compute(x).cpu())
    assert torch.equal(*found)


@pytest.mark.parametrize("read", [np.asarray, np.square, lambda x: x.numpy()])
def test_numpy_is_refused(read):
    with pytest.raises(TypeError, match="to host memory first"):
        read(torch.ones(3, device=DEVICE))


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (lambda x: x.cpu(), DOWNLOAD),
        (lambda x: torch.ones(3).copy_(x), DOWNLOAD),
        (lambda x: torch.ones(3).to(x), UPLOAD),
        (lambda x: torch.tensor([1.0, 2.0], device=x.device), UPLOAD),
        (lambda x: x[torch.tensor([0, 1])], UPLOAD),
        (lambda x: x[[0, 1]], UPLOAD),
        (lambda x: x[None][0, np.array([0, 1])], UPLOAD),
        (lambda x: x.__setitem__(range(2), 0.0), UPLOAD),
        (lambda x: x[[]], UPLOAD),
        (lambda x: x.copy_(torch.ones(3)), UPLOAD),
        (lambda x: float(x.sum()), WAIT),
        (lambda x: bool((x > 0).all()), WAIT),
        (lambda x: x[x > 0], WAIT),
        (lambda x: x.nonzero(), WAIT),
        (lambda x: x.sum().item(), WAIT),
        (lambda x: (x + 1.0) * torch.tensor(2.0) + torch.zeros(3, device=x.device), None),
    ],
)
def test_meetings_are_counted(what, expected):
    x = torch.ones(3, device=DEVICE)
    with counted() as meetings:
        what(x)
    found = {kind: meetings.count(kind) for kind in (UPLOAD, DOWNLOAD, WAIT)}
    assert found == {kind: int(kind == expected) for kind in found}
