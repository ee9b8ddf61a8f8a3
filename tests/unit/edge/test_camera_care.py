"""What a person is told about the cameras."""

from __future__ import annotations

from edge.camera_care import CameraCare, CameraSigns

HERE, AWAY = CameraSigns(), CameraSigns(away=True)


def kinds(care: CameraCare, now_s: float, **cameras: CameraSigns) -> list[str]:
    return [alert.kind for alert in care.look(cameras, now_s)]


def test_a_loss_and_a_return_are_told_once_each() -> None:
    """However long it lasts; the return says how long it was, and the other camera's silence is its own."""
    care = CameraCare(0)
    assert kinds(care, 1, door=HERE, yard=HERE) == []
    assert kinds(care, 2, door=AWAY, yard=HERE) == ["camera_lost"]
    assert kinds(care, 3, door=AWAY, yard=AWAY) == ["camera_lost"]
    assert kinds(care, 50, door=AWAY, yard=AWAY) == []
    (alert,) = care.look({"door": HERE, "yard": AWAY}, 62)
    assert (alert.kind, alert.message) == ("camera_back", "camera door is back after 60 s")


def test_a_camera_that_is_gone_is_told_once_with_its_reason() -> None:
    """Gone is not away: there is nothing to wait for."""
    care = CameraCare(0)
    gone = CameraSigns(away=True, gone="no such device")
    first = care.look({"door": gone}, 1)
    assert [(alert.kind, alert.severity) for alert in first] == [("camera_gone", "error")]
    assert "no such device" in first[0].message
    assert care.look({"door": gone}, 2) == ()


def test_broken_pictures_are_told_by_the_minute_when_there_are_many() -> None:
    """Nine in a minute are none; ten are told once, and counted afresh."""
    care = CameraCare(0)
    assert kinds(care, 60, door=CameraSigns(bad_frames=9)) == []
    assert kinds(care, 100, door=CameraSigns(bad_frames=500)) == []
    assert kinds(care, 120, door=CameraSigns(bad_frames=500)) == ["bad_frames"]
    assert kinds(care, 180, door=CameraSigns(bad_frames=509)) == []
