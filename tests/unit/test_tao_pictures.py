from __future__ import annotations

from pathlib import Path

from PIL import Image

from runtime.tao.pictures import SHOWN, draw_curves, labelled, make_preview


def picture(path: Path, size: tuple[int, int] = (32, 16)) -> Path:
    Image.new("L", size, 200).save(path)
    return path


def test_small_pictures_fill_their_tiles_and_what_does_not_open_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"x")
    pictures = [(picture(tmp_path / f"{n}.png"), f"class {n}") for n in range(5)] + [(tmp_path / "broken.png", "")]
    made = make_preview(pictures, tmp_path / "sheet.png")
    assert made is not None
    with Image.open(made) as sheet:
        assert sheet.size == (4 * 248, 2 * 266)
        assert sheet.getpixel((10, 120)) == (200, 200, 200)  # 32x16 was enlarged to 240x120, in the middle
        assert sheet.getpixel((10, 10)) == (255, 255, 255)
    assert make_preview(pictures[-1:], tmp_path / "none.png") is None


def test_predicted_classes_are_the_captions_and_every_class_gets_its_turn(tmp_path: Path) -> None:
    rows = [f"/data/{n}.png,class_{n // 4},0.{90 + n % 4}" for n in range(48)]
    (tmp_path / "result.csv").write_text("\n".join(["img_name,pred_label,pred_score", *rows]))
    found = labelled(tmp_path)
    assert len(found) == SHOWN
    assert found[1] == (Path("/data/4.png"), "class_1  0.90")
    (tmp_path / "result.csv").write_text("a,b\n1,2\n")
    assert labelled(tmp_path) == []


def test_a_curve_needs_two_points(tmp_path: Path) -> None:
    assert draw_curves({"loss": [(0, 1.0)]}, tmp_path / "a.png") is None
    made = draw_curves({"loss": [(0, 1.0), (1, 0.5)], "acc": [(0, 1.0), (1, 0.5)], "x": [(0, 1.0)]}, tmp_path / "b.png")
    assert made is not None
    with Image.open(made) as image:
        assert image.size == (800, 300)
