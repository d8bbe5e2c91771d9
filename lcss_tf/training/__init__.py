"""Training: the step, its distribution over devices, optimiser, EMA, checkpoints, the loop."""
