"""The script that made the bundled pair: rows, weights of targets, the optimiser, and that equal lineages give equal weights."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import torch

from bundled_tokenizer import CONTEXT_TOKENS, EOS, PAD, build_tokenizer
from bundled_training import document_ids, mask_of, new_model, optimisers, orthogonal, rate, rows, take_step
from pretrain_bundled import BUILDS, STUDENT, save_weights
from tutelage.seeds import derive
from tutelage.tasks.folds_documents import Piece

TOKENIZER = build_tokenizer()
END = TOKENIZER.token_to_id(EOS)


def test_weights_follow_their_tokens() -> None:
    pieces = [
        Piece(text="Q : max of Mon 1 Tue 2 Wed 3 ?\nA :", weight=0.1),
        Piece(text="=> 3", weight=1.0, first=0.0),
        Piece(text="\n\nQ : x", weight=0.1, first=0.0),
        Piece(text="=> 4", weight=1.0, end=True),
    ]
    ids, weights = document_ids(TOKENIZER, pieces, END)
    tokens = [TOKENIZER.id_to_token(i) for i in ids]
    assert len(ids) == len(weights)
    assert tokens[-3:] == [" =>", " 4", EOS]
    assert weights[-3:] == [1.0, 1.0, 1.0]
    first = tokens.index(" =>")
    assert weights[first : first + 4] == [0.0, 1.0, 0.0, 0.1]
    assert set(weights[:first]) == {0.1}


def test_rows_are_full_of_whole_documents() -> None:
    supply = rows(TOKENIZER, STUDENT.diet, random.Random(0))
    used = 0
    for _ in range(40):
        row = next(supply)
        assert len(row.ids) == len(row.positions) == len(row.documents) == len(row.weights) == CONTEXT_TOKENS
        for at, number in enumerate(row.documents):
            starts = at == 0 or row.documents[at - 1] != number
            if number < 0:
                assert row.ids[at] == TOKENIZER.token_to_id(PAD)
                assert row.weights[at] == 0.0
            elif starts:
                assert row.positions[at] == 0
                assert row.weights[at] == 0.0
                assert at == 0 or row.ids[at - 1] == END
            else:
                assert row.positions[at] == row.positions[at - 1] + 1
        used += sum(n >= 0 for n in row.documents)
    assert used > 0.95 * 40 * CONTEXT_TOKENS


def test_a_packed_document_is_seen_as_if_it_stood_alone() -> None:
    row = next(rows(TOKENIZER, STUDENT.diet, random.Random(3)))
    model = new_model(STUDENT, TOKENIZER, seed=1).eval()
    documents = torch.tensor([row.documents])
    with torch.no_grad():
        packed = model(
            input_ids=torch.tensor([row.ids]),
            position_ids=torch.tensor([row.positions]),
            attention_mask=mask_of(documents),
            use_cache=False,
        ).logits[0]
        compared = 0
        for number in range(max(row.documents) + 1):
            places = [i for i, n in enumerate(row.documents) if n == number]
            alone = model(input_ids=torch.tensor([[row.ids[i] for i in places]])).logits[0]
            torch.testing.assert_close(packed[places], alone, atol=1e-4, rtol=1e-4)
            compared += 1
        assert compared >= 2


def test_orthogonal_brings_singular_values_near_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for height, width in ((64, 176), (176, 64), (64, 64)):
        x = torch.randn(3, height, width, generator=generator)
        for matrix, old in zip(orthogonal(x), x, strict=True):
            values = torch.linalg.svdvals(matrix)
            assert float(values.max()) < 1.4
            assert float(values.median()) > 0.6
            left, _, right = torch.linalg.svd(old, full_matrices=False)
            # It keeps the singular vectors: against the exact polar factor every direction agrees in sign.
            assert float((left.mT @ matrix @ right.mT).diagonal().min()) > 0


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    shares = [rate(step, 100, 0.4, warm=10) for step in range(100)]
    assert shares[0] == 0.1
    assert shares[10] == shares[59] == 1.0
    assert shares[80] == 0.5
    assert 0 < shares[-1] <= 0.03


def test_every_weight_is_trained_by_one_optimiser() -> None:
    for build in BUILDS.values():
        model = new_model(build, TOKENIZER, seed=0)
        held = [id(p) for opt in optimisers(model, build) for group in opt.param_groups for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in model.parameters())


def test_equal_lineages_give_equal_files_and_others_do_not(tmp_path: Path) -> None:
    torch.set_num_threads(1)

    def digest(lineage: int, name: str) -> str:
        model = new_model(STUDENT, TOKENIZER, derive(lineage, "pretrain", "student"))
        opts = optimisers(model, STUDENT)
        supply = rows(TOKENIZER, STUDENT.diet, random.Random(derive(lineage, "documents", "student")))
        for step in range(2):
            loss, tokens = take_step(model, opts, [next(supply) for _ in range(3)], (6e-3, 3.6e-3), rate(step, 2, 0.4))
            assert 0 < loss < 10
            assert 600 < tokens <= 3 * CONTEXT_TOKENS
        told = save_weights(model, TOKENIZER, tmp_path / name)
        assert told == hashlib.sha256((tmp_path / name / "model.safetensors").read_bytes()).hexdigest()
        return told

    first = digest(0, "first")
    assert digest(0, "again") == first
    assert digest(1, "other") != first
