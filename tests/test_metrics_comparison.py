"""The table of metrics: on sets that are alike, too uniform, wrongly labelled, or too few."""

import json

import numpy as np
import pytest
import torch

from syncgan.errors import ConfigError, DataError
from syncgan.evaluation import features as feature_spaces
from syncgan.evaluation.features import INCEPTION, InceptionFeatures, TextureFeatures, available_features
from syncgan.evaluation.metrics import compare_features, compare_images, frechet_distance
from syncgan.evaluation.metrics.resampling import balanced_halves, draw_alike
from syncgan.evaluation.morphometry import MORPHOMETRY


def normal(count, mean=0.0, dim=6, seed=0, deviation=1.0):
    return np.random.default_rng(seed).normal(mean, deviation, (count, dim))


def test_halves_share_no_group_and_are_about_even_in_every_class():
    generator = np.random.default_rng(0)
    groups = np.arange(60) // 3
    classes = groups % 4
    for _ in range(20):
        first, second = balanced_halves(groups, classes, generator)
        assert not set(groups[first]) & set(groups[second])
        assert sorted([*first, *second]) == list(range(60))
        assert np.abs(np.bincount(classes[first]) - np.bincount(classes[second])).max() <= 3


def test_all_sets_of_a_draw_have_equal_classes_and_at_most_half_of_the_synthetic_images():
    real, synthetic = np.arange(40) % 2, np.arange(30) % 3 % 2
    for draw in draw_alike(real, synthetic, np.arange(40) // 2, repeats=10, seed=0):
        kinds = [real[draw.reference].tolist(), real[draw.held_out].tolist(), synthetic[draw.synthetic].tolist()]
        assert kinds[0] == kinds[1] == kinds[2]
        assert np.bincount(kinds[2])[1] <= 5


def test_every_interval_covers_the_metric_at_its_size_about_as_often_as_it_says():
    # The truth: the mean over independent pairs of sets of the size of a draw.
    def sets(count, seed):
        return normal(count, 0.3, dim=4, seed=2 * seed, deviation=1.2), normal(count, dim=4, seed=2 * seed + 1)

    truth = {}
    for metric in ("kernel distance", "Fréchet distance", "coverage", "recall", "density", "diversity"):
        truth[metric] = []
    for seed in range(40):
        # Halves of independent sets are independent sets of half the size.
        for row in compare_features(*sets(40, 1000 + seed), name="x", repeats=2).rows:
            if row.metric in truth:
                truth[row.metric].append(row.value)
    hits = dict.fromkeys(truth, 0)
    for seed in range(30):
        for row in compare_features(*sets(40, seed), name="x", repeats=30, seed=seed).rows:
            if row.metric in hits:
                hits[row.metric] += row.interval[0] <= np.mean(truth[row.metric]) <= row.interval[1]
    # 28.5 expected of exact intervals; that of the diversity is known to hold a little less (0.9).
    assert min(hits.values()) >= 24, hits


def test_sets_of_one_distribution_are_like_real_and_do_not_differ_on_average():
    found = [compare_features(normal(40, seed=i), normal(40, seed=100 + i), name="x", repeats=20) for i in range(25)]
    worse = np.mean([row.verdict != "like real" for comparison in found for row in comparison.rows])
    assert worse <= 0.05
    differences = [comparison.row("Fréchet distance").difference for comparison in found]
    assert abs(np.mean(differences)) < 4 * np.std(differences) / 5


def test_the_baseline_has_the_bias_of_few_images():
    real = normal(40)
    row = compare_features(normal(40, seed=1), real, name="x").row("Fréchet distance")
    halves = [frechet_distance(normal(20, seed=2 * i), normal(20, seed=2 * i + 1)) for i in range(50)]
    assert row.real_baseline == pytest.approx(np.mean(halves), rel=0.25)
    assert row.real_baseline > 0.5


def test_a_collapsed_set_is_too_uniform_and_a_shifted_one_is_not_real():
    real = normal(60)
    collapsed = compare_features(normal(60, seed=1, deviation=0.2), real, name="x")
    assert collapsed.row("diversity").verdict == "below real"
    assert collapsed.row("recall").verdict == "worse than real"
    assert collapsed.row("precision").verdict in {"like real", "better than real"}
    repeated = compare_features(
        normal(3, seed=4)[np.arange(60) % 3] + normal(60, seed=1, deviation=0.1), real, name="x"
    )
    assert repeated.row("coverage").verdict == "worse than real"
    shifted = compare_features(normal(60, 3, seed=1), real, name="x")
    for metric in ("kernel distance", "Fréchet distance", "precision", "density", "coverage"):
        assert shifted.row(metric).verdict == "worse than real"
    assert shifted.row("diversity").verdict == "like real"


def test_wrong_labels_are_seen_only_by_what_looks_at_classes():
    labels = np.arange(60) % 2
    real, good = (normal(60, seed=seed) + 2.0 * labels[:, None] for seed in (0, 1))
    right, wrong = (compare_features(good, real, name="x", labels=(own, labels)) for own in (labels, 1 - labels))
    for metric in ("kernel distance within classes", "label agreement"):
        assert right.row(metric).verdict == "like real"
        assert wrong.row(metric).verdict == "worse than real"
    assert wrong.row("kernel distance").verdict == "like real"
    assert wrong.row("label agreement").value < 0.1


def test_copies_within_groups_do_not_make_the_baseline_too_good():
    # Four images a slide, nearly the same: halves that share slides would look nearer than new slides can be.
    real, groups = normal(20).repeat(4, axis=0) + normal(80, seed=1, deviation=0.01), np.arange(20).repeat(4)
    fresh = normal(20, seed=2).repeat(4, axis=0) + normal(80, seed=3, deviation=0.01)
    assert compare_features(fresh, real, name="x", groups=groups).row("precision").verdict == "like real"
    assert compare_features(fresh, real, name="x").row("precision").verdict == "worse than real"


def pictures(count, seed=0, size=32):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    return (255 * torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")).to(torch.uint8)


def disks(count, seed=0, size=32):
    generator = np.random.default_rng(seed)
    grid = np.mgrid[:size, :size]
    centres, radii = generator.uniform(10, size - 10, (count, 2)), generator.uniform(4, 9, count)
    return np.stack(
        [((grid - centre[:, None, None]) ** 2).sum(0) < r**2 for centre, r in zip(centres, radii, strict=True)]
    ).astype(np.uint8)


def test_the_table_has_all_spaces_and_metrics_and_is_the_same_again():
    labels = np.arange(16) % 2
    arguments = {
        "labels": (torch.from_numpy(labels), labels),
        "groups": np.arange(16) // 2,
        "features": TextureFeatures(),
        "masks": (torch.from_numpy(disks(16))[:, None], disks(16, 1)),
        "repeats": 5,
    }
    found = compare_images(pictures(16), pictures(16, 1), **arguments)
    assert {row.features for row in found.rows} == {TextureFeatures.name, MORPHOMETRY}
    assert len(found.rows) == 2 * 10
    assert all(row.interval[0] <= row.value <= row.interval[1] for row in found.rows)
    assert all(row.explanation.endswith(".") for row in found.rows)
    assert set(found.mask_priors) == {0, 1}
    assert found.size == 8
    assert found == compare_images(pictures(16), pictures(16, 1), **arguments)
    assert json.loads(json.dumps(found.records()))[0]["metric"] == "kernel distance"
    assert len(found.markdown().splitlines()) == 22
    assert found.row("recall", MORPHOMETRY).features == MORPHOMETRY
    with pytest.raises(DataError, match=r"no row 'FID'.*recall in nuclear morphometry"):
        found.row("FID")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": ([0] * 16, [1] * 16)}, "same classes on both sides"),
        ({"labels": ([0] * 16, [0] * 15)}, "one label an image, 16 synthetic and 16 real, got 16 and 15"),
        ({"groups": [0] * 3 + [1] * 13}, "halves with at least 6 images"),
        ({"masks": (disks(16) * 255, disks(16))}, "values 0 .. 1"),
        ({"masks": (disks(15), disks(16))}, r"expected masks \(16, 32, 32\)"),
    ],
)
def test_what_does_not_fit_the_images_is_refused(changed, message):
    with pytest.raises(DataError, match=message):
        compare_images(pictures(16), pictures(16, 1), features=TextureFeatures(), repeats=3, **changed)


def test_features_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match="finite features"):
        compare_features(normal(16), np.full((16, 6), np.nan), name="x")


def test_only_inception_features_have_a_fid():
    metrics = {row.metric for row in compare_features(normal(12), normal(12, seed=1), name="x", repeats=2).rows}
    assert "Fréchet distance" in metrics
    assert not metrics & {"FID", "KID"}
    inception = compare_features(normal(12), normal(12, seed=1), name=INCEPTION, repeats=2)
    assert {"FID", "KID"} <= {row.metric for row in inception.rows}


def test_inception_is_there_only_with_its_weights_on_the_disk_and_never_downloads(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(feature_spaces, "installed", lambda: False)
    assert [space.name for space in available_features()] == [TextureFeatures.name]
    with pytest.raises(ConfigError, match=r"weights at .*inception_v3.*where there are none"):
        InceptionFeatures()


def test_inception_features_are_the_pooled_ones_of_the_weights_on_the_disk(monkeypatch, tmp_path):
    models = pytest.importorskip("torchvision.models")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with torch.random.fork_rng():
        network = models.inception_v3(weights=None, init_weights=False, transform_input=True).eval()
    (tmp_path / "checkpoints").mkdir()
    torch.save(network.state_dict(), feature_spaces.inception_weights())
    images = pictures(1, size=299)
    found = InceptionFeatures()(images)
    # Through torchvision's own preprocessing: ImageNet's normalisation, which `transform_input` turns around.
    prepared = models.Inception_V3_Weights.IMAGENET1K_V1.transforms(crop_size=299, resize_size=299)(images)
    with torch.inference_mode():
        scores = network(prepared)
        ours = network.fc(torch.from_numpy(found).float())
    assert found.shape == (1, 2048)
    torch.testing.assert_close(ours, scores, rtol=1e-3, atol=1e-4)
    assert INCEPTION in [space.name for space in available_features()]
