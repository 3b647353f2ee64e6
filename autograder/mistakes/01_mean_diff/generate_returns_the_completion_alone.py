"""Leaves the prompt out of what it returns."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "generate_with_hooks"
EXPECT = "loses"


def generate_with_hooks(model, prompt, hooks_at, max_new_tokens, use_cache):
    tokens, past, start = model.to_tokens(prompt), None, 0
    n_prompt = tokens.shape[1]
    for _ in range(max_new_tokens):
        fed = tokens[:, start:]
        with torch.no_grad(), model.hooks(fwd_hooks=hooks_at(start, fed.shape[1])):
            logits, past = model(
                fed,
                past_key_values=past,
                use_past_kv_cache=use_cache,
                return_type="logits_and_cache",
            )
        start, past = (tokens.shape[1], past) if use_cache else (0, None)
        tokens = torch.cat([tokens, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        if tokens[0, -1] == model.tokenizer.eos_token_id:
            break
    return tokens[0, n_prompt:]
