"""A network's outputs to classes, boxes and masks: values worked out by hand, and what holds for every output."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runtime.errors import BadInput
from runtime.triton.boxes import Box, Fit, dense, iou, suppressed
from runtime.triton.detectnet import Clustering, read_clustering
from runtime.triton.postprocess import TASKS, Settings

HALF = Fit((80, 40), (160, 80), (2.0, 2.0))  # an image of 80x40 that the network sees at twice its size


def run(task, outputs, fit=HALF, **settings):
    arrays = {name: np.asarray(array, np.float32) for name, array in outputs.items()}
    return TASKS[task].run(arrays, fit, Settings(**settings))


def test_logits_go_through_softmax_and_a_distribution_stays_as_it_is():
    found = run("classification", {"y": [0.0, np.log(3.0)]}, labels=("cat", "dog"))
    assert [name for name, _ in found.classes] == ["dog", "cat"]
    assert [score for _, score in found.classes] == pytest.approx([0.75, 0.25])
    found = run("classification", {"predictions/Softmax": [[[0.1]], [[0.7]], [[0.2]]]}, labels=("a",), top_k=2)
    assert found.classes == (("1", pytest.approx(0.7)), ("2", pytest.approx(0.2)))


def grids(cells, classes=1, rows=5, columns=10):
    """Coverage and boxes; `cells`: (class, row, column, coverage, box in the network's input)."""
    coverage, boxes = np.zeros((classes, rows, columns)), np.zeros((4 * classes, rows, columns))
    for number, row, column, covered, (left, top, right, bottom) in cells:
        x, y = column * 16 + 0.5, row * 16 + 0.5
        coverage[number, row, column] = covered
        sides = np.array([x - left, y - top, right - x, bottom - y]) / 35
        boxes[4 * number : 4 * number + 4, row, column] = sides
    return {"output_cov/Sigmoid:0": coverage, "output_bbox/BiasAdd:0": boxes}


def test_the_cells_of_one_object_become_one_box_with_the_sum_of_their_coverages():
    cells = [(0, 1, 1, 0.9, (16, 16, 48, 48)), (0, 1, 2, 0.3, (20, 16, 52, 48)), (1, 3, 8, 0.95, (120, 40, 150, 70))]
    found = run("detectnet_v2", grids(cells, classes=2), labels=("car", "person"))
    # (0.9 * 16 + 0.3 * 20) / 1.2 = 17, halved for the image.
    assert [box.name for box in found.boxes] == ["car", "person"]
    car, person = found.boxes
    assert (car.left, car.top, car.right, car.bottom, car.score) == pytest.approx((8.5, 8, 24.5, 24, 1.2), abs=1e-4)
    assert (person.left, person.score) == pytest.approx((60, 0.95), abs=1e-4)


def test_detectnets_clustering_drops_faint_cells_low_boxes_and_unsure_clusters():
    cells = [
        (0, 1, 1, 0.004, (16, 16, 48, 48)),  # below the coverage
        (0, 1, 5, 0.95, (80, 16, 120, 22)),  # 3 pixels high in the image
        (0, 3, 8, 0.8, (120, 40, 150, 70)),  # less than 0.9 in all
    ]
    assert run("detectnet_v2", grids(cells), labels=("car",)).boxes == ()
    assert len(run("detectnet_v2", grids(cells), labels=("car",), threshold=0.7).boxes) == 1
    loose = {"car": Clustering(height=2, confidence=0.5)}
    assert len(run("detectnet_v2", grids(cells), labels=("car",), clustering=loose).boxes) == 2


def test_the_clustering_file_of_taos_client_is_read(tmp_path):
    path = tmp_path / "clustering.prototxt"
    path.write_text(
        "linewidth: 4\nstride: 16\n"
        'classwise_clustering_config{ key: "car" value: { coverage_threshold: 0.01 minimum_bounding_box_height: 5\n'
        "  dbscan_config{ dbscan_eps: 0.25 dbscan_min_samples: 0.1 dbscan_confidence_threshold: 0.7 } } }\n"
        'classwise_clustering_config{ key: "bag" value: { coverage_threshold: 0.02 } }\n'
    )
    assert read_clustering(path) == {"car": Clustering(0.01, 5, 0.25, 0.1, 0.7), "bag": Clustering(coverage=0.02)}
    for text, said in (("stride: 16", "names no class"), ("{", "is no protobuf text")):
        path.write_text(text)
        with pytest.raises(BadInput, match=said):
            read_clustering(Path(path))


def test_detr_ranks_pairs_of_a_query_and_a_class():
    outputs = {"pred_logits": [[-9, 2], [np.log(4), -9]], "pred_boxes": [[0.5, 0.5, 0.25, 0.5], [0.9, 0.5, 0.4, 1.0]]}
    found = run("detr", outputs, labels=("car", "person"))
    assert [box.name for box in found.boxes] == ["person", "car"]
    person, car = found.boxes
    assert (person.left, person.top, person.right, person.bottom) == pytest.approx((30, 10, 50, 30))
    assert (car.left, car.right) == pytest.approx((56, 80))  # 88 cut at the border
    assert (person.score, car.score) == pytest.approx((1 / (1 + np.exp(-2)), 0.8))


def test_taos_yolo_gives_shares_and_efficient_nms_pixels():
    shares = {"BatchedNMS": [2], "BatchedNMS_1": [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0, 1, 1]]}
    shares |= {"BatchedNMS_2": [0.4, 0.9, 0.99], "BatchedNMS_3": [0, 1, 1]}
    found = run("yolo", shares, labels=("car", "person"))
    assert found.boxes == (
        Box("person", 40, 20, 80, 40, pytest.approx(0.9)),
        Box("car", 0, 0, 40, 20, pytest.approx(0.4)),
    )
    pixels = {"num_detections": [1], "detection_boxes": [[16, 8, 80, 40]]}
    pixels |= {"detection_scores": [0.5], "detection_classes": [0]}
    assert run("yolo", pixels).boxes == (Box("0", 8, 4, 40, 20, 0.5),)
    assert run("yolo", pixels, threshold=0.6).boxes == ()


def test_taos_ssd_gives_rows_of_seven():
    rows = [[0, 1, 0.4, 0, 0, 0.5, 0.5], [0, 2, 0.9, 0.5, 0.5, 1, 1], [0, 1, 0.99, 0, 0, 1, 1]]
    found = run("ssd", {"NMS": [rows], "NMS_1": [[[2]]]}, labels=("background", "car", "person"))
    assert [(b.name, b.left, b.bottom) for b in found.boxes] == [("person", 40, 40), ("car", 0, 20)]


def test_a_raw_yolo_head_is_suppressed_by_class():
    head = np.zeros((6, 9), np.float32)
    head[:, 0] = [80, 40, 40, 40, 0.9, 0.1]
    head[:, 1] = [84, 40, 40, 40, 0.8, 0.0]  # the same object, less sure
    head[:, 2] = [82, 40, 40, 40, 0.0, 0.7]  # another class
    for turned in (head, head.T):
        found = run("yolo_raw", {"output0": turned}, labels=("car", "person"))
        assert [(b.name, b.left, b.right) for b in found.boxes] == [("car", 30, 50), ("person", 31, 51)]


def test_a_mask_comes_back_at_the_size_of_the_image():
    logits = np.zeros((3, 2, 4))
    logits[2, 0, 0] = logits[1, 1, 3] = 1
    fit = Fit((8, 2), (4, 2), (0.5, 1.0))
    want = [[2, 2, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1]]
    assert run("segmentation", {"y": logits}, fit).mask.tolist() == want
    assert run("segmentation", {"y": logits.transpose(1, 2, 0)}, fit, channels_last=True).mask.tolist() == want
    assert run("segmentation", {"y": logits.argmax(0)[..., None]}, fit).mask.tolist() == want


@given(
    st.integers(2, 4),
    st.tuples(st.integers(1, 9), st.integers(2, 9)),  # one column is taken for channels that come last
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 99),
)
def test_coarse_numbers_are_drawn_out_before_the_best_is_taken(classes, coarse, taller, wider, seed):
    rows, columns = coarse
    scores = np.random.default_rng(seed).normal(size=(classes, rows, columns)).astype(np.float32)
    size = (columns + wider, rows + taller)
    drawn = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR)) for one in scores]
    ordered = np.sort(drawn, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-4
    mask = run("segmentation", {"y": scores}, Fit(size, size)).mask
    assert (mask == np.argmax(drawn, axis=0))[clear].all()


def test_a_mask_of_a_letterboxed_image_leaves_the_border_out():
    ids = np.zeros((4, 4))
    ids[1], ids[2] = 1, 2
    assert run("segmentation", {"y": ids}, Fit((4, 2), (4, 4), (1, 1), (0, 1))).mask.tolist() == [[1] * 4, [2] * 4]


@pytest.mark.parametrize(
    ("task", "outputs", "said"),
    [
        ("detectnet_v2", {"y": [1.0]}, "wants one output whose name holds 'cov'; the model gives y [1]"),
        ("detectnet_v2", {"cov": [[[1]]], "bbox": [[[1]]]}, "wants coverage (C, H, W) and boxes (4 C, H, W)"),
        ("detr", {"pred_logits": [[1]], "pred_boxes": [[1]]}, "wants pred_logits (queries, classes)"),
        ("yolo", {"y": [1.0]}, "wants num_detections detection_boxes"),
        ("ssd", {"NMS": [1.0]}, "wants NMS (1, K, 7) and NMS_1; the model gives NMS [1]"),
        ("yolo_raw", {"y": [1.0]}, "wants (4 + classes, anchors)"),
        ("segmentation", {"y": [1.0]}, "wants (classes, H, W) or (H, W)"),
    ],
)
def test_outputs_of_another_task_are_named(task, outputs, said):
    with pytest.raises(BadInput) as caught:
        run(task, outputs)
    assert said in str(caught.value)


def some_boxes(count, seed):
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 60, (count, 2))
    return np.concatenate([corners, corners + random.uniform(1, 30, (count, 2))], axis=1), random.uniform(0, 1, count)


@given(st.integers(0, 40), st.integers(0, 10_000), st.floats(0.05, 0.95), st.floats(0.01, 3))
def test_clustering_finds_the_cores_that_sklearn_finds_whatever_the_order(count, seed, eps, least):
    from sklearn.cluster import DBSCAN

    boxes, weights = some_boxes(count, seed)
    distances = 1 - iou(boxes, boxes)
    labels = dense(distances, weights, eps, least)
    order = np.random.default_rng(seed).permutation(count)
    turned = dense(distances[np.ix_(order, order)], weights[order], eps, least)
    assert partition(turned, order) == partition(labels, np.arange(count))
    if count:
        # scikit-learn 1.9 takes whole numbers from 1 as min_samples, TAO's 0.05 is refused: the weights carry it.
        wanted = DBSCAN(eps=eps, min_samples=1, metric="precomputed").fit(distances, sample_weight=weights / least)
        assert ((labels < 0) == (wanted.labels_ < 0)).all()
        core = wanted.core_sample_indices_
        assert partition(labels[core], core) == partition(wanted.labels_[core], core)


def partition(labels, items):
    return {frozenset(items[labels == label].tolist()) for label in np.unique(labels[labels >= 0])}


@given(st.integers(0, 2**31), st.sampled_from(["detectnet_v2", "detr", "yolo", "ssd", "yolo_raw"]))
def test_boxes_lie_in_the_image_and_the_best_comes_first(seed, task):
    random = np.random.default_rng(seed)
    fit = Fit((30, 50), (64, 64), (1.28, 1.28), (12.8, 0))
    outputs = {
        "detectnet_v2": {"cov": random.uniform(0, 1, (2, 4, 4)), "bbox": random.normal(0, 1, (8, 4, 4))},
        "detr": {"pred_logits": random.normal(0, 3, (9, 2)), "pred_boxes": random.uniform(-0.5, 1.5, (9, 4))},
        "yolo": {
            "BatchedNMS": random.integers(-1, 9, 1), "BatchedNMS_1": random.uniform(-0.5, 1.5, (7, 4)),
            "BatchedNMS_2": random.uniform(0, 1, 7), "BatchedNMS_3": random.integers(0, 3, 7),
        },
        "ssd": {"NMS": random.uniform(-0.5, 1.5, (1, 6, 7)), "NMS_1": random.integers(-1, 9, (1, 1, 1))},
        "yolo_raw": {"y": np.concatenate([random.uniform(-9, 70, (4, 9)), random.uniform(0, 1, (2, 9))])},
    }  # fmt: skip
    boxes = run(task, outputs[task], fit).boxes
    assert all(0 <= b.left < b.right <= 30 and 0 <= b.top < b.bottom <= 50 for b in boxes)
    assert [b.score for b in boxes] == sorted((b.score for b in boxes), reverse=True)


@given(st.integers(0, 30), st.integers(0, 10_000))
def test_no_two_boxes_of_a_class_that_stay_overlap_much(count, seed):
    boxes, scores = some_boxes(count, seed)
    classes = np.arange(count) % 2
    kept = suppressed(boxes, scores, classes, 0.4)
    overlap = iou(boxes[kept], boxes[kept]) * (classes[kept][:, None] == classes[kept][None, :])
    assert (overlap[~np.eye(len(kept), dtype=bool)] <= 0.4).all()
    assert scores[kept].tolist() == sorted(scores[kept], reverse=True)
