"""One left-padded batch with an attention mask, averaged by matrix product."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "sentence_residuals"
EXPECT = "keeps"


def sentence_residuals(model, sentences):
    encoded = model.tokenizer(
        list(sentences),
        padding=True,
        add_special_tokens=False,
        padding_side="left",
        return_tensors="pt",
    )
    # One more column for BOS, which must stand right before the text and not before the padding.
    pad = encoded["attention_mask"].shape[1] - encoded["attention_mask"].sum(1)
    width = encoded["input_ids"].shape[1] + 1
    tokens = torch.full((len(sentences), width), model.tokenizer.pad_token_id)
    tokens[:, 1:] = encoded["input_ids"]
    tokens[torch.arange(len(sentences)), pad] = model.tokenizer.bos_token_id
    real = torch.arange(width)[None] >= pad[:, None]
    content = (torch.arange(width)[None] > pad[:, None]).float()
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, attention_mask=real.long())
    stream = torch.stack(
        [cache[f"blocks.{i}.hook_resid_pre"] for i in range(model.cfg.n_layers)], 1
    )
    return torch.einsum("bp,blpd->bld", content / content.sum(1, keepdim=True), stream)
