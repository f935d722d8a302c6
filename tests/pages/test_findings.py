"""What is wrong in the same way at many places is said once, with every place."""

from django.template.loader import render_to_string

from hub.errors import FindingJson
from hub.pages.findings import complaints


def loud(layer: int, *, fix: str = "Check lora_alpha.") -> FindingJson:
    return {
        "check": "norm",
        "severity": "warning",
        "file": "adapter_model.safetensors",
        "field": f"layers.{layer}.o_proj",
        "found": f"{layer + 2}.5 times the base's",
        "expected": "usually below 2 times",
        "fix": fix,
    }


def test_findings_that_differ_in_place_alone_are_one_complaint() -> None:
    other = loud(9, fix="Ask its author.")

    said = complaints([loud(0), other, loud(1)])

    assert [complaint.first for complaint in said] == [loud(0), other]
    assert said[0].places == (
        ("layers.0.o_proj", "2.5 times the base's"),
        ("layers.1.o_proj", "3.5 times the base's"),
    )


def test_what_stands_between_backticks_is_code_and_a_stranger_s_words_stay_text() -> None:
    found = [loud(0, fix="Set `bias: none`, or `<b>x</b>` and ` alone.")]

    page = render_to_string("components/findings.html", {"findings": found})

    assert "Set <code>bias: none</code>, or <code>&lt;b&gt;x&lt;/b&gt;</code> and ` alone." in page


def test_only_what_is_refused_has_to_be_fixed() -> None:
    found = [loud(0), {**loud(1, fix="Train it again."), "severity": "error"}]

    page = render_to_string("components/findings.html", {"findings": found})

    assert "<strong>What would help:</strong> Check lora_alpha." in page
    assert "<strong>How to fix it:</strong> Train it again." in page


def test_every_place_stands_on_the_page_and_the_fix_once() -> None:
    found = [loud(layer) for layer in range(20)]

    page = render_to_string("components/findings.html", {"findings": found})

    assert page.count("Check lora_alpha.") == 1
    assert "at 20 places" in page
    assert "12 more" in page
    for finding in found:
        assert page.count(f"<code>{finding['field']}</code>") == 1
