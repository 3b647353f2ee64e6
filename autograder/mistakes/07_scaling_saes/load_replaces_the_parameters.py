"""New leaf tensors in the dict; the optimizer keeps the old ones."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

TASK = "load_state"
EXPECT = "loses"


def load_state(run, state):
    for key in list(run.sae):
        run.sae[key] = state[key].clone().requires_grad_()
        run.optimizer.state[run.sae[key]] = {
            word: state[f"{word}.{key}"].clone() for word in ("step", "exp_avg", "exp_avg_sq")
        }
    run.generator.set_state(state["generator"])
    run.steps_done, run.silent = int(state["steps_done"]), state["silent"].clone()
