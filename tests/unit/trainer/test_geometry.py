"""Where action units move the parts of a face, and where a pose moves the whole of it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.synth.geometry import Placement, build_face
from trainer.synth.person import Pose, sample_person, sample_pose

SOMEBODY = replace(sample_person(np.random.default_rng(5)), contempt_side=1)
STRAIGHT = Pose(yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0)
CORNER_LEFT, CORNER_RIGHT, MIDDLE = 0, 23, 12


def corners(units):
    """Heights of the mouth's corners; y grows downwards."""
    opening = build_face(SOMEBODY, units).mouth.opening
    return opening[CORNER_LEFT, 1], opening[CORNER_RIGHT, 1]


def brow_height(units, side=1):
    return build_face(SOMEBODY, units).eyes[side].brow[:, 1].mean()


def eye_opening(units):
    white = build_face(SOMEBODY, units).eyes[0].white[:, 1]
    return white.max() - white.min()


def test_a_smile_lifts_both_corners():
    """The lip corner puller raises left and right alike."""
    rest, smile = corners({}), corners({"AU12": 1.0})
    assert smile[0] < rest[0]
    assert smile[1] < rest[1]
    assert smile[0] == pytest.approx(smile[1])


def test_sadness_lowers_both_corners():
    """The lip corner depressor lowers left and right alike."""
    rest, sad = corners({}), corners({"AU15": 1.0})
    assert sad[0] > rest[0]
    assert sad[1] > rest[1]


def test_contempt_lifts_one_corner_only():
    """The dimpler acts on the person's own side and leaves the other one alone."""
    rest, contempt = corners({}), corners({"AU14": 1.0})
    assert contempt[0] == pytest.approx(rest[0])
    assert contempt[1] < rest[1] - 0.1


def test_brows_fall_and_rise():
    """Brow lowerer and brow raisers pull against each other."""
    assert brow_height({"AU1": 1.0, "AU2": 1.0}) < brow_height({}) < brow_height({"AU4": 1.0})


def test_lids_open_and_close():
    """The upper lid raiser opens the eye, the lid tightener narrows it, and eyes closed closes it."""
    assert eye_opening({"AU5": 1.0}) > eye_opening({}) > eye_opening({"AU7": 1.0}) > eye_opening({"AU43": 1.0})


def test_the_jaw_drops():
    """Jaw drop opens the mouth and moves the chin, so that the face's box grows with it."""
    rest, dropped = build_face(SOMEBODY, {}), build_face(SOMEBODY, {"AU25": 0.6, "AU26": 1.0})
    assert dropped.mouth.openness > rest.mouth.openness + 0.2
    assert dropped.outline[:, 1].max() > rest.outline[:, 1].max()


@given(seed=st.integers(0, 10_000), intensity=st.floats(0, 1), unit=st.sampled_from(["AU12", "AU15", "AU20", "AU26"]))
def test_the_mouth_stays_inside_the_face(seed, intensity, unit):
    """No person's mouth leaves the outline, however strong a unit is."""
    face = build_face(sample_person(np.random.default_rng(seed)), {unit: intensity})
    assert np.abs(face.mouth.opening[:, 0]).max() < face.outline[:, 0].max()
    assert face.mouth.lips[:, 1].max() < face.outline[:, 1].max()


def test_an_upright_head_is_scaled_about_its_place():
    """Without a pose, head coordinates are half-heights around the place."""
    place = Placement(x=100.0, y=60.0, half_height=40.0, pose=STRAIGHT)
    assert place.pixels(np.array([(0.0, 0.0), (0.5, -1.0)])).tolist() == [[100.0, 60.0], [120.0, 20.0]]


def test_a_positive_roll_turns_clockwise():
    """At 90 degrees the top of the head points to the right of the picture."""
    place = Placement(x=0.0, y=0.0, half_height=10.0, pose=Pose(yaw_deg=0.0, pitch_deg=0.0, roll_deg=90.0))
    assert place.pixels(np.array([(0.0, -1.0)]))[0] == pytest.approx((10.0, 0.0), abs=1e-9)


def test_yaw_moves_the_nose_more_than_the_ears():
    """What stands out of the face swings further than what lies back."""
    turned = Placement(x=0.0, y=0.0, half_height=10.0, pose=Pose(yaw_deg=20.0, pitch_deg=0.0, roll_deg=0.0))
    nose, ear = turned.pixels(np.array([(0.0, 0.0), (0.0, 1.2)]))
    assert nose[0] > ear[0]


@given(seed=st.integers(0, 10_000))
def test_poses_look_roughly_at_the_camera(seed):
    """No head is turned so far that its expression is lost."""
    pose = sample_pose(np.random.default_rng(seed))
    assert abs(pose.yaw_deg) <= 28
    assert abs(pose.pitch_deg) <= 14
    assert abs(pose.roll_deg) <= 24
