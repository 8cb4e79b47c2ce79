"""What the report says about training: curves of losses and scores, why it stopped, speed and memory."""

import io
from types import SimpleNamespace

import pytest

from syncgan.evaluation.progress import FitProgress, PlainDisplay
from syncgan.evaluation.reporting.made import variety_section
from syncgan.evaluation.training_figures import speed_and_memory, stopping_sentence, training_figures
from syncgan.training.events import FitEvent


def losses(stage, steps=20, speed=10.0, memory=512.0):
    return [
        {
            "stage": stage,
            "step": step,
            "total": steps,
            "loss_discriminator": 1.0,
            "loss_generator_adversarial": -0.7,
            "loss_generator_reconstruction": 1 / step,
            "images_per_second": speed,
            "peak_memory_mb": memory * step,
        }
        for step in range(1, steps + 1)
    ]


def validated(step, **scores):
    return {"stage": "image_gan", "event": "validated", "step": step, "validation": scores}


STOPPED = {"stage": "image_gan", "event": "stopped", "step": 20, "reason": "all steps done", "kept_step": 10}
NAMES = {"HSIL/CIN2": "000-hsil-cin2"}


def test_scores_are_drawn_with_the_reason_for_stopping_and_the_step_that_was_kept():
    scores = [validated(step, generator=float(step), utility=None if step == 5 else -step / 100) for step in (5, 10)]
    figures = training_figures([*losses("image_gan"), *scores, STOPPED], NAMES, None)
    assert [figure.file for figure in figures] == ["losses-image-gan.png", "scores-image-gan.png"]
    for figure in figures:
        assert "Stopped at step 20: all steps done; the weights of step 10 are kept" in figure.explanation


def test_events_that_are_not_known_are_passed_over():
    known = training_figures(losses("image_gan"), NAMES, None)
    strange = {"stage": "image_gan", "event": "eclipse", "step": 3, "corona": [1]}
    assert training_figures([strange, *losses("image_gan"), {"event": "of no stage"}], NAMES, None) == known


def test_a_score_that_never_was_finite_is_not_drawn():
    figures = training_figures([validated(5, utility=None)], NAMES, None)
    assert figures == []


def test_every_stage_has_its_figure_and_a_safe_file_name():
    stages = ("mask_gan", "mask_gan/HSIL/CIN2", "image_gan")
    figures = training_figures([line for stage in stages for line in losses(stage)], NAMES, None)
    assert [figure.file for figure in figures] == [
        "losses-mask-gan.png",
        "losses-mask-gan-000-hsil-cin2.png",
        "losses-image-gan.png",
    ]


@pytest.mark.parametrize(
    ("kept", "words"), [(20, "the last weights are kept"), (4, "the weights of step 4 are kept, the best by score")]
)
def test_the_sentence_says_which_weights_are_kept(kept, words):
    assert words in stopping_sentence([{**STOPPED, "kept_step": kept}])
    assert stopping_sentence(losses("image_gan")) == ""


def test_speed_is_the_last_of_each_kind_and_memory_the_most():
    lines = [*losses("mask_gan/a", speed=100), *losses("mask_gan/b", speed=300), *losses("image_gan", speed=7.123)]
    rows = speed_and_memory(lines, on_gpu=True)
    assert rows == {
        "speed": "renderer: 7.12 images/s, mask GANs: 200 images/s",
        "peak memory": "10.0 GiB of the GPU",
    }
    assert speed_and_memory([STOPPED], on_gpu=False) == {}


def test_progress_tells_only_of_stages_that_stopped_otherwise_than_planned():
    stream = io.StringIO()
    progress = FitProgress(PlainDisplay(stream))
    for line in ({**STOPPED, "kept_step": 20}, STOPPED, {"event": "eclipse", "stage": "image_gan", "step": 1}):
        progress(FitEvent("event", None, stage="image_gan", done=20, line=line))
    assert stream.getvalue().splitlines() == [
        "image_gan: Stopped at step 20: all steps done; the weights of step 10 are kept, the best by score."
    ]


def test_a_report_without_the_variety_within_one_mask_is_better_than_none(caplog):
    section = variety_section(SimpleNamespace(augmenter=SimpleNamespace(config_=SimpleNamespace(image_size=32))))
    assert section.missing
    assert not section.tables
    assert "could not be measured" in caplog.text
