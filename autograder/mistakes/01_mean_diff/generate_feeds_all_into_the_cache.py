"""Feeds the whole text at every pass although the cache holds it already."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "generate_with_hooks"
EXPECT = "loses"


def generate_with_hooks(model, prompt, hooks_at, max_new_tokens, use_cache):
    tokens, past = model.to_tokens(prompt), None
    for _ in range(max_new_tokens):
        with torch.no_grad(), model.hooks(fwd_hooks=hooks_at(0, tokens.shape[1])):
            logits, past = model(
                tokens,
                past_key_values=past if use_cache else None,
                use_past_kv_cache=use_cache,
                return_type="logits_and_cache",
            )
        tokens = torch.cat([tokens, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        if tokens[0, -1] == model.tokenizer.eos_token_id:
            break
    return tokens[0]
