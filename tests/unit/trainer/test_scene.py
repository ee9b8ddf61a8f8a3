"""Rendered pictures and their labels."""

import numpy as np
import pytest

from mien.dataset import LabelBox, parse_label_line
from mien.expressions import EXPRESSIONS
from trainer.synth.dataset_writer import generator_of, label_line
from trainer.synth.scene import FaceLabel, clip, render_scene

SIDE = 96
SCENES = [render_scene(generator_of(3, 0, index), SIDE, SIDE, (), first=index % 8) for index in range(16)]


def test_a_picture_comes_from_its_generator_alone():
    """The same state renders the same bytes and the same labels."""
    again = render_scene(generator_of(3, 0, 5), SIDE, SIDE, (), first=5)
    assert again.pixels.tobytes() == SCENES[5].pixels.tobytes()
    assert again.faces == SCENES[5].faces


def test_places_of_a_seed_are_independent():
    """Another index, split or seed is another picture."""
    others = [generator_of(3, 0, 6), generator_of(3, 1, 5), generator_of(4, 0, 5)]
    first = generator_of(3, 0, 5).integers(1 << 62)
    assert all(other.integers(1 << 62) != first for other in others)


@pytest.mark.parametrize("index", range(16))
def test_the_first_face_shows_what_was_asked_for(index):
    """So classes are balanced over a data set."""
    scene = SCENES[index]
    assert scene.faces[0].class_index == index % 8
    assert scene.faces[0].attributes["expression"] == EXPRESSIONS[index % 8]


def test_every_face_is_labelled_inside_the_picture():
    """One to three faces, each with a box of its own inside the picture."""
    for scene in SCENES:
        assert 1 <= len(scene.faces) <= 3
        for face in scene.faces:
            x0, y0, x1, y1 = face.box
            assert 0 <= x0 < x1 <= SIDE
            assert 0 <= y0 < y1 <= SIDE


def test_the_number_of_people_is_what_was_asked_for():
    """A range of one to one draws nobody else."""
    scenes = [render_scene(generator_of(3, 0, index), SIDE, SIDE, (), people=(1, 1)) for index in range(12)]
    assert {len(scene.faces) for scene in scenes} == {1}


def test_a_box_holds_the_face_that_was_drawn():
    """Pixels inside a box differ from the same picture without people; the box is no guess."""
    for scene in SCENES[:4]:
        x0, y0, x1, y1 = (round(value) for value in scene.faces[0].box)
        inside = scene.pixels[y0:y1, x0:x1].astype(float)
        assert inside.std(axis=(0, 1)).max() > 10


def test_audits_find_their_attributes():
    """Tone, glasses, pose, light and occlusion stand beside every label."""
    wanted = {
        *("action_units", "expression", "skin_tone", "glasses", "hair_style", "yaw_deg", "pitch_deg", "roll_deg"),
        *("gain", "warmth", "blur_px", "noise", "light_x", "occlusion", "face_height_px"),
    }
    for scene in SCENES:
        for face in scene.faces:
            assert wanted <= set(face.attributes)


def test_a_label_line_means_the_box_it_was_made_from():
    """What is written is read back as the same corners."""
    face = FaceLabel(class_index=4, box=(10.0, 20.0, 50.0, 90.0), attributes={})
    parsed = parse_label_line(label_line(face, 160, 120), class_count=8)
    assert isinstance(parsed, LabelBox)
    assert parsed.class_index == 4
    assert np.allclose(parsed.xyxy(160, 120), face.box, atol=1e-3)


def test_boxes_are_cut_at_the_edges():
    """A face that leaves the picture is labelled with the part that is seen."""
    assert clip((-5.0, 3.0, 200.0, 50.0), 160, 40) == (0.0, 3.0, 160.0, 40.0)
