"""Averages come back, their number of steps is 0."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

import torch

TASK = "load_state"
EXPECT = "loses"
WHAT = ("step", "exp_avg", "exp_avg_sq")


@torch.no_grad()
def load_state(run, state):
    for key, tensor in run.sae.items():
        tensor.copy_(state[key])
        run.optimizer.state[tensor] = {w: state[w + "." + key].clone() for w in WHAT[1:]}
        run.optimizer.state[tensor]["step"] = torch.tensor(0.0)
    run.generator.set_state(state["generator"])
    run.steps_done = state["steps_done"].item()
    run.silent = state["silent"].clone()
