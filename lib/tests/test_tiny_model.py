"""The embedded model as it ships, and the script that makes it."""

import json

import pytest
import torch
from steerlab.data import TOPICS, generate, topic_words
from steerlab.tiny import CHECKPOINT
from steerlab.tiny.text import BOUNDARY, CONTEXT, build_tokenizer, document_losses, pack
from steerlab.tiny.train import TOKENIZER_SEED, VALIDATION_SEED, Recipe, learning_rate, main
from transformers import AutoModelForCausalLM, AutoTokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()


class TestTheShippedFolder:
    def test_it_takes_at_most_five_megabytes(self):
        assert sum(f.stat().st_size for f in CHECKPOINT.iterdir()) <= 5_000_000

    def test_everybody_may_read_it(self):
        assert all(f.stat().st_mode & 0o044 == 0o044 for f in CHECKPOINT.iterdir())

    def test_it_is_a_hugging_face_checkpoint_in_half_precision(self):
        names = {f.name for f in CHECKPOINT.iterdir()}
        expected = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
        assert expected | {"README.md"} <= names
        config = json.loads((CHECKPOINT / "config.json").read_text())
        assert config["model_type"] == "gpt2"
        assert config["dtype"] == "float16"
        assert config["n_positions"] == CONTEXT

    def test_one_boundary_token_begins_ends_and_pads(self, tokenizer):
        ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
        assert ids == (0, 0, 0)
        assert tokenizer.convert_ids_to_tokens(0) == BOUNDARY

    def test_its_tokenizer_gives_corpus_text_back(self, tokenizer):
        for document in generate(200, 99):
            assert tokenizer.decode(tokenizer(document.text)["input_ids"]) == document.text

    def test_its_tokenizer_gives_any_text_back(self, tokenizer):
        text = "Čaj ☕ und 3½ µm —\n\t42!"
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text

    def test_its_tokenizer_is_the_one_that_the_script_makes(self, tokenizer):
        assert build_tokenizer(TOKENIZER_SEED).get_vocab() == tokenizer.get_vocab()

    def test_every_topic_word_is_one_token_inside_a_sentence(self, tokenizer):
        split = [
            word
            for topic in TOPICS
            for word in topic_words(topic)
            if len(tokenizer(" " + word)["input_ids"]) > 1
        ]
        assert not split

    @torch.no_grad()
    def test_it_adds_two_digits(self, model, tokenizer):
        pairs = [(a, b) for a in range(10) for b in range(10)]
        prompts = torch.tensor([[0, *tokenizer(f"$$ {a} + {b} =")["input_ids"]] for a, b in pairs])
        answers = model(prompts, attention_mask=torch.ones_like(prompts)).logits[:, -1].argmax(-1)
        right = [
            tokenizer.decode([answer]) == f" {a + b}"
            for answer, (a, b) in zip(answers.tolist(), pairs, strict=True)
        ]
        assert sum(right) >= 99

    def test_it_reads_the_corpus_nearly_as_well_as_the_generator_can(self, model, tokenizer):
        documents = generate(300, VALIDATION_SEED)
        losses, counts = document_losses(model, tokenizer, documents)
        own = sum(d.nats for d in documents)
        # The benchmark asks for 0.03 over many more documents; here the sample's own noise counts.
        assert (float(losses.sum()) - own) / int(counts.sum()) <= 0.05


class TestTraining:
    @pytest.fixture(scope="class")
    def folders(self, tmp_path_factory):
        made = [tmp_path_factory.mktemp("tiny") / name for name in ("a", "b", "c")]
        threads = torch.get_num_threads()
        for folder, seed in zip(made, ("4", "4", "5"), strict=True):
            sizes = ["--tokens", "4096", "--batch", "4", "--documents", "40", "--held-out", "5"]
            main(["--out", str(folder), "--seed", seed, "--threads", "1", *sizes])
        torch.set_num_threads(threads)
        return made

    def test_a_few_steps_end_in_a_folder_that_loads(self, folders):
        model = AutoModelForCausalLM.from_pretrained(folders[0])
        tokenizer = AutoTokenizer.from_pretrained(folders[0])
        ids = torch.tensor([[0, *tokenizer("Write a haiku.\n")["input_ids"]]])
        assert model(ids).logits.shape[-1] == len(tokenizer)

    def test_equal_seeds_give_equal_weights_and_others_do_not(self, folders):
        first, second, other = ((f / "model.safetensors").read_bytes() for f in folders)
        assert first == second
        assert first != other

    def test_the_tokenizer_does_not_depend_on_the_seed(self, folders):
        first, _, other = ((f / "tokenizer.json").read_bytes() for f in folders)
        assert first == other

    def test_no_tokens_are_refused(self, tmp_path, capsys):
        with pytest.raises(SystemExit):
            main(["--out", str(tmp_path), "--tokens", "0"])
        assert "--tokens must be at least 1" in capsys.readouterr().err


def test_the_learning_rate_warms_up_and_comes_down():
    recipe = Recipe(tokens=2_000_000)
    rates = [learning_rate(recipe, step) for step in range(recipe.steps)]
    peak = rates.index(max(rates))
    assert 50 <= peak <= 70
    assert rates[0] < 0.05 * max(rates)
    assert rates[-1] == pytest.approx(recipe.last_learning_rate)


def test_packed_rows_are_full_and_begin_with_the_boundary():
    tokenizer = build_tokenizer(0, documents=200)
    rows = list(pack(generate(60, 1), tokenizer, length=64))
    assert rows
    assert all(len(row) == 64 for row in rows)
    assert all(row[0] == tokenizer.bos_token_id for row in rows)


def test_a_document_s_loss_does_not_depend_on_its_neighbours(model, tokenizer):
    documents = generate(20, 2)
    together, counts = document_losses(model, tokenizer, documents, batch=20)
    alone = torch.cat([document_losses(model, tokenizer, [d])[0] for d in documents])
    assert torch.allclose(together, alone, atol=1e-3)
    lengths = [len(tokenizer(d.text)["input_ids"]) + 1 for d in documents]
    assert counts.tolist() == [min(n, CONTEXT - 1) for n in lengths]
