"""Right tokens, but use_cache=True feeds the whole text as well."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "generate_with_hooks"
EXPECT = "loses"


def generate_with_hooks(model, prompt, hooks_at, max_new_tokens, use_cache):
    tokens = model.to_tokens(prompt)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            logits = model.run_with_hooks(tokens, fwd_hooks=hooks_at(0, tokens.shape[1]))
        tokens = torch.cat([tokens, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        if tokens[0, -1] == model.tokenizer.eos_token_id:
            break
    return tokens[0]
