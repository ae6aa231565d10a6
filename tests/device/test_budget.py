"""How often NIP makes host and device meet while a defended classifier predicts.

ART itself uploads the images, its mean and std and the batch, and downloads the images and the
scores, with NIP and without.
"""

import numpy as np
import pytest

from tests.device.counting import DOWNLOAD, UPLOAD, WAIT, counted
from tests.device.helpers import WAYS, name_of
from tests.helpers import SIMULATED
from tests.nip.helpers import fitted_on

KINDS = (UPLOAD, DOWNLOAD, WAIT)

BATCH = 8

BUDGETS = {
    "similarity": (0, 0, 1),
    "nearest": (0, 0, 1),
    "shallow": (4, 6, 1),
    "views": (6, 6, 1),
    "graded views": (7, 7, 1),
    "mixed": (0, 0, 0),
}
"""The largest numbers of uploads, downloads and waits for a batch of NIP.

The wait is for whether values are finite. Class evidence here may take one step. "mixed" evidence
is a part of the model, which takes images as they come.
"""

OF_A_STEP = (2, 2, 0)
"""The same for one step more of class evidence."""


def within(found, budget):
    """Return whether there were no more meetings; on a GPU, every meeting is a wait."""
    return (found <= budget).all() if SIMULATED else found.sum() <= budget.sum()


@pytest.fixture
def meetings(on_device, bank, digits):
    """Return the function that counts what a defended predict has more than an undefended one."""
    x = digits["test"][0][:BATCH]
    # The evidence shall disagree with the model.
    x = 0.5 * x + 0.5 * np.random.default_rng(0).random(x.shape, np.float32)

    def of(classifier, batches):
        images = np.tile(x, (batches, 1, 1, 1))
        classifier.predict(images, batch_size=len(images))
        with counted() as found:
            classifier.predict(images, batch_size=len(images))
        print(found)  # the lines of code, where a test fails
        return np.array([found.count(kind) for kind in KINDS])

    def more(way, batches=1):
        defended = fitted_on(on_device, bank, way, batch_size=BATCH).attach(on_device)
        return of(defended, batches) - of(on_device, batches)

    return more


@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_meetings_for_each_batch(meetings, way, batches):
    if isinstance(way, dict):
        way = {**way, "steps": 1}
    found = meetings(way, batches)
    assert within(found, batches * np.array(BUDGETS[name_of(way)])), found


@pytest.mark.parametrize("way", [way for way in WAYS if isinstance(way, dict)], ids=name_of)
def test_meetings_for_each_step(meetings, way):
    few, many = (meetings({**way, "steps": steps, "lead": 100.0}) for steps in (2, 6))
    assert (many - few > 0).any()
    assert within(many - few, 4 * np.array(OF_A_STEP)), (many - few) / 4
