"""By the optimizer's own state_dict and deepcopy."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

import copy

import torch

TASK = "save_state"
EXPECT = "keeps"


def save_state(run):
    adam = copy.deepcopy(run.optimizer.state_dict()["state"])
    state = {}
    for number, name in enumerate(run.sae):
        state[name] = run.sae[name].data * 1
        state |= {f"{kind}.{name}": value for kind, value in adam[number].items()}
    state["generator"] = run.generator.clone_state().get_state()
    return state | {"steps_done": torch.as_tensor(run.steps_done), "silent": run.silent + 0}
