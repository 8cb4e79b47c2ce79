"""The page of a report: self-contained, safe whatever the names are, small enough, honest about what was left out."""

from __future__ import annotations

import base64
import io
import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from syncgan.evaluation.embedding import embedded
from syncgan.evaluation.plots import colour_map, draw_losses, draw_strips
from syncgan.evaluation.report import (
    FactTable,
    FigureEntry,
    Question,
    Reasons,
    Report,
    Section,
    outlined,
    write_report,
)

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>']


def figure(title: str = "benign") -> FigureEntry:
    picture = draw_strips([("row", [np.zeros((8, 8, 3), np.uint8)])])
    return FigureEntry("Pictures", title, "Look at it.", picture, "f.png")


def page(tmp_path, *sections: Section, **changes: object) -> str:
    report = Report(**{"title": "Run one", "notice": "Not for diagnosis.", "sections": sections, **changes})
    return write_report(tmp_path / "report.html", report).read_text("utf-8")


class Elements(HTMLParser):
    """Collects tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_the_report_has_no_address_outside_and_no_script(tmp_path):
    html = page(
        tmp_path,
        *(Section(f"s{number}", f"Part {number}", figures=(figure(),)) for number in range(6)),
        questions=(Question("Does it?", "s1"),),
    )
    assert "://" not in html
    assert "<script" not in html
    assert "default-src 'none'" in html
    assert 'name="viewport"' in html
    elements = Elements(html)
    places = {attributes["id"] for _, attributes in elements.found if "id" in attributes}
    for tag, attributes in elements.found:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name != "src" or value.startswith("data:image/")
            assert name != "href" or (tag == "a" and value[1:] in places)
    assert len(elements.of("link") + elements.of("iframe") + elements.of("object")) == 0


def test_every_figure_is_inside_with_its_explanation_and_words_for_who_cannot_see_it(tmp_path):
    html = page(tmp_path, Section("a", "Part", figures=(figure("one"), figure("two"))))
    assert html.count("<figcaption>Look at it.</figcaption>") == 2
    assert [picture["alt"] for picture in Elements(html).of("img")] == ["Part: one", "Part: two"]


def test_headings_form_an_outline_without_gaps(tmp_path):
    table = FactTable("Numbers", ("a", "b"), (("x", "1"),))
    sections = [Section(f"s{at}", f"Part {at}", tables=(table,), figures=(figure(),), notes=("n",)) for at in range(5)]
    html = page(tmp_path, *sections, questions=(Question("Does it?", "s1"),))
    levels = [int(level) for level in re.findall(r"<h(\d)", html)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_as_text(tmp_path, name):
    section = Section(
        "a",
        name,
        verdict=name,
        text=(name,),
        terms={name: name},
        tables=(FactTable(name, (name, name), ((name, name),), name),),
        figures=(figure(name),),
        gallery=(figure(name),),
        notes=(name,),
        reasons=(Reasons(name, {name: name}),),
        listing=name,
    )
    missing = Section("b", name, missing=name, commands=(name,))
    html = page(
        tmp_path, section, missing, title=name, notice=name, questions=(Question(name, "a"), Question(name, "b"))
    )
    assert name not in html
    assert "<script" not in html
    assert "<img src=x" not in html
    assert html.count("alert(") >= 25


def test_names_that_are_no_text_do_not_break_the_page(tmp_path):
    html = page(tmp_path, Section("a", "Part", reasons=(Reasons("Left out", {"torn\udcff.png": "is truncated"}),)))
    assert "torn?.png: is truncated" in html


def test_what_is_missing_says_how_to_fill_it_in_its_place_and_in_the_summary(tmp_path):
    section = Section("audit", "Is it a copy?", missing="Not measured yet.", commands=("syncgan audit RUN",))
    html = page(tmp_path, section, questions=(Question("A copy?", "audit"),))
    assert html.count("Not measured yet.") == 2
    assert html.count('<code class="command">syncgan audit RUN</code>') == 2


def test_a_verdict_stands_in_its_section_and_in_the_summary(tmp_path):
    html = page(tmp_path, Section("audit", "Copies", verdict="No copy found."), questions=(Question("A?", "audit"),))
    assert html.count("No copy found.") == 2


def test_what_was_left_out_is_counted_and_listed_with_reasons(tmp_path):
    reasons = Reasons("Files that could not be read", {"benign/torn.png": "is truncated", "b.png": "is empty"})
    html = page(tmp_path, Section("a", "Part", reasons=(reasons, Reasons("Nothing of this", {}))))
    assert "Files that could not be read: 2" in html
    assert "benign/torn.png: is truncated" in html
    assert "Nothing of this" not in html


def test_thousands_of_reasons_or_rows_do_not_fill_the_report(tmp_path):
    reasons = Reasons("Left out", {f"{i}.png": "is empty" for i in range(5000)})
    table = FactTable("", ("a", "b"), tuple((f"r{i}", "full") for i in range(5000)))
    html = page(tmp_path, Section("a", "Part", reasons=(reasons,), tables=(table,)))
    assert html.count("is empty") < 300
    assert html.count("full") < 300
    assert html.count("and 4800 more") == 2


def test_figures_stand_to_the_right_and_words_to_the_left():
    rows = (("a", "1.50", "helps", "-3.0 (-4 to 1)", "–", "12 %"), ("b", "2", "hurts", "+1.0", "0.1", "< 0.001"))
    assert FactTable("", ("n",) * 6, rows).numeric == (False, True, False, True, True, True)
    assert FactTable("", ("n", "m"), ()).numeric == (False, False)


def noisy(side: int) -> bytes:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def test_however_many_pictures_there_are_they_fit_together():
    small, pictures = noisy(20), [noisy(side) for side in range(400, 430, 2)]
    uris = embedded([*pictures, small], most_bytes=400_000)
    assert sum(map(len, uris)) < 400_000 * 4 / 3 + 100 * len(uris)
    assert uris[-1].startswith("data:image/png")  # what is small stays as it is
    assert all(uri.startswith("data:image/jpeg") for uri in uris[:-1])


def test_a_picture_that_is_too_high_for_a_jpeg_file_is_made_smaller():
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70_000, 64, 3), dtype=np.uint8)).save(buffer, "png")
    (uri,) = embedded([buffer.getvalue()], most_bytes=3_000_000)
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (32, 35_000)


def test_few_pictures_stay_as_they_are():
    pictures = [noisy(30), noisy(20)]
    assert embedded(pictures) == [FigureEntry("", "", "", picture, "").data_uri for picture in pictures]


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
