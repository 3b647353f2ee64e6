"""Finding features and steering them: the same as in memory, and nothing lost to an endpoint."""

from __future__ import annotations

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from steerlab.activations import Activations
from steerlab.cli import main
from steerlab.pipeline import (
    Endpoint,
    PipelineError,
    Shards,
    Text,
    TextSource,
    collect_shards,
    find_features,
    steer_feature,
)
from steerlab.pipeline.endpoint import EndpointError, Garbage, detection, marked, name_feature
from steerlab.pipeline.firings import gather_firings
from steerlab.pipeline.shard_files import Rows
from steerlab.sae import SAE, contexts, evaluate_sae, label_features, load_labels, save_sae
from steerlab.sae.features import Context

HOOK = "blocks.1.hook_resid_pre"
TOPICS = {"sea": "boats harbour cold", "film": "movie good bright"}


def labelled(n):
    """Texts about two topics; every third has no label."""
    draws = torch.Generator().manual_seed(0)
    for i in range(n):
        topic = ("sea", "film")[i % 4 // 2]
        words = [*TOPICS[topic].split(), "the", "was", "and"]
        length = int(torch.randint(4, 20, (1,), generator=draws))
        chosen = torch.randint(len(words), (length,), generator=draws).tolist()
        yield Text(" ".join(words[j] for j in chosen), {} if i % 3 == 0 else {"topic": topic})


@pytest.fixture(scope="module")
def shards(model, tmp_path_factory):
    source = TextSource("made", lambda start: iter(list(labelled(300))[start:]))
    folder = tmp_path_factory.mktemp("shards")
    return collect_shards(model, source, folder, HOOK, rows_per_shard=1500)


@pytest.fixture(scope="module")
def sae(shards):
    """Forty random directions, a few active on each token, and one that never is."""
    draws = torch.Generator().manual_seed(1)
    rows = torch.nn.functional.normalize(torch.randn(40, 32, generator=draws), dim=1)
    bias = torch.full((40,), -float(shards.mean.norm()) * 0.2)
    bias[7] = -1e6
    return SAE(rows.T.contiguous(), bias, rows, shards.mean, hook_name=HOOK,
               model_name=shards.origin.model_name)  # fmt: skip


def rows_of(shards):
    return Rows.joined(list(shards.documents()))


def as_activations(rows, kept):
    numbers, document = rows.document[kept].unique(return_inverse=True)
    values = {HOOK: rows.residual[kept].float()}
    place, token = rows.position[kept], rows.token[kept]
    return Activations(values, document, place, token, len(numbers)), numbers.tolist()


# ---------------------------------------------------------------- what is found


def test_rates_and_references_are_those_of_the_scores_in_memory(shards, sae):
    firings = gather_firings(sae, shards, 10**9)
    scores = evaluate_sae(sae, rows_of(shards).residual.float())
    torch.testing.assert_close(firings.rate, scores.rate)
    torch.testing.assert_close(firings.p999, scores.p999)
    assert len(firings.strength) / len(firings.token) == pytest.approx(scores.l0)


def test_labels_of_the_corpus_are_those_of_label_features(model, shards, sae, tmp_path):
    found = find_features(sae, shards, model.tokenizer, tmp_path)
    rows = rows_of(shards)
    halves = []
    for half in (0, 1):
        activations, numbers = as_activations(rows, rows.document % 2 == half)
        labels = [{"topic": shards.labels.get(i, {}).get("topic")} for i in numbers]
        halves.append((activations, labels))
    scores = evaluate_sae(sae, rows.residual.float())
    expected = label_features(sae, HOOK, *halves, scores, model.tokenizer)
    for feature, label in expected.items():
        mine = found.labels[feature]
        assert (mine.concept, mine.rate) == (label.concept, label.rate)
        if label.concept is not None:
            assert mine.detection == pytest.approx(label.detection, abs=2e-4)
    assert found.dead == (7,)
    assert found.labels.concepts == ("topic: film", "topic: sea")
    # In the files stands the same.
    assert load_labels(tmp_path / "labels.json")[3] == found.labels[3]
    assert json.loads((tmp_path / "dead.json").read_text())["dead"] == [7]
    lines = (tmp_path / "contexts.jsonl").read_text().splitlines()
    assert [json.loads(line)["feature"] for line in lines] == list(found.contexts)
    assert "feature 3" in (tmp_path / "cards.html").read_text()


def test_contexts_are_those_of_contexts_in_memory(model, shards, sae, tmp_path):
    found = find_features(sae, shards, model.tokenizer, tmp_path, features=[3, 7, 11], top=4)
    rows = rows_of(shards)
    activations, _ = as_activations(rows, torch.ones(len(rows), dtype=torch.bool))
    assert list(found.contexts) == [3, 7, 11]
    for feature in (3, 11):
        expected = contexts(activations, HOOK, sae, feature, model.tokenizer, n=4, skip=[0])
        mine = found.contexts[feature]
        assert mine.maximum == pytest.approx(expected.maximum)
        assert [c.activation for c in mine.top] == pytest.approx(
            [c.activation for c in expected.top]
        )
        for one, other in zip(mine.top, expected.top, strict=True):
            if one.document == other.document and one.peak == other.peak:
                assert one.tokens == other.tokens
                assert one.activations == pytest.approx(other.activations)
        assert [c.quartile for c in mine.quartiles] == [1, 2, 3, 4]
    assert found.contexts[7].top == ()


def test_a_context_ends_where_the_window_of_a_long_text_ends(model, tmp_path):
    text = " ".join(["the boats was cold"] * 30)
    shards = collect_shards(model, [text], tmp_path / "s", HOOK, context=8)
    draws = torch.Generator().manual_seed(0)
    rows = torch.randn(16, 32, generator=draws)
    sae = SAE(rows.T.contiguous(), torch.zeros(16), rows, torch.zeros(32))
    found = find_features(sae, shards, model.tokenizer, tmp_path / "f", features=list(range(16)))
    sizes = [len(c.tokens) for each in found.contexts.values() for c in each.top + each.quartiles]
    assert max(sizes) <= 7  # eight positions without the first


def test_shards_of_another_hook_point_or_width_are_refused(model, shards, sae, tmp_path):
    other = sae.like(hook_name="blocks.0.hook_resid_pre")
    with pytest.raises(PipelineError, match=r"are of blocks.1.*trained on blocks.0"):
        find_features(other, shards, model.tokenizer, tmp_path)
    wide = SAE(torch.ones(8, 4), torch.ones(4), torch.ones(4, 8), torch.ones(8))
    with pytest.raises(PipelineError, match="are 32 wide, but the autoencoder reads 8"):
        find_features(wide, shards, model.tokenizer, tmp_path)


def test_a_folder_of_another_autoencoder_is_refused(model, shards, sae, tmp_path):
    find_features(sae, shards, model.tokenizer, tmp_path, features=[3])
    with pytest.raises(PipelineError, match="features of another autoencoder"):
        find_features(sae.like(b_enc=sae.b_enc + 1), shards, model.tokenizer, tmp_path)


# ---------------------------------------------------------------- an endpoint


class Server(ThreadingHTTPServer):
    """Answers chat completions as told: a list of what to do next, the last one for ever."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = ["good"]
        self.asked = []
        self.headers = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def asked_for_names(self):
        return [question for question in self.asked if "what they have in common" in question]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][0]["content"]
        server = self.server
        server.asked.append(question)
        server.headers.append(dict(self.headers))
        what = server.script.pop(0) if len(server.script) > 1 else server.script[0]
        if isinstance(what, int):
            self.send_error(what)
            return
        if what == "slow":
            time.sleep(3)
            return
        content = {"no json": "I cannot help with that.", "long": '{"label": "' + "x" * 500 + '"}'}
        answer = content.get(what) or self.good(question)
        reply = json.dumps({"choices": [{"message": {"content": answer}}]}).encode()
        if what == "no completion":
            reply = b"<html>Welcome</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def good(self, question):
        if "in common" in question:
            return 'Sure: {"label": "the word  boats"}'
        numbers = [int(n) for n, line in re.findall(r"(\d+)\. (.*)", question) if "boats" in line]
        return f"The texts {numbers}"


@pytest.fixture
def server():
    running = Server()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def endpoint(server, **options):
    return Endpoint(server.url, "secret-key", "m", timeout=1.0, **{"wait": 0.01} | options)


def context(text, fires):
    return Context(0, tuple(text.split()), tuple(float(fires) for _ in text.split()), 0)


def test_names_come_with_a_detection_score_on_held_out_contexts(
    model, shards, sae, server, tmp_path
):
    found = find_features(
        sae, shards, model.tokenizer, tmp_path, endpoint=endpoint(server), features=[3, 5, 7]
    )
    assert found.labels[3].concept == "the word boats"
    assert 0 <= found.labels[3].detection <= 1
    assert found.labels[7].concept is None  # dead: there is nothing to ask about
    assert len(server.asked_for_names()) == 2
    assert "<<" in server.asked[0]
    assert server.headers[0]["Authorization"] == "Bearer secret-key"
    assert load_labels(tmp_path / "labels.json")[5].concept == "the word boats"


def test_detection_is_one_for_a_right_answer_and_half_for_chance(server):
    firing = [context("a boats b", True)] * 3
    silent = [context("the movie", False)] * 5
    assert detection(endpoint(server), "boats", firing, silent) == 1.0
    assert detection(endpoint(server), "boats", silent, firing) == 0.0
    assert detection(endpoint(server), "boats", silent, silent) == 0.5
    assert marked(Context(0, ("a", " b", " c"), (0.0, 1.0, 0.0), 1)) == "a<< b>> c"


def test_a_passing_trouble_is_asked_again(server):
    server.script = [503, "slow", "good"]
    assert name_feature(endpoint(server), [context("x", True)]) == "the word boats"
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("slow", "did not answer within 1 s"),
        (500, "HTTP 500"),
        (401, "HTTP 401 .*is the key right"),
    ],
)
def test_an_endpoint_that_stops_answering_costs_no_label_and_is_gone_on_with(
    model, shards, sae, server, tmp_path, script, words
):
    server.script = ["good"] * 4 + [script]
    ask = endpoint(server, retries=1)
    arguments = (sae, shards, model.tokenizer, tmp_path)
    with pytest.raises(PipelineError, match=rf"{words}.*feature 9: 2 of 4 labels are safe"):
        find_features(*arguments, endpoint=ask, features=[3, 5, 9, 11])
    assert load_labels(tmp_path / "labels.json")[5].concept == "the word boats"
    with open(tmp_path / "asked.jsonl", "a") as file:
        file.write('{"feature": 9, "conc')  # cut short by a crash
    server.script, server.asked = ["good"], []
    found = find_features(*arguments, endpoint=ask, features=[3, 5, 9, 11])
    assert len(server.asked_for_names()) == 2
    assert all(found.labels[i].concept for i in (3, 5, 9, 11))


@pytest.mark.parametrize("garbage", ["no json", "no completion", "long"])
def test_garbage_is_named_and_costs_that_feature_only(
    model, shards, sae, server, tmp_path, garbage
):
    server.script = ["good", "good", garbage, "good"]
    arguments = (sae, shards, model.tokenizer, tmp_path)
    found = find_features(*arguments, endpoint=endpoint(server), features=[3, 5, 9])
    assert list(found.unlabelled) == [5]
    assert found.labels[5].concept is None
    assert found.labels[9].concept
    again = find_features(*arguments, endpoint=endpoint(server), features=[3, 5, 9])
    assert again.unlabelled == {}
    assert again.labels[5].concept


def test_nothing_but_garbage_ends_the_asking(model, shards, sae, server, tmp_path):
    server.script = ["no json"]
    many = [i for i in range(12) if i != 7]
    with pytest.raises(PipelineError, match="5 unreadable answers in a row"):
        find_features(
            sae, shards, model.tokenizer, tmp_path, endpoint=endpoint(server), features=many
        )
    assert len(server.asked) == 5


def test_an_endpoint_that_is_not_there_or_no_address_is_said_so(server):
    away = Endpoint("http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(EndpointError, match="cannot be reached"):
        away.ask("?")
    with pytest.raises(PipelineError, match="is no address"):
        Endpoint("localhost:80")
    assert "secret" not in repr(endpoint(server))
    server.script = ["no completion"]
    with pytest.raises(Garbage, match="Welcome"):
        endpoint(server).ask("?")


# ---------------------------------------------------------------- steering


@pytest.mark.parametrize("how", ["clamp", "add"])
def test_a_feature_is_steered_at_the_dose_asked_for(model, sae, prompts, how):
    found = steer_feature(model, sae, 3, prompts, how=how, dose=0.5, max_new_tokens=5)
    assert found.dose == pytest.approx(0.5, rel=0.011)
    assert [c.prompt for c in found.plain] == [c.prompt for c in found.steered] == prompts
    exact = steer_feature(model, sae, 3, prompts, how=how, value=found.coefficient,
                          max_new_tokens=5)  # fmt: skip
    assert [c.tokens for c in exact.steered] == [c.tokens for c in found.steered]


def test_a_concept_is_looked_up_and_clamped_to_its_reference(model, shards, sae, prompts, tmp_path):
    labels = find_features(sae, shards, model.tokenizer, tmp_path).labels
    found = steer_feature(model, sae, "sea", prompts, labels=labels, max_new_tokens=3)
    best = labels.search("sea", n=1)[0]
    assert (found.feature, found.concept) == (best.feature, "topic: sea")
    assert found.coefficient == found.reference == best.p999
    with pytest.raises(ValueError, match="no feature is labelled 'mountain'"):
        steer_feature(model, sae, "mountain", prompts, labels=labels)
    with pytest.raises(PipelineError, match="run `steerlab find` first"):
        steer_feature(model, sae, "sea", prompts)
    with pytest.raises(ValueError, match="features 0 to 39"):
        steer_feature(model, sae, 40, prompts)


# ---------------------------------------------------------------- the commands


def test_find_and_steer_on_the_command_line(
    shards, sae, checkpoint, server, tmp_path, capsys, monkeypatch
):
    folder = str(tmp_path / "sae")
    model = str(checkpoint("gpt2"))
    save_sae(sae, folder)
    command = ["find", folder, "--data", str(shards.place), "--model", model, "--limit", "5"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "1 of 40 features are dead" in out
    assert "topic: " in out
    steer = ["steer", folder, "film", "The movie", "--model", model, "--device", "cpu",
             "--max-new-tokens", "3"]  # fmt: skip
    assert main(steer) == 0
    out = capsys.readouterr().out
    assert "(topic: film): clamped to" in out
    assert "× its reference; dose" in out
    assert main([*steer, "--dose", "0.3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dose"] == pytest.approx(0.3, rel=0.02)
    assert main(["steer", folder, "99", "--model", model]) == 2
    assert "features 0 to 39" in capsys.readouterr().err
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    server.script = [401]
    asking = [*command, "--out", str(tmp_path / "named"), "--endpoint", server.url]
    assert main(asking) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("steerlab find: the endpoint")
    assert "0 of 5 labels are safe" in error
    assert server.headers[0]["Authorization"] == "Bearer from-the-environment"
    assert "from-the-environment" not in error


def test_unlabelled_shards_give_facts_and_contexts_without_names(model, sae, tmp_path):
    lines = ["the boats was cold and the movie was good"] * 3
    shards = collect_shards(model, lines, tmp_path / "s", HOOK)
    found = find_features(sae, Shards(tmp_path / "s"), model.tokenizer, tmp_path / "f")
    assert shards.labels == {}
    assert found.labels.concepts == ()
    assert found.contexts
