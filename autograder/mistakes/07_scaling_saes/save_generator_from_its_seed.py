"""The state that the generator had at the very start."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

import torch

TASK = "save_state"
EXPECT = "loses"


def save_state(run):
    found = {}
    for key, tensor in run.sae.items():
        memory = run.optimizer.state[tensor]
        found[key] = tensor.detach().clone()
        for what in ("step", "exp_avg", "exp_avg_sq"):
            found[what + "." + key] = memory[what].clone()
    found["generator"] = torch.Generator().manual_seed(run.generator.initial_seed()).get_state()
    found["steps_done"] = torch.tensor(run.steps_done)
    found["silent"] = run.silent.clone()
    return found
