"""The bootstrap is paired, weighs tasks equally, and is the same every time."""

import math

import numpy as np

from study.bootstrap import interval, means, normalised, resampled_means


def test_a_mean_is_over_questions_then_seeds_then_tasks() -> None:
    few, many = np.array([[1.0, 0.0]]), np.array([[1.0, 1.0, 1.0, 0.0]])

    assert means([[few, few], [many, many]]).tolist() == [(0.5 + 0.75) / 2]


def test_a_constant_lead_has_no_width_however_hard_the_questions_differ() -> None:
    questions = np.random.default_rng(1).normal(size=30)
    numbers = [[np.stack([questions, questions + 0.25])], [np.stack([questions[:9], questions[:9] + 0.25])]]

    drawn = resampled_means(numbers, resamples=200)

    assert np.ptp(drawn[:, 0]) > 0.1
    low, high = interval(drawn[:, 1] - drawn[:, 0])
    assert math.isclose(low, 0.25)
    assert math.isclose(high, 0.25)


def test_the_interval_of_one_task_agrees_with_the_normal_approximation() -> None:
    answers = (np.arange(400) % 4 == 0).astype(float)[None]

    low, high = interval(resampled_means([[answers]], resamples=4000)[:, 0])

    half = 1.96 * math.sqrt(0.25 * 0.75 / 400)
    assert abs(low - (0.25 - half)) < 0.006
    assert abs(high - (0.25 + half)) < 0.006


def test_seeds_that_differ_widen_the_interval() -> None:
    right, wrong = np.ones((1, 50)), np.zeros((1, 50))

    low, high = interval(resampled_means([[right, wrong]], resamples=500)[:, 0])

    assert (low, high) == (0.0, 1.0)


def test_where_oracle_and_base_are_equal_there_is_no_score() -> None:
    found = normalised(np.array([0.5, 0.75]), base=np.array([0.5, 0.5]), oracle=np.array([0.5, 1.0]))

    assert math.isnan(found[0])
    assert found[1] == 0.5
    assert interval(found) == (0.5, 0.5)
