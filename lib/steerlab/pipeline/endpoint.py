"""Labels by a language model behind any OpenAI-compatible endpoint, each with a detection score.

A feature is named from its strongest contexts; then the model, given the name alone, has to pick
the contexts in which the feature fires out of held-out ones in which it does and does not
(Bills et al., 2023; Paulo et al., 2024). The score is the mean of its two rates of being right:
0.5 is chance.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field

from steerlab.pipeline.errors import PipelineError, one_line
from steerlab.sae.features import Context

_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
_LONGEST = 120  # characters of a label


class EndpointError(PipelineError):
    """The endpoint does not answer, or refuses: there is no use in asking it further."""


class Garbage(PipelineError):
    """The endpoint answered, but with nothing that can be read as what was asked for."""


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, with which key and for which model.

    url: the base, "https://…/v1", or the whole address of chat completions. key: None sends none;
    it is in no message, file or repr. timeout: seconds for an answer; retries: further attempts
    after a timeout or a passing trouble, the first after `wait` seconds and each next after twice
    as long.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    model: str = "gpt-4o-mini"
    timeout: float = 60.0
    retries: int = 2
    wait: float = 1.0

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/]", self.url):
            raise PipelineError(f"the endpoint {self.url!r} is no address; expected https://…/v1")

    @property
    def address(self) -> str:
        """Of chat completions."""
        base = self.url.rstrip("/")
        return base if base.endswith("/chat/completions") else f"{base}/chat/completions"

    def ask(self, question: str) -> str:
        """The model's answer to one question.

        Raises EndpointError where none comes after all retries, or the request is refused; Garbage
        for an answer that is no chat completion.
        """
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
        }
        wait, trouble = self.wait, ""
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(wait)
                wait *= 2
            try:
                return _content(self._post(json.dumps(body).encode()))
            except urllib.error.HTTPError as error:
                trouble = f"answers with HTTP {error.code} ({error.reason})"
                if error.code in (401, 403):
                    trouble += ": is the key right?"
                if error.code not in _RETRIED:
                    break
            except TimeoutError:
                trouble = f"did not answer within {self.timeout:g} s"
            except (OSError, http.client.HTTPException) as error:
                slow = isinstance(getattr(error, "reason", None), TimeoutError)
                said = f"cannot be reached ({one_line(error)})"
                trouble = f"did not answer within {self.timeout:g} s" if slow else said
        raise EndpointError(f"the endpoint {self.url} {trouble}")

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.address, body, headers)
        with urllib.request.urlopen(request, timeout=self.timeout) as answer:
            content: bytes = answer.read()
            return content


def _content(answer: bytes) -> str:
    try:
        content = json.loads(answer)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        start = answer[:60].decode("utf-8", "replace")
        raise Garbage(f"no chat completion came back, but {start!r}") from None
    if not isinstance(content, str) or not content.strip():
        raise Garbage("an empty answer came back")
    return content.strip()


# ---------------------------------------------------------------- the two questions


def name_feature(endpoint: Endpoint, contexts: Sequence[Context]) -> str:
    """A short name for what the contexts have in common. Raises as `Endpoint.ask`."""
    shown = "\n".join(f"{i}. {marked(context)}" for i, context in enumerate(contexts, start=1))
    answer = endpoint.ask(
        "A feature of a language model fires on the tokens between << and >> in these texts, one "
        f"a line:\n\n{shown}\n\nSay in at most ten words what they have in common. Answer with "
        'JSON only: {"label": "..."}'
    )
    found = re.search(r"\{.*\}", answer, re.DOTALL)
    try:
        label = json.loads(found.group())["label"] if found else ""
    except (ValueError, LookupError, TypeError):
        label = ""
    if not isinstance(label, str) or not label.strip() or len(label) > _LONGEST:
        raise Garbage(f"the answer holds no label: {answer[:60]!r}")
    return " ".join(label.split())


def detection(
    endpoint: Endpoint,
    label: str,
    firing: Sequence[Context],
    silent: Sequence[Context],
    seed: int = 0,
) -> float:
    """How well the label alone tells held-out contexts in which the feature fires from others.

    Raises as `Endpoint.ask`, and ValueError without contexts of either kind.
    """
    if not firing or not silent:
        raise ValueError("detection needs contexts in which the feature fires and others")
    mixed = [(context.text, True) for context in firing] + [(c.text, False) for c in silent]
    random.Random(seed).shuffle(mixed)
    shown = "\n".join(f"{i}. {_flat(text)}" for i, (text, _) in enumerate(mixed, start=1))
    answer = endpoint.ask(
        f"A feature of a language model is described as: {label}\n\nIn which of these texts does "
        f"it fire?\n\n{shown}\n\nAnswer with a JSON list of their numbers only, e.g. [1, 4]; [] "
        "for none."
    )
    found = re.search(r"\[[^\[\]]*\]", answer)
    try:
        chosen = {int(number) for number in json.loads(found.group())} if found else None
    except (ValueError, TypeError):
        chosen = None
    if chosen is None or not chosen <= set(range(1, len(mixed) + 1)):
        raise Garbage(f"the answer is no list of numbers: {answer[:60]!r}")
    right = [[(i in chosen) == fires for i, (_, fires) in enumerate(mixed, 1) if fires is kind]
             for kind in (True, False)]  # fmt: skip
    return sum(sum(each) / len(each) for each in right) / 2


def marked(context: Context) -> str:
    """A context as one line, with the tokens between << and >> on which the feature fires."""
    parts, inside = [], False
    for token, strength in zip(context.tokens, context.activations, strict=True):
        if (strength > 0) != inside:
            parts.append(">>" if inside else "<<")
            inside = not inside
        parts.append(token)
    return _flat("".join(parts) + (">>" if inside else ""))


def _flat(text: str) -> str:
    return " ".join(text.split())
