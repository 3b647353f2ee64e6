"""By the optimizer's own load_state_dict, which needs the groups as well."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

import copy

TASK = "load_state"
EXPECT = "keeps"


def load_state(run, state):
    state = copy.deepcopy(dict(state))
    groups = run.optimizer.state_dict()["param_groups"]
    kinds = ("step", "exp_avg", "exp_avg_sq")
    memory = {i: {k: state[f"{k}.{n}"] for k in kinds} for i, n in enumerate(run.sae)}
    run.optimizer.load_state_dict({"state": memory, "param_groups": groups})
    for name in run.sae:
        run.sae[name].data[...] = state[name]
    run.silent, run.steps_done = state["silent"], state["steps_done"].tolist()
    run.generator.set_state(state["generator"])
