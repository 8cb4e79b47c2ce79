"""The report: self-contained, safe whatever the names are, and honest about what was left out."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.evaluation.plots import colour_map, draw_losses, draw_strips
from syncgan.evaluation.report import FactTable, FigureEntry, ReportFacts, draw_figures, outlined, write_report

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "../../up", "$\\frac{$_^", "正常"]
CONFIG = SynCGANConfig.preset("tiny").updated(
    [
        "mask_gan.warm_start_steps=0",
        "mask_gan.sharing=class",
        "mask_gan.steps=2",
        "image_gan.steps=2",
        "training.log_every=1",
        "filters.mask_plausibility=false",
    ]
)


class Renamed:
    """The phantom's images under other class names."""

    def __init__(self, classes: list[str], per_class: int = 3) -> None:
        self.classes, self.targets = classes, [label for label in range(len(classes)) for _ in range(per_class)]
        self._phantom = Phantom(per_class * len(classes), image_size=32)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int):
        return self._phantom[index][0], self.targets[index]


def facts(**changes: object) -> ReportFacts:
    values = {
        "title": "Run one",
        "notice": "For training, not for diagnosis.",
        "classes": (("benign", 4, 3),),
        "details": {"seed": "0"},
        "config": "image_size = 32",
    }
    return ReportFacts(**{**values, **changes})


def figure(title: str = "benign") -> FigureEntry:
    return FigureEntry(
        "Pictures", title, "Look at it.", draw_strips([("row", [np.zeros((8, 8, 3), np.uint8)])]), "f.png"
    )


@pytest.fixture(scope="module")
def hostile_figures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    augmenter = SynCGANAugmenter(CONFIG, device="cpu").fit(Renamed(HOSTILE), run_dir=folder / "run")
    from syncgan.training.run_folder import RunFolder

    figures = draw_figures(augmenter, RunFolder(folder / "run").stats(), folder / "run" / "figures")
    return folder, figures


def test_the_report_has_no_address_outside_and_no_script(tmp_path):
    html = write_report(tmp_path, facts(), [figure()]).read_text("utf-8")
    assert "://" not in html
    assert "<script" not in html
    assert re.findall(r'(?:src|href)="(?!data:)', html) == []
    assert "default-src 'none'" in html
    assert 'name="viewport"' in html


def test_every_figure_is_inside_with_its_explanation(tmp_path):
    figures = [figure("one"), figure("two")]
    html = write_report(tmp_path, facts(), figures).read_text("utf-8")
    assert html.count('<img src="data:image/png;base64,') == 2
    assert html.count("<figcaption>Look at it.</figcaption>") == 2


@pytest.mark.parametrize("name", HOSTILE[:2])
def test_hostile_names_are_shown_as_text(tmp_path, name):
    told = facts(
        title=name, classes=((name, 2, 1),), skipped={name: name}, excluded={name: name}, notes=(name,), config=name
    )
    html = write_report(tmp_path, told, [figure(name)]).read_text("utf-8")
    assert name not in html
    assert "<script" not in html
    assert "<img src=x" not in html


def test_what_was_left_out_is_counted_and_listed_with_reasons(tmp_path):
    told = facts(skipped={"benign/torn.png": "is truncated"}, excluded={"benign/blank.png": "no nucleus found"})
    html = write_report(tmp_path, told, []).read_text("utf-8")
    assert "benign/torn.png: is truncated" in html
    assert "benign/blank.png: no nucleus found" in html
    assert re.search(r"<td>benign</td><td[^>]*>4</td><td[^>]*>1</td><td[^>]*>3</td>", html)


def test_thousands_of_reasons_do_not_fill_the_report(tmp_path):
    html = write_report(tmp_path, facts(skipped={f"{i}.png": "is empty" for i in range(5000)}), []).read_text("utf-8")
    assert html.count("is empty") < 300
    assert "and 4800 more" in html


def test_figures_of_hostile_class_names_stay_in_their_folder(hostile_figures):
    folder, figures = hostile_figures
    written = {path.name for path in (folder / "run" / "figures").iterdir()}
    assert written == {entry.file for entry in figures}
    assert {path.name for path in folder.iterdir()} == {"run"}
    # One overlay sheet; a grid and a loss curve for each class; the renderer's curve.
    assert len(figures) == 1 + 2 * len(HOSTILE) + 1


def test_every_figure_is_a_picture_without_text_chunks(hostile_figures):
    for entry in hostile_figures[1]:
        with Image.open(io.BytesIO(entry.png)) as picture:
            picture.load()
            assert min(picture.size) > 100
            assert not picture.text


def test_nuclei_have_the_same_colour_whatever_the_number_of_levels():
    colours = {levels: colour_map(np.arange(levels, dtype=np.uint8)[None], levels)[0] for levels in (2, 3, 5)}
    assert len({tuple(colours[levels][-1]) for levels in colours}) == 1
    assert len({tuple(colours[levels][0]) for levels in colours}) == 1
    assert len({tuple(colour) for colour in colours[5]}) == 5


@pytest.mark.parametrize("side", [16, 128, 700])
def test_outlines_follow_the_mask_at_every_image_size(side):
    image = np.full((side, side, 3), 200, np.uint8)
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : side // 2, side // 4 : side // 2] = 1
    drawn = outlined(image, mask, levels=2)
    green = (drawn == (0, 255, 0)).all(axis=2)
    rows, columns = np.nonzero(green)
    edge = drawn.shape[0]
    assert 100 <= edge <= 200
    assert abs(rows.min() - edge / 4) <= 2
    assert abs(columns.max() - edge / 2) <= 2
    assert green.mean() < 0.1


def test_losses_can_be_drawn_from_one_line_and_from_many():
    line = {"step": 1, "loss_discriminator": 1.0, "loss_generator_adversarial": 0.7, "loss_generator": 0.7}
    many = [{**line, "step": step, "loss_generator_reconstruction": 1 / step} for step in range(1, 200)]
    few, more = (Image.open(io.BytesIO(draw_losses("stage", lines))) for lines in ([line], many))
    assert more.height > few.height


@pytest.mark.parametrize("size", [86, 128, 192])
def test_names_below_images_stay_below_their_image(size):
    rows = [("", [np.full((size, size, 3), 200, np.uint8)] * 2)]
    with Image.open(io.BytesIO(draw_strips(rows, [["W" * 100, "second.png"]]))) as picture:
        drawn = np.asarray(picture.convert("L"))
    with Image.open(io.BytesIO(draw_strips(rows))) as picture:
        top = picture.height - 16  # below the images, where nothing is drawn without names
    first, gap = drawn[top:, 10 : 10 + size], drawn[top:, 10 + size : 16 + size]
    assert first.min() < 100
    assert gap.min() == 255


def test_measures_stand_below_the_figures_with_a_sentence_on_how_to_read_them(tmp_path):
    table = FactTable("Variety", ("class", "features"), (("<b>", "0.50"),), "0 <means> none.")
    html = write_report(tmp_path, facts(measures=(table,)), [figure()]).read_text("utf-8")
    assert html.index("Look at it.") < html.index("In numbers") < html.index("Variety")
    assert '<td>&lt;b&gt;</td><td class="number">0.50</td>' in html
    assert "0 &lt;means&gt; none." in html
    assert "In numbers" not in write_report(tmp_path, facts(), [figure()]).read_text("utf-8")
