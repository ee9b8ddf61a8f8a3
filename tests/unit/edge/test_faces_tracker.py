"""Following faces from frame to frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import FacesSettings
from edge.faces.interface import UNNUMBERED, Faces
from edge.faces.tracker import FaceTracker
from edge.vision.detections import Detections

HAPPY, SAD = 4, 6
Row = tuple[float, float, float, float, int]
"""Centre, side, score, class."""


def _found(*rows: Row) -> Detections:
    best_first = sorted(rows, key=lambda row: -row[3])
    boxes = [(x - side / 2, y - side / 2, x + side / 2, y + side / 2) for x, y, side, _, _ in best_first]
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array([row[3] for row in best_first], np.float32),
        classes=np.array([row[4] for row in best_first], np.int32),
    )


def _tracker(**chosen: object) -> FaceTracker:
    return FaceTracker(FacesSettings.model_validate(chosen))


def _stand(tracker: FaceTracker, *rows: Row, frames: int = 5, from_s: float = 0.0) -> Faces:
    for frame in range(frames):
        faces = tracker.update(_found(*rows), from_s + frame / 30)
    return faces


def test_a_face_gets_a_number_when_enough_frames_show_it() -> None:
    """Two frames give none, the third does; the first number is 1."""
    tracker = _tracker()
    told = [tracker.update(_found((100, 100, 80, 0.9, HAPPY)), frame / 30).numbers.tolist() for frame in range(4)]
    assert told == [[UNNUMBERED], [UNNUMBERED], [1], [1]]


def test_a_guess_that_one_frame_does_not_show_is_dropped() -> None:
    """Frames in a row count."""
    tracker = _tracker()
    face = _found((100, 100, 80, 0.9, HAPPY))
    for frame, found in enumerate([face, face, Detections.empty(), face, face]):
        faces = tracker.update(found, frame / 30)
    assert faces.numbers.tolist() == [UNNUMBERED]


def test_a_face_keeps_its_number_when_its_expression_changes() -> None:
    """The class plays no part in following."""
    tracker = _tracker()
    _stand(tracker, (100, 100, 80, 0.9, HAPPY))
    faces = _stand(tracker, (100, 100, 80, 0.9, SAD), frames=60, from_s=0.2)
    assert faces.numbers.tolist() == [1]
    assert faces.classes.tolist() == [SAD]


@given(
    speed_x=st.floats(-600, 600),
    speed_y=st.floats(-600, 600),
    gaps_s=st.lists(st.sampled_from([1 / 30, 1 / 15, 1 / 10]), min_size=10, max_size=60),
)
def test_a_face_that_moves_smoothly_keeps_its_number(speed_x: float, speed_y: float, gaps_s: list[float]) -> None:
    """Whatever its speed and whichever frames are dropped, once its speed is known."""
    tracker = _tracker(birth_hits=1)
    now_s, numbers = 0.0, set()
    for gap_s in [1 / 60, *gaps_s]:
        faces = tracker.update(_found((500 + speed_x * now_s, 400 + speed_y * now_s, 100, 0.8, HAPPY)), now_s)
        numbers |= set(faces.numbers.tolist())
        now_s += gap_s
    assert numbers == {1}


@given(jitter=st.integers(0, 2**31), speed=st.floats(40, 400))
def test_two_faces_that_cross_keep_their_numbers(jitter: int, speed: float) -> None:
    """They meet in the middle, where their boxes are nearly one, and go on; each keeps its number."""
    dice = np.random.default_rng(jitter)
    tracker = _tracker()
    ways: list[dict[int, int]] = []
    half_s = 300 / speed
    for frame in range(round(2 * half_s * 30)):
        now_s = frame / 30
        shift = speed * (now_s - half_s)
        noise = dice.normal(0, 1, 4)
        rows = [
            (500 + shift + noise[0], 300 + noise[1], 100.0, 0.9, HAPPY),
            (500 - shift + noise[2], 315 + noise[3], 100.0, 0.8, SAD),
        ]
        ways.append(dict(enumerate(tracker.update(_found(*rows), now_s).numbers.tolist())))
    assert ways[-1] == ways[5]
    assert set(ways[5].values()) == {1, 2}


def test_a_face_behind_another_is_found_again() -> None:
    """While only one of two passing faces is seen, the other is expected where its speed brings it."""
    tracker = _tracker()
    for frame in range(90):
        shift = 10 * (frame - 45)
        rows: list[Row] = [(500 + shift, 300, 100, 0.9, HAPPY), (500 - shift, 300, 100, 0.8, SAD)]
        if abs(shift) < 30:
            rows.pop()
        faces = tracker.update(_found(*rows), frame / 30)
    assert faces.numbers.tolist() == [1, 2]


@given(seed=st.integers(0, 2**31), frames=st.integers(1, 80))
def test_numbers_are_unique_and_never_come_back(seed: int, frames: int) -> None:
    """They rise by one, stand on one box of a frame each, and are not seen again after their end."""
    dice = np.random.default_rng(seed)
    tracker = _tracker(birth_hits=2, death_after_s=0.2)
    now_s, highest, gone = 0.0, 0, set()
    for _ in range(frames):
        now_s += dice.uniform(0, 0.15)
        rows = [
            (float(x), 100.0, 90.0, float(dice.uniform(0.26, 1)), int(dice.integers(0, 8)))
            for x in dice.choice([100, 125, 260, 420], dice.integers(0, 5), replace=False)
        ]
        faces = tracker.update(_found(*rows), now_s)
        gone |= {ended.number for ended in faces.ended}
        alone = faces.numbers[~faces.doubles & (faces.numbers != UNNUMBERED)].tolist()
        assert len(set(alone)) == len(alone)
        assert not gone & set(alone)
        new = sorted(number for number in alone if number > highest)
        assert new == list(range(highest + 1, highest + 1 + len(new)))
        highest += len(new)


@pytest.mark.parametrize(("fps", "frames"), [(30, 30), (10, 10), (5, 5)])
def test_a_face_leaves_after_a_time_and_not_after_frames(fps: int, frames: int) -> None:
    """A second without it ends it, at any rate; it is told once, with its last label and when it was seen."""
    tracker = _tracker(birth_hits=1)
    tracker.update(_found((100, 100, 80, 0.9, SAD)), 0.0)
    ends = []
    for frame in range(1, 2 * frames + 1):
        ends += [(ended, frame / fps) for ended in tracker.update(Detections.empty(), frame / fps).ended]
    [(ended, at_s)] = ends
    assert at_s == pytest.approx(1.0)
    assert (ended.number, ended.label, ended.first_seen_s, ended.last_seen_s) == (1, SAD, 0.0, 0.0)


def test_whoever_returns_gets_a_new_number() -> None:
    """Nobody is recognised again."""
    tracker = _tracker()
    _stand(tracker, (100, 100, 80, 0.9, HAPPY))
    _stand(tracker, frames=40, from_s=1)
    assert _stand(tracker, (100, 100, 80, 0.9, HAPPY), from_s=5).numbers.tolist() == [2]


def test_a_slow_camera_has_faces_too() -> None:
    """Frames 1.5 s apart continue a face, though its time is 1 s; after a long break it is a new one."""
    tracker = _tracker(birth_hits=1)
    face = _found((100, 100, 80, 0.9, HAPPY))
    assert [tracker.update(face, at_s).numbers.tolist() for at_s in (0.0, 1.5, 3.0)] == [[1], [1], [1]]
    faces = tracker.update(face, 6.0)
    assert faces.numbers.tolist() == [2]
    assert [ended.number for ended in faces.ended] == [1]


def test_two_boxes_on_one_face_are_one_face() -> None:
    """They share its number; the second is a double, counts as evidence, and is left out of what is drawn."""
    tracker = _tracker()
    rows: list[Row] = [(100, 100, 80, 0.9, HAPPY), (102, 101, 80, 0.6, SAD)]
    faces = _stand(tracker, *rows)
    assert faces.numbers.tolist() == [1, 1]
    assert faces.doubles.tolist() == [False, True]
    assert faces.classes.tolist() == [HAPPY, HAPPY]
    smoothed = faces.smoothed(_found(*rows))
    assert smoothed.classes.tolist() == [HAPPY]
    faces = _stand(tracker, (100, 100, 80, 0.3, HAPPY), (102, 101, 80, 0.9, SAD), frames=60, from_s=1)
    assert (faces.numbers.tolist(), faces.classes.tolist()) == ([1, 1], [SAD, SAD])


def test_a_weak_detection_continues_a_face_but_begins_none() -> None:
    """At 0.3 nothing is born, and a face that fades to 0.3 stays."""
    assert _stand(_tracker(), (100, 100, 80, 0.3, HAPPY), frames=30).numbers.tolist() == [UNNUMBERED]
    tracker = _tracker()
    _stand(tracker, (100, 100, 80, 0.9, HAPPY))
    assert _stand(tracker, (100, 100, 80, 0.3, HAPPY), frames=60, from_s=0.2).numbers.tolist() == [1]


def test_weak_detections_do_not_make_a_guess_a_face() -> None:
    """One strong look and then weak ones: nothing is born. A single weak look is nothing either."""
    tracker = _tracker()
    for frame, score in enumerate([0.9, 0.3, 0.3, 0.3]):
        faces = tracker.update(_found((100, 100, 80, score, HAPPY)), frame / 30)
    assert faces.numbers.tolist() == [UNNUMBERED]
    assert _stand(_tracker(birth_hits=1), (100, 100, 80, 0.3, HAPPY)).numbers.tolist() == [UNNUMBERED]


def test_a_new_face_shows_what_most_of_its_first_frames_showed() -> None:
    """Not what the very first did."""
    tracker = _tracker()
    for frame, label in enumerate([SAD, HAPPY, HAPPY]):
        faces = tracker.update(_found((100, 100, 80, 0.9, label)), frame / 30)
    assert (faces.numbers.tolist(), faces.classes.tolist()) == ([1], [HAPPY])


def test_two_known_faces_in_one_place_stay_two() -> None:
    """Nearly one box, beside a third face that is new: neither is taken for a double of the other."""
    tracker = _tracker()
    for frame in range(30):
        apart = max(29 - frame, 0) * 5
        rows: list[Row] = [(300 - apart, 300, 100, 0.9, HAPPY), (305 + apart, 300, 100, 0.8, SAD)]
        if frame == 29:
            rows.append((700, 300, 100, 0.7, HAPPY))
        faces = tracker.update(_found(*rows), frame / 30)
    assert faces.numbers.tolist() == [1, 2, UNNUMBERED]
    assert not faces.doubles.any()


def test_a_weak_box_nearby_does_not_take_a_face_away() -> None:
    """The face moved a little; clutter stands exactly where it was expected. The strong box is the face."""
    tracker = _tracker()
    _stand(tracker, (100, 100, 80, 0.9, HAPPY))
    faces = tracker.update(_found((120, 100, 80, 0.9, HAPPY), (100, 100, 80, 0.3, SAD)), 0.2)
    assert faces.numbers.tolist() == [1, UNNUMBERED]


def test_ten_and_thirty_frames_a_second_smooth_alike() -> None:
    """The same scene at another rate: the same class and score at the same time."""
    ends = []
    for fps in (10, 30):
        tracker = _tracker()
        for frame in range(3 * fps + 1):
            now_s = frame / fps
            label, score = (HAPPY, 0.9) if now_s < 1 else (SAD, 0.7)
            faces = tracker.update(_found((100 + 50 * now_s, 100, 80, score, label)), now_s)
        ends.append((faces.numbers.tolist(), faces.classes.tolist(), float(faces.scores[0])))
    assert ends[0][:2] == ends[1][:2] == ([1], [SAD])
    assert ends[0][2] == pytest.approx(ends[1][2], abs=0.03)


def test_equal_calls_give_equal_answers() -> None:
    """Nothing but the arguments decides."""
    runs = []
    for _ in range(2):
        dice = np.random.default_rng(7)
        tracker = _tracker()
        runs.append(
            [
                (faces.numbers.tolist(), faces.classes.tolist(), faces.scores.tolist())
                for frame in range(60)
                for faces in [
                    tracker.update(
                        _found(
                            *[(100.0 * k + dice.normal(0, 3), 80, 70, float(dice.uniform(0.3, 1)), k) for k in range(4)]
                        ),
                        frame / 15,
                    )
                ]
            ]
        )
    assert runs[0] == runs[1]


def test_a_restart_ends_all_faces_and_numbers_go_on() -> None:
    """Another model's classes, or a film that begins again with its own time."""
    tracker = _tracker(birth_hits=1)
    tracker.update(_found((100, 100, 80, 0.9, HAPPY), (300, 100, 80, 0.8, SAD)), 50.0)
    assert [ended.number for ended in tracker.restart()] == [1, 2]
    faces = tracker.update(_found((100, 100, 80, 0.9, 0)), 0.0)
    assert (faces.at_s, faces.numbers.tolist(), faces.ended) == (0.0, [3], ())


def test_a_time_that_steps_back_ends_nothing() -> None:
    """It counts as the time before."""
    tracker = _tracker(birth_hits=1)
    face = _found((100, 100, 80, 0.9, HAPPY))
    tracker.update(face, 10.0)
    faces = tracker.update(face, 9.0)
    assert (faces.at_s, faces.numbers.tolist()) == (10.0, [1])
    assert np.isfinite(faces.scores).all()


def test_what_the_detector_said_is_not_written_over() -> None:
    """Smoothed values are copies."""
    tracker = _tracker()
    _stand(tracker, (100, 100, 80, 0.9, HAPPY), frames=30)
    found = _found((100, 100, 80, 0.5, SAD))
    faces = tracker.update(found, 1.1)
    assert (found.classes.tolist(), found.scores.tolist()) == ([SAD], [0.5])
    assert faces.classes.tolist() == [HAPPY]
