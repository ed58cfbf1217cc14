"""The demo leads with a method over a checkpoint that is there."""

import pytest

from whence import testbed
from whence.evidence.gap import compared_methods
from whence.methods import find_method
from whence.runs.demo import LEAD, demo_study


@pytest.mark.parametrize("size", ["mini", "nano", "nano@3"])
def test_the_demo_leads_with_a_checkpoint_after_a_fifth_of_training(size):
    settings = demo_study(size).attribution
    families = {name: find_method(name).family for name in settings.methods}
    assert compared_methods(families).method == LEAD
    (step,) = settings.tracin.checkpoints
    assert step in testbed.steps(size)
    assert 0.1 < step / testbed.last_step(size) < 0.3
