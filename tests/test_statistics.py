"""Statistics of the benchmark: scikit-learn's scores, intervals that hold their level, verdicts that can be trusted."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr
from sklearn import metrics

from syncgan.errors import DataError, UnknownNameError
from syncgan.evaluation.statistics import (
    SCORES,
    Interval,
    Outcomes,
    Resamples,
    Resampling,
    Score,
    analyse,
    calibration_of,
    corrected_t_test,
    holm,
    interval_of,
    oracle_share,
    score_named,
    scores_of,
    sentence_of,
    verdict_of,
)

ACCURACY = score_named("accuracy")


def predictions(items, classes, seed=0):
    """Make labels, and probabilities that know something about them, with ties."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, items)
    logits = generator.normal(size=(items, classes)) + 1.2 * np.eye(classes)[labels]
    chances = np.exp(logits.round(1))
    return labels, chances / chances.sum(axis=1, keepdims=True)


def sklearn_scores(labels, chances):
    predicted, classes = chances.argmax(axis=1), chances.shape[1]
    onehot = np.eye(classes)[labels]
    brier = np.square(chances - onehot).sum(axis=1).mean()
    auc = {"multi_class": "ovr", "average": "macro"} if classes > 2 else {}
    return {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "macro_f1": metrics.f1_score(labels, predicted, average="macro"),
        "auc": metrics.roc_auc_score(labels, chances if classes > 2 else chances[:, 1], **auc),
        "brier": brier,
        "log_loss": metrics.log_loss(labels, chances),
        **{
            f"recall:{index}": value
            for index, value in enumerate(metrics.recall_score(labels, predicted, average=None))
        },
    }


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_are_scikit_learns(classes):
    labels, chances = predictions(200, classes)
    found = scores_of(labels, chances)
    for name, value in sklearn_scores(labels, chances).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_brier_score_of_two_classes_is_twice_scikit_learns_of_one_class():
    labels, chances = predictions(50, 2)
    assert scores_of(labels, chances)["brier"] == pytest.approx(2 * metrics.brier_score_loss(labels, chances[:, 1]))


def test_calibration_error_of_bins_worked_out_by_hand():
    # Two items at 0.95, one right; two at 0.65, both right.
    chances = [[0.95, 0.05], [0.95, 0.05], [0.35, 0.65], [0.35, 0.65]]
    curve = calibration_of([0, 1, 1, 1], chances)
    assert curve.items == (2, 2)
    assert curve.accuracy == (1.0, 0.5)
    assert curve.confidence == pytest.approx((0.65, 0.95))
    assert curve.error == pytest.approx(0.5 * 0.35 + 0.5 * 0.45)


def test_a_class_without_test_items_is_left_out_of_means():
    chances = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scores_of([0, 0, 1], chances)
    assert found["balanced_accuracy"] == 0.75
    assert math.isnan(found["recall:2"])
    assert found["auc"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("labels", "chances", "message"),
    [
        ([0, 1], [[1.0, 0.0]], "one row of class probabilities"),
        ([0, 2], [[1.0, 0.0], [0.0, 1.0]], "labels from 0 to 1"),
        ([0, 1], [[2.0, -3.0], [0.0, 1.0]], "softmax"),
        ([0, 1], [[0.5, 0.5], [np.nan, 1.0]], "row 1"),
    ],
)
def test_what_is_no_prediction_is_refused(labels, chances, message):
    with pytest.raises(DataError, match=message):
        scores_of(labels, chances)


def test_an_unknown_score_lists_those_that_exist():
    with pytest.raises(UnknownNameError, match="macro_f1"):
        score_named("acuracy")
    assert score_named("recall:2", 3).name == "recall:2"
    with pytest.raises(UnknownNameError, match="below 3, got 'recall:3'"):
        score_named("recall:3", 3)


def brute_force(score, labels, chances, columns, counts):
    """Compute the score by repeating items one resample at a time, by scikit-learn."""
    values = []
    for drawn in counts:
        items = [item for item, column in enumerate(columns) for _ in range(drawn[column])]
        values.append(score.compute(labels[items], chances[items]) if items else np.nan)
    return values


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", [*SCORES, "recall:1"])
@pytest.mark.parametrize("grouped", [False, True])
def test_fast_resamples_are_those_of_a_loop_over_repeated_items(name, grouped, classes):
    score = score_named(name)
    parts = [predictions(items, classes, seed=items) for items in (30, 24)]
    labels = [part[0] for part in parts]
    groups = [np.arange(len(part)) // 4 for part in labels] if grouped else None
    resampling = Resampling(labels, groups, resamples=8, seed=1)
    found = resampling.of(score, {"arm": [part[1] for part in parts]})["arm"]
    for split, (truth, chances) in enumerate(parts):
        counts = resampling.group_draws(split)
        expected = brute_force(score, truth, chances, resampling.columns[split], counts)
        np.testing.assert_allclose(found.drawn[:, split], expected, atol=1e-9)
        assert found.values[split] == pytest.approx(score.compute(truth, chances))


def test_a_score_of_ones_own_is_resampled_one_by_one():
    own = Score("mean_label", "mean label", lambda labels, chances: float(labels.mean()))
    labels, chances = predictions(20, 2)
    resampling = Resampling([labels] * 2, resamples=9)
    found = resampling.of(own, {"arm": [chances] * 2})["arm"]
    np.testing.assert_allclose(found.drawn[:, 0], resampling.group_draws(0) @ labels / 20)


def test_whole_groups_are_drawn_and_a_group_of_several_splits_is_drawn_for_all():
    resampling = Resampling([np.zeros(4, int)] * 2, [["a", "a", "b", "c"], ["c", "d", "d", "d"]], resamples=50)
    assert (resampling.group_draws(0) == resampling.group_draws(1)).all()
    assert (resampling.group_draws(0).sum(axis=1) == 4).all()
    assert resampling.columns[0][3] == resampling.columns[1][0]
    alone = Resampling([np.zeros(4, int)] * 2, resamples=50)
    assert (alone.group_draws(0) != alone.group_draws(1)).any()


def test_where_classes_count_alike_the_interval_rests_on_the_class_of_fewest_groups():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(24), 10)
    labels = (groups < 4).astype(int)
    helped = generator.normal(0, 0.7, 24)[groups]
    parts = [0.1 + 0.8 * np.eye(2)[np.where(generator.normal(0.8, 1, 240) + helped > 0, labels, 1 - labels)]] * 5
    resampling = Resampling([labels] * 5, [groups] * 5, resamples=500)
    assert (resampling.group_count, resampling.fewest_count, resampling.fewest_in_split) == (24, 4, [4] * 5)
    assert not resampling.of(score_named("brier"), {"a": parts})["a"].by_class
    alike = resampling.of(score_named("balanced_accuracy"), {"a": parts})["a"]
    assert all(one.by_class for one in (alike, alike - alike, alike * 2))
    wide, narrow = (interval_of(Resamples(alike.values, alike.drawn, flag), resampling) for flag in (True, False))
    lone = Resampling([np.r_[labels, 2]] * 5, [np.r_[groups, 99]] * 5, resamples=500)
    assert lone.fewest_in_split == [1] * 5
    assert interval_of(alike, lone).high >= wide.high
    factor = stats.t.isf(0.025, 3) / stats.t.isf(0.025, 23) * math.sqrt((4 / 3) / (24 / 23))
    assert wide.high - wide.estimate == pytest.approx(factor * (narrow.high - narrow.estimate), rel=1e-6)


def test_arms_that_predict_alike_show_nothing_of_what_would_have_been_shown():
    labels, chances = predictions(60, 2)
    resampling = Resampling([labels] * 5, resamples=100)
    same = resampling.of(ACCURACY, {"a": [chances] * 5})["a"]
    found = interval_of(same - same, resampling)
    assert (found.low, found.high, found.detectable) == (0, 0, math.inf)
    assert sentence_of(found, ACCURACY).endswith(
        "; the arms predicted alike in every split, so nothing is known of what would have been shown"
    )


@pytest.mark.parametrize("name", ["accuracy", "recall:1"])
def test_a_score_of_ones_own_is_computed_whatever_its_name(name):
    labels, chances = predictions(60, 3)
    own = Score(name, "share of items of class 0", lambda truth, given: float((truth == 0).mean()))
    found = Resampling([labels] * 3, resamples=20).of(own, {"a": [chances] * 3})["a"]
    assert found.values == pytest.approx([(labels == 0).mean()] * 3)


def test_f1_leaves_out_a_class_without_items_though_it_is_predicted():
    labels = np.zeros(4, int)
    chances = 0.1 + 0.8 * np.eye(2)[[0, 0, 0, 1]]
    assert scores_of(labels, chances)["macro_f1"] == pytest.approx(6 / 7)
    found = Resampling([labels] * 3, resamples=20).of(score_named("macro_f1"), {"a": [chances] * 3})["a"]
    assert found.values == pytest.approx([6 / 7] * 3)


def test_one_seed_gives_one_interval_whatever_other_arms_there_are():
    labels, chances = predictions(60, 2)
    other = predictions(60, 2, seed=5)[1]
    one, two = (Resampling([labels] * 3, resamples=100, seed=4) for _ in range(2))
    alone = one.of(ACCURACY, {"a": [chances] * 3})["a"]
    beside = two.of(ACCURACY, {"b": [other] * 3, "a": [chances] * 3})["a"]
    assert interval_of(alone, one) == interval_of(beside, two)


def spread_out(values, noise, resamples=4000, seed=0):
    """Make a resampling of len(values) splits of 50 items, and resamples with normal noise within splits."""
    resampling = Resampling([np.zeros(50, int)] * len(values), resamples=resamples, seed=seed)
    drawn = np.array(values) + noise * np.random.default_rng(seed).normal(size=(resamples, len(values)))
    return Resamples(np.array(values), drawn), resampling


def test_interval_is_students_where_splits_vary_more_than_items():
    values = np.random.default_rng(3).normal(0.02, 0.03, 12)
    found = interval_of(*spread_out(values, noise=0.004))
    expected = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, abs=0.003)
    # The half-width is Student's up to the noise of two percentiles; their shape may move it to one side.
    assert found.high - found.low == pytest.approx(expected[1] - expected[0], rel=0.05)
    assert found.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=0.3)


def test_interval_is_that_of_the_items_where_splits_agree_by_luck():
    found = interval_of(*spread_out([0.05, 0.05, 0.05, 0.05], noise=0.04))
    freedom = 4 * 49
    half = stats.t.isf(0.025, freedom) * math.sqrt(50 / 49) * 0.04 / 2
    assert found.high - found.low == pytest.approx(2 * half, rel=0.05)


def test_groups_tested_in_every_split_widen_the_interval():
    labels = [np.zeros(40, int)] * 6
    guess = np.repeat(np.random.default_rng(0).random(20) < 0.6, 2)  # each patient right or wrong as a whole
    right = [np.column_stack([guess, ~guess]).astype(float)] * 6
    patients = np.arange(40) // 2
    widths = []
    for groups in ([patients] * 6, [patients + 20 * split for split in range(6)]):
        resampling = Resampling(labels, groups, resamples=1000)
        found = interval_of(resampling.of(ACCURACY, {"a": right})["a"], resampling)
        widths.append(found.high - found.low)
    standard_error = math.sqrt(guess.mean() * (1 - guess.mean()) / 20)
    # The same 20 patients six times over are 20 patients.
    assert widths[0] == pytest.approx(2 * stats.t.isf(0.025, 19) * standard_error, rel=0.1)
    assert widths[1] < 0.6 * widths[0]


@pytest.mark.parametrize("shift", [0.0, 0.01, 0.02, 0.03, 0.04])
def test_p_value_is_below_5_percent_exactly_where_the_interval_excludes_zero(shift):
    found = interval_of(*spread_out(np.array([0.0, 0.01, -0.02, 0.015, 0.01]) + shift, noise=0.01))
    assert (found.p_value < 0.05) == (not found.low <= 0 <= found.high)
    assert (verdict_of(found, ACCURACY) == "helps") == (found.low > 0)


def test_arms_with_equal_predictions_are_no_evidence():
    labels, chances = predictions(40, 2)
    resampling = Resampling([labels] * 4, resamples=50)
    own = resampling.of(ACCURACY, {"a": [chances] * 4})["a"]
    found = interval_of(own - own, resampling)
    assert (found.estimate, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert verdict_of(found, ACCURACY) == "no evidence"


@pytest.mark.parametrize("splits", [1, 2])
def test_one_or_two_splits_give_no_interval_and_no_verdict(splits):
    labels, chances = predictions(40, 2)
    resampling = Resampling([labels] * splits, resamples=20)
    found = interval_of(resampling.of(ACCURACY, {"a": [chances] * splits})["a"], resampling)
    assert math.isnan(found.low)
    assert math.isnan(found.p_value)
    assert found.estimate == scores_of(labels, chances)["accuracy"]
    assert "at least 3 splits" in sentence_of(found, ACCURACY)


def test_no_interval_leaves_the_values_that_a_score_can_have():
    labels = [np.tile([0, 1], 10)] * 3
    right = [np.eye(2)[part] for part in labels]
    wrong = [0.9 * chances + 0.05 for chances in (right[0], right[1], 1 - right[2])]  # two perfect splits, one at zero
    for score in ("accuracy", "brier", "auc"):
        found = analyse({"net": Outcomes(labels, {"Orig": right, "Prop": wrong})}, score=score, resamples=50)
        most = 2 if score == "brier" else 1
        for cell in found.cells:
            assert 0 <= cell.mean.low <= cell.mean.high <= most
        (compared,) = found.comparisons
        assert -most <= compared.difference.low <= compared.difference.high <= most
        assert compared.difference.detectable == math.inf
        assert "these 3 splits could hardly have shown any difference" in compared.sentence


def benchmark(seed, splits, *, gain=0.0, items=60, patients=12, shared=True, split_sd=0.15):
    """Simulate a baseline and an arm: right by a chance that depends on split and arm, patient, and item."""
    generator = np.random.default_rng(seed)
    labels, groups, predicted = [], [], {"Orig": [], "Orig+Prop": []}
    skill = 0.5 * generator.normal(size=patients)
    for split in range(splits):
        label, group = generator.integers(0, 2, items), generator.integers(0, patients, items)
        own = skill if shared else 0.5 * generator.normal(size=patients)
        ease = 0.7 + own[group] + 0.5 * generator.normal(size=items)
        for arm, extra in (("Orig", 0.0), ("Orig+Prop", gain)):
            chance = ndtr(ease + extra + split_sd * generator.normal())
            guess = np.where(generator.random(items) < chance, label, 1 - label)
            predicted[arm].append(0.2 + 0.6 * np.eye(2)[guess])
        labels.append(label)
        groups.append(group if shared else group + patients * split)
    return Outcomes(labels, predicted, groups)


def verdicts(count, splits, score="accuracy", **simulation):
    found = [
        analyse({"net": benchmark(seed, splits, **simulation)}, score=score, resamples=200, seed=seed)
        for seed in range(count)
    ]
    return [analysis.comparisons[0].verdict for analysis in found]


@pytest.mark.parametrize(
    ("splits", "simulation"),
    [
        (5, {"shared": True}),
        (5, {"shared": False, "split_sd": 0.4}),
        (10, {"shared": True, "split_sd": 0.3}),
    ],
)
def test_equal_arms_are_told_apart_in_at_most_16_of_200_runs(splits, simulation):
    found = verdicts(200, splits, **simulation)
    assert sum(verdict != "no evidence" for verdict in found) <= 16


def test_an_arm_that_is_8_points_better_helps_and_a_loss_shows_it_the_other_way_round():
    # 0.33 units of skill are 8 points of accuracy here.
    kind = {"gain": 0.33, "items": 200, "patients": 40}
    assert verdicts(10, 10, **kind).count("helps") >= 9
    assert verdicts(10, 10, score="brier", **kind).count("helps") >= 9


def test_an_arm_with_noise_on_its_labels_hurts():
    assert verdicts(10, 10, gain=-0.5, items=200, patients=40).count("hurts") >= 9


def test_a_difference_as_large_as_detectable_is_shown_in_about_80_of_100_runs():
    generator = np.random.default_rng(0)
    equal = [interval_of(*spread_out(generator.normal(0, 0.02, 10), 0.002, 200, seed)) for seed in range(100)]
    least = np.mean([found.detectable for found in equal])
    shown = [
        interval_of(*spread_out(generator.normal(least, 0.02, 10), 0.002, 200, seed)).low > 0 for seed in range(100)
    ]
    assert 0.68 <= np.mean(shown) <= 0.92


def test_corrected_t_test_matches_the_formula_and_scipy_without_correction():
    values = [0.02, 0.05, -0.01, 0.03, 0.04]
    found = corrected_t_test(values, n_train=90, n_test=30)
    error = math.sqrt((1 / 5 + 30 / 90) * np.var(values, ddof=1))
    assert found.statistic == pytest.approx(np.mean(values) / error)
    assert found.p_value == pytest.approx(2 * stats.t.sf(np.mean(values) / error, 4))
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 4, np.mean(values), error))
    plain = corrected_t_test(values, n_train=10**12, n_test=1)
    expected = stats.ttest_1samp(values, 0)
    assert (plain.statistic, plain.p_value) == pytest.approx((expected.statistic, expected.pvalue))


def test_corrected_t_test_of_no_difference_and_of_too_few_splits():
    assert corrected_t_test([0.0, 0.0, 0.0], 3, 1).p_value == 1
    assert math.isnan(corrected_t_test([0.1], 3, 1).p_value)
    assert math.isnan(corrected_t_test([0.1, 0.2], 3, 1).high)


def test_holm_never_rejects_more_than_its_definition():
    values = [0.001, 0.3, 0.013, math.nan, 0.02, 0.04]
    found = holm(values)
    ordered = sorted((value, place) for place, value in enumerate(values) if value == value)
    largest = 0.0
    for rank, (value, place) in enumerate(ordered):
        largest = max(largest, min(1.0, (5 - rank) * value))
        assert found[place] == pytest.approx(largest)
    assert math.isnan(found[3])


def test_share_of_an_arm_with_half_the_oracles_gain_is_half():
    generator = np.random.default_rng(1)
    oracle, resampling = spread_out(0.10 + generator.normal(0, 0.01, 10), 0.004)
    noise, _ = spread_out(generator.normal(0, 0.005, 10), 0.002, seed=9)
    arm = Resamples(0.5 * oracle.values + noise.values, 0.5 * oracle.drawn + noise.drawn)
    found = oracle_share(arm, oracle, resampling, images_per_class=24)
    assert found.share == pytest.approx(np.mean(arm.values) / np.mean(oracle.values))
    assert found.low < 0.5 < found.high
    assert found.images_per_class == pytest.approx(24 * found.share)
    # The ends are the ratios at which the interval of what is left just touches zero.
    assert interval_of(arm - oracle * found.low, resampling).low == pytest.approx(0, abs=1e-6)
    assert interval_of(arm - oracle * found.high, resampling).high == pytest.approx(0, abs=1e-6)


def test_share_of_the_oracle_itself_is_one_and_worth_is_capped():
    oracle, resampling = spread_out([0.1, 0.12, 0.08, 0.11], 0.01)
    assert oracle_share(oracle, oracle, resampling).share == pytest.approx(1)
    assert oracle_share(oracle * 3, oracle, resampling, 24).images_per_class == 24
    assert oracle_share(oracle * -1, oracle, resampling, 24).images_per_class == 0


def test_there_is_no_share_of_an_oracle_that_gains_nothing_clearly():
    oracle, resampling = spread_out([0.1, -0.12, 0.08, 0.0], 0.01)
    found = oracle_share(oracle, oracle, resampling, 24)
    assert found.share is None
    assert found.images_per_class is None
    assert "not clearly above zero" in found.reason


def test_analysis_counts_its_comparisons_and_keeps_the_order():
    outcomes = benchmark(0, 4)
    arms = {**outcomes.probabilities, "Oracle": outcomes.probabilities["Orig+Prop"]}
    own = Outcomes(outcomes.labels, arms, outcomes.groups)
    found = analyse({"a": own, "b": own}, resamples=50, t_test_items=(90, 30))
    assert (found.classifiers, found.arms) == (("a", "b"), ("Orig", "Orig+Prop", "Oracle"))
    assert [(one.classifier, one.arm) for one in found.comparisons] == [
        (name, arm) for name in "ab" for arm in ("Orig+Prop", "Oracle")
    ]
    assert found.false_alarms_expected == pytest.approx(0.2)
    for one in found.comparisons:
        assert one.holm_p_value >= one.difference.p_value
        assert one.t_test.n_train == 90
        assert (one.oracle_share is None) == (one.arm == "Oracle")
        assert one.difference.estimate == pytest.approx(np.mean(one.values))


def test_means_of_an_analysis_are_means_of_scikit_learns_scores():
    outcomes = benchmark(3, 5)
    found = analyse({"net": outcomes}, score="macro_f1", resamples=20)
    for cell in found.cells:
        parts = zip(outcomes.labels, outcomes.probabilities[cell.arm], strict=True)
        values = [metrics.f1_score(truth, chances.argmax(axis=1), average="macro") for truth, chances in parts]
        assert cell.mean.estimate == pytest.approx(np.mean(values))


def test_a_classifier_without_its_baseline_or_with_a_missing_split_is_refused():
    outcomes = benchmark(0, 3)
    with pytest.raises(DataError, match="name another baseline"):
        analyse({"net": outcomes}, baseline="Real")
    short = {**outcomes.probabilities, "Orig+Prop": outcomes.probabilities["Orig+Prop"][:2]}
    with pytest.raises(DataError, match="expected 3 splits"):
        analyse({"net": Outcomes(outcomes.labels, short, outcomes.groups)})
    with pytest.raises(DataError, match="groups of shapes"):
        analyse({"net": Outcomes(outcomes.labels, outcomes.probabilities, outcomes.groups[:2])})


def test_sentences_say_what_was_found():
    better = Interval(0.05, 0.02, 0.08, 0.012, 0.003, 0.04, 10)
    assert sentence_of(better, ACCURACY) == "helps: +5.0 points (+2.0 to +8.0)"
    loss = score_named("log_loss")
    assert sentence_of(better, loss) == "hurts: +0.050 (+0.020 to +0.080)"
