"""Preference losses on values worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tutelage.objectives import preferences


def test_dpo_on_a_hand_worked_pair() -> None:
    chosen, rejected, ref_chosen, ref_rejected = (torch.tensor([x]) for x in (-3.0, -5.0, -4.0, -4.5))
    margin = 0.5 * ((-3 + 4) - (-5 + 4.5))
    value = preferences.dpo(chosen, rejected, ref_chosen, ref_rejected, beta=0.5)
    assert value.item() == pytest.approx(math.log(1 + math.exp(-margin)), rel=1e-6)
    smooth = preferences.dpo(chosen, rejected, ref_chosen, ref_rejected, beta=0.5, smoothing=0.1)
    assert smooth.item() == pytest.approx(0.9 * math.log(1 + math.exp(-margin)) + 0.1 * math.log(1 + math.exp(margin)), rel=1e-6)


def test_a_tie_is_half_a_win() -> None:
    same = torch.tensor([-1.0, -1.0])
    named = preferences.implicit_rewards(same, torch.tensor([-1.0, -2.0]), same, same, beta=0.1)
    assert named["reward_win_rate"].tolist() == [0.5, 1.0]
    assert named["log_prob_win_rate"].tolist() == [0.5, 1.0]
    assert named["reward_margin_nats"].tolist() == pytest.approx([0.0, 0.1])
