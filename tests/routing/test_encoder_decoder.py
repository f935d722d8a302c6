"""Libraries that grow on an encoder-decoder: everything that holds of causal bases, against peft and transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from routing.adapter import read_adapter
from routing.base import load_base
from routing.calibration import calibrated_pack
from routing.checkpoint import load_checkpoint, write_routed
from routing.checks.behaviour import default_neutral_text, run_behaviour_checks
from routing.checks.samples import Sample
from routing.checks.static import run_static_checks
from routing.completion_loss import mean_loss
from routing.composed import ComposedModel, compose
from routing.export import write_adapter, write_merged
from routing.factors import Factors
from routing.gates import GateRecipe, train_gates
from routing.index import RoutingPolicy
from routing.neutral import neutral_tokens
from routing.notebook import library_source, open_library, publish
from routing.routers import QUERY_ROUTERS, ROUTERS, Selection
from routing.routes import Routing, Seat, route
from routing.rows import encoded_rows
from routing.spec import BaseSpec
from routing.store import open_store
from routing.tensor_names import reason_for_stranger
from tests.routing.libraries import TEXT, SmallLibrary, t5_library
from tests.tiny import tiny_adapter, tiny_llama, tiny_model, tiny_t5

SAID = (5, 40, 9, 77, 13, 250, 31)
SHORT = "The mill is closed."
TOKEN_ROUTERS = sorted(set(ROUTERS) - QUERY_ROUTERS - {"single"})


@pytest.fixture(scope="module", params=[True, False], ids=["gated-gelu", "relu"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return t5_library(tmp_path_factory.mktemp("adapters"), gated=request.param)


@pytest.fixture(scope="module")
def experts(library: SmallLibrary) -> dict[str, dict[str, Factors]]:
    return library.experts()


@pytest.fixture(scope="module")
def neutral() -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(2, 300, (12, 16), generator=draw, dtype=torch.int32)


@pytest.fixture(scope="module")
def model(
    library: SmallLibrary, experts: dict[str, dict[str, Factors]], neutral: torch.Tensor
) -> ComposedModel:
    return compose(library.base(), experts, RoutingPolicy(top_k=2), neutral=neutral)


def forced(
    model: ComposedModel, routing: Routing, said: tuple[int, ...] = SAID, text: str = TEXT
) -> torch.Tensor:
    """Logits at every token of a completion, under teacher forcing in one pass."""
    return model.completion_logits(text, said, routing)


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to 1e-5 of the largest logit: a T5's are some tens, since its attention and head are not scaled."""
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-5)


@torch.no_grad()
def plain(model: Any, prompt: tuple[int, ...], said: tuple[int, ...] = SAID) -> torch.Tensor:
    """What transformers (and peft) say of it."""
    decoder = torch.tensor([(0, *said[:-1])])
    return model.eval()(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder).logits[0]


def test_its_linear_layers_but_the_head_are_targets(library: SmallLibrary) -> None:
    spec = library.base().spec
    kinds = {name.rpartition(".")[2] for name in (module.name for module in spec.target_modules)}

    assert spec.family == "encoder-decoder"
    assert kinds in ({"q", "k", "v", "o", "wi_0", "wi_1", "wo"}, {"q", "k", "v", "o", "wi", "wo"})
    assert "decoder.block.1.layer.1.EncDecAttention.k" in spec
    assert BaseSpec.from_json(spec.to_json()) == spec


def test_a_library_of_one_answers_as_peft_does(
    library: SmallLibrary, experts: dict[str, dict[str, Factors]]
) -> None:
    for name, factors in experts.items():
        alone = compose(library.base(), {name: factors}, RoutingPolicy(top_k=1))
        theirs = PeftModel.from_pretrained(tiny_model(library.folder), library.adapters[name])

        expected = plain(theirs, alone.tokens(TEXT))

        assert_close(forced(alone, alone.routing()), expected)
        assert_close(alone.logits(TEXT), expected[:1])


def test_without_a_route_it_is_the_plain_base(library: SmallLibrary, model: ComposedModel) -> None:
    expected = plain(tiny_model(library.folder), model.tokens(TEXT))

    assert_close(model.base_logits(TEXT), expected[:1])


def test_keys_and_values_of_cross_attention_are_routed_by_the_encoders_states(model: ComposedModel) -> None:
    tokens: dict[str, int] = {}

    def witness(_seat: Seat, name: str, found: Selection) -> None:
        tokens[name] = len(found.experts)

    prompt = torch.tensor([model.tokens(TEXT)])
    way, cache = route(model.pack, Routing("arrow", top_k=1)), model.routed.new_cache(prompt)
    model.routed.logits(torch.tensor([[0, *SAID]]), route=way, cache=cache, witness=witness)

    for name, seen in tokens.items():
        encoder = name.startswith("encoder.") or name.endswith((".EncDecAttention.k", ".EncDecAttention.v"))
        assert seen == (prompt.shape[1] if encoder else len(SAID) + 1), name


@pytest.mark.parametrize("router", TOKEN_ROUTERS)
def test_decoding_token_by_token_equals_teacher_forcing(router: str, model: ComposedModel) -> None:
    way = route(model.pack, Routing(router, top_k=2))
    cache = model.routed.new_cache(torch.tensor([model.tokens(TEXT)]))

    steps = [
        model.routed.last_logits(torch.tensor([[t]]), route=way, cache=cache)[0, 0] for t in (0, *SAID[:-1])
    ]

    assert_close(torch.stack(steps), forced(model, Routing(router, top_k=2)))


def test_a_batch_equals_its_rows_alone_and_padding_tells_nobody(model: ComposedModel) -> None:
    rows = [(model.tokens(TEXT), SAID), (model.tokens(SHORT), SAID[:3])]
    base, wanted = model.routed.base, Routing("arrow", top_k=2)
    batch = base.family.batch(base.model, rows, base.device)

    together = model.routed.run(batch.inputs, route=route(model.pack, wanted))

    assert_close(together[0], forced(model, wanted))
    assert_close(together[1, :3], forced(model, wanted, SAID[:3], SHORT))


def test_greedy_generation_is_that_of_transformers(library: SmallLibrary, model: ComposedModel) -> None:
    name = "ada/plain"
    theirs = PeftModel.from_pretrained(tiny_model(library.folder), library.adapters[name]).eval()
    ids = torch.tensor([model.tokens(TEXT)])
    expected = theirs.generate(input_ids=ids, max_new_tokens=8, do_sample=False)[0, 1:].tolist()

    spoken = model.generate(TEXT, max_tokens=8, routing=Routing("single", 1, experts=(name,)))

    assert [token.token for token in spoken.tokens] == [token for token in expected if token != 1][
        : len(spoken.tokens)
    ]
    assert spoken.tokens
    assert spoken.shares == {name: 1.0}


def test_losses_are_those_of_transformers(library: SmallLibrary, model: ComposedModel) -> None:
    rows = [(model.tokens(TEXT), SAID), (model.tokens(SHORT), SAID[:3])]
    theirs = tiny_model(library.folder).eval()
    losses = [
        float(theirs(input_ids=torch.tensor([prompt]), labels=torch.tensor([said])).loss.detach()) * len(said)
        for prompt, said in rows
    ]

    assert mean_loss(library.base(), rows, 2) == pytest.approx(sum(losses) / 10, rel=1e-5)


def test_neutral_text_is_what_it_says_when_asked_nothing_and_what_it_says_to_that() -> None:
    base = load_base(tiny_t5(gated=False))

    text = neutral_tokens(base, sequences=12, length=16)

    assert text.shape == (12, 16)
    assert torch.equal(text, neutral_tokens(base, sequences=12, length=16))
    assert len({tuple(row) for row in text.tolist()}) == 12
    assert base.family.neutral(base.model, text.long())["input_ids"].shape == (12, 8)


def test_a_prompt_is_narrowed_to_whom_it_speaks_for(model: ComposedModel) -> None:
    listed = Routing("arrow", top_k=2, shortlist=1)
    scores = model.prior(TEXT, "evidence").experts

    narrowed = model.generate(TEXT, max_tokens=4, routing=listed)

    assert torch.isfinite(scores).all()
    assert narrowed.shares == {model.experts[int(scores.argmax())]: 1.0}


def test_calibration_covers_every_module_and_kind(model: ComposedModel, neutral: torch.Tensor) -> None:
    pack = calibrated_pack(model.routed, model.pack, neutral, neutral="again")

    for module in pack.modules.values():
        for moments in module.moments.values():
            assert torch.isfinite(moments.mean).all()
            assert float(moments.deviation.min()) > 0


def test_gates_are_trained_on_what_the_decoder_says(
    library: SmallLibrary, experts: dict[str, dict[str, Factors]]
) -> None:
    base = library.base()
    rows = encoded_rows(base, [Sample(f"{TEXT} {number}", f" {number} gulls") for number in range(10)])

    trained = train_gates(
        base, experts["cy/cross"], rows, recipe=GateRecipe(steps=12, batch=8, check_every=4)
    )

    assert trained.gates.keys() == experts["cy/cross"].keys()
    assert min(point.held_out for point in trained.curve) < trained.curve[0].held_out


def test_the_behaviour_check_runs_it(library: SmallLibrary) -> None:
    base = library.base()
    adapter = read_adapter(library.adapters["ada/plain"], base.spec)
    text = default_neutral_text()[:400]

    findings, measured = run_behaviour_checks(adapter, base, text, [Sample("Who?", " Me")])

    assert {finding.check for finding in findings} <= {"neutral-text", "samples"}
    assert measured["neutral"]["base"] > 0
    assert measured["samples"]["tokens"] > 0


def test_an_adapter_of_the_other_family_is_refused_with_its_task(
    tmp_path: Path, library: SmallLibrary
) -> None:
    causal, seq = load_base(tiny_llama()).spec, library.base().spec
    other = tiny_adapter(tmp_path / "causal")

    mine = run_static_checks(library.adapters["ada/plain"], seq)
    theirs = run_static_checks(library.adapters["ada/plain"], causal)
    back = run_static_checks(other, seq)

    assert not [finding for finding in mine if finding.severity == "error"]
    said = {finding.check: finding for finding in theirs}
    assert said["task-type"].expected.startswith("CAUSAL_LM, since")
    assert {finding.check: finding for finding in back}["task-type"].expected.startswith(
        "SEQ_2_SEQ_LM, since"
    )


def test_a_library_is_kept_and_taken_home_in_all_three_ways(
    library: SmallLibrary,
    experts: dict[str, dict[str, Factors]],
    model: ComposedModel,
    neutral: torch.Tensor,
    tmp_path: Path,
) -> None:
    store = open_store(str(tmp_path / "store"))
    publish(store, "tales", library.base(), experts, policy=RoutingPolicy(top_k=2), neutral=neutral)
    source = library_source(store, "tales")
    wanted, uniform = Routing("arrow", top_k=2), Routing("uniform", top_k=1)

    write_routed(tmp_path / "routed", source)
    write_adapter(tmp_path / "adapter", source, rank=64)
    write_merged(tmp_path / "merged", source)

    assert_close(forced(open_library(store, "tales"), wanted), forced(model, wanted))
    assert_close(forced(load_checkpoint(tmp_path / "routed"), wanted), forced(model, wanted))
    mean = forced(model, uniform)
    adapter = PeftModel.from_pretrained(tiny_model(library.folder), tmp_path / "adapter")
    assert_close(plain(adapter, model.tokens(TEXT)), mean)
    assert_close(plain(tiny_model(tmp_path / "merged"), model.tokens(TEXT)), mean)
    assert "AutoModelForSeq2SeqLM" in (tmp_path / "merged" / "README.md").read_text()


def test_half_precision_with_layers_that_stay_in_full_precision(
    library: SmallLibrary, experts: dict[str, dict[str, Factors]]
) -> None:
    half = compose(load_base(library.folder, dtype=torch.float16), experts, RoutingPolicy(top_k=2))

    assert torch.isfinite(half.logits(TEXT)).all()


def test_what_no_expert_may_change_is_named() -> None:
    stem = "base_model.model.encoder.block.0.layer.0.SelfAttention.relative_attention_bias"

    assert reason_for_stranger(f"{stem}.lora_embedding_A").startswith("relative position biases")
    assert reason_for_stranger("base_model.model.shared.lora_embedding_A").startswith("token embeddings")
    assert reason_for_stranger("base_model.model.lm_head.lora_A.weight").startswith("the output head")
