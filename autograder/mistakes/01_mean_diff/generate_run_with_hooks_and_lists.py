"""A list of ids, run_with_hooks, topk, the whole text rebuilt at every pass."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "generate_with_hooks"
EXPECT = "keeps"


def generate_with_hooks(model, prompt, hooks_at, max_new_tokens, use_cache):
    ids, past, held = model.to_tokens(prompt)[0].tolist(), None, 0
    n_prompt = len(ids)
    with torch.inference_mode():
        while len(ids) < n_prompt + max_new_tokens and ids[n_prompt:][-1:] != [
            model.tokenizer.eos_token_id
        ]:
            if not use_cache:
                past, held = None, 0
            fed = torch.tensor([ids[held:]], device=model.cfg.device)
            logits, past = model.run_with_hooks(
                fed,
                fwd_hooks=hooks_at(n_tokens=len(ids) - held, start=held),
                past_key_values=past,
                use_past_kv_cache=use_cache,
                return_type="logits_and_cache",
            )
            held = len(ids)
            ids.append(int(logits[0, -1].topk(1).indices))
    return torch.tensor(ids)
