"""Rows that meet the end of the context while others go on."""

import pytest

from checkpoints import tiny_checkpoint
from tutelage.backends.hf import open_folder
from tutelage.capabilities import Sampling
from tutelage.records import Prompt


@pytest.mark.parametrize("share", [True, False])
def test_a_model_with_a_table_of_positions_is_never_asked_for_one_behind_its_last(tmp_path, share):
    context = 64
    folder = tiny_checkpoint(tmp_path / "model", "gpt2", context=context, seed=1)
    model = open_folder(folder, threads=1, share=share)
    # One row ends at the context while nineteen, too many for it to be taken out at once, go on for long.
    prompts = [
        Prompt.user("a b c d e f g h i j k l m n o p q r s t u v w x y z " + "1 2 3 4 5 "),
        *(Prompt.user(f"{i} a") for i in range(19)),
    ]
    sampling = Sampling(max_tokens=40, temperature=1.5, seed=3)
    together = model.generate(prompts, sampling)
    room = context - together[0][0].prompt_tokens
    assert 0 < room < 20
    assert together[0][0].completion_tokens == room
    assert together[0][0].finish == "length"
    assert sum(row[0].completion_tokens > room + 1 for row in together) >= 16, "the others went on"
    assert together == [model.generate([prompt], sampling)[0] for prompt in prompts]
