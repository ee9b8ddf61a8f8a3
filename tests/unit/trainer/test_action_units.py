"""Facial action units: prototypes, sampled faces and blends between them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.expressions import EXPRESSIONS
from trainer.synth.action_units import NAMES, PROTOTYPES, blend, expression_index, sample

SEEDS = st.integers(min_value=0, max_value=2**32 - 1)


def test_every_expression_has_a_prototype_and_no_other_does():
    """The table and the vocabulary name the same expressions."""
    assert set(PROTOTYPES) == set(EXPRESSIONS)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_prototypes_name_known_units_with_intensities(expression):
    """A unit that nothing draws, or an intensity beyond the scale, is a slip of the pen."""
    for prototype in PROTOTYPES[expression]:
        for name, intensity in {**prototype.units, **prototype.optional}.items():
            assert name in NAMES
            assert 0 < intensity <= 1


@given(seed=SEEDS, expression=st.sampled_from(EXPRESSIONS))
def test_sampled_intensities_stay_on_the_scale(seed, expression):
    """Whatever is drawn, an intensity lies between absent and maximum."""
    units = sample(expression, np.random.default_rng(seed))
    assert set(units) <= set(NAMES)
    assert all(0 <= value <= 1 for value in units.values())


@given(seed=SEEDS, expression=st.sampled_from(EXPRESSIONS))
def test_the_same_generator_state_gives_the_same_face(seed, expression):
    """Sampling takes nothing from outside its generator."""
    assert sample(expression, np.random.default_rng(seed)) == sample(expression, np.random.default_rng(seed))


@given(seed=SEEDS)
def test_expressions_can_be_told_apart_by_their_units(seed):
    """A sampled face is nearer to a prototype of its own expression than to one of any other."""
    rng = np.random.default_rng(seed)

    def distance(units, prototype):
        strength = 0.8
        return sum((units.get(name, 0) - strength * prototype.units.get(name, 0)) ** 2 for name in NAMES)

    for expression in EXPRESSIONS:
        units = sample(expression, rng)
        nearest = min(EXPRESSIONS, key=lambda other: min(distance(units, p) for p in PROTOTYPES[other]))
        assert nearest == expression


@given(seed=SEEDS)
def test_a_blend_ends_where_it_should(seed):
    """At its ends a blend is one face or the other."""
    rng = np.random.default_rng(seed)
    one, other = sample("sad", rng), sample("surprise", rng)
    names = {*one, *other}
    assert blend(one, other, 0.0) == pytest.approx({name: one.get(name, 0.0) for name in names})
    assert blend(one, other, 1.0) == pytest.approx({name: other.get(name, 0.0) for name in names})


def test_label_indices_follow_the_vocabulary():
    """The index written into labels is the position in the one list."""
    assert [expression_index(name) for name in EXPRESSIONS] == list(range(len(EXPRESSIONS)))
