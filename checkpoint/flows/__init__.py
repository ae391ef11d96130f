"""Flows: front-ends whose state is kept at every step, so that they go on after an error, a kill or a reboot."""
